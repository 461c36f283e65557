//! Arbitrary text as a token: splitting and the JOSE header.
//!
//! The verdict is that of [`expect_token`], reason included. A token that parses is a JWT for [`classify`] too,
//! and jsonwebtoken reads its header unless a parameter that is none of ours has another type there.

use authgear_core::credential::{bearer, classify, trim, Form};
use authgear_core::token::UnverifiedToken;
use authgear_core::Reason;

use crate::reference::expect_token;

/// One input.
pub fn run(data: &[u8]) {
    let _ = bearer(data);
    let trimmed = trim(data);
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    assert!(!is_blank(trimmed.first()) && !is_blank(trimmed.last()));
    let form = classify(data);
    let token = UnverifiedToken::parse(data);
    match form {
        Ok(Form::Jwt) => assert_eq!(data.iter().filter(|byte| **byte == b'.').count(), 2),
        // No character that could leave a header or a URL.
        Ok(Form::Opaque) => assert!(data
            .iter()
            .all(|byte| byte.is_ascii_graphic() && !b"\"\\,;".contains(byte))),
        Err(reason) => assert!(matches!(reason, Reason::Malformed | Reason::Unsupported)),
    }
    let Some(expected) = expect_token(data) else {
        return;
    };
    let found = token.as_ref().map(|token| {
        (
            token.algorithm().name().to_string(),
            token.kid().map(String::from),
        )
    });
    let expected = expected.map(|header| (header.alg, header.kid));
    assert_eq!(found.map_err(|reason| *reason), expected);
    if expected.is_ok() {
        assert_eq!(form, Ok(Form::Jwt));
    }
    let Ok(theirs) = jsonwebtoken::decode_header(data) else {
        return;
    };
    if let Ok((alg, kid)) = expected {
        assert_eq!(format!("{:?}", theirs.alg), alg);
        assert_eq!(theirs.kid, kid);
    }
}
