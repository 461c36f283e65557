use super::*;

const REQUIRED: &str = r#""exp":2000000000,"sub":"user""#;

fn parse(payload: &str) -> Result<Claims<'_>, Reason> {
    Claims::read(&Object::parse_strict(payload.as_bytes())?)
}

fn with(more: &str) -> Result<Claims<'static>, Reason> {
    parse(format!("{{{REQUIRED},{more}}}").leak())
}

fn refusal(payload: &str) -> Option<Reason> {
    parse(payload).err()
}

#[test]
fn every_known_name_is_known_and_no_other() {
    for name in [
        "iss",
        "aud",
        "exp",
        "nbf",
        "iat",
        "sub",
        "client_id",
        "scope",
        "jti",
        "auth_time",
        "amr",
        "https://authgear.com/claims/user/is_anonymous",
        "https://authgear.com/claims/user/is_verified",
        "https://authgear.com/claims/user/can_reauthenticate",
        "https://authgear.com/claims/user/roles",
    ] {
        let of_bad = |name: &str| {
            let claims = [("exp", "1"), ("sub", "\"user\"")].into_iter();
            let others = claims.filter(|(known, _)| *known != name);
            let others: String = others
                .map(|(name, value)| format!("\"{name}\":{value},"))
                .collect();
            refusal(&format!("{{{others}\"{name}\":{{}}}}"))
        };
        assert_eq!(of_bad(name), Some(Reason::BadClaim), "{name}");
        for other in [
            format!("{name}x"),
            format!("x{name}"),
            name[1..].to_string(),
            name[..name.len() - 1].to_string(),
            name.to_uppercase(),
            format!("{name}\\u0000"),
            name.replace("claims", "claimz"),
        ] {
            if other != *name {
                assert_eq!(of_bad(&other), None, "{other}");
            }
        }
    }
    assert_eq!(with("\"cnf\":null").err(), Some(Reason::Unsupported));
    assert!(with("\"cnfx\":null,\"Cnf\":null").is_ok());
}

#[test]
fn a_full_token_of_authgear() {
    let claims = parse(
        r#"{"iss":"https://myapp.authgear.cloud","aud":["https://myapp.authgear.cloud"],"exp":1700001800,
            "iat":1700000000,"sub":"7e37c8a2-0b7e-4d0f-9d42-1a1f5c3a1b11","client_id":"abc","scope":"openid offline_access",
            "jti":"00ff","auth_time":1699999999,"amr":["pwd","mfa"],
            "https://authgear.com/claims/user/is_anonymous":false,
            "https://authgear.com/claims/user/is_verified":true,
            "https://authgear.com/claims/user/can_reauthenticate":true,
            "https://authgear.com/claims/user/roles":["admin","staff"],
            "custom":{"deep":[1,2,{"x":null}]}}"#,
    )
    .unwrap();
    assert_eq!(claims.iss.as_deref(), Some("https://myapp.authgear.cloud"));
    assert!(claims.aud == ["https://myapp.authgear.cloud"]);
    assert_eq!(claims.exp, 1_700_001_800.0);
    assert_eq!(claims.iat, Some(1_700_000_000.0));
    assert_eq!(claims.nbf, None);
    assert_eq!(&*claims.sub, "7e37c8a2-0b7e-4d0f-9d42-1a1f5c3a1b11");
    assert_eq!(claims.client_id.as_deref(), Some("abc"));
    assert_eq!(claims.scope.as_deref(), Some("openid offline_access"));
    assert_eq!(claims.jti.as_deref(), Some("00ff"));
    assert_eq!(claims.auth_time, Some(1_699_999_999.0));
    assert!(claims.amr == ["pwd", "mfa"]);
    assert_eq!(claims.is_anonymous, Some(false));
    assert_eq!(claims.is_verified, Some(true));
    assert_eq!(claims.can_reauthenticate, Some(true));
    assert!(claims.roles == ["admin", "staff"]);
    assert!(!claims.is_client());
}

