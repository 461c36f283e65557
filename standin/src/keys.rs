//! Signing keys: what they are made of, how they look as PEM and in a JWKS.

mod alg;
mod ring;
mod store;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, ECDSA_P256_SHA256_FIXED_SIGNING,
    ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
};
use serde_json::{json, Map, Value};

pub use alg::Alg;
pub use ring::{KeyRing, Which};
pub(crate) use store::keep;
pub use store::KeyStore;

use crate::util::{base64url, now, pem};

/// Why a key could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such key type, curve or size.
    #[error("unsupported key: {0}")]
    UnsupportedKey(String),
    /// The name is not a JWS algorithm known here.
    #[error("unknown algorithm {0:?}")]
    UnknownAlgorithm(String),
    /// The key is not of the type the algorithm signs with.
    #[error("the key does not fit {0}")]
    Misfit(&'static str),
    /// The ring holds no such key.
    #[error("no such key: {0}")]
    NoSuchKey(String),
    /// The cryptographic library refused.
    #[error("the key could not be made or read")]
    Crypto,
}

impl From<aws_lc_rs::error::Unspecified> for Error {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Crypto
    }
}

impl From<aws_lc_rs::error::KeyRejected> for Error {
    fn from(_: aws_lc_rs::error::KeyRejected) -> Self {
        Self::Crypto
    }
}

/// The type of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// RSA with this many bits: 2048, 3072, 4096 or 8192.
    Rsa(u32),
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
    /// Edwards curve 25519.
    Ed25519,
}

impl KeyType {
    /// Reads a JWK's `kty` and `crv`, and the size for RSA.
    ///
    /// # Errors
    ///
    /// [`Error::UnsupportedKey`] for anything else than the variants.
    pub fn parse(kty: &str, crv: Option<&str>, bits: Option<u32>) -> Result<Self, Error> {
        match (kty, crv, bits) {
            ("RSA", None, bits) => Ok(Self::Rsa(bits.unwrap_or(2048))),
            ("EC", None | Some("P-256"), None) => Ok(Self::P256),
            ("EC", Some("P-384"), None) => Ok(Self::P384),
            ("EC", Some("P-521"), None) => Ok(Self::P521),
            ("OKP", None | Some("Ed25519"), None) => Ok(Self::Ed25519),
            _ => Err(Error::UnsupportedKey(format!("{kty} {crv:?} {bits:?}"))),
        }
    }

