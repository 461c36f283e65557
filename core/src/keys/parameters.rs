//! The parameters of one entry of a key set, as JSON, and the reasons to skip it.
//!
//! `use` and `key_ops` are of jsonwebtoken's types. Its whole `jwk::Jwk` judges differently and would make
//! this no shorter:
//!
//! - `KeyAlgorithm` has no ES512: that name and all unknown ones become one value, so that `alg` could
//!   neither be checked against the curve nor named in the log.
//! - `null` in `use`, `key_ops`, `alg` or `kid` counts as absent there; here it is a wrong type.
//! - An `x5c` or `x5u` of a wrong type refuses the key there; here they are ignored.
//! - A missing or mistyped parameter, an unknown type and an unknown curve are one error there; the log
//!   names each here.
//! - `n`, `e`, `x` and `y` stay text there, so sizes, exponents and base64url would be checked here all
//!   the same (`material.rs`).

use std::fmt;

use jsonwebtoken::jwk::{KeyOperations, PublicKeyUse};
use serde::{Deserialize, Deserializer};

use crate::json::{self, Object};
use crate::text::Quoted;

/// An entry of a key set that cannot be used, and why. Displays as the end of a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedKey {
    pub(super) index: usize,
    pub(super) kid: Option<Box<str>>,
    pub(super) why: Unusable,
}

impl fmt::Display for SkippedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kid {
            Some(kid) => write!(f, "key {} skipped: {}", Quoted(kid), self.why),
            None => write!(f, "key number {} skipped: {}", self.index + 1, self.why),
        }
    }
}

/// The reason for which an entry cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("not a JSON object, or a parameter that is there twice or has the wrong type")]
    Malformed,
    #[error("unknown key type {}", Quoted(.0))]
    Type(String),
    #[error("unknown curve {}", Quoted(.0))]
    Curve(String),
    #[error("use is not \"sig\"")]
    Use,
    #[error("key_ops lacks \"verify\"")]
    Operations,
    #[error("alg {} does not fit the key", Quoted(.0))]
    Algorithm(String),
    #[error("{0} is absent or not base64url")]
    Parameter(&'static str),
    #[error("RSA modulus of {0} bits, need 2048 to 8192")]
    ModulusSize(usize),
    #[error("RSA modulus is even")]
    ModulusEven,
    #[error("RSA exponent is even, under 3 or over 32 bits")]
    Exponent,
    #[error("not a point of the curve")]
    Point,
    #[error("the key set has {0} keys of this kid and algorithm before it")]
    Crowded(usize),
}

/// The parameters that are used. `x5c`, `x5u` and private parameters are ignored.
#[derive(Deserialize)]
pub(super) struct Parameters {
    pub(super) kty: String,
    #[serde(default, rename = "use", deserialize_with = "present")]
    pub(super) public_key_use: Option<PublicKeyUse>,
    #[serde(default, deserialize_with = "present")]
    pub(super) key_ops: Option<Vec<KeyOperations>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) alg: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) kid: Option<Box<str>>,
    pub(super) crv: Option<String>,
    pub(super) n: Option<String>,
    pub(super) e: Option<String>,
    pub(super) x: Option<String>,
    pub(super) y: Option<String>,
}

/// Like serde's own `Option`, but `null` is a wrong type and not an absent value.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl Parameters {
    /// Reads an entry.
    pub(super) fn parse(json: &str) -> Result<Parameters, Unusable> {
        serde_json::from_str(json).map_err(|_| Unusable::Malformed)
    }
}

/// The `kid` of an entry that is broken elsewhere, to name it in the log.
pub(super) fn kid_of(json: &str) -> Option<Box<str>> {
    json::read(Object::parse(json)?.get("kid")?)
}
