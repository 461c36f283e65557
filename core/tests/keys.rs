//! Key sets: what is used, what is skipped with which line in the log, and what is refused whole.

mod support;

use authgear_core::keys::{DocumentError, KeySet, MAX_DOCUMENT};
use authgear_core::Algorithm;
use serde_json::{json, Value};
use support::{document, encode, verified, Signer};

/// Why the only key of a set cannot be used.
fn skipped(jwk: Value) -> String {
    skipped_text(&jwk.to_string())
}

fn skipped_text(entry: &str) -> String {
    match KeySet::parse(format!(r#"{{"keys":[{entry}]}}"#).as_bytes()) {
        Err(DocumentError::NoUsableKey(skipped)) => {
            assert_eq!(skipped.len(), 1);
            skipped[0].to_string()
        }
        other => panic!("{entry}: {other:?}"),
    }
}

fn is_usable(jwk: &Value) -> bool {
    KeySet::parse(&document(std::slice::from_ref(jwk))).is_ok()
}

/// An RSA key with a modulus of that many bits, odd, and perhaps prime to nothing: enough to be
/// parsed.
fn rsa_of(bits: usize) -> Value {
    let mut n = vec![0xa5; bits.div_ceil(8)];
    n[0] = match bits % 8 {
        0 => 0x80,
        rest => 1 << (rest - 1),
    };
    json!({"kty": "RSA", "kid": "k", "n": encode(n), "e": "AQAB"})
}

fn changed(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

fn without(mut jwk: Value, name: &str) -> Value {
    jwk.as_object_mut().unwrap().remove(name);
    jwk
}

#[test]
fn authgears_document() {
    let (new, old) = (
        Signer::new(Algorithm::Rs256),
        Signer::other(Algorithm::Rs256),
    );
    let entry = |signer: &Signer, kid| {
        changed(signer.jwk(kid), "created_at", "2024-01-01T00:00:00Z".into())
    };
    let text = json!({"keys": [entry(&new, "new"), entry(&old, "old")], "more": [1]}).to_string();
    let (keys, skipped) = KeySet::parse(text.as_bytes()).unwrap();
    assert_eq!(keys.len(), 2);
    assert!(skipped.is_empty());
    assert!(keys.has_kid("new") && keys.has_kid("old"));
}

#[test]
fn rsa_moduli() {
    for bits in [2048, 2049, 3072, 4096, 8191, 8192] {
        assert!(is_usable(&rsa_of(bits)), "{bits}");
    }
    for bits in [1, 8, 512, 1024, 2040, 2047, 8193, 8200, 16384] {
        assert_eq!(
            skipped(rsa_of(bits)),
            format!(r#"key "k" skipped: RSA modulus of {bits} bits, need 2048 to 8192"#)
        );
    }
    // Leading zeros count for nothing.
    let padded = |bytes: usize| {
        let mut n = vec![0; 3];
        n.resize(3 + bytes, 0x81);
        changed(rsa_of(2048), "n", encode(n).into())
    };
    assert!(is_usable(&padded(256)));
    assert_eq!(
        skipped(padded(255)),
        r#"key "k" skipped: RSA modulus of 2040 bits, need 2048 to 8192"#
    );
    let even = changed(rsa_of(2048), "n", encode([0x82; 256]).into());
    assert_eq!(skipped(even), r#"key "k" skipped: RSA modulus is even"#);
}

#[test]
fn rsa_exponents() {
    let with = |e: &[u8]| changed(rsa_of(2048), "e", encode(e).into());
    for e in [
        &[3][..],
        &[5],
        &[1, 0, 1],
        &[0, 0, 1, 0, 1],
        &[0xff, 0xff, 0xff, 0xff],
    ] {
        assert!(is_usable(&with(e)), "{e:?}");
    }
    for e in [
        &[0][..],
        &[1],
        &[2],
        &[4],
        &[1, 0, 0],
        &[0xff, 0xff, 0xff, 0xfe],
        &[1, 0, 0, 0, 1],
        &[0, 1],
    ] {
        assert_eq!(
            skipped(with(e)),
            r#"key "k" skipped: RSA exponent is even, under 3 or over 32 bits"#,
            "{e:?}"
        );
    }
}

#[test]
fn leading_zeros_change_no_verdict() {
    let signer = Signer::new(Algorithm::Rs256);
    let jwk = signer.jwk("k");
    let zero = |name: &str| {
        use base64::Engine;
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let bytes = engine.decode(jwk[name].as_str().unwrap()).unwrap();
        encode([&[0, 0][..], &bytes].concat())
    };
    let padded = changed(
        changed(jwk.clone(), "n", zero("n").into()),
        "e",
        zero("e").into(),
    );
    let keys = support::key_set(&[padded]);
    let token = verified(&signer.token("k", r#"{"exp":1,"sub":"u"}"#), &keys).unwrap();
    assert!(signer.key_set().contains(token.signed_by().key_id()));
}

#[test]
fn what_a_key_may_be_used_for() {
    let key = || Signer::new(Algorithm::Rs256).jwk("k");
    for (name, value) in [
        ("use", json!("sig")),
        ("key_ops", json!(["verify"])),
        ("key_ops", json!(["sign", "verify"])),
        ("key_ops", json!(["verify", "something else"])),
        ("alg", json!("PS512")),
        ("x5c", json!(7)),
        ("x5u", json!(null)),
        ("x5t", json!([])),
        ("d", json!("private")),
        ("jku", json!({})),
        ("kid", json!("")),
    ] {
        assert!(
            is_usable(&changed(key(), name, value.clone())),
            "{name} {value}"
        );
    }
    for name in ["use", "alg", "kid"] {
        assert!(is_usable(&without(key(), name)), "{name}");
    }
    let malformed = "not a JSON object, or a parameter that is there twice or has the wrong type";
    for (name, value, why) in [
        ("use", json!("enc"), r#"use is not "sig""#),
        ("use", json!(""), r#"use is not "sig""#),
        ("use", json!("SIG"), r#"use is not "sig""#),
        ("use", json!(null), malformed),
        ("use", json!(["sig"]), malformed),
        ("key_ops", json!([]), r#"key_ops lacks "verify""#),
        ("key_ops", json!(["sign"]), r#"key_ops lacks "verify""#),
        ("key_ops", json!("verify"), malformed),
        ("key_ops", json!(["verify", 1]), malformed),
        ("key_ops", json!(null), malformed),
        ("alg", json!("HS256"), r#"alg "HS256" does not fit the key"#),
        ("alg", json!("none"), r#"alg "none" does not fit the key"#),
        ("alg", json!("ES256"), r#"alg "ES256" does not fit the key"#),
        (
            "alg",
            json!("RSA-OAEP"),
            r#"alg "RSA-OAEP" does not fit the key"#,
        ),
        ("alg", json!("a\nb"), r#"alg "a\nb" does not fit the key"#),
        ("alg", json!(null), malformed),
        ("alg", json!(256), malformed),
        ("kty", json!("oct"), r#"unknown key type "oct""#),
        ("kty", json!("rsa"), r#"unknown key type "rsa""#),
        ("kty", json!(null), malformed),
        ("kty", json!("EC"), "crv is absent or not base64url"),
        ("n", json!(null), "n is absent or not base64url"),
        ("n", json!("=="), "n is absent or not base64url"),
        ("n", json!("AQ=="), "n is absent or not base64url"),
        ("n", json!("A+/B"), "n is absent or not base64url"),
        ("n", json!("AR"), "n is absent or not base64url"),
        ("n", json!(""), "RSA modulus of 0 bits, need 2048 to 8192"),
        ("n", json!(65537), malformed),
        ("e", json!(null), "e is absent or not base64url"),
        ("e", json!("AQAB "), "e is absent or not base64url"),
        (
            "e",
            json!(""),
            "RSA exponent is even, under 3 or over 32 bits",
        ),
    ] {
        assert_eq!(
            skipped(changed(key(), name, value.clone())),
            format!("key \"k\" skipped: {why}"),
            "{name} {value}"
        );
    }
    assert_eq!(
        skipped(without(key(), "n")),
        r#"key "k" skipped: n is absent or not base64url"#
    );
}

#[test]
fn curves() {
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::Es512] {
        let jwk = Signer::new(algorithm).jwk("k");
        assert!(is_usable(&jwk), "{algorithm}");
        assert!(is_usable(&without(jwk.clone(), "alg")));
        let x = jwk["x"].as_str().unwrap().to_owned();
        // x twice is a point with odds of next to nothing.
        for (name, value, why) in [
            ("y", json!(x), "not a point of the curve"),
            ("x", json!("AQ"), "not a point of the curve"),
            ("x", json!(format!("AAAA{x}")), "not a point of the curve"),
            ("x", json!("A"), "x is absent or not base64url"),
            ("y", json!(null), "y is absent or not base64url"),
            ("crv", json!("P-192"), r#"unknown curve "P-192""#),
            ("crv", json!("secp256k1"), r#"unknown curve "secp256k1""#),
            ("crv", json!("Ed25519"), r#"unknown curve "Ed25519""#),
            ("alg", json!("RS256"), r#"alg "RS256" does not fit the key"#),
        ] {
            let text = skipped(changed(jwk.clone(), name, value));
            assert_eq!(
                text,
                format!("key \"k\" skipped: {why}"),
                "{algorithm} {name}"
            );
        }
    }
    let p256 = Signer::new(Algorithm::Es256).jwk("k");
    assert_eq!(
        skipped(changed(p256.clone(), "alg", json!("ES384"))),
        r#"key "k" skipped: alg "ES384" does not fit the key"#
    );
    assert_eq!(
        skipped(changed(without(p256, "alg"), "crv", json!("P-384"))),
        r#"key "k" skipped: not a point of the curve"#
    );

    let ed = Signer::new(Algorithm::EdDsa).jwk("k");
    assert!(is_usable(&ed));
    for (name, value, why) in [
        ("crv", json!("Ed448"), r#"unknown curve "Ed448""#),
        ("crv", json!("X25519"), r#"unknown curve "X25519""#),
        ("crv", json!(null), "crv is absent or not base64url"),
        ("x", json!("AQAB"), "not a point of the curve"),
        ("x", json!(null), "x is absent or not base64url"),
        ("alg", json!("ES256"), r#"alg "ES256" does not fit the key"#),
        (
            "alg",
            json!("Ed25519"),
            r#"alg "Ed25519" does not fit the key"#,
        ),
    ] {
        let text = skipped(changed(ed.clone(), name, value));
        assert_eq!(text, format!("key \"k\" skipped: {why}"), "{name}");
    }
}

#[test]
fn entries_that_are_no_keys() {
    let malformed = "not a JSON object, or a parameter that is there twice or has the wrong type";
    for (entry, named) in [
        ("1", "number 1"),
        ("null", "number 1"),
        ("[]", "number 1"),
        ("\"RSA\"", "number 1"),
        ("{}", "number 1"),
        (r#"{"kid":"a"}"#, r#""a""#),
        (r#"{"kty":"RSA","kid":1}"#, "number 1"),
        (r#"{"kty":"RSA","kid":null}"#, "number 1"),
        (r#"{"kty":"RSA","kty":"RSA","kid":"a"}"#, r#""a""#),
        (r#"{"kty":"RSA","kid":"a","kid":"b"}"#, r#""b""#),
        (r#"{"kty":"RSA","kid":"a","n":"AQ","n":"AQ"}"#, r#""a""#),
        (r#"{"kty":1,"kid":"a\nb\""}"#, r#""a\nb\"""#),
    ] {
        assert_eq!(
            skipped_text(entry),
            format!("key {named} skipped: {malformed}"),
            "{entry}"
        );
    }
    let long = "x".repeat(100);
    assert_eq!(
        skipped(json!({"kty": "oct", "kid": long})),
        format!(
            "key \"{}\"... skipped: unknown key type \"oct\"",
            &long[..64]
        )
    );
}

#[test]
fn a_broken_key_costs_no_other() {
    let good = Signer::new(Algorithm::Rs256).jwk("good");
    let keys = [
        json!(7),
        json!({"kty": "oct", "kid": "bad"}),
        good,
        rsa_of(1024),
    ];
    let (keys, skipped) = KeySet::parse(&document(&keys)).unwrap();
    assert_eq!(keys.len(), 1);
    assert!(keys.has_kid("good") && !keys.has_kid("bad"));
    let lines: Vec<String> = skipped.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "key number 1 skipped: not a JSON object, or a parameter that is there twice or has the wrong type",
            r#"key "bad" skipped: unknown key type "oct""#,
            r#"key "k" skipped: RSA modulus of 1024 bits, need 2048 to 8192"#,
        ]
    );
}

#[test]
fn documents_that_are_refused_whole() {
    for (text, why) in [
        ("", "not JSON at line 1, column 0"),
        ("<html>", "not JSON at line 1, column 1"),
        ("{\"keys\":\n[}", "not JSON at line 2, column 2"),
        (r#"{"keys":[]} x"#, "not JSON at line 1, column 13"),
        (
            "[]",
            r#"no key set: a JSON object with an array "keys" is needed"#,
        ),
        (
            "{}",
            r#"no key set: a JSON object with an array "keys" is needed"#,
        ),
        (
            r#"{"keys":{}}"#,
            r#"no key set: a JSON object with an array "keys" is needed"#,
        ),
        (
            r#"{"keys":null}"#,
            r#"no key set: a JSON object with an array "keys" is needed"#,
        ),
        (
            r#"{"keys":[],"keys":[]}"#,
            r#"no key set: a JSON object with an array "keys" is needed"#,
        ),
        (r#"{"keys":[]}"#, "no usable key in the key set"),
        (
            r#"{"keys":[{"kty":"oct"}]}"#,
            r#"no usable key in the key set: key number 1 skipped: unknown key type "oct""#,
        ),
        (
            r#"{"keys":[{"kty":"oct"},1,2]}"#,
            r#"no usable key in the key set: key number 1 skipped: unknown key type "oct", and 2 more skipped"#,
        ),
    ] {
        assert_eq!(
            KeySet::parse(text.as_bytes()).unwrap_err().to_string(),
            why,
            "{text}"
        );
    }
    let latin = KeySet::parse(b"{\"keys\":[{\"kid\":\"\xff\"}]}").unwrap_err();
    assert!(matches!(latin, DocumentError::NotJson { .. }), "{latin}");
}

/// A token costs a signature check for each key of its `kid`: a set of one `kid` would hold a worker up.
#[test]
fn four_keys_of_a_kid_are_the_limit() {
    let entry = |number: usize, kid: Option<&str>| {
        let mut n = vec![0xa5; 256];
        n[1] = number as u8;
        let jwk = changed(rsa_of(2048), "n", json!(encode(n)));
        match kid {
            Some(kid) => changed(jwk, "kid", json!(kid)),
            None => without(jwk, "kid"),
        }
    };
    let mut entries: Vec<_> = (0..6).map(|number| entry(number, Some("k"))).collect();
    entries.extend((6..12).map(|number| entry(number, None)));
    entries.push(entry(12, Some("other")));
    entries.push(Signer::new(Algorithm::Es256).jwk("k"));
    let (keys, skipped) = KeySet::parse(&document(&entries)).unwrap();
    assert_eq!(keys.len(), 4 + 6 + 1 + 1);
    let lines: Vec<String> = skipped.iter().map(ToString::to_string).collect();
    let line = r#"key "k" skipped: the key set has 4 keys of this kid and algorithm before it"#;
    assert_eq!(lines, [line; 2]);
}

#[test]
fn sixty_four_keys_are_the_limit() {
    let entries = |count: usize| -> Vec<Value> {
        (0..count)
            .map(|i| changed(rsa_of(2048), "kid", format!("k{i}").into()))
            .collect()
    };
    assert_eq!(KeySet::parse(&document(&entries(64))).unwrap().0.len(), 64);
    let over = KeySet::parse(&document(&entries(65))).unwrap_err();
    assert_eq!(over, DocumentError::TooManyKeys(65));
    assert_eq!(
        over.to_string(),
        "key set of 65 keys, at most 64 are allowed"
    );
    // Those that cannot be used count too.
    let mut mixed = vec![json!(0); 64];
    mixed.push(rsa_of(2048));
    assert_eq!(
        KeySet::parse(&document(&mixed)).unwrap_err(),
        DocumentError::TooManyKeys(65)
    );
}

#[test]
fn two_hundred_and_fifty_six_kibibytes_are_the_limit() {
    let mut text = document(&[rsa_of(2048)]);
    text.resize(MAX_DOCUMENT, b' ');
    assert!(KeySet::parse(&text).is_ok());
    text.push(b' ');
    let over = KeySet::parse(&text).unwrap_err();
    assert_eq!(over.to_string(), "key set of more than 256 KiB");
}

#[test]
fn deep_nesting_is_no_danger() {
    let deep = "[".repeat(100_000);
    let text = format!(r#"{{"keys":[{deep}]}}"#);
    assert!(KeySet::parse(text.as_bytes()).is_err());
    let close = "]".repeat(100_000);
    let text = format!(r#"{{"x":{deep}{close},"keys":[{{"kty":"oct","x5c":{deep}{close}}}]}}"#);
    assert!(KeySet::parse(text.as_bytes()).is_err());
}