    fn ecdsa(self) -> Option<(&'static EcdsaSigningAlgorithm, &'static str)> {
        match self {
            Self::P256 => Some((&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256")),
            Self::P384 => Some((&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384")),
            Self::P521 => Some((&ECDSA_P521_SHA512_FIXED_SIGNING, "P-521")),
            Self::Rsa(_) | Self::Ed25519 => None,
        }
    }

    /// The `alg` that a JWK of this type names unless told otherwise.
    fn default_alg(self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256 => "ES256",
            Self::P384 => "ES384",
            Self::P521 => "ES512",
            Self::Ed25519 => "EdDSA",
        }
    }
}

enum Pair {
    Rsa(rsa::KeyPair),
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A private key with its name in the key set.
pub struct Key {
    /// The key's name, a UUID made of its public half.
    pub kid: String,
    /// The JWK's `alg` member; `None` leaves it out.
    pub alg: Option<String>,
    /// Its type.
    pub kind: KeyType,
    created_at: i64,
    pair: Pair,
}

impl Key {
    /// Makes a new key. RSA of 4096 bits takes a second or so.
    ///
    /// # Errors
    ///
    /// [`Error::UnsupportedKey`] for an RSA size that is not offered.
    pub fn generate(kind: KeyType) -> Result<Self, Error> {
        let pair = match kind {
            KeyType::Rsa(bits) => Pair::Rsa(rsa::KeyPair::generate(rsa_size(bits)?)?),
            KeyType::Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate()?),
            KeyType::P256 | KeyType::P384 | KeyType::P521 => {
                let (algorithm, _) = kind.ecdsa().ok_or(Error::Crypto)?;
                Pair::Ec(EcdsaKeyPair::generate(algorithm)?)
            }
        };
        Ok(Self::named(kind, pair))
    }

    /// Reads an RSA key from PKCS#8 DER.
    ///
    /// # Errors
    ///
    /// [`Error::Crypto`] when it is none.
    pub fn rsa_from_pkcs8(der: &[u8]) -> Result<Self, Error> {
        let pair = rsa::KeyPair::from_pkcs8(der)?;
        let bits = u32::try_from(pair.public_modulus_len() * 8).map_err(|_| Error::Crypto)?;
        Ok(Self::named(KeyType::Rsa(bits), Pair::Rsa(pair)))
    }

    fn named(kind: KeyType, pair: Pair) -> Self {
        let mut key = Self {
            kid: String::new(),
            alg: Some(kind.default_alg().to_owned()),
            kind,
            created_at: now(),
            pair,
        };
        let hash = digest::digest(&digest::SHA256, key.public());
        let mut name = [0; 16];
        name.copy_from_slice(&hash.as_ref()[..16]);
        key.kid = uuid::Builder::from_random_bytes(name)
            .into_uuid()
            .to_string();
        key
    }

    /// The public half: PKCS#1 DER for RSA, the bare point for the others.
    pub fn public(&self) -> &[u8] {
        match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref(),
            Pair::Ec(pair) => pair.public_key().as_ref(),
            Pair::Ed25519(pair) => pair.public_key().as_ref(),
        }
    }

    /// The private half as PKCS#8 PEM.
    ///
    /// # Errors
    ///
    /// [`Error::Crypto`] when the library cannot write it.
    pub fn private_pem(&self) -> Result<String, Error> {
        let pem = match &self.pair {
            Pair::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der()?;
                pem("PRIVATE KEY", der.as_ref())
            }
            Pair::Ec(pair) => pem("PRIVATE KEY", pair.to_pkcs8v1()?.as_ref()),
            Pair::Ed25519(pair) => pem("PRIVATE KEY", pair.to_pkcs8v1()?.as_ref()),
        };
        Ok(pem)
    }

    /// An RSA key's public half as PEM (SubjectPublicKeyInfo).
    fn public_pem(&self) -> Result<String, Error> {
        let Pair::Rsa(pair) = &self.pair else {
            return Err(Error::Misfit("HMAC with an RSA public key"));
        };
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
        Ok(pem("PUBLIC KEY", der.as_ref()))
    }

    /// The public JWK, with Authgear's own `created_at`.
    pub fn jwk(&self) -> Value {
        let mut jwk = Map::new();
        jwk.insert("kid".into(), json!(self.kid));
        jwk.insert("use".into(), json!("sig"));
        jwk.insert("created_at".into(), json!(self.created_at));
        if let Some(alg) = &self.alg {
            jwk.insert("alg".into(), json!(alg));
        }
        let public = self.public();
        if let Some((_, crv)) = self.kind.ecdsa() {
            let (x, y) = public[1..].split_at(public.len() / 2);
            jwk.insert("kty".into(), json!("EC"));
            jwk.insert("crv".into(), json!(crv));
            jwk.insert("x".into(), json!(base64url(x)));
            jwk.insert("y".into(), json!(base64url(y)));
        } else if self.kind == KeyType::Ed25519 {
            jwk.insert("kty".into(), json!("OKP"));
            jwk.insert("crv".into(), json!("Ed25519"));
            jwk.insert("x".into(), json!(base64url(public)));
        } else if let Some((n, e)) = rsa_numbers(public) {
            jwk.insert("kty".into(), json!("RSA"));
            jwk.insert("n".into(), json!(base64url(n)));
            jwk.insert("e".into(), json!(base64url(e)));
        }
        Value::Object(jwk)
    }
}

fn rsa_size(bits: u32) -> Result<KeySize, Error> {
    match bits {
        2048 => Ok(KeySize::Rsa2048),
        3072 => Ok(KeySize::Rsa3072),
        4096 => Ok(KeySize::Rsa4096),
        8192 => Ok(KeySize::Rsa8192),
        _ => Err(Error::UnsupportedKey(format!("RSA of {bits} bits"))),
    }
}

/// Modulus and exponent, without leading zeros, of a PKCS#1 `RSAPublicKey`.
fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, _) = der_value(der, 0x30)?;
    let (modulus, rest) = der_value(sequence, 0x02)?;
    let (exponent, _) = der_value(rest, 0x02)?;
    let trim = |number: &'_ [u8]| number.iter().take_while(|byte| **byte == 0).count();
    Some((&modulus[trim(modulus)..], &exponent[trim(exponent)..]))
}

/// The content of the DER value at the start, and what follows it.
fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let length = digits
            .iter()
            .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    (found == tag).then_some((content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rsa_jwk_holds_the_whole_modulus() {
        let key = Key::generate(KeyType::Rsa(2048)).unwrap();
        let jwk = key.jwk();
        let n = crate::util::from_base64url(jwk["n"].as_str().unwrap()).unwrap();
        assert_eq!(n.len(), 256);
        assert_eq!(jwk["e"], "AQAB");
        assert_eq!(jwk["alg"], "RS256");
        assert!(uuid::Uuid::parse_str(&key.kid).is_ok());
    }

    #[test]
    fn coordinates_have_the_curves_full_length() {
        for (kind, length) in [
            (KeyType::P256, 32),
            (KeyType::P384, 48),
            (KeyType::P521, 66),
        ] {
            let jwk = Key::generate(kind).unwrap().jwk();
            for coordinate in ["x", "y"] {
                let text = jwk[coordinate].as_str().unwrap();
                assert_eq!(crate::util::from_base64url(text).unwrap().len(), length);
            }
        }
    }
}
