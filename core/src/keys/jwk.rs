//! One key of a key set (RFC 7517, section 4; RFC 7518, section 6; RFC 8037, section 2).

use std::fmt;

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::signature::{
    self, EcdsaVerificationAlgorithm, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents,
};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use jsonwebtoken::jwk::{KeyOperations, PublicKeyUse};
use serde::{Deserialize, Deserializer};

use crate::algorithm::Algorithm;
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
/// The key is kept as aws-lc parsed it, once for each algorithm it may be used for. `jsonwebtoken::decode` would build
/// the key anew for each token, and does not enforce `crit`, so tokens are verified without it.
#[derive(Debug)]
pub(super) struct Jwk {
    id: KeyId,
    kid: Option<Box<str>>,
    verifiers: Vec<(Algorithm, ParsedPublicKey)>,
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
enum Unusable {
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
struct Entry {
    kty: String,
    #[serde(default, rename = "use", deserialize_with = "present")]
    public_key_use: Option<PublicKeyUse>,
    #[serde(default, deserialize_with = "present")]
    key_ops: Option<Vec<KeyOperations>>,
    #[serde(default, deserialize_with = "present")]
    alg: Option<String>,
    #[serde(default, deserialize_with = "present")]
    kid: Option<Box<str>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
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
            .map(|&algorithm| Ok((algorithm, material.parsed(algorithm)?)))
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

    /// The parsed key, if it may be used for that algorithm.
    pub(super) fn verifier(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        self.verifiers
            .iter()
            .find(|(own, _)| *own == algorithm)
            .map(|(_, key)| key)
    }
}

/// The `kid` of an entry that is broken elsewhere, to name it in the log.
fn kid_of(json: &str) -> Option<Box<str>> {
    crate::json::member(json, "kid")
        .and_then(crate::json::string)
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
    match material {
        Material::Rsa { n, e } => [n, e].into_iter().for_each(|bytes| part(bytes)),
        Material::Ec { point, .. } => part(point),
        Material::Ed25519 { point } => part(point),
    }
    let mut id = [0; 32];
    id.copy_from_slice(context.finish().as_ref());
    KeyId(id)
}

/// A public key's own bytes, held to our limits.
enum Material {
    /// Big-endian, without leading zeros.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// An uncompressed point (SEC 1, section 2.3.3), and the one algorithm of its curve.
    Ec {
        point: Vec<u8>,
        algorithm: Algorithm,
    },
    /// RFC 8032, section 5.1.5.
    Ed25519 { point: Vec<u8> },
}

impl Material {
    fn of_entry(entry: &Entry) -> Result<Material, Unusable> {
        match entry.kty.as_str() {
            "RSA" => Material::rsa(entry),
            "EC" => Material::ec(entry),
            "OKP" => Material::okp(entry),
            _ => Err(Unusable::Type(entry.kty.clone())),
        }
    }

    fn rsa(entry: &Entry) -> Result<Material, Unusable> {
        // RFC 7518 forbids leading zeros, but knows of libraries that write one; they change nothing.
        let n = without_leading_zeros(decode(&entry.n, "n")?);
        let e = without_leading_zeros(decode(&entry.e, "e")?);
        let bits = bit_length(&n);
        if !(2048..=8192).contains(&bits) {
            return Err(Unusable::ModulusSize(bits));
        }
        if is_even(&n) {
            return Err(Unusable::ModulusEven);
        }
        if bit_length(&e) > 32 || is_even(&e) || e == [1] {
            return Err(Unusable::Exponent);
        }
        Ok(Material::Rsa { n, e })
    }

    fn ec(entry: &Entry) -> Result<Material, Unusable> {
        let curve = entry.crv.as_deref().ok_or(Unusable::Parameter("crv"))?;
        let (algorithm, size) = match curve {
            "P-256" => (Algorithm::Es256, 32),
            "P-384" => (Algorithm::Es384, 48),
            "P-521" => (Algorithm::Es512, 66),
            _ => return Err(Unusable::Curve(curve.into())),
        };
        let (x, y) = (decode(&entry.x, "x")?, decode(&entry.y, "y")?);
        // RFC 7518, section 6.2.1.2: both of the curve's full size.
        if x.len() != size || y.len() != size {
            return Err(Unusable::Point);
        }
        Ok(Material::Ec {
            point: [&[4], &x[..], &y[..]].concat(),
            algorithm,
        })
    }

    fn okp(entry: &Entry) -> Result<Material, Unusable> {
        match entry.crv.as_deref() {
            Some("Ed25519") => {}
            Some(curve) => return Err(Unusable::Curve(curve.into())),
            None => return Err(Unusable::Parameter("crv")),
        }
        let point = decode(&entry.x, "x")?;
        if point.len() != 32 {
            return Err(Unusable::Point);
        }
        Ok(Material::Ed25519 { point })
    }

    /// The algorithms of the key's own type.
    fn algorithms(&self) -> Vec<Algorithm> {
        match self {
            Material::Rsa { .. } => vec![
                Algorithm::Rs256,
                Algorithm::Rs384,
                Algorithm::Rs512,
                Algorithm::Ps256,
                Algorithm::Ps384,
                Algorithm::Ps512,
            ],
            Material::Ec { algorithm, .. } => vec![*algorithm],
            Material::Ed25519 { .. } => vec![Algorithm::EdDsa],
        }
    }

    fn parsed(&self, algorithm: Algorithm) -> Result<ParsedPublicKey, Unusable> {
        match self {
            Material::Rsa { n, e } => {
                let parameters = rsa_parameters(algorithm).ok_or(Unusable::Refused)?;
                RsaPublicKeyComponents { n, e }
                    .to_parsed_public_key(parameters)
                    .map_err(|_| Unusable::Refused)
            }
            Material::Ec { point, algorithm } => {
                let curve = ecdsa_algorithm(*algorithm).ok_or(Unusable::Refused)?;
                ParsedPublicKey::new(curve, point).map_err(|_| Unusable::Point)
            }
            Material::Ed25519 { point } => {
                ParsedPublicKey::new(&signature::ED25519, point).map_err(|_| Unusable::Point)
            }
        }
    }
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

/// The fixed-length form of the signature is the one of JOSE (RFC 7518, section 3.4).
fn ecdsa_algorithm(algorithm: Algorithm) -> Option<&'static EcdsaVerificationAlgorithm> {
    match algorithm {
        Algorithm::Es256 => Some(&signature::ECDSA_P256_SHA256_FIXED),
        Algorithm::Es384 => Some(&signature::ECDSA_P384_SHA384_FIXED),
        Algorithm::Es512 => Some(&signature::ECDSA_P521_SHA512_FIXED),
        _ => None,
    }
}

fn decode(parameter: &Option<String>, name: &'static str) -> Result<Vec<u8>, Unusable> {
    let text = parameter.as_ref().ok_or(Unusable::Parameter(name))?;
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Unusable::Parameter(name))
}

fn without_leading_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    number.drain(..zeros);
    number
}

/// Of a number without leading zeros.
fn bit_length(number: &[u8]) -> usize {
    number
        .first()
        .map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

fn is_even(number: &[u8]) -> bool {
    number.last().is_none_or(|last| last & 1 == 0)
}
