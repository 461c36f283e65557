//! One key of a key set (RFC 7517, section 4; RFC 7518, section 6; RFC 8037, section 2).

use std::fmt;

use aws_lc_rs::digest::{self, SHA256};
use jsonwebtoken::jwk::{KeyOperations, PublicKeyUse};
use serde::{Deserialize, Deserializer};

use super::material::Material;
use super::verifier::Verifier;
use crate::algorithm::Algorithm;
use crate::json::{self, Value};
use crate::text::Quoted;

/// Which key it is: SHA-256 over its `kid`, its material and the algorithms it may be used for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// The hash itself.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyId(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// A usable public key.
///
/// The key is kept ready for each algorithm that it may be used for. `jsonwebtoken::decode` would
/// build the key anew for each token, and does not enforce `crit`, so tokens are verified without
/// it.
#[derive(Debug)]
pub(super) struct Jwk {
    id: KeyId,
    kid: Option<Box<str>>,
    verifiers: Vec<(Algorithm, Verifier)>,
}

/// An entry of a key set that cannot be used, and why. Displays as the end of a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedKey {
    index: usize,
    kid: Option<Box<str>>,
    why: Unusable,
}

impl fmt::Display for SkippedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kid {
            Some(kid) => write!(f, "key {} skipped: {}", Quoted(kid), self.why),
            None => write!(f, "key number {} skipped: {}", self.index + 1, self.why),
        }
    }
}

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
    #[error("refused by the crypto library")]
    Refused,
}

/// The parameters that matter. `x5c`, `x5u` and a private part are never looked at.
#[derive(Deserialize)]
pub(super) struct Entry {
    pub(super) kty: String,
    #[serde(default, rename = "use", deserialize_with = "present")]
    public_key_use: Option<PublicKeyUse>,
    #[serde(default, deserialize_with = "present")]
    key_ops: Option<Vec<KeyOperations>>,
    #[serde(default, deserialize_with = "present")]
    alg: Option<String>,
    #[serde(default, deserialize_with = "present")]
    kid: Option<Box<str>>,
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

impl Jwk {
    /// Reads the entry at that index of a key set.
    pub(super) fn parse(json: &str, index: usize) -> Result<Jwk, SkippedKey> {
        let entry: Entry = serde_json::from_str(json).map_err(|_| SkippedKey {
            index,
            kid: kid_of(json),
            why: Unusable::Malformed,
        })?;
        Jwk::of_entry(&entry).map_err(|why| SkippedKey {
            index,
            kid: entry.kid,
            why,
        })
    }

    fn of_entry(entry: &Entry) -> Result<Jwk, Unusable> {
        if entry
            .public_key_use
            .as_ref()
            .is_some_and(|of| *of != PublicKeyUse::Signature)
        {
            return Err(Unusable::Use);
        }
        if entry
            .key_ops
            .as_ref()
            .is_some_and(|ops| !ops.contains(&KeyOperations::Verify))
        {
            return Err(Unusable::Operations);
        }
        let material = Material::of_entry(entry)?;
        let mut algorithms = material.algorithms();
        if let Some(name) = &entry.alg {
            let named = Algorithm::from_name(name).filter(|named| algorithms.contains(named));
            algorithms = vec![named.ok_or_else(|| Unusable::Algorithm(name.clone()))?];
        }
        let verifiers = algorithms
            .iter()
            .map(|&algorithm| Ok((algorithm, Verifier::new(&material, algorithm)?)))
            .collect::<Result<Vec<_>, Unusable>>()?;
        Ok(Jwk {
            id: identity(entry.kid.as_deref(), &algorithms, &material),
            kid: entry.kid.clone(),
            verifiers,
        })
    }

    pub(super) fn id(&self) -> &KeyId {
        &self.id
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The key, ready, if it may be used for that algorithm.
    pub(super) fn verifier(&self, algorithm: Algorithm) -> Option<&Verifier> {
        self.verifiers
            .iter()
            .find(|(own, _)| *own == algorithm)
            .map(|(_, verifier)| verifier)
    }
}

/// The `kid` of an entry that is broken elsewhere, to name it in the log.
fn kid_of(json: &str) -> Option<Box<str>> {
    json::member(Value::new(json), "kid")
        .and_then(json::string)
        .map(Into::into)
}

fn identity(kid: Option<&str>, algorithms: &[Algorithm], material: &Material) -> KeyId {
    let mut context = digest::Context::new(&SHA256);
    // Each part with its length before it, so that no two keys make the same input.
    let mut part = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    match kid {
        Some(kid) => part(&[b"kid ", kid.as_bytes()].concat()),
        None => part(b"no kid"),
    }
    let names: Vec<&str> = algorithms
        .iter()
        .map(|algorithm| algorithm.name())
        .collect();
    part(names.join(" ").as_bytes());
    material.parts().into_iter().for_each(part);
    let mut id = [0; 32];
    id.copy_from_slice(context.finish().as_ref());
    KeyId(id)
}
