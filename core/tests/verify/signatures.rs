//! Signatures, and the algorithms that may make them.

use authgear_core::session::Field;
use authgear_core::token::{verify, UnverifiedToken};
use authgear_core::{Algorithm, AlgorithmSet, Reason};
use aws_lc_rs::hmac;
use jsonwebtoken::{decode, DecodingKey, Validation};
use serde_json::{json, Value};

use crate::support::{encode, key_set, verified, Signer};
use crate::{refusal, PAYLOAD};

#[test]
fn every_algorithm_verifies_its_own_signature() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let keys = signer.key_set();
        let token = verified(&signer.token("k", PAYLOAD), &keys).unwrap();
        assert_eq!(token.sub(), "user", "{algorithm}");
        assert_eq!(token.session().get(Field::UserId), Some("user"));
        assert_eq!(token.typ(), Some("at+jwt"));
        assert!(keys.contains(token.signed_by().key_id()));
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
            let verdict =
                verify(token.clone(), &keys, AlgorithmSet::EMPTY.with(allowed)).map(|_| ());
            let wanted = match allowed == algorithm {
                true => Ok(()),
                false => Err(Reason::UnsupportedAlgorithm),
            };
            assert_eq!(verdict, wanted, "{algorithm} where {allowed} is allowed");
        }
        let nothing = verify(token.clone(), &keys, AlgorithmSet::EMPTY).map(|_| ());
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
    let verdict = |allowed| verify(token.clone(), &keys, allowed).map(|_| ());
    assert_eq!(verdict(only_es), Err(Reason::UnsupportedAlgorithm));
    assert_eq!(
        verdict(crate::support::all_algorithms()),
        Err(Reason::UnknownKey)
    );
    let token = Signer::other(Algorithm::Rs256).token("k", "not JSON");
    assert_eq!(refusal(&token, &keys), Some(Reason::BadSignature));
    assert_eq!(
        refusal(&signer.token("k", "not JSON"), &keys),
        Some(Reason::Malformed)
    );
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
