//! A header and a payload of any bytes, signed.
//!
//! The verdict is that of the references, reason included, and jsonwebtoken agrees: what it refuses is refused, but
//! for types that it knows and this project does not look at. No other signature, and none under another key or
//! algorithm, stands.
//!
//! Input: a byte that says how the signature is changed, the header up to the first line end, the payload.

use authgear_core::token::{verify, UnverifiedToken};
use authgear_core::Reason;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{decode, DecodingKey, Validation};

use crate::line;
use crate::reference::{expect_claims, expect_token};
use crate::signer::{all, Signer};

/// One input.
pub fn run(data: &[u8]) {
    let Some((&change, data)) = data.split_first() else {
        return;
    };
    let (header, payload) = line(data);
    let signer = Signer::get();
    let mut token = signer.sign(header, payload).into_bytes();
    let is_changed = change >= 128;
    if is_changed {
        // Another letter in the signature.
        let at = token.len() - 1 - usize::from(change) % 80;
        token[at] = if token[at] == b'A' { b'E' } else { b'A' };
    }
    let ours = UnverifiedToken::parse(&token).and_then(|token| verify(token, &signer.keys, all()));
    let ours = ours.map(|_| ());
    if let Some(expected) = expected(&token, payload, is_changed) {
        assert_eq!(ours, expected);
    }
    let mut validation = Validation::new(jsonwebtoken::Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_ed_components(&signer.x).expect("a key");
    let theirs = decode::<serde_json::Value>(&token, &key, &validation);
    if let Err(error) = theirs {
        let is_typed = matches!(error.kind(), ErrorKind::Json(_) | ErrorKind::Utf8(_));
        assert!(ours.is_err() || is_typed, "{error:?}");
    }
}

/// `None` where the references do not decide.
fn expected(token: &[u8], payload: &[u8], is_changed: bool) -> Option<Result<(), Reason>> {
    let header = match expect_token(token)? {
        Ok(header) => header,
        Err(reason) => return Some(Err(reason)),
    };
    Some(match header.kid.as_deref() {
        None if header.alg != "EdDSA" => Err(Reason::UnknownKey),
        Some(kid) if kid != "k" => Err(Reason::UnknownKey),
        _ if header.alg != "EdDSA" => Err(Reason::UnsupportedAlgorithm),
        _ if is_changed => Err(Reason::BadSignature),
        _ => expect_claims(payload)?.map(|_| ()),
    })
}
