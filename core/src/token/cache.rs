//! Verified tokens that one worker has met: their claims and which key signed them, never a
//! verdict.

use std::num::NonZeroUsize;
use std::rc::Rc;

use lru::LruCache;
use polyval::universal_hash::UniversalHash;
use polyval::Polyval;

use super::verify::VerifiedToken;
use crate::credential::MAX_TOKEN;
use crate::fingerprint::{random_key, BuildDigestHasher, NoRandomness};
use crate::keys::KeyId;

/// Bytes for one token, on average over the cache. A token of Authgear's takes less than half of
/// it.
pub const TOKEN_SIZE: usize = 2048;

/// What an entry takes beside its token: the place in the list with the digest, and that in the
/// hash table when it is least full, with the allocator's own.
const ENTRY_SIZE: usize = 160;

/// Tells tokens apart without keeping them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 16]);

/// The tokens that were verified last, the least recently used of which go first.
///
/// A token is found by a digest of 128 bits: POLYVAL (RFC 8452, section 3) under a key that stays in
/// this process, as its digests do. Whoever does not know the key makes two texts of at most 16 KiB
/// collide with a probability below 2^-117, the polynomial's degree over 2^128. It takes a third of
/// what SipHash takes where the processor multiplies without carry. The digest covers
/// the source of the keys: a token that was verified for one is unknown to any other. Whoever takes a
/// token out still has to ask [`VerifiedToken::is_backed_by`] and the rules of the location.
pub struct TokenCache {
    polyval: Polyval,
    capacity: NonZeroUsize,
    tokens: LruCache<TokenDigest, Rc<VerifiedToken>, BuildDigestHasher>,
    /// What the entries take together, about.
    size: usize,
}

impl TokenCache {
    /// An empty cache for that many tokens, and for that many times [`TOKEN_SIZE`].
    ///
    /// # Errors
    ///
    /// When the system has no randomness to give.
    pub fn new(capacity: NonZeroUsize) -> Result<TokenCache, NoRandomness> {
        Ok(TokenCache {
            polyval: Polyval::new(&random_key()?.into()),
            capacity,
            // Its memory grows with what is in it.
            tokens: LruCache::unbounded_with_hasher(BuildDigestHasher::default()),
            size: 0,
        })
    }

    /// How many tokens there is room for.
    pub fn capacity(&self) -> NonZeroUsize {
        self.capacity
    }

    /// What a token is found by, for one source of keys; `None` for what is too long to be a token.
    pub fn digest(&self, source: &[u8; 32], token: &[u8]) -> Option<TokenDigest> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let mut polyval = self.polyval.clone();
        // Blocks are filled up with zeros, so the length tells such texts apart. It stands first, and
        // the source has a fixed length.
        polyval.update_padded(&(token.len() as u128).to_le_bytes());
        polyval.update_padded(source);
        polyval.update_padded(token);
        Some(TokenDigest(polyval.finalize().into()))
    }

    /// The token of that digest, which is then the most recently used one.
    pub fn get(&mut self, digest: &TokenDigest) -> Option<Rc<VerifiedToken>> {
        self.tokens.get(digest).map(Rc::clone)
    }

    /// Keeps a token, unless it has expired at the time `now`, in Unix seconds, or is larger than
    /// the whole cache.
    pub fn put(&mut self, digest: TokenDigest, token: Rc<VerifiedToken>, now: f64) {
        let limit = self.capacity.get().saturating_mul(TOKEN_SIZE);
        let size = token.size() + ENTRY_SIZE;
        let is_alive = now < token.claims().exp();
        if !is_alive || size > limit {
            return;
        }
        self.size += size;
        if let Some(old) = self.tokens.put(digest, token) {
            self.size -= old.size() + ENTRY_SIZE;
        }
        while self.size > limit || self.tokens.len() > self.capacity.get() {
            let Some((_, oldest)) = self.tokens.pop_lru() else {
                return;
            };
            self.size -= oldest.size() + ENTRY_SIZE;
        }
    }

    /// Drops every token that the key signed.
    pub fn forget_key(&mut self, key: &KeyId) {
        let signed: Vec<TokenDigest> = self
            .tokens
            .iter()
            .filter(|(_, token)| token.key_id() == key)
            .map(|(digest, _)| *digest)
            .collect();
        for digest in signed {
            if let Some(token) = self.tokens.pop(&digest) {
                self.size -= token.size() + ENTRY_SIZE;
            }
        }
    }
}
