//! RSASSA-PKCS1-v1_5 (RFC 8017, section 8.2; RFC 7518, section 3.3).

use authgear_rsavp1::PublicKey;
use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use smallvec::SmallVec;

use crate::algorithm::Algorithm;

/// An RSA key for RS256, RS384 or RS512.
#[derive(Debug)]
pub(super) struct Pkcs1Key {
    key: PublicKey,
    digest: &'static digest::Algorithm,
    /// All that stands before the digest in what the key signs (RFC 8017, section 9.2): as long as
    /// the modulus, together with the digest.
    before_digest: Box<[u8]>,
}

impl Pkcs1Key {
    /// The key of a modulus and an exponent, big-endian and without leading zeros. None when it is
    /// for another algorithm, or no key.
    pub(super) fn new(n: &[u8], e: &[u8], algorithm: Algorithm) -> Option<Pkcs1Key> {
        // DigestInfo up to the digest, whose length is the last byte (note 1 of that section).
        let (digest, info) = match algorithm {
            Algorithm::Rs256 => (
                &SHA256,
                b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
            ),
            Algorithm::Rs384 => (
                &SHA384,
                b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
            ),
            Algorithm::Rs512 => (
                &SHA512,
                b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
            ),
            _ => return None,
        };
        let key = PublicKey::new(n, e)?;
        let padding = key
            .size()
            .checked_sub(3 + info.len() + digest.output_len())?;
        let before_digest = [&[0, 1], &*vec![0xff; padding], &[0], info].concat();
        Some(Pkcs1Key {
            key,
            digest,
            before_digest: before_digest.into(),
        })
    }

    /// Whether the key made the signature over the message. What was signed is compared whole, never
    /// read: there is one way to write it.
    pub(super) fn is_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let mut signed = SmallVec::<[u8; 256]>::from_slice(signature);
        self.key.raise(&mut signed)
            && signed.strip_prefix(&*self.before_digest)
                == Some(digest::digest(self.digest, message).as_ref())
    }
}
