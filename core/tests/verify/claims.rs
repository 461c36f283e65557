//! Claims that a signed token may hold, and the texts shown of them.

use authgear_core::keys::KeySet;
use authgear_core::policy::Rules;
use authgear_core::token::{UnprovenToken, UnverifiedToken};
use authgear_core::{Algorithm, Reason};

use crate::support::{document, verified, Signer};
use crate::{refusal, PAYLOAD};

#[test]
fn payloads_and_their_reasons() {
    let signer = Signer::new(Algorithm::Rs256);
    let keys = signer.key_set();
    let nested = |depth: usize| {
        let inner = depth - 1;
        let (open, close) = ("[".repeat(inner), "]".repeat(inner));
        format!(r#"{{"exp":1,"sub":"u","x":{open}{close}}}"#)
    };
    let (deep, too_deep) = (nested(64), nested(65));
    for (payload, wanted) in [
        (PAYLOAD.as_bytes(), None),
        (b" { \"exp\" : 1 , \"sub\" : \"u\" }\n", None),
        (br#"{"exp":1,"sub":"u","x":1e400}"#, None),
        (deep.as_bytes(), None),
        (too_deep.as_bytes(), Some(Reason::Malformed)),
        (b"", Some(Reason::Malformed)),
        (b"[]", Some(Reason::Malformed)),
        (b"null", Some(Reason::Malformed)),
        (b"{\"exp\":1,\"sub\":\"\xff\"}", Some(Reason::Malformed)),
        (
            b"{\"exp\":1,\"sub\":\"\xed\xa0\x80\"}",
            Some(Reason::Malformed),
        ),
        (br#"{"exp":1,"sub":"u"}{}"#, Some(Reason::Malformed)),
        (br#"{"exp":1,"sub":"u","exp":2}"#, Some(Reason::Malformed)),
        (
            br#"{"exp":1,"sub":"u","s\u0075b":"v"}"#,
            Some(Reason::Malformed),
        ),
        (br#"{"exp":"1","sub":"u"}"#, Some(Reason::BadClaim)),
        (br#"{"sub":"u"}"#, Some(Reason::BadClaim)),
        (br#"{"exp":1}"#, Some(Reason::BadClaim)),
        (br#"{"exp":1,"sub":"u","nbf":null}"#, Some(Reason::BadClaim)),
        (br#"{"exp":1,"sub":"u\n"}"#, Some(Reason::BadClaim)),
        // A token that is bound to a key, whatever it says of the key, and whatever else is wrong.
        (
            br#"{"exp":1,"sub":"u","cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}"#,
            Some(Reason::Unsupported),
        ),
        (
            br#"{"exp":1,"sub":"u","c\u006ef":{}}"#,
            Some(Reason::Unsupported),
        ),
        (
            br#"{"cnf":null,"exp":1,"sub":"u"}"#,
            Some(Reason::Unsupported),
        ),
        (
            br#"{"exp":1,"sub":"u","cnf":""}"#,
            Some(Reason::Unsupported),
        ),
        (br#"{"cnf":[],"exp":"1"}"#, Some(Reason::Unsupported)),
        (br#"{"exp":1,"cnf":1,"cnf":1}"#, Some(Reason::Malformed)),
        (br#"{"exp":1,"sub":"u","Cnf":{},"x":{"cnf":{}}}"#, None),
    ] {
        let text = String::from_utf8_lossy(payload);
        assert_eq!(
            refusal(&signer.token("k", payload), &keys),
            wanted,
            "{text}"
        );
    }
}

#[test]
fn claims_as_text() {
    let signer = Signer::new(Algorithm::Rs256);
    let payload = "\n{ \"exp\": 2000000000.50, \"sub\": \"user\", \"n\": 12345678901234567890123, \"f\": false,\
        \"name\": \"A\\nB \x7f%\", \"l\": [ \"a\", \"b\" ], \"o\": { \"x.y\": { \"z/\": [ 1, 2.0 ] } }, \"e\": [], \
        \"https://a.example/c\": \"u\", \"half\": \"\\ud800\", \"d\": {\"a\":1,\"a\":2} }";
    let text = signer.token("k", payload);
    let token = verified(&text, &signer.key_set()).unwrap();
    let sent = text.as_bytes();
    assert_eq!(
        token.claims_json(sent).unwrap(),
        "{\"exp\":2000000000.50,\"sub\":\"user\",\"n\":12345678901234567890123,\"f\":false,\
         \"name\":\"A\\nB \\u007f%\",\"l\":[\"a\",\"b\"],\"o\":{\"x.y\":{\"z/\":[1,2.0]}},\"e\":[],\
         \"https://a.example/c\":\"u\",\"half\":\"\\ud800\",\"d\":{\"a\":1,\"a\":2}}"
    );
    for (name, text) in [
        ("exp", Some("2000000000.50")),
        ("sub", Some("user")),
        ("n", Some("12345678901234567890123")),
        ("f", Some("false")),
        ("name", Some("A%0AB %7F%")),
        ("l", Some("a,b")),
        ("o", Some(r#"{"x.y":{"z/":[1,2.0]}}"#)),
        ("e", None),
        ("half", None),
        ("absent", None),
        ("", None),
        ("https://a.example/c", Some("u")),
    ] {
        assert_eq!(token.claim_text(sent, name).as_deref(), text, "{name}");
    }
    for (path, text) in [
        (&["o", "x.y", "z/"][..], Some("[1,2.0]")),
        (&["o", "x.y"], Some(r#"{"z/":[1,2.0]}"#)),
        (&["o", "x"], None),
        (&["sub", "x"], None),
        (&["l", "0"], None),
        (&["d", "a"], Some("2")),
        (&[], None),
    ] {
        assert_eq!(
            token.claim_path_text(sent, path).as_deref(),
            text,
            "{path:?}"
        );
    }
    let text = signer.token("k", PAYLOAD);
    let compact = verified(&text, &signer.key_set()).unwrap();
    assert_eq!(compact.claims_json(text.as_bytes()).unwrap(), PAYLOAD);
}

#[test]
fn the_longest_token_still_verifies() {
    let signer = Signer::new(Algorithm::Rs256);
    let payload = |filler: usize| format!(r#"{{"exp":1,"sub":"u","x":"{}"}}"#, "x".repeat(filler));
    let filler = (0..13_000)
        .rev()
        .find(|&filler| signer_len(&signer, &payload(filler)) <= 16 * 1024)
        .unwrap();
    assert_eq!(
        refusal(&signer.token("k", payload(filler)), &signer.key_set()),
        None
    );
    let over = signer.token("k", payload(filler + 2));
    assert!(over.len() > 16 * 1024);
    assert_eq!(refusal(&over, &signer.key_set()), Some(Reason::Malformed));
}

/// The length of the token without the cost of the signature.
fn signer_len(signer: &Signer, payload: &str) -> usize {
    let rest = signer.token("k", "").len();
    rest + (payload.len() * 4).div_ceil(3)
}

#[test]
fn a_key_set_can_go_to_another_thread() {
    fn shared<T: Send + Sync>() {}
    shared::<KeySet>();
    let _ = document(&[]);
}

#[test]
fn a_lower_case_name_finds_the_claim_that_differs_by_case_alone() {
    let signer = Signer::new(Algorithm::Rs256);
    let payload =
        r#"{"exp":9,"sub":"u","displayName":"A","Twice":1,"tWICE":2,"both":"b","Both":"B"}"#;
    let text = signer.token("k", payload);
    let token = verified(&text, &signer.key_set()).unwrap();
    let sent = text.as_bytes();
    for (name, text) in [
        ("displayname", Some("A")),
        ("sub", Some("u")),
        ("both", Some("b")),
        ("twice", None),
        ("absent", None),
    ] {
        assert_eq!(
            token.claim_text_of_lowercase(sent, name).as_deref(),
            text,
            "{name}"
        );
    }
}

#[test]
fn a_token_without_a_key_is_judged_by_its_claims() {
    const ISSUER: &str = "https://myapp.authgear.cloud";
    let signer = Signer::new(Algorithm::Rs256);
    let read = |payload: &str| {
        let token = signer.token("k", payload);
        UnprovenToken::read(UnverifiedToken::parse(token.as_bytes())?)
    };
    let payload = format!(r#"{{"iss":"{ISSUER}","aud":["{ISSUER}"],"exp":100,"sub":"user"}}"#);
    let token = read(&payload).unwrap();
    let judge = |issuer, now| token.judge(&Rules::default(), &[issuer], &[ISSUER], now);
    assert_eq!(judge(ISSUER, 99.0), Ok(()));
    assert_eq!(judge(ISSUER, 100.0), Err(Reason::Expired));
    assert_eq!(judge("https://other", 99.0), Err(Reason::BadIssuer));
    assert!(token.is_meant_for(ISSUER));
    assert!(!token.is_meant_for("https://other"));
    assert_eq!(token.expiry(), 100.0);
    assert_eq!(read(r#"{"sub":"user"}"#).err(), Some(Reason::BadClaim));
}
