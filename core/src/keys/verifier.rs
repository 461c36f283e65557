//! A public key, parsed for one algorithm.

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents};

use super::material::Material;
use crate::algorithm::Algorithm;

/// Memory of an RSA key in aws-lc: so many times the modulus, and so many bytes more.
const RSA_NUMBERS: usize = 9;
const RSA_OVERHEAD: usize = 1024;
/// Memory of a point in aws-lc, in bytes.
const EC_SIZE: usize = 1024;

/// A public key, parsed for one algorithm.
#[derive(Debug)]
pub(super) enum Verifier {
    /// RSA or ECDSA, over a digest made beforehand: in one step with the message, aws-lc would make
    /// and copy a context for it.
    Digest(ParsedPublicKey, &'static digest::Algorithm),
    /// Ed25519, which digests the message in its own way.
    Message(ParsedPublicKey),
}

impl Verifier {
    /// A key for one of its [`Material::algorithms`]; `None` when the crypto library refuses it.
    pub(super) fn new(material: &Material, algorithm: Algorithm) -> Option<Verifier> {
        match material {
            Material::Rsa { n, e } => Verifier::rsa(n, e, algorithm),
            Material::Ec { point, .. } => Verifier::ecdsa(point, algorithm),
            Material::Ed25519 { point } => ParsedPublicKey::new(&signature::ED25519, point)
                .map(Verifier::Message)
                .ok(),
        }
    }

    /// About how many bytes a key takes beside the verifier itself once it has been used for one
    /// algorithm. Measured; aws-lc does not expose its sizes.
    pub(super) fn heap_size(material: &Material) -> usize {
        match material {
            Material::Rsa { n, .. } => RSA_OVERHEAD + RSA_NUMBERS * n.len(),
            Material::Ec { .. } | Material::Ed25519 { .. } => EC_SIZE,
        }
    }

    fn rsa(n: &[u8], e: &[u8], algorithm: Algorithm) -> Option<Verifier> {
        let (parameters, digest) = match algorithm {
            Algorithm::Rs256 => (&signature::RSA_PKCS1_2048_8192_SHA256, &SHA256),
            Algorithm::Rs384 => (&signature::RSA_PKCS1_2048_8192_SHA384, &SHA384),
            Algorithm::Rs512 => (&signature::RSA_PKCS1_2048_8192_SHA512, &SHA512),
            Algorithm::Ps256 => (&signature::RSA_PSS_2048_8192_SHA256, &SHA256),
            Algorithm::Ps384 => (&signature::RSA_PSS_2048_8192_SHA384, &SHA384),
            Algorithm::Ps512 => (&signature::RSA_PSS_2048_8192_SHA512, &SHA512),
            _ => return None,
        };
        let key = RsaPublicKeyComponents { n, e }
            .to_parsed_public_key(parameters)
            .ok()?;
        Some(Verifier::Digest(key, digest))
    }

    fn ecdsa(point: &[u8], algorithm: Algorithm) -> Option<Verifier> {
        // The fixed-length form of the signature is the one of JOSE (RFC 7518, section 3.4).
        let (curve, digest) = match algorithm {
            Algorithm::Es256 => (&signature::ECDSA_P256_SHA256_FIXED, &SHA256),
            Algorithm::Es384 => (&signature::ECDSA_P384_SHA384_FIXED, &SHA384),
            Algorithm::Es512 => (&signature::ECDSA_P521_SHA512_FIXED, &SHA512),
            _ => return None,
        };
        let key = ParsedPublicKey::new(curve, point).ok()?;
        Some(Verifier::Digest(key, digest))
    }

    /// Tells whether the key made the signature over the message.
    pub(super) fn is_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Verifier::Digest(key, digest) => {
                let digest = digest::digest(digest, message);
                key.verify_digest_sig(&digest, signature).is_ok()
            }
            Verifier::Message(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests;
