//! Signatures: who may sign what, and what a signature makes of a token.

#[path = "../support/mod.rs"]
mod support;

mod claims;
mod keys;
mod signatures;

use authgear_core::keys::KeySet;
use authgear_core::Reason;
use support::verified;

const PAYLOAD: &str = r#"{"exp":2000000000,"sub":"user"}"#;

fn refusal(token: &str, keys: &KeySet) -> Option<Reason> {
    verified(token, keys).err()
}
