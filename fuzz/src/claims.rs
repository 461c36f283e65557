//! An arbitrary payload of a token whose signature stands.
//!
//! The verdict and the resolver's values are those of [`expect_claims`]. All claims as JSON say what the payload says.
//! No text that can reach a header or a log holds a control character. A token reads the same from its record.

use authgear_core::session::Field;
use authgear_core::token::{read_again, UnverifiedToken, VerifiedToken};

use crate::assert_printable;
use crate::reference::{expect_claims, parse};
use crate::signer::{encode, Signer};

/// One input.
pub fn run(payload: &[u8]) {
    let text = format!("eyJhbGciOiJFZERTQSIsImtpZCI6ImsifQ.{}.AA", encode(payload));
    let Ok(token) = UnverifiedToken::parse(text.as_bytes()) else {
        assert!(payload.is_empty() || text.len() > 16384);
        return;
    };
    let token = read_again(token, Signer::get().signed_by());
    let expected = expect_claims(payload);
    if let Some(expected) = &expected {
        assert_eq!(token.as_ref().err(), expected.as_ref().err());
    }
    let Ok(token) = token else { return };
    check_texts(&token, text.as_bytes(), payload);
    if let Some(Ok(expected)) = expected {
        for (field, expected) in Field::ALL.into_iter().zip(expected) {
            let expected = expected.filter(|text| !text.is_empty());
            assert_eq!(token.session().get(field), expected.as_deref(), "{field}");
        }
    }
    let again = VerifiedToken::from_record(token.record()).expect("a record");
    let session = |token: &VerifiedToken| format!("{:?}", token.session());
    assert_eq!(session(&token), session(&again));
    assert_eq!(
        (token.exp(), token.iat(), token.auth_time()),
        (again.exp(), again.iat(), again.auth_time())
    );
}

fn check_texts(token: &VerifiedToken, text: &[u8], payload: &[u8]) {
    let session = token.session();
    let own = [
        session.client_id(),
        session.scope(),
        session.token_id(),
        session.token_exp(),
        session.kid(),
    ];
    let fields = Field::ALL.into_iter().map(|field| session.get(field));
    own.into_iter()
        .chain(fields)
        .flatten()
        .for_each(assert_printable);
    let all = token.claims_json(text).expect("claims");
    assert_printable(&all);
    if let Ok(claims) = parse(payload) {
        assert_eq!(parse(all.as_bytes()).as_ref(), Ok(&claims));
        for (name, value) in claims.members().unwrap_or_default() {
            let Ok(name) = std::str::from_utf8(name) else {
                continue;
            };
            let shown = token.claim_text(text, name);
            assert_eq!(token.claim_path_text(text, &[name]), shown);
            if let Some(shown) = &shown {
                assert_printable(shown);
                assert!(!shown.is_empty());
            }
            for (inner, _) in value.members().unwrap_or_default() {
                if let Ok(inner) = std::str::from_utf8(inner) {
                    token
                        .claim_path_text(text, &[name, inner])
                        .as_deref()
                        .map(assert_printable);
                }
            }
            let _ = token.claim_text_of_lowercase(text, &name.to_lowercase());
            if let Some(listed) = value.texts().filter(|_| name == "aud") {
                assert!(listed.into_iter().all(|aud| token.is_meant_for(aud)));
            }
        }
    }
}
