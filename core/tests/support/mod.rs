//! Keys that sign, and the tokens they make.

#![allow(dead_code)] // Each test binary uses its own part.

pub mod server;

use std::rc::Rc;
use std::sync::OnceLock;

use authgear_core::keys::KeySet;
use authgear_core::token::{verify, UnverifiedToken, VerifiedToken};
use authgear_core::{Algorithm, AlgorithmSet, Reason};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use serde_json::{json, Value};

/// A key pair and the algorithm it signs with.
pub struct Signer {
    algorithm: Algorithm,
    key: Key,
}

enum Key {
    Rsa(&'static RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn all_algorithms() -> AlgorithmSet {
    Algorithm::ALL.into_iter().collect()
}

/// Two RSA keys that all tests of a binary share: making one takes long.
fn rsa(which: usize) -> &'static RsaKeyPair {
    static KEYS: [OnceLock<RsaKeyPair>; 2] = [const { OnceLock::new() }; 2];
    KEYS[which].get_or_init(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
}

impl Signer {
    /// With a key of its own, except that RSA keys are shared; see [`Signer::other`].
    pub fn new(algorithm: Algorithm) -> Signer {
        Signer::with(algorithm, 0)
    }

    /// With another RSA key than [`Signer::new`].
    pub fn other(algorithm: Algorithm) -> Signer {
        Signer::with(algorithm, 1)
    }

    fn with(algorithm: Algorithm, which: usize) -> Signer {
        let ec = |curve| Key::Ec(EcdsaKeyPair::generate(curve).unwrap());
        let key = match algorithm {
            Algorithm::Es256 => ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::Es384 => ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::Es512 => ec(&signature::ECDSA_P521_SHA512_FIXED_SIGNING),
            Algorithm::EdDsa => Key::Ed(Ed25519KeyPair::generate().unwrap()),
            _ => Key::Rsa(rsa(which)),
        };
        Signer { algorithm, key }
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub fn sign_bytes(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Rsa(key) => {
                let encoding = match self.algorithm {
                    Algorithm::Rs256 => &signature::RSA_PKCS1_SHA256,
                    Algorithm::Rs384 => &signature::RSA_PKCS1_SHA384,
                    Algorithm::Rs512 => &signature::RSA_PKCS1_SHA512,
                    Algorithm::Ps256 => &signature::RSA_PSS_SHA256,
                    Algorithm::Ps384 => &signature::RSA_PSS_SHA384,
                    _ => &signature::RSA_PSS_SHA512,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(encoding, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Key::Ec(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Key::Ed(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with this header and payload, byte for byte.
    pub fn sign(&self, header: &str, payload: impl AsRef<[u8]>) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let signature = encode(self.sign_bytes(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// An access token of the key `kid`, with its own `alg`.
    pub fn token(&self, kid: &str, payload: impl AsRef<[u8]>) -> String {
        let header = format!(
            r#"{{"alg":"{}","kid":"{kid}","typ":"at+jwt"}}"#,
            self.algorithm
        );
        self.sign(&header, payload)
    }

    /// The public key as an entry of a key set, without `kid`, `alg` and `use`.
    pub fn bare_jwk(&self) -> Value {
        match &self.key {
            Key::Rsa(key) => {
                let (n, e) = rsa_components(key.public_key().as_ref());
                json!({"kty": "RSA", "n": encode(n), "e": encode(e)})
            }
            Key::Ec(key) => {
                let point = &key.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = match x.len() {
                    32 => "P-256",
                    48 => "P-384",
                    _ => "P-521",
                };
                json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
            }
            Key::Ed(key) => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key())}),
        }
    }

    /// The public key as Authgear publishes it.
    pub fn jwk(&self, kid: &str) -> Value {
        let mut jwk = self.bare_jwk();
        jwk["kid"] = kid.into();
        jwk["alg"] = self.algorithm.name().into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// A key set of this key alone, under the `kid` "k".
    pub fn key_set(&self) -> KeySet {
        key_set(&[self.jwk("k")])
    }
}

/// The numbers of an `RSAPublicKey` in DER (RFC 8017, appendix A.1.1).
fn rsa_components(der: &[u8]) -> (Vec<u8>, Vec<u8>) {
    fn take(der: &[u8]) -> (&[u8], &[u8]) {
        let (len, start) = match der[1] {
            0x81 => (usize::from(der[2]), 3),
            0x82 => (usize::from(der[2]) << 8 | usize::from(der[3]), 4),
            short => (usize::from(short), 2),
        };
        der[start..].split_at(len)
    }
    let number = |bytes: &[u8]| bytes.iter().copied().skip_while(|&b| b == 0).collect();
    let (sequence, _) = take(der);
    let (n, rest) = take(sequence);
    let (e, _) = take(rest);
    (number(n), number(e))
}

pub fn document(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

pub fn key_set(keys: &[Value]) -> KeySet {
    KeySet::parse(&document(keys)).unwrap().0
}

/// Parses and verifies, with every algorithm allowed.
pub fn verified(token: &str, keys: &KeySet) -> Result<Rc<VerifiedToken>, Reason> {
    verify(
        UnverifiedToken::parse(token.as_bytes())?,
        keys,
        all_algorithms(),
    )
}
