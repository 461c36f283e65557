//! The keys that may sign a token, and their order.

use authgear_core::token::UnverifiedToken;
use authgear_core::{Algorithm, Reason};
use serde_json::json;

use crate::support::{key_set, verified, Signer};
use crate::{refusal, PAYLOAD};

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

/// `$authgear_kid` shows it, so no key is looked for.
#[test]
fn a_kid_with_a_control_character_refuses_the_token() {
    let ours = Signer::new(Algorithm::Rs256);
    for (kid, is_good) in [
        ("k\u{1f}", false),
        ("\nk", false),
        ("k\0", false),
        ("\u{7f}", false),
        ("k ", true),
        ("\u{80}", true),
        ("k\u{e9}", true),
    ] {
        let wanted = (!is_good).then_some(Reason::BadClaim);
        let header = json!({"alg": "RS256", "kid": kid}).to_string();
        let token = ours.sign(&header, PAYLOAD);
        let parsed = UnverifiedToken::parse(token.as_bytes());
        assert_eq!(parsed.err(), wanted, "{kid:?}");
        assert_eq!(
            refusal(&token, &key_set(&[ours.jwk(kid)])),
            wanted,
            "{kid:?}"
        );
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
        assert!(signer.key_set().contains(token.signed_by().key_id()));
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
        .signed_by()
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
fn a_set_takes_more_memory_with_each_key() {
    let signers = [
        Signer::new(Algorithm::Rs256),
        Signer::other(Algorithm::Rs256),
    ];
    let jwks = [signers[0].jwk("k"), signers[1].jwk("l")];
    let (one, both) = (key_set(&jwks[..1]).size(), key_set(&jwks).size());
    assert!(one > 256 && both > one + 256, "{one} {both}");
}
