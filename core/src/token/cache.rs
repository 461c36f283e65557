//! Verified tokens that one worker has met: their claims and which key signed them, never a
//! verdict.

use std::num::NonZeroUsize;
use std::rc::Rc;

use hashbrown::HashTable;
use lru_slab::LruSlab;
use polyval::universal_hash::UniversalHash;
use polyval::Polyval;

use super::verify::VerifiedToken;
use crate::credential::MAX_TOKEN;
use crate::fingerprint::{random_key, NoRandomness};
use crate::keys::KeyId;

/// Bytes for one token, on average over the cache. A token of Authgear's takes three quarters of it.
pub const TOKEN_SIZE: usize = 2048;

/// What an entry takes beside its token: the place in the list with the digest, and that in the
/// hash table, both when they are least full, with the allocator's own.
const ENTRY_SIZE: usize = 128;

/// Tells tokens apart without keeping them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenDigest(u128);

impl TokenDigest {
    /// Nobody chooses a digest, so a part of it is hash enough.
    fn hash(self) -> u64 {
        self.0 as u64
    }
}

/// The tokens that were verified last, the least recently used of which go first.
///
/// A token is found by a digest of 128 bits: POLYVAL (RFC 8452, section 3) under a key that stays in
/// this process, as its digests do. Whoever does not know the key makes two texts of at most 16 KiB
/// collide with a probability below 2^-117, the polynomial's degree over 2^128. It takes a third of
/// what SipHash takes where the processor multiplies without carry. The digest covers the source of
/// the keys: a token that was verified for one is unknown to any other. Whoever takes a token out
/// still has to ask [`VerifiedToken::is_backed_by`] and the rules of the location.
pub struct TokenCache {
    polyval: Polyval,
    capacity: NonZeroUsize,
    /// Where in `tokens` each is, by its digest.
    places: HashTable<u32>,
    /// Side by side, so that to find one and to move it to the front takes few cache lines.
    tokens: LruSlab<Entry>,
    /// What the entries take together, about.
    size: usize,
}

struct Entry {
    digest: TokenDigest,
    token: Rc<VerifiedToken>,
    /// What both take; the token itself need not be looked at again to be dropped.
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
            // Their memory grows with what is in them.
            places: HashTable::new(),
            tokens: LruSlab::new(),
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
        Some(TokenDigest(u128::from_ne_bytes(polyval.finalize().into())))
    }

    /// The token of that digest, which is then the most recently used one.
    pub fn get(&mut self, digest: &TokenDigest) -> Option<Rc<VerifiedToken>> {
        let place = self.place(digest)?;
        Some(Rc::clone(&self.tokens.get_mut(place).token))
    }

    /// Keeps a token, unless it has expired at the time `now`, in Unix seconds, or is larger than
    /// the whole cache.
    pub fn put(&mut self, digest: TokenDigest, token: Rc<VerifiedToken>, now: f64) {
        let limit = self.capacity.get().saturating_mul(TOKEN_SIZE);
        let is_alive = now < token.claims().exp();
        let size = token.size() + ENTRY_SIZE;
        if !is_alive || size > limit {
            return;
        }
        if let Some(place) = self.place(&digest) {
            self.remove(place);
        }
        while self.size + size > limit || self.tokens.len() as usize >= self.capacity.get() {
            let Some(oldest) = self.tokens.lru() else {
                return;
            };
            self.remove(oldest);
        }
        self.size += size;
        let place = self.tokens.insert(Entry {
            digest,
            token,
            size,
        });
        let tokens = &self.tokens;
        self.places.insert_unique(digest.hash(), place, |&place| {
            tokens.peek(place).digest.hash()
        });
    }

    /// Drops every token that the key signed.
    pub fn forget_key(&mut self, key: &KeyId) {
        let tokens = self.tokens.iter();
        let signed: Vec<u32> = tokens
            .filter(|(_, entry)| entry.token.key_id() == key)
            .map(|(place, _)| place)
            .collect();
        for place in signed {
            self.remove(place);
        }
    }

    fn place(&self, digest: &TokenDigest) -> Option<u32> {
        let is_it = |&place: &u32| self.tokens.peek(place).digest == *digest;
        self.places.find(digest.hash(), is_it).copied()
    }

    fn remove(&mut self, place: u32) {
        let entry = self.tokens.remove(place);
        self.size -= entry.size;
        if let Ok(found) = self
            .places
            .find_entry(entry.digest.hash(), |&found| found == place)
        {
            found.remove();
        }
    }
}
