//! Signatures: who may sign what, and what a signature makes of a token.

mod support;

use authgear_core::keys::KeySet;
use authgear_core::session::Field;
use authgear_core::token::{verify, UnverifiedToken};
use authgear_core::{Algorithm, AlgorithmSet, Reason};
use aws_lc_rs::hmac;
use jsonwebtoken::{decode, DecodingKey, Validation};
use serde_json::{json, Value};
use support::{document, encode, key_set, verified, Signer};

const PAYLOAD: &str = r#"{"exp":2000000000,"sub":"user"}"#;

fn refusal(token: &str, keys: &KeySet) -> Option<Reason> {
    verified(token, keys).err()
}

#[test]
fn every_algorithm_verifies_its_own_signature() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let keys = signer.key_set();
        let token = verified(&signer.token("k", PAYLOAD), &keys).unwrap();
        assert_eq!(token.claims().sub(), "user", "{algorithm}");
        assert_eq!(token.session().get(Field::UserId), Some("user"));
        assert_eq!(token.typ(), Some("at+jwt"));
        assert!(keys.contains(token.key_id()));
        assert!(token.size() > PAYLOAD.len());

        let other = Signer::other(algorithm);
        let foreign = other.token("k", PAYLOAD);
        assert_eq!(
            refusal(&foreign, &keys),
            Some(Reason::BadSignature),
            "{algorithm}"
        );
    }
}

#[test]
fn jsonwebtoken_comes_to_the_same_verdict() {
    for algorithm in Algorithm::ALL {
        // It has no ES512.
        let Ok(name) = algorithm.name().parse() else {
            continue;
        };
        let mut validation = Validation::new(name);
        validation.validate_exp = false;
        let (signer, other) = (Signer::new(algorithm), Signer::other(algorithm));
        let jwk = serde_json::from_value(signer.jwk("k")).unwrap();
        let key = DecodingKey::from_jwk(&jwk).unwrap();
        for token in [signer.token("k", PAYLOAD), other.token("k", PAYLOAD)] {
            let theirs = decode::<Value>(&token, &key, &validation).is_ok();
            let ours = verified(&token, &signer.key_set()).is_ok();
            assert_eq!(ours, theirs, "{algorithm}");
        }
    }
}

#[test]
fn any_change_breaks_the_signature() {
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
        let signer = Signer::new(algorithm);
        let keys = signer.key_set();
        let token = signer.token("k", PAYLOAD);
        let parts: Vec<&str> = token.split('.').collect();
        let changed = encode(PAYLOAD.replace("user", "root"));
        let typ = encode(format!(
            r#"{{"alg":"{algorithm}","kid":"k","typ":"AT+jwt"}}"#
        ));
        let signature = |change: fn(&mut Vec<u8>)| {
            let mut bytes = signer.sign_bytes(format!("{}.{}", parts[0], parts[1]).as_bytes());
            change(&mut bytes);
            encode(bytes)
        };
        for token in [
            format!("{}.{changed}.{}", parts[0], parts[2]),
            format!("{typ}.{}.{}", parts[1], parts[2]),
            format!(
                "{}.{}.{}",
                parts[0],
                parts[1],
                signature(|bytes| bytes[9] ^= 1)
            ),
            format!(
                "{}.{}.{}",
                parts[0],
                parts[1],
                signature(|bytes| bytes.push(0))
            ),
            format!(
                "{}.{}.{}",
                parts[0],
                parts[1],
                signature(|bytes| bytes.insert(0, 0))
            ),
            format!(
                "{}.{}.{}",
                parts[0],
                parts[1],
                signature(|bytes| bytes.truncate(5))
            ),
            format!(
                "{}.{}.{}",
                parts[0],
                parts[1],
                signature(|bytes| bytes.fill(0))
            ),
            format!("{}.{}.AA", parts[0], parts[1]),
        ] {
            assert_eq!(
                refusal(&token, &keys),
                Some(Reason::BadSignature),
                "{token}"
            );
        }
    }
}

