//! Arbitrary bytes as the record of a token or session in shared memory.
//!
//! Nothing panics or reads outside of the record. A text is UTF-8 of the record's own bytes.

use authgear_core::session::{Field, Fields, Session};
use authgear_core::token::{SignedBy, VerifiedToken};

/// One input.
pub fn run(data: &[u8]) {
    let _ = SignedBy::from_record(data);
    if let Some(fields) = Fields::from_record(data) {
        session(Session::resolved(fields), data);
    }
    let Some(token) = VerifiedToken::from_record(data) else {
        return;
    };
    assert_eq!(token.record(), data);
    session(token.session(), data);
    let _ = (
        token.exp(),
        token.iat(),
        token.auth_time(),
        token.is_client(),
        token.size(),
    );
    for text in [token.sub(), token.typ().unwrap_or_default()] {
        assert!(text.len() <= data.len());
        let _ = token.is_meant_for(text);
    }
    for start in [0, 34, 42, 78, 100] {
        let rest = std::str::from_utf8(data.get(start..).unwrap_or_default()).unwrap_or_default();
        let _ = token.is_meant_for(rest);
    }
}

fn session(session: Session<'_>, data: &[u8]) {
    let own = [
        session.client_id(),
        session.scope(),
        session.token_id(),
        session.token_exp(),
        session.kid(),
    ];
    let fields = Field::ALL.into_iter().map(|field| session.get(field));
    for text in own.into_iter().chain(fields).flatten() {
        assert!(text.is_empty() || data.windows(text.len()).any(|part| part == text.as_bytes()));
        let _ = session.has_role(text);
    }
    let _ = session.token_type();
}
