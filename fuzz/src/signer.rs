//! A key pair that is the same in every run, and tokens made with it.

use std::sync::OnceLock;

use authgear_core::keys::KeySet;
use authgear_core::token::{verify, SignedBy, UnverifiedToken};
use authgear_core::{Algorithm, AlgorithmSet};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

/// Ed25519, whose signatures are the fastest to make, under the `kid` "k".
pub struct Signer {
    key: Ed25519KeyPair,
    /// The set of this key alone.
    pub keys: KeySet,
    /// The public key, encoded.
    pub x: String,
}

/// base64url without padding.
pub fn encode(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = three
            .iter()
            .enumerate()
            .fold(0, |all, (at, byte)| all | u32::from(*byte) << (16 - 8 * at));
        for at in 0..=three.len() {
            text.push(char::from(
                ALPHABET[(number >> (18 - 6 * at) & 63) as usize],
            ));
        }
    }
    text
}

impl Signer {
    /// The one signer.
    pub fn get() -> &'static Signer {
        static SIGNER: OnceLock<Signer> = OnceLock::new();
        SIGNER.get_or_init(|| {
            let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed");
            let x = encode(key.public_key().as_ref());
            let document =
                format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"k","x":"{x}"}}]}}"#);
            let (keys, _) = KeySet::parse(document.as_bytes()).expect("a key set");
            Signer { key, keys, x }
        })
    }

    /// The token of this header and payload.
    pub fn sign(&self, header: &[u8], payload: &[u8]) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let signature = encode(self.key.sign(signed.as_bytes()).as_ref());
        format!("{signed}.{signature}")
    }

    /// The verdict of [`verify`] on a token that this key has signed.
    pub fn signed_by(&self) -> SignedBy {
        static SIGNED_BY: OnceLock<SignedBy> = OnceLock::new();
        *SIGNED_BY.get_or_init(|| {
            let token = self.sign(br#"{"alg":"EdDSA","kid":"k"}"#, br#"{"exp":1,"sub":"u"}"#);
            let token = UnverifiedToken::parse(token.as_bytes()).expect("a token");
            *verify(token, &self.keys, all())
                .expect("a good token")
                .signed_by()
        })
    }
}

/// Every algorithm.
pub fn all() -> AlgorithmSet {
    Algorithm::ALL.into_iter().collect()
}