#[test]
fn ecdsa_signatures_come_in_joses_form_only() {
    let key = aws_lc_rs::signature::EcdsaKeyPair::generate(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1_SIGNING,
    )
    .unwrap();
    use aws_lc_rs::signature::KeyPair;
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    let keys = key_set(&[json!({"kty":"EC","crv":"P-256","kid":"k","x":encode(x),"y":encode(y)})]);
    let signed = format!(
        "{}.{}",
        encode(r#"{"alg":"ES256","kid":"k"}"#),
        encode(PAYLOAD)
    );
    let random = aws_lc_rs::rand::SystemRandom::new();
    let der = key.sign(&random, signed.as_bytes()).unwrap();
    let token = format!("{signed}.{}", encode(der));
    assert_eq!(refusal(&token, &keys), Some(Reason::BadSignature));
}

#[test]
fn the_allow_list_decides_and_not_the_token() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let keys = signer.key_set();
        let text = signer.token("k", PAYLOAD);
        let token = UnverifiedToken::parse(text.as_bytes()).unwrap();
        for allowed in Algorithm::ALL {
            let verdict = verify(&token, &keys, AlgorithmSet::EMPTY.with(allowed)).map(|_| ());
            let wanted = match allowed == algorithm {
                true => Ok(()),
                false => Err(Reason::UnsupportedAlgorithm),
            };
            assert_eq!(verdict, wanted, "{algorithm} where {allowed} is allowed");
        }
        let nothing = verify(&token, &keys, AlgorithmSet::EMPTY).map(|_| ());
        assert_eq!(nothing, Err(Reason::UnsupportedAlgorithm));
    }
}

#[test]
fn the_allow_list_is_judged_before_the_key_and_the_key_before_the_signature() {
    let signer = Signer::new(Algorithm::Rs256);
    let keys = signer.key_set();
    let only_es = AlgorithmSet::EMPTY.with(Algorithm::Es256);
    let text = Signer::other(Algorithm::Rs256).token("unknown", "not JSON");
    let token = UnverifiedToken::parse(text.as_bytes()).unwrap();
    let verdict = |allowed| verify(&token, &keys, allowed).map(|_| ());
    assert_eq!(verdict(only_es), Err(Reason::UnsupportedAlgorithm));
    assert_eq!(verdict(support::all_algorithms()), Err(Reason::UnknownKey));
    let token = Signer::other(Algorithm::Rs256).token("k", "not JSON");
    assert_eq!(refusal(&token, &keys), Some(Reason::BadSignature));
    assert_eq!(
        refusal(&signer.token("k", "not JSON"), &keys),
        Some(Reason::Malformed)
    );
}

#[test]
fn a_key_signs_with_algorithms_of_its_own_type_only() {
    // Keys that name no algorithm, each against a token of every algorithm.
    for own in [
        Algorithm::Rs256,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::Es512,
        Algorithm::EdDsa,
    ] {
        let mut jwk = Signer::new(own).bare_jwk();
        jwk["kid"] = "k".into();
        let keys = key_set(&[jwk]);
        let kty = &own.name()[..1];
        for algorithm in Algorithm::ALL {
            let token = Signer::other(algorithm).token("k", PAYLOAD);
            let is_rsa = matches!(&algorithm.name()[..1], "R" | "P");
            let fits = algorithm == own || (kty == "R" && is_rsa);
            let wanted = if fits {
                Reason::BadSignature
            } else {
                Reason::UnsupportedAlgorithm
            };
            assert_eq!(
                refusal(&token, &keys),
                Some(wanted),
                "{own} key, {algorithm} token"
            );
        }
    }
}

#[test]
fn an_rsa_key_without_alg_serves_its_whole_family() {
    let signer = Signer::new(Algorithm::Rs256);
    let mut jwk = signer.bare_jwk();
    jwk["kid"] = "k".into();
    let keys = key_set(&[jwk]);
    for algorithm in &Algorithm::ALL[..6] {
        let token = Signer::new(*algorithm).token("k", PAYLOAD);
        assert_eq!(refusal(&token, &keys), None, "{algorithm}");
    }
}

#[test]
fn a_key_with_alg_serves_that_alone() {
    let keys = Signer::new(Algorithm::Rs256).key_set();
    for algorithm in &Algorithm::ALL[1..6] {
        let token = Signer::new(*algorithm).token("k", PAYLOAD);
        assert_eq!(
            refusal(&token, &keys),
            Some(Reason::UnsupportedAlgorithm),
            "{algorithm}"
        );
    }
}

