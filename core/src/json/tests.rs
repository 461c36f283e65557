use super::*;

fn names(text: &str) -> Result<Vec<(String, String)>, Reason> {
    let object = Object::parse_strict(text.as_bytes())?;
    let name = |name| String::from_utf8_lossy(name).into_owned();
    let members = object
        .iter()
        .map(|(own, value)| (name(own), value.get().to_owned()));
    Ok(members.collect())
}

/// `{"a":[[…]]}` of that depth, the object included.
fn nested(depth: usize) -> String {
    let inner = depth - 1;
    format!(r#"{{"a":{}{}}}"#, "[".repeat(inner), "]".repeat(inner))
}

#[test]
fn members_come_in_order_and_as_written() {
    let seen =
        names("\r\n\t {\"a\" : 1.50 , \"\\u0062\":[ 1 ],\"c\":\"x\\ny\", \"\":{}} ").unwrap();
    let seen: Vec<(&str, &str)> = seen.iter().map(|(n, v)| (&**n, &**v)).collect();
    assert_eq!(
        seen,
        [
            ("a", "1.50"),
            ("b", "[ 1 ]"),
            ("c", r#""x\ny""#),
            ("", "{}")
        ]
    );
    assert_eq!(names("{}"), Ok(vec![]));
}

#[test]
fn anything_but_one_object_is_malformed() {
    for text in [
        "",
        " ",
        "null",
        "1",
        "\"a\"",
        "[]",
        "[{}]",
        "{",
        "}",
        "{}{}",
        "{} x",
        "{},",
        "\u{feff}{}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":.5}",
        "{\"a\":1.}",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":tru}",
        "{\"a\":\"\n\"}",
        "{\"a\n\":1}",
        "{\"a\n\\u0062\":1}",
        "{\"a\n\\ud800\":1}",
        "{\"a\":{\"a\n\":1}}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":[1,]}",
        "{\"a\":1}\0",
        "// no\n{}",
    ] {
        assert_eq!(names(text), Err(Reason::Malformed), "{text:?}");
    }
}

#[test]
fn what_is_read_is_what_serde_json_reads() {
    let mut accepted = 0;
    let mut compare = |text: &str| {
        let ours = Object::parse(text);
        // Half a surrogate pair and numbers out of range are JSON, but no value of serde_json.
        let Ok(theirs) = serde_json::from_str::<serde_json::Value>(text) else {
            return;
        };
        let Some(theirs) = theirs.as_object() else {
            assert!(ours.is_none(), "{text:?}");
            return;
        };
        let ours = ours.expect(text);
        for (name, value) in theirs {
            let own = ours.get(name).expect(text);
            assert_eq!(read(own).as_ref(), Some(value), "{text:?}");
            assert_eq!(super::string(own).as_deref(), value.as_str(), "{text:?}");
        }
        let is_strict = Object::parse_strict(text.as_bytes()).is_ok();
        assert_eq!(is_strict, ours.iter().count() == theirs.len(), "{text:?}");
        let compact: serde_json::Value = serde_json::from_str(&compact(text)).expect(text);
        assert_eq!(compact.as_object(), Some(theirs), "{text:?}");
        accepted += 1;
    };
    // Every kind of token, and what stands before and behind each, changed in every place.
    let bytes = "{}[]:,\"\\/ \t\n\r\u{0}\u{1f}\u{7f}0159.eE+-utfnalsrb'#é";
    for seed in [
        r#"{"a":[1,-0.5e+10,{}],"b c":"\u00e9\n\"é😀"}"#,
        r#" { "" : null , "x":[ true ,false, [] ] , "y":{"z":-1E2} } "#,
        r#"{"0":0,"1":10,"2":"\\","eight by":"12345678\t\/"}"#,
        r#"{"plain":"12345678é","x":[ {"eight by":"abcdefgh"},"i" ],"":1}"#,
        "{}",
    ] {
        compare(seed);
        let places = seed.char_indices().map(|(at, c)| (at, at + c.len_utf8()));
        for (start, end) in places.chain([(seed.len(), seed.len())]) {
            let (before, behind) = (&seed[..start], &seed[end..]);
            compare(before);
            compare(&[before, behind].concat());
            compare(&[&seed[..end], &seed[start..]].concat());
            for byte in bytes.chars().map(String::from) {
                compare(&[before, &byte, behind].concat());
                compare(&[before, &byte, &seed[start..]].concat());
            }
        }
    }
    assert!(accepted > 1000, "{accepted}");
}

