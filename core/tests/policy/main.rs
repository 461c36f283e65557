//! A verified token, or a session, and the rules of a location.

#[path = "../support/mod.rs"]
mod support;

mod requirements;
mod rules;

use std::rc::Rc;

use authgear_core::token::VerifiedToken;
use authgear_core::Algorithm;
use support::{verified, Signer};

const ISSUER: &str = "https://myapp.authgear.cloud";
const NOW: f64 = 1_700_000_000.0;

/// A token with this `typ` and these claims.
fn token(typ: Option<&str>, claims: &str) -> Rc<VerifiedToken> {
    let signer = Signer::new(Algorithm::Rs256);
    let typ = typ.map_or(String::new(), |typ| format!(r#","typ":"{typ}""#));
    let header = format!(r#"{{"alg":"RS256","kid":"k"{typ}}}"#);
    verified(&signer.sign(&header, claims), &signer.key_set()).unwrap()
}

fn with(claims: &str) -> Rc<VerifiedToken> {
    token(Some("at+jwt"), claims)
}

fn user(more: &str) -> Rc<VerifiedToken> {
    with(&format!(
        r#"{{"iss":"{ISSUER}","aud":["{ISSUER}"],"exp":1700000100,"sub":"user"{more}}}"#
    ))
}