#[test]
fn the_least_that_must_be_there() {
    let claims = parse(r#"{"exp":2000000000,"sub":"user"}"#).unwrap();
    assert_eq!(claims.iss.as_deref(), None);
    assert!(claims.aud.is_empty() && claims.amr.is_empty() && claims.roles.is_empty());
    for payload in [
        "{}",
        r#"{"sub":"user"}"#,
        r#"{"exp":1}"#,
        r#"{"exp":1,"sub":""}"#,
        r#"{"exp":1,"sub":null}"#,
        r#"{"exp":1,"sub":1}"#,
        r#"{"exp":null,"sub":"user"}"#,
        r#"{"Exp":1,"sub":"user"}"#,
    ] {
        assert_eq!(refusal(payload), Some(Reason::BadClaim), "{payload}");
    }
}

#[test]
fn a_client_is_known_by_its_sub() {
    for (sub, is_client) in [
        ("client_id_abc", true),
        ("client_id_", true),
        ("client_id", false),
        ("Client_id_abc", false),
        (" client_id_abc", false),
        ("user", false),
    ] {
        let payload = format!(r#"{{"exp":1,"sub":"{sub}"}}"#);
        let claims = parse(&payload).unwrap();
        assert_eq!(claims.is_client(), is_client, "{sub}");
    }
}

#[test]
fn times_are_numbers_in_range() {
    for (text, seconds) in [
        ("0", 0.0),
        ("-0", 0.0),
        ("-0.0", 0.0),
        ("1", 1.0),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("1E+3", 1000.0),
        ("15e-1", 1.5),
        ("1e-400", 0.0),
        ("1700000000.999", 1_700_000_000.999),
        ("9007199254740992", 9_007_199_254_740_992.0),
        ("9007199254740992.0", 9_007_199_254_740_992.0),
    ] {
        let payload =
            format!(r#"{{"sub":"u","exp":{text},"nbf":{text},"iat":{text},"auth_time":{text}}}"#);
        let claims = parse(&payload).unwrap();
        let times = [Some(claims.exp), claims.nbf, claims.iat, claims.auth_time];
        assert_eq!(times, [Some(seconds); 4], "{text}");
    }
    for text in [
        "9007199254740993",
        "9007199254740994.0",
        "18446744073709551616",
        "1e16",
        "1e400",
        "-1",
        "-0.5",
        "-1e-9",
        "\"1\"",
        "\"\"",
        "null",
        "true",
        "[1]",
        "{}",
    ] {
        for claim in ["nbf", "iat", "auth_time"] {
            assert_eq!(
                with(&format!("\"{claim}\":{text}")).err(),
                Some(Reason::BadClaim),
                "{claim} {text}"
            );
        }
        let payload = format!(r#"{{"sub":"u","exp":{text}}}"#);
        assert_eq!(refusal(&payload), Some(Reason::BadClaim), "exp {text}");
    }
}

#[test]
fn the_wrong_type_is_a_bad_claim() {
    let strings = ["iss", "client_id", "scope", "jti"];
    let arrays = ["amr", "https://authgear.com/claims/user/roles"];
    let flags = [
        "https://authgear.com/claims/user/is_anonymous",
        "https://authgear.com/claims/user/is_verified",
        "https://authgear.com/claims/user/can_reauthenticate",
    ];
    let refused = |claim: &str, value: &str| {
        let verdict = with(&format!("\"{claim}\":{value}"));
        assert_eq!(verdict.err(), Some(Reason::BadClaim), "{claim} {value}");
    };
    for value in ["null", "1", "{}"] {
        strings
            .iter()
            .chain(&arrays)
            .chain(&flags)
            .for_each(|claim| refused(claim, value));
        refused("aud", value);
    }
    for claim in strings {
        ["[]", "[\"a\"]", "true", r#""\ud800""#]
            .iter()
            .for_each(|value| refused(claim, value));
    }
    for claim in arrays {
        [
            "\"a\"",
            "[1]",
            "[\"a\",null]",
            "[[\"a\"]]",
            "true",
            r#"["\ud800"]"#,
        ]
        .iter()
        .for_each(|value| refused(claim, value));
    }
    for claim in flags {
        ["\"true\"", "0", "[]", "[true]"]
            .iter()
            .for_each(|value| refused(claim, value));
    }
    ["[1]", "[\"a\",1]", "[null]", "true", "[[\"a\"]]"]
        .iter()
        .for_each(|value| refused("aud", value));
}

#[test]
fn one_audience_or_many() {
    for (value, aud) in [
        (r#""a""#, vec!["a"]),
        (r#"["a"]"#, vec!["a"]),
        (r#"["a","b"]"#, vec!["a", "b"]),
        ("[]", vec![]),
        (r#""""#, vec![""]),
    ] {
        let claims = with(&format!("\"aud\":{value}")).unwrap();
        assert!(claims.aud.iter().map(|one| &**one).eq(aud));
    }
}

#[test]
fn no_control_character_where_a_variable_shows_the_claim() {
    for escape in ["\\u0000", "\\t", "\\n", "\\r", "\\u001f", "\\u007f", "\x7f"] {
        for claim in ["client_id", "scope", "jti"] {
            let verdict = with(&format!("\"{claim}\":\"a{escape}b\""));
            assert_eq!(verdict.err(), Some(Reason::BadClaim), "{claim} {escape}");
        }
        for claim in ["amr", "https://authgear.com/claims/user/roles"] {
            let verdict = with(&format!("\"{claim}\":[\"a\",\"a{escape}b\"]"));
            assert_eq!(verdict.err(), Some(Reason::BadClaim), "{claim} {escape}");
        }
        let payload = format!(r#"{{"exp":1,"sub":"a{escape}b"}}"#);
        assert_eq!(refusal(&payload), Some(Reason::BadClaim), "sub {escape}");
        // Shown in no variable of their own, compared letter for letter.
        assert!(with(&format!(
            "\"iss\":\"a{escape}b\",\"aud\":\"a{escape}b\",\"x\":\"{escape}\""
        ))
        .is_ok());
    }
    assert!(with("\"scope\":\"a\\u0020\\u0080\\u00a0\"").is_ok());
}

#[test]
fn structure_is_judged_before_types() {
    for payload in [
        r#"{"exp":"x","sub":"u","exp":1}"#,
        r#"{"exp":"x","sub":"u"} x"#,
        r#"{"exp":"x","sub":"u","a":}"#,
        r#"{"exp":1,"sub":"u","e\u0078p":1}"#,
        r#"{"exp":1,"sub":"u","a":1,"a":1}"#,
        "[]",
        "",
    ] {
        assert_eq!(refusal(payload), Some(Reason::Malformed), "{payload}");
    }
}