#[test]
fn names_are_compared_after_unescaping() {
    for text in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"b":2,"a":3}"#,
        r#"{"exp":1,"\u0065xp":2}"#,
        r#"{"\u00e9":1,"é":2}"#,
        r#"{"\/":1,"/":2}"#,
        r#"{"":1,"":2}"#,
        r#"{"\ud83d\ude00":1,"😀":2}"#,
        r#"{"\ud800":1,"\ud800":2}"#,
    ] {
        assert_eq!(names(text), Err(Reason::Malformed), "{text}");
    }
    for text in [
        r#"{"a":1,"A":2}"#,
        r#"{"a":1,"a ":2}"#,
        r#"{"a":{"b":1,"b":2}}"#,
        r#"{"a":[{"b":1,"b":2}],"b":1}"#,
        r#"{"\ud800":1,"\udfff":2}"#,
    ] {
        assert!(names(text).is_ok(), "{text}");
    }
}

#[test]
fn many_names_are_no_burden() {
    let text = |last: &str| {
        let many: Vec<String> = (0..4000).map(|i| format!("\"{i}\":0")).collect();
        format!("{{{},\"{last}\":0}}", many.join(","))
    };
    assert_eq!(names(&text("x")).unwrap().len(), 4001);
    assert_eq!(names(&text("17")), Err(Reason::Malformed));
}