#[test]
fn a_public_key_is_no_hmac_secret() {
    let signer = Signer::new(Algorithm::Rs256);
    let keys = signer.key_set();
    let jwk = signer.jwk("k").to_string();
    let n = signer.bare_jwk()["n"].as_str().unwrap().to_owned();
    for (name, algorithm) in [("HS256", hmac::HMAC_SHA256), ("HS512", hmac::HMAC_SHA512)] {
        for secret in [jwk.as_bytes(), n.as_bytes(), b""] {
            let header = format!(r#"{{"alg":"{name}","kid":"k"}}"#);
            let signed = format!("{}.{}", encode(header), encode(PAYLOAD));
            let tag = hmac::sign(&hmac::Key::new(algorithm, secret), signed.as_bytes());
            let token = format!("{signed}.{}", encode(tag));
            assert_eq!(refusal(&token, &keys), Some(Reason::UnsupportedAlgorithm));
        }
    }
}

#[test]
fn none_is_no_algorithm() {
    let keys = Signer::new(Algorithm::Rs256).key_set();
    for name in ["none", "None", "NONE", "nOnE", ""] {
        let header = encode(format!(r#"{{"alg":"{name}","kid":"k"}}"#));
        let unsigned = format!("{header}.{}.", encode(PAYLOAD));
        assert_eq!(refusal(&unsigned, &keys), Some(Reason::Malformed));
        let token = format!("{unsigned}AAAA");
        assert_eq!(refusal(&token, &keys), Some(Reason::UnsupportedAlgorithm));
    }
}

#[test]
fn a_key_in_the_token_is_never_looked_at() {
    let (ours, theirs) = (
        Signer::new(Algorithm::Rs256),
        Signer::other(Algorithm::Rs256),
    );
    let keys = ours.key_set();
    let jwk = theirs.jwk("k");
    for more in [
        format!(r#""jwk":{jwk}"#),
        r#""jku":"https://evil.example/jwks","x5u":"https://evil.example/x""#.into(),
        r#""x5c":["MIIB"]"#.into(),
    ] {
        let header = format!(r#"{{"alg":"RS256","kid":"k",{more}}}"#);
        assert_eq!(
            refusal(&theirs.sign(&header, PAYLOAD), &keys),
            Some(Reason::BadSignature)
        );
        assert_eq!(refusal(&ours.sign(&header, PAYLOAD), &keys), None);
    }
}

#[test]
fn kid_chooses_the_key() {
    let (a, b) = (
        Signer::new(Algorithm::Rs256),
        Signer::other(Algorithm::Rs256),
    );
    let ec = Signer::new(Algorithm::Es256);
    let keys = key_set(&[a.jwk("a"), b.jwk("b"), ec.jwk("ec")]);
    assert_eq!(keys.len(), 3);
    assert!(keys.has_kid("a") && keys.has_kid("ec") && !keys.has_kid("A") && !keys.has_kid(""));
    for (token, wanted) in [
        (a.token("a", PAYLOAD), None),
        (b.token("b", PAYLOAD), None),
        (ec.token("ec", PAYLOAD), None),
        (a.token("b", PAYLOAD), Some(Reason::BadSignature)),
        (a.token("A", PAYLOAD), Some(Reason::UnknownKey)),
        (a.token("", PAYLOAD), Some(Reason::UnknownKey)),
        (a.token("a ", PAYLOAD), Some(Reason::UnknownKey)),
        (a.token("ec", PAYLOAD), Some(Reason::UnsupportedAlgorithm)),
        (ec.token("a", PAYLOAD), Some(Reason::UnsupportedAlgorithm)),
        (a.token("\\u0061", PAYLOAD), None),
    ] {
        assert_eq!(refusal(&token, &keys), wanted);
    }
}

#[test]
fn without_kid_exactly_one_key_must_fit() {
    let (a, b) = (
        Signer::new(Algorithm::Rs256),
        Signer::other(Algorithm::Rs256),
    );
    let ec = Signer::new(Algorithm::Es256);
    let without_kid =
        |signer: &Signer| signer.sign(&format!(r#"{{"alg":"{}"}}"#, signer.algorithm()), PAYLOAD);
    let one = key_set(&[a.jwk("a"), ec.jwk("ec")]);
    assert_eq!(refusal(&without_kid(&a), &one), None);
    assert_eq!(refusal(&without_kid(&ec), &one), None);
    assert_eq!(refusal(&without_kid(&b), &one), Some(Reason::BadSignature));
    let ps = Signer::new(Algorithm::Ps256);
    assert_eq!(refusal(&without_kid(&ps), &one), Some(Reason::UnknownKey));

    let two = key_set(&[a.jwk("a"), b.jwk("b"), ec.jwk("ec")]);
    assert_eq!(refusal(&without_kid(&a), &two), Some(Reason::UnknownKey));
    assert_eq!(refusal(&without_kid(&ec), &two), None);

    // Keys without a kid serve tokens without one only.
    let nameless = key_set(&[a.bare_jwk()]);
    assert_eq!(refusal(&without_kid(&a), &nameless), None);
    assert_eq!(
        refusal(&a.token("a", PAYLOAD), &nameless),
        Some(Reason::UnknownKey)
    );
    assert_eq!(
        refusal(&a.token("", PAYLOAD), &nameless),
        Some(Reason::UnknownKey)
    );

    // The same key said twice is one key.
    let twice = key_set(&[a.jwk("a"), a.jwk("a")]);
    assert_eq!(twice.len(), 1);
    assert_eq!(refusal(&without_kid(&a), &twice), None);
}

#[test]
fn keys_that_share_a_kid_are_tried_in_turn() {
    let (a, b) = (
        Signer::new(Algorithm::Rs256),
        Signer::other(Algorithm::Rs256),
    );
    let ec = Signer::new(Algorithm::Es256);
    let keys = key_set(&[ec.jwk("k"), a.jwk("k"), b.jwk("k")]);
    for signer in [&a, &b, &ec] {
        let token = verified(&signer.token("k", PAYLOAD), &keys).unwrap();
        assert!(signer.key_set().contains(token.key_id()));
    }
    let foreign = Signer::new(Algorithm::Es256).token("k", PAYLOAD);
    assert_eq!(refusal(&foreign, &keys), Some(Reason::BadSignature));
}

#[test]
fn a_key_is_known_again_in_a_later_document() {
    let (a, b) = (
        Signer::new(Algorithm::Rs256),
        Signer::other(Algorithm::Rs256),
    );
    let id = *verified(&a.token("k", PAYLOAD), &a.key_set())
        .unwrap()
        .key_id();
    let mut decorated = a.jwk("k");
    decorated["created_at"] = "2024-01-01T00:00:00Z".into();
    assert!(key_set(&[b.jwk("new"), decorated]).contains(&id));
    // Another kid, other material, other algorithms: another key.
    assert!(!key_set(&[a.jwk("other")]).contains(&id));
    assert!(!key_set(&[b.jwk("k")]).contains(&id));
    let mut without_alg = a.jwk("k");
    without_alg.as_object_mut().unwrap().remove("alg");
    assert!(!key_set(&[without_alg]).contains(&id));
    assert!(!key_set(&[Signer::new(Algorithm::Ps256).jwk("k")]).contains(&id));
}

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
    let token = verified(&signer.token("k", payload), &signer.key_set()).unwrap();
    assert_eq!(
        token.claims_json(),
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
        assert_eq!(token.claim_text(name).as_deref(), text, "{name}");
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
        assert_eq!(token.claim_path_text(path).as_deref(), text, "{path:?}");
    }
    let compact = verified(&signer.token("k", PAYLOAD), &signer.key_set()).unwrap();
    assert_eq!(compact.claims_json(), PAYLOAD);
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
fn a_verified_token_can_go_to_another_thread() {
    fn shared<T: Send + Sync>() {}
    shared::<authgear_core::token::VerifiedToken>();
    shared::<KeySet>();
    let _ = document(&[]);
}

#[test]
fn a_lower_case_name_finds_the_claim_that_differs_by_case_alone() {
    let signer = Signer::new(Algorithm::Rs256);
    let payload =
        r#"{"exp":9,"sub":"u","displayName":"A","Twice":1,"tWICE":2,"both":"b","Both":"B"}"#;
    let token = verified(&signer.token("k", payload), &signer.key_set()).unwrap();
    for (name, text) in [
        ("displayname", Some("A")),
        ("sub", Some("u")),
        ("both", Some("b")),
        ("twice", None),
        ("absent", None),
    ] {
        assert_eq!(
            token.claim_text_of_lowercase(name).as_deref(),
            text,
            "{name}"
        );
    }
}
