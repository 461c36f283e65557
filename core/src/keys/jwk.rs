//! One key of a key set (RFC 7517, section 4; RFC 7518, section 6; RFC 8037, section 2).

use std::fmt;
use std::sync::OnceLock;

use jsonwebtoken::jwk::{KeyOperations, PublicKeyUse};

use super::material::Material;
use super::parameters::{kid_of, Parameters, SkippedKey, Unusable};
use super::verifier::Verifier;
use crate::algorithm::Algorithm;
use crate::fingerprint::fingerprint;

/// The identity of a key: SHA-256 over its `kid`, its material and the algorithms it may be used for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// The inverse of [`KeyId::as_bytes`].
    pub(crate) const fn from_bytes(hash: [u8; 32]) -> KeyId {
        KeyId(hash)
    }

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
/// It is parsed for an algorithm when a token first asks for it, and kept: of a set that names no `alg`,
/// most algorithms are never asked for. `jsonwebtoken::decode` would parse the key for each token, and
/// does not enforce `crit`, so tokens are verified without it.
#[derive(Debug)]
pub(super) struct Jwk {
    id: KeyId,
    kid: Option<Box<str>>,
    material: Material,
    verifiers: Box<[Prepared]>,
}

/// An algorithm that a key may be used for, and the key parsed for it on first use; `None` when aws-lc
/// refuses the key.
#[derive(Debug)]
struct Prepared {
    algorithm: Algorithm,
    verifier: OnceLock<Option<Verifier>>,
}

impl Jwk {
    /// Reads the entry at that index of a key set.
    pub(super) fn parse(json: &str, index: usize) -> Result<Jwk, SkippedKey> {
        let skipped = |kid, why| SkippedKey { index, kid, why };
        let parameters = Parameters::parse(json).map_err(|why| skipped(kid_of(json), why))?;
        Jwk::new(&parameters).map_err(|why| skipped(parameters.kid, why))
    }

    fn new(parameters: &Parameters) -> Result<Jwk, Unusable> {
        let of = parameters.public_key_use.as_ref();
        if of.is_some_and(|of| *of != PublicKeyUse::Signature) {
            return Err(Unusable::Use);
        }
        let operations = parameters.key_ops.as_ref();
        if operations.is_some_and(|all| !all.contains(&KeyOperations::Verify)) {
            return Err(Unusable::Operations);
        }
        let material = Material::new(parameters)?;
        let mut algorithms = material.algorithms();
        if let Some(name) = &parameters.alg {
            let named = Algorithm::from_name(name).filter(|named| algorithms.contains(named));
            algorithms = vec![named.ok_or_else(|| Unusable::Algorithm(name.clone()))?];
        }
        let id = identity(parameters.kid.as_deref(), &algorithms, &material);
        let prepared = |algorithm| Prepared {
            algorithm,
            verifier: OnceLock::new(),
        };
        let key = Jwk {
            id,
            kid: parameters.kid.clone(),
            verifiers: algorithms.into_iter().map(prepared).collect(),
            material,
        };
        // aws-lc tells only while it parses a key that a point is not on the curve. RSA's numbers have
        // been checked already.
        match key.material {
            Material::Rsa { .. } => Ok(key),
            Material::Ec { .. } | Material::Ed25519 { .. } => {
                let is_point = key.verifiers.iter().all(|one| key.ready(one).is_some());
                is_point.then_some(key).ok_or(Unusable::Point)
            }
        }
    }

    pub(super) fn id(&self) -> &KeyId {
        &self.id
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Tells whether a token may have to be tried against both keys: they have one `kid` and an algorithm in
    /// common.
    pub(super) fn is_rival(&self, other: &Jwk) -> bool {
        let is_shared = |one: &Prepared| other.fits(one.algorithm);
        self.kid.is_some() && self.kid == other.kid && self.verifiers.iter().any(is_shared)
    }

    /// The report that it is skipped, since as many keys as may have its `kid` come before it.
    pub(super) fn crowded(self, index: usize, most: usize) -> SkippedKey {
        SkippedKey {
            index,
            kid: self.kid,
            why: Unusable::Crowded(most),
        }
    }

    /// The algorithms that it may be used for.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        self.verifiers.iter().map(|one| one.algorithm).collect()
    }

    /// Tells whether it may be used for that algorithm.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.prepared(algorithm).is_some()
    }

    /// Tells whether the key made the signature over the message with that algorithm.
    pub(super) fn is_signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.prepared(algorithm)
            .and_then(|prepared| self.ready(prepared))
            .is_some_and(|verifier| verifier.is_signed(message, signature))
    }

    /// About how many bytes it takes once it is parsed for all of its algorithms.
    pub(super) fn size(&self) -> usize {
        let own = self.kid.as_ref().map_or(0, |kid| kid.len()) + self.material.size();
        let ready = size_of::<Prepared>() + Verifier::heap_size(&self.material);
        size_of::<Jwk>() + own + self.verifiers.len() * ready
    }

    fn prepared(&self, algorithm: Algorithm) -> Option<&Prepared> {
        self.verifiers
            .iter()
            .find(|prepared| prepared.algorithm == algorithm)
    }

    fn ready<'a>(&self, prepared: &'a Prepared) -> Option<&'a Verifier> {
        let make = || Verifier::new(&self.material, prepared.algorithm);
        prepared.verifier.get_or_init(make).as_ref()
    }
}

fn identity(kid: Option<&str>, algorithms: &[Algorithm], material: &Material) -> KeyId {
    let kid = kid.map_or_else(|| "no kid".to_string(), |kid| format!("kid {kid}"));
    let names: Vec<&str> = algorithms
        .iter()
        .map(|algorithm| algorithm.name())
        .collect();
    let names = names.join(" ");
    let parts = [kid.as_bytes(), names.as_bytes()].into_iter();
    KeyId(fingerprint(parts.chain(material.parts())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The algorithms that the key is ready for.
    fn ready(key: &Jwk) -> Vec<Algorithm> {
        let ready = key
            .verifiers
            .iter()
            .filter(|one| one.verifier.get().is_some());
        ready.map(|one| one.algorithm).collect()
    }

    fn rsa(bytes: usize) -> Jwk {
        let modulus = base64_simd::URL_SAFE_NO_PAD.encode_to_string(vec![0xff; bytes]);
        Jwk::parse(&format!(r#"{{"kty":"RSA","n":"{modulus}","e":"AQAB"}}"#), 0).unwrap()
    }

    #[test]
    fn an_rsa_key_is_made_ready_only_for_the_algorithms_that_tokens_ask_for() {
        let key = rsa(1024);
        assert_eq!(ready(&key), []);
        assert!(key.fits(Algorithm::Ps512) && !key.fits(Algorithm::Es256));
        assert_eq!(ready(&key), []);
        for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::Rs256] {
            assert!(!key.is_signed(algorithm, b"", &[1; 1024]));
            assert_eq!(ready(&key), [Algorithm::Rs256]);
        }
    }

    #[test]
    fn the_size_counts_every_algorithm_that_a_token_could_ask_for() {
        let (small, large) = (rsa(256).size(), rsa(1024).size());
        assert!(small > 6 * 1024 && large > 6 * 4 * 1024, "{small} {large}");
        let bound =
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        assert!(Jwk::parse(bound, 0).unwrap().size() < 2048);
    }

    #[test]
    fn a_key_of_one_algorithm_is_made_ready_at_once() {
        let key =
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        assert_eq!(ready(&Jwk::parse(key, 0).unwrap()), [Algorithm::EdDsa]);
    }
}