#[test]
fn depth_is_counted_outside_strings() {
    assert!(names(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(names(&nested(MAX_DEPTH + 1)), Err(Reason::Malformed));
    assert_eq!(names(&nested(100_000)), Err(Reason::Malformed));
    assert_eq!(names(&"[".repeat(16_000)), Err(Reason::Malformed));
    // Brackets in strings, and many brackets side by side, are no depth.
    let quoted = format!(
        r#"{{"a":"{}","b":"\"{}"}}"#,
        "[".repeat(100),
        "{".repeat(100)
    );
    assert!(names(&quoted).is_ok());
    let escaped = format!(r#"{{"a":"\\","b":{}{}}}"#, "[".repeat(64), "]".repeat(64));
    assert_eq!(names(&escaped), Err(Reason::Malformed));
    let wide = format!(r#"{{"a":[{}]}}"#, vec!["{}"; 1000].join(","));
    assert!(names(&wide).is_ok());
    // Objects count as arrays do.
    let objects = |n: usize| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
    assert!(names(&objects(64)).is_ok());
    assert_eq!(names(&objects(65)), Err(Reason::Malformed));
}

#[test]
fn numbers_out_of_range_are_still_json() {
    assert_eq!(names(r#"{"a":1e400}"#).unwrap()[0].1, "1e400");
    let digits = "9".repeat(1000);
    assert_eq!(names(&format!("{{\"a\":{digits}}}")).unwrap()[0].1, digits);
}

#[test]
fn values_are_shown_as_variables() {
    for (json, text) in [
        (r#""plain""#, Some("plain")),
        (r#""q\"\\\/""#, Some("q\"\\/")),
        (
            r#""a\r\nb\tc\u0000\u001f\u007f""#,
            Some("a%0D%0Ab%09c%00%1F%7F"),
        ),
        ("\"a\x7f\"", Some("a%7F")),
        (r#""100%0A%""#, Some("100%0A%")),
        (r#""é\u00e9\ud83d\ude00\u0085""#, Some("éé😀\u{85}")),
        (r#""""#, None),
        (r#""\ud800""#, None),
        (r#""a\udc00b""#, None),
        ("0", Some("0")),
        ("-0", Some("-0")),
        ("1.50", Some("1.50")),
        ("1E+2", Some("1E+2")),
        (
            "123456789012345678901234567890",
            Some("123456789012345678901234567890"),
        ),
        ("1e400", Some("1e400")),
        ("true", Some("true")),
        ("false", Some("false")),
        ("null", None),
        ("[]", None),
        ("[ ]", None),
        (r#"["a"]"#, Some("a")),
        (r#"[ "a" , "b,c" ]"#, Some("a,b,c")),
        (r#"["a\nb","\u007f"]"#, Some("a%0Ab,%7F")),
        (r#"[""]"#, None),
        (r#"["",""]"#, Some(",")),
        (r#"["a","\ud800"]"#, None),
        ("[1, 2]", Some("[1,2]")),
        (r#"["a", 1]"#, Some(r#"["a",1]"#)),
        (r#"["a", null]"#, Some(r#"["a",null]"#)),
        (r#"[["a"]]"#, Some(r#"[["a"]]"#)),
        ("{}", Some("{}")),
        ("{ }", Some("{}")),
        (r#"{ "a" : [ 1.0 , "x y" ] }"#, Some(r#"{"a":[1.0,"x y"]}"#)),
        ("{\"a\":\"\x7f\"}", Some(r#"{"a":"\u007f"}"#)),
        (r#"{"a":"\n"}"#, Some(r#"{"a":"\n"}"#)),
        (r#"[1,"\ud800"]"#, Some(r#"[1,"\ud800"]"#)),
    ] {
        let object = format!("{{\"a\" : {json} }}");
        for object in [compact(&object), object] {
            let value = Object::parse(&object).unwrap().get("a").unwrap();
            assert_eq!(shown(value).as_deref(), text, "{json}");
        }
    }
}

#[test]
fn compact_keeps_everything_but_white_space() {
    for (json, wanted) in [
        ("{\"a\":1}", "{\"a\":1}"),
        (
            " { \"a b\" :\t1 ,\r\n\"c\":[ true , null ] }\n",
            "{\"a b\":1,\"c\":[true,null]}",
        ),
        (
            r#"{"a":"\" b \\" , "c" : " \\\" " }"#,
            r#"{"a":"\" b \\","c":" \\\" "}"#,
        ),
        ("{\"\x7f\": \"\x7f\"}", r#"{"\u007f":"\u007f"}"#),
        (r#"{"a" : "é 😀"}"#, r#"{"a":"é 😀"}"#),
    ] {
        assert_eq!(compact(json), wanted);
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&compact(json)).unwrap(),
            value
        );
    }
}

#[test]
fn members_by_name() {
    let object = r#"{"a":1,"b.c/d":{"e":2},"a":3,"\u0066":4,"\ud800":5}"#;
    for (name, text) in [
        ("a", Some("3")),
        ("b.c/d", Some(r#"{"e":2}"#)),
        ("f", Some("4")),
        ("b", None),
        ("", None),
        ("\\u0066", None),
    ] {
        let value = Object::parse(object).unwrap().get(name);
        assert_eq!(value.map(RawValue::get), text, "{name}");
    }
    for other in ["[]", "1", "\"a\"", "null", ""] {
        assert!(Object::parse(other).is_none());
    }
}

fn value(json: &str) -> &RawValue {
    serde_json::from_str(json).expect("a value")
}

fn string(json: &str) -> Option<Cow<'_, str>> {
    super::string(value(json))
}

fn strings(json: &str) -> Option<Vec<Cow<'_, str>>> {
    super::strings(value(json))
}

#[test]
fn white_space_between_tokens_is_never_overlooked() {
    for compacted in [
        "{}",
        "{\"a\":1}",
        r#"{"a b, c":[" d",true,null,-1.5e3,{"\n":"\u007f : "}]}"#,
    ] {
        assert_eq!(compact(compacted), compacted);
    }
    // Every place where white space may stand, one at a time.
    let tokens = [
        "{", "\"a b\"", ":", "[", "1", ",", "true", ",", "\"c\"", ",", "{", "}", "]", ",", "\"d\"",
        ":", "null", "}",
    ];
    for blank in [" ", "\t", "\n", "\r", "  \n"] {
        for place in 0..=tokens.len() {
            let (before, behind) = tokens.split_at(place);
            let json = [&before.concat(), blank, &behind.concat()].concat();
            assert_eq!(compact(&json), tokens.concat());
        }
    }
}

#[test]
fn strings_and_elements_keep_to_their_type() {
    assert_eq!(string(r#""a\u0062""#).as_deref(), Some("ab"));
    for other in ["1", "null", "[]", "{}", r#"["\u0062"]"#, r#"{"\u0062":1}"#] {
        assert_eq!(string(other), None, "{other}");
    }
    assert_eq!(strings(r#"["a", "b"]"#).unwrap(), ["a", "b"]);
    assert_eq!(strings("[]"), Some(vec![]));
    assert_eq!(strings(r#"["a\u0062"]"#).unwrap(), ["ab"]);
    for other in [
        r#""a""#,
        r#"["a",1]"#,
        r#"["a",null]"#,
        r#"["\ud800"]"#,
        "{}",
        "null",
    ] {
        assert_eq!(strings(other), None, "{other}");
    }
}
