use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use base64::Engine;

use super::*;

const HEADER: &str = r#"{"alg":"RS256","kid":"k","typ":"at+jwt"}"#;

fn encode(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn with_header(header: impl AsRef<[u8]>) -> String {
    format!("{}.{}.{}", encode(header), encode("{}"), encode("sig"))
}

fn parse(token: &str) -> Result<(), Reason> {
    UnverifiedToken::parse(token.as_bytes()).map(|_| ())
}

#[test]
fn the_parts_of_a_token() {
    let text = with_header(HEADER);
    let token = UnverifiedToken::parse(text.as_bytes()).unwrap();
    assert_eq!(token.kid(), Some("k"));
    assert_eq!(token.algorithm(), Algorithm::Rs256);
    assert_eq!(token.header.typ.as_deref(), Some("at+jwt"));
    assert_eq!(token.signed, &text.as_bytes()[..text.rfind('.').unwrap()]);
    assert_eq!(token.payload, b"{}");
    assert_eq!(*token.signature, *b"sig");
}

#[test]
fn signatures_of_any_length_are_whole() {
    for length in [1, 64, 255, 256, 257, 512, 1024, 1025] {
        let signature: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
        let text = format!("{}.e30.{}", encode(HEADER), encode(&signature));
        let token = UnverifiedToken::parse(text.as_bytes()).unwrap();
        assert_eq!(*token.signature, *signature);
    }
}

#[test]
fn every_algorithm_has_its_name() {
    for algorithm in Algorithm::ALL {
        let text = with_header(format!(r#"{{"alg":"{algorithm}"}}"#));
        let token = UnverifiedToken::parse(text.as_bytes()).unwrap();
        assert_eq!(token.algorithm(), algorithm);
        assert_eq!(token.kid(), None);
    }
}

#[test]
fn headers_and_their_reasons() {
    use Reason::{BadClaim, Malformed, Unsupported, UnsupportedAlgorithm};
    for (header, verdict) in [
        (r#"{"alg":"RS256"}"#, Ok(())),
        (" {\n\"alg\" : \"RS256\"\t}\r\n", Ok(())),
        (r#"{"\u0061lg":"RS\u0032\u0035\u0036"}"#, Ok(())),
        (r#"{"alg":"RS256","kid":""}"#, Ok(())),
        // never looked at
        (
            r#"{"alg":"RS256","jwk":1,"jku":null,"x5u":[],"x5c":{},"cty":7,"x":1e400}"#,
            Ok(()),
        ),
        // structure
        ("", Err(Malformed)),
        ("{", Err(Malformed)),
        ("[]", Err(Malformed)),
        ("\"RS256\"", Err(Malformed)),
        (r#"{"alg":"RS256"} {}"#, Err(Malformed)),
        (r#"{"alg":"RS256","alg":"RS256"}"#, Err(Malformed)),
        (r#"{"alg":"RS256","\u0061lg":"RS256"}"#, Err(Malformed)),
        (r#"{"alg":"RS256","x":1,"x":1}"#, Err(Malformed)),
        ("{}", Err(Malformed)),
        (r#"{"ALG":"RS256"}"#, Err(Malformed)),
        (r#"{"alg":null}"#, Err(Malformed)),
        (r#"{"alg":256}"#, Err(Malformed)),
        (r#"{"alg":["RS256"]}"#, Err(Malformed)),
        (r#"{"alg":"\ud800"}"#, Err(Malformed)),
        (r#"{"alg":"RS256","kid":1}"#, Err(Malformed)),
        (r#"{"alg":"RS256","kid":null}"#, Err(Malformed)),
        (r#"{"alg":"RS256","kid":["k"]}"#, Err(Malformed)),
        (r#"{"alg":"RS256","kid":"\udc00"}"#, Err(Malformed)),
        (r#"{"alg":"RS256","typ":null}"#, Err(Malformed)),
        (r#"{"alg":"RS256","typ":1}"#, Err(Malformed)),
        // extensions that change what the signature covers or the payload means
        (r#"{"alg":"RS256","crit":["exp"]}"#, Err(Unsupported)),
        (r#"{"alg":"RS256","crit":[]}"#, Err(Unsupported)),
        (r#"{"alg":"RS256","crit":null}"#, Err(Unsupported)),
        (r#"{"alg":"RS256","\u0063rit":[]}"#, Err(Unsupported)),
        (r#"{"alg":"RS256","b64":true}"#, Err(Unsupported)),
        (r#"{"alg":"RS256","b64":false}"#, Err(Unsupported)),
        (r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#, Err(Unsupported)),
        (r#"{"alg":"RS256","zip":"DEF"}"#, Err(Unsupported)),
        (r#"{"alg":"none","crit":[]}"#, Err(Unsupported)),
        (r#"{"alg":1,"crit":[]}"#, Err(Malformed)),
        // algorithms
        (r#"{"alg":"none"}"#, Err(UnsupportedAlgorithm)),
        (r#"{"alg":"None"}"#, Err(UnsupportedAlgorithm)),
        (r#"{"alg":"nOnE"}"#, Err(UnsupportedAlgorithm)),
        (r#"{"alg":""}"#, Err(UnsupportedAlgorithm)),
        (r#"{"alg":"HS256"}"#, Err(UnsupportedAlgorithm)),
        (r#"{"alg":"HS384"}"#, Err(UnsupportedAlgorithm)),
        (r#"{"alg":"HS512"}"#, Err(UnsupportedAlgorithm)),
        (r#"{"alg":"rs256"}"#, Err(UnsupportedAlgorithm)),
        (r#"{"alg":"RS256 "}"#, Err(UnsupportedAlgorithm)),
        (r#"{"alg":"ES256K"}"#, Err(UnsupportedAlgorithm)),
        (r#"{"alg":"RSA-OAEP"}"#, Err(UnsupportedAlgorithm)),
        // a kid that would split a header
        (r#"{"alg":"RS256","kid":"k\n"}"#, Err(BadClaim)),
        (r#"{"alg":"RS256","kid":"\u0000k"}"#, Err(BadClaim)),
        (r#"{"alg":"RS256","kid":"k\u001f"}"#, Err(BadClaim)),
        (r#"{"alg":"RS256","kid":"\u007f"}"#, Err(BadClaim)),
        (r#"{"alg":"RS256","kid":"k \u0080\u00e9"}"#, Ok(())),
        (r#"{"alg":"HS256","kid":"\n"}"#, Err(UnsupportedAlgorithm)),
        (r#"{"alg":"RS256","kid":"\n","crit":[]}"#, Err(Unsupported)),
    ] {
        assert_eq!(parse(&with_header(header)), verdict, "{header}");
    }
    assert_eq!(
        parse(&with_header(b"{\"alg\":\"RS256\",\"x\":\"\xff\"}")),
        Err(Malformed)
    );
    assert_eq!(
        parse(&with_header(b"\xef\xbb\xbf{\"alg\":\"RS256\"}")),
        Err(Malformed)
    );
}

#[test]
fn three_segments() {
    let (header, payload) = (encode(HEADER), encode("{}"));
    for token in [
        "".to_owned(),
        ".".to_owned(),
        "..".to_owned(),
        header.clone(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}..c2ln"),
        format!(".{payload}.c2ln"),
        format!("{header}.{payload}.c2ln."),
        format!("{header}.{payload}.c2ln.c2ln"),
        format!("{header}.{payload}.c2ln.c2ln.c2ln"),
        format!(" {header}.{payload}.c2ln"),
        format!("{header}.{payload}.c2ln\n"),
    ] {
        assert_eq!(parse(&token), Err(Reason::Malformed), "{token}");
    }
}

#[test]
fn another_decoder_comes_to_the_same_judgement() {
    // Around what is decoded at a time: 3 bytes, 24 bytes.
    for length in [1, 2, 3, 4, 23, 24, 25, 47, 48, 49, 71, 72, 73, 97] {
        let bytes: Vec<u8> = (0..length).map(|i| (i * 151 + 7) as u8).collect();
        let text = encode(&bytes).into_bytes();
        for at in 0..text.len() {
            for byte in 0..=u8::MAX {
                let mut text = text.clone();
                text[at] = byte;
                let (ours, theirs) = (decode(&text), URL_SAFE_NO_PAD.decode(&text));
                assert_eq!(ours.as_deref().ok(), theirs.as_deref().ok(), "{text:?}");
            }
            let verdict = decode(&text[..at]);
            let theirs = URL_SAFE_NO_PAD.decode(&text[..at]);
            assert_eq!(
                verdict.is_ok(),
                theirs.is_ok() && at > 0,
                "{at} of {length}"
            );
        }
    }
}

#[test]
fn base64url_is_strict_in_every_segment() {
    // Bytes whose text differs between the alphabets: "-_" and "+/".
    let odd = b"{\"alg\":\"RS256\",\"x\":\"\xc3\xbf\xc3\xbe>>>???\"}";
    let standard = STANDARD.encode(odd).trim_end_matches('=').to_owned();
    let padded = URL_SAFE.encode("{} ");
    assert!(standard.contains(['+', '/']));
    assert_eq!(parse(&with_header(odd)), Ok(()));
    let good = encode(HEADER);
    for segment in [
        standard.as_str(),
        // trailing bits: "{}" is e30
        "e31",
        "e3",
        "e3_",
        // impossible length, padding, white space, other characters
        "e",
        "e30a0",
        "e30=",
        "e3==",
        "e30 ",
        "e\n30",
        "e3~0",
        "e3.0",
        "e30\u{e9}",
    ] {
        for token in [
            format!("{segment}.e30.c2ln"),
            format!("{good}.{segment}.c2ln"),
            format!("{good}.e30.{segment}"),
        ] {
            assert_eq!(parse(&token), Err(Reason::Malformed), "{token}");
        }
    }
    assert_eq!(padded, "e30g");
    assert_eq!(parse(&format!("{good}.{padded}.c2ln")), Ok(()));
    assert_eq!(parse(&format!("{good}.e30.c2k=")), Err(Reason::Malformed));
}

#[test]
fn limits() {
    // The whole token, with a kid that makes the signature's length a possible one.
    let token = |total: usize, kid: &str| {
        let start = with_header(format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#));
        let start = &start[..=start.rfind('.').unwrap()];
        let signature = total - start.len();
        assert_eq!(signature % 4, 0);
        format!("{start}{}", "A".repeat(signature))
    };
    assert_eq!(parse(&token(MAX_TOKEN, "of this length")), Ok(()));
    let over = token(MAX_TOKEN + 1, "of that length.");
    assert_eq!(parse(&over), Err(Reason::Malformed));

    // The header.
    let header = |size: usize| {
        let frame = r#"{"alg":"RS256","x":""}"#.len();
        format!(r#"{{"alg":"RS256","x":"{}"}}"#, "x".repeat(size - frame))
    };
    assert_eq!(parse(&with_header(header(MAX_HEADER))), Ok(()));
    assert_eq!(
        parse(&with_header(header(MAX_HEADER + 1))),
        Err(Reason::Malformed)
    );

    // Its depth.
    let deep = |depth: usize| {
        let inner = depth - 1;
        format!(
            r#"{{"alg":"RS256","x":{}{}}}"#,
            "[".repeat(inner),
            "]".repeat(inner)
        )
    };
    assert_eq!(parse(&with_header(deep(64))), Ok(()));
    assert_eq!(parse(&with_header(deep(65))), Err(Reason::Malformed));
    assert_eq!(parse(&with_header(deep(2000))), Err(Reason::Malformed));
}
