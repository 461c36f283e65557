//! The key that signed a token.

use crate::algorithm::{Algorithm, AlgorithmSet};
use crate::keys::{KeyId, KeySet};

/// The key and algorithm that a token's signature was checked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedBy {
    pub(super) key_id: KeyId,
    pub(super) algorithm: Algorithm,
    pub(super) has_kid: bool,
}

impl SignedBy {
    /// The length of a signer in a [record](super::VerifiedToken::record), in bytes.
    pub const SIZE: usize = 34;

    /// The version of the record's layout, so that no other version of this module reads it after a reload.
    const LAYOUT: u8 = 2;

    /// Reads the signer from the beginning of a [record](super::VerifiedToken::record); `None` when there
    /// is none, or the record has another layout.
    pub fn from_record(record: &[u8]) -> Option<SignedBy> {
        let (key_id, rest) = record.split_first_chunk()?;
        let [algorithm, marks, ..] = *rest else {
            return None;
        };
        (marks >> 1 == Self::LAYOUT).then_some(())?;
        Some(SignedBy {
            key_id: KeyId::from_bytes(*key_id),
            algorithm: *Algorithm::ALL.get(usize::from(algorithm))?,
            has_kid: marks & 1 != 0,
        })
    }

    /// The inverse of [`SignedBy::from_record`].
    pub(crate) fn to_record(self) -> [u8; Self::SIZE] {
        let mut record = [0; Self::SIZE];
        let marks = Self::LAYOUT << 1 | u8::from(self.has_kid);
        record[..32].copy_from_slice(self.key_id.as_bytes());
        record[32..].copy_from_slice(&[self.algorithm as u8, marks]);
        record
    }

    /// Tells whether [`verify`](super::verify) would come to the same key again: the key that signed is
    /// still in the set, for a token without a `kid` as the only one that fits, and the algorithm is still
    /// allowed.
    pub fn is_backed_by(&self, keys: &KeySet, allowed: AlgorithmSet) -> bool {
        allowed.contains(self.algorithm)
            && keys.contains(&self.key_id)
            && (self.has_kid || keys.has_one_for(self.algorithm))
    }

    /// The key that signed.
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }
}
