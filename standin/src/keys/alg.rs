//! JWS algorithms and how each signs.

use std::str::FromStr;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    RsaEncoding, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512,
};

use super::{Error, Key, KeyType, Pair};

/// A JWS algorithm, the forbidden ones included: a test needs them too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Alg {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
    /// HMAC whose secret is the PEM of an RSA public key: the classic confusion of algorithms.
    Hs256,
    Hs384,
    Hs512,
    /// No signature at all.
    None,
}

const NAMES: [(Alg, &str); 14] = [
    (Alg::Rs256, "RS256"),
    (Alg::Rs384, "RS384"),
    (Alg::Rs512, "RS512"),
    (Alg::Ps256, "PS256"),
    (Alg::Ps384, "PS384"),
    (Alg::Ps512, "PS512"),
    (Alg::Es256, "ES256"),
    (Alg::Es384, "ES384"),
    (Alg::Es512, "ES512"),
    (Alg::EdDsa, "EdDSA"),
    (Alg::Hs256, "HS256"),
    (Alg::Hs384, "HS384"),
    (Alg::Hs512, "HS512"),
    (Alg::None, "none"),
];

impl FromStr for Alg {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = NAMES.iter().find(|(_, known)| *known == name);
        found
            .map(|(alg, _)| *alg)
            .ok_or_else(|| Error::UnknownAlgorithm(name.to_owned()))
    }
}

impl Alg {
    /// The name in a JOSE header.
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(alg, _)| *alg == self)
            .map_or("", |(_, name)| name)
    }

    /// Tells whether keys of this type sign with it. HMAC and `none` take an RSA key for its `kid`.
    pub fn fits(self, kind: KeyType) -> bool {
        match self {
            Self::Es256 => kind == KeyType::P256,
            Self::Es384 => kind == KeyType::P384,
            Self::Es512 => kind == KeyType::P521,
            Self::EdDsa => kind == KeyType::Ed25519,
            _ => matches!(kind, KeyType::Rsa(_)),
        }
    }

    /// The type of a key made for it.
    pub fn key_type(self) -> KeyType {
        match self {
            Self::Es256 => KeyType::P256,
            Self::Es384 => KeyType::P384,
            Self::Es512 => KeyType::P521,
            Self::EdDsa => KeyType::Ed25519,
            _ => KeyType::Rsa(2048),
        }
    }

    fn rsa_encoding(self) -> Option<&'static dyn RsaEncoding> {
        match self {
            Self::Rs256 => Some(&RSA_PKCS1_SHA256),
            Self::Rs384 => Some(&RSA_PKCS1_SHA384),
            Self::Rs512 => Some(&RSA_PKCS1_SHA512),
            Self::Ps256 => Some(&RSA_PSS_SHA256),
            Self::Ps384 => Some(&RSA_PSS_SHA384),
            Self::Ps512 => Some(&RSA_PSS_SHA512),
            _ => None,
        }
    }

    fn hmac(self) -> Option<hmac::Algorithm> {
        match self {
            Self::Hs256 => Some(hmac::HMAC_SHA256),
            Self::Hs384 => Some(hmac::HMAC_SHA384),
            Self::Hs512 => Some(hmac::HMAC_SHA512),
            _ => None,
        }
    }

    /// Signs `message` in the form JWS wants (RFC 7518: ECDSA as `r || s`).
    ///
    /// # Errors
    ///
    /// [`Error::Misfit`] when the key is of another type.
    pub fn sign(self, key: &Key, message: &[u8]) -> Result<Vec<u8>, Error> {
        if self == Self::None {
            return Ok(Vec::new());
        }
        if !self.fits(key.kind) {
            return Err(Error::Misfit(self.name()));
        }
        if let Some(algorithm) = self.hmac() {
            let secret = hmac::Key::new(algorithm, key.public_pem()?.as_bytes());
            return Ok(hmac::sign(&secret, message).as_ref().to_vec());
        }
        let random = SystemRandom::new();
        match &key.pair {
            Pair::Rsa(pair) => {
                let encoding = self.rsa_encoding().ok_or(Error::Misfit(self.name()))?;
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature)?;
                Ok(signature)
            }
            Pair::Ec(pair) => Ok(pair.sign(&random, message)?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.try_sign(message)?.as_ref().to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{
        UnparsedPublicKey, VerificationAlgorithm, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED,
        ECDSA_P521_SHA512_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA512,
    };

    use super::*;

    #[test]
    fn signatures_verify() {
        let cases: [(Alg, &'static dyn VerificationAlgorithm); 6] = [
            (Alg::Rs256, &RSA_PKCS1_2048_8192_SHA256),
            (Alg::Ps512, &RSA_PSS_2048_8192_SHA512),
            (Alg::Es256, &ECDSA_P256_SHA256_FIXED),
            (Alg::Es384, &ECDSA_P384_SHA384_FIXED),
            (Alg::Es512, &ECDSA_P521_SHA512_FIXED),
            (Alg::EdDsa, &ED25519),
        ];
        for (alg, verification) in cases {
            let key = Key::generate(alg.key_type()).unwrap();
            let signature = alg.sign(&key, b"message").unwrap();
            let public = UnparsedPublicKey::new(verification, key.public());
            assert!(
                public.verify(b"message", &signature).is_ok(),
                "{}",
                alg.name()
            );
        }
    }

    #[test]
    fn a_key_of_another_type_does_not_sign() {
        let key = Key::generate(KeyType::P256).unwrap();
        assert!(matches!(
            Alg::Rs256.sign(&key, b""),
            Err(Error::Misfit("RS256"))
        ));
        assert!(matches!(
            "XS256".parse::<Alg>(),
            Err(Error::UnknownAlgorithm(_))
        ));
    }
}
