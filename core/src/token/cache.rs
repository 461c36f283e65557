//! The verified tokens that one worker keeps (LRU), never a verdict.

use std::num::NonZeroUsize;
use std::rc::Rc;

use lru::LruCache;

use super::verify::VerifiedToken;
use crate::digest::Digest;

/// Bytes for one token, on average over the cache. A token of Authgear's takes half of it.
pub const TOKEN_SIZE: usize = 2048;

/// Bytes for an entry beside its token, about: links, digest, tenant, its part of the hash table, and the
/// overhead of the allocator.
const ENTRY_SIZE: usize = 128;

/// A token's key: its tenant, and the digest of all of it.
type Key = ([u8; 32], Digest);

/// Verified tokens; the least recently used ones are evicted first.
///
/// The caller still has to check [`SignedBy::is_backed_by`](super::SignedBy::is_backed_by) and the rules
/// of the location.
pub struct TokenCache {
    tokens: LruCache<Key, Rc<VerifiedToken>>,
    /// Bytes of all entries with their tokens, about.
    size: usize,
}

impl TokenCache {
    /// An empty cache for that many tokens, and for that many times [`TOKEN_SIZE`].
    #[must_use]
    pub fn new(capacity: NonZeroUsize) -> TokenCache {
        TokenCache {
            tokens: LruCache::new(capacity),
            size: 0,
        }
    }

    /// The token of that digest, which is then the most recently used one.
    pub fn get(&mut self, tenant: &[u8; 32], digest: &Digest) -> Option<Rc<VerifiedToken>> {
        self.tokens.get(&(*tenant, *digest)).cloned()
    }

    /// Keeps a token, unless it has expired at the time `now`, in Unix seconds, or is larger than
    /// the whole cache.
    pub fn put(&mut self, tenant: [u8; 32], digest: Digest, token: Rc<VerifiedToken>, now: f64) {
        let limit = self.tokens.cap().get().saturating_mul(TOKEN_SIZE);
        let is_alive = now < token.exp();
        let size = size_of_entry(&token);
        if !is_alive || size > limit {
            return;
        }
        if let Some((_, old)) = self.tokens.push((tenant, digest), token) {
            self.size -= size_of_entry(&old);
        }
        self.size += size;
        while self.size > limit {
            let Some((_, old)) = self.tokens.pop_lru() else {
                return;
            };
            self.size -= size_of_entry(&old);
        }
    }

    /// Drops a token whose key counts no more.
    pub fn forget(&mut self, tenant: &[u8; 32], digest: &Digest) {
        if let Some(old) = self.tokens.pop(&(*tenant, *digest)) {
            self.size -= size_of_entry(&old);
        }
    }
}

fn size_of_entry(token: &VerifiedToken) -> usize {
    token.size() + ENTRY_SIZE
}
