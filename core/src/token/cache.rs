//! The LRU cache of verified tokens in one worker: their claims and the key that signed them, never a
//! verdict.

use std::num::NonZeroUsize;
use std::ptr;
use std::rc::Rc;

use super::verify::VerifiedToken;
use crate::credential::MAX_TOKEN;
use crate::digest::{Digest, Digester, Kind, NoRandomness};
use crate::keys::KeyId;

/// Bytes for one token, on average over the cache. A token of Authgear's takes three quarters of it.
pub const TOKEN_SIZE: usize = 2048;

/// Bytes for an entry beside its token: the entry, its share of the empty buckets (at most one for each
/// token of the capacity), and the overhead of the allocator.
const ENTRY_SIZE: usize = 2 * size_of::<Entry>() + 32;

/// Bytes of the counters of an [`Rc`], which stand before its value and change with each clone.
const COUNTS: usize = 2 * size_of::<usize>();

/// The number of last characters that choose the bucket: 96 bits of the signature.
const END: usize = 16;

/// The key of a token in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenDigest {
    digest: Digest,
    /// Half of the source's id; compared as well, though the digest covers all of it.
    source: [u8; 16],
    /// Chooses the bucket.
    bucket_hash: u32,
}

/// A hash table of verified tokens; the least recently used ones are evicted first.
///
/// A token is looked up by its [digest](Digester), which covers the source of the keys: a token that was
/// verified for one source is unknown to any other. The caller still has to check
/// [`SignedBy::is_backed_by`](super::SignedBy::is_backed_by) and the rules of the location.
///
/// A second digest, of the last characters of the signature alone, chooses the bucket. It is ready before
/// the first one, so that entry and token can be prefetched meanwhile. The time of a miss may tell a client
/// that the bucket of a made-up signature is not empty, but neither which tokens are in it nor anything
/// about the key. Only verified tokens fill buckets, and their issuer cannot predict which.
pub struct TokenCache {
    digester: Digester,
    capacity: NonZeroUsize,
    /// The number of buckets, a power of two.
    buckets: usize,
    /// The first entry of each bucket, with or without a token; then the overflow entries of all buckets.
    entries: Vec<Entry>,
    /// The list of overflow entries without a token, linked by `next`.
    free: EntryIndex,
    newest: EntryIndex,
    oldest: EntryIndex,
    count: usize,
    /// Bytes of all entries with their tokens, about.
    size: usize,
}

/// The number of an entry from 1, or 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct EntryIndex(u32);

impl EntryIndex {
    const NONE: EntryIndex = EntryIndex(0);

    fn index(self) -> Option<usize> {
        (self.0 as usize).checked_sub(1)
    }
}

/// An entry of the hash table. Its size is one cache line.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Entry {
    digest: TokenDigest,
    token: Option<Rc<VerifiedToken>>,
    /// Bytes of entry and token, so that eviction does not read the token.
    size: u32,
    /// The next in the bucket.
    next: EntryIndex,
    newer: EntryIndex,
    older: EntryIndex,
}

const _: () = assert!(size_of::<Entry>() == 64);

impl Entry {
    const EMPTY: Entry = Entry {
        digest: TokenDigest {
            digest: [0; 16],
            source: [0; 16],
            bucket_hash: 0,
        },
        token: None,
        size: 0,
        next: EntryIndex::NONE,
        newer: EntryIndex::NONE,
        older: EntryIndex::NONE,
    };
}

impl TokenCache {
    /// An empty cache for that many tokens, and for that many times [`TOKEN_SIZE`].
    ///
    /// # Errors
    ///
    /// [`NoRandomness`] when the system gives no random bytes.
    pub fn new(capacity: NonZeroUsize) -> Result<TokenCache, NoRandomness> {
        let buckets = capacity.get().next_power_of_two();
        // The entries never move: there is at most one overflow entry for each bucket. Reserved capacity takes
        // no memory before it is used.
        let mut entries = Vec::with_capacity(2 * buckets);
        entries.resize(buckets, Entry::EMPTY);
        Ok(TokenCache {
            digester: Digester::new()?,
            capacity,
            buckets,
            entries,
            free: EntryIndex::NONE,
            newest: EntryIndex::NONE,
            oldest: EntryIndex::NONE,
            count: 0,
            size: 0,
        })
    }

    /// Prefetches the bucket of a text that ends with a token, some time before
    /// [`TokenCache::look_up`]. `prefetch` gets the start and length of the memory.
    pub fn prefetch(&self, text: &[u8], prefetch: impl Fn(*const u8, usize)) {
        self.prefetch_entry(self.first(self.bucket_hash(text)), prefetch);
    }

    /// Returns the key of a token for one source of keys, and the token if it is cached; it is then the
    /// most recently used one. `None` when the text is too long to be a token.
    ///
    /// `prefetch` gets the start and length of memory that is needed soon: the token that is probably
    /// found, while its digest is made; and the entry that [`TokenCache::put`] will evict, while the
    /// signature of a new token is checked.
    pub fn look_up(
        &mut self,
        source: &[u8; 32],
        token: &[u8],
        prefetch: impl Fn(*const u8, usize),
    ) -> Option<(TokenDigest, Option<Rc<VerifiedToken>>)> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let bucket_hash = self.bucket_hash(token);
        let first = self.entry(self.first(bucket_hash));
        if let Some(entry) = first.filter(|entry| entry.digest.bucket_hash == bucket_hash) {
            self.prefetch_use(entry, &prefetch);
        }
        let digest = TokenDigest {
            digest: self.digester.of(Kind::Token, &[source, token]),
            source: *source.first_chunk()?,
            bucket_hash,
        };
        let found = self.get(&digest);
        if found.is_none() {
            self.prefetch_removal(prefetch);
        }
        Some((digest, found))
    }

    /// Prefetches what the use of an entry reads or writes: its token, and its neighbours in the order of
    /// use.
    fn prefetch_use(&self, entry: &Entry, prefetch: impl Fn(*const u8, usize)) {
        if let Some(token) = &entry.token {
            let value = Rc::as_ptr(token).cast::<u8>();
            prefetch(
                value.wrapping_sub(COUNTS),
                COUNTS + size_of::<VerifiedToken>(),
            );
        }
        for neighbour in [entry.newer, entry.older] {
            self.prefetch_entry(neighbour, &prefetch);
        }
    }

    /// Prefetches what the next eviction reads or writes, if the cache is full.
    fn prefetch_removal(&self, prefetch: impl Fn(*const u8, usize)) {
        let oldest = self.entry(self.oldest);
        if let Some(oldest) = oldest.filter(|_| self.count == self.capacity.get()) {
            self.prefetch_use(oldest, &prefetch);
            self.prefetch_entry(self.first(oldest.digest.bucket_hash), prefetch);
        }
    }

    fn prefetch_entry(&self, index: EntryIndex, prefetch: impl Fn(*const u8, usize)) {
        if let Some(entry) = self.entry(index) {
            prefetch(ptr::from_ref(entry).cast(), size_of::<Entry>());
        }
    }

    /// The token of that digest, which is then the most recently used one.
    fn get(&mut self, digest: &TokenDigest) -> Option<Rc<VerifiedToken>> {
        let index = self.find(digest)?;
        if index != self.newest {
            self.unlink(index);
            self.link(index);
        }
        self.entry(index)?.token.clone()
    }

    /// Keeps a token, unless it has expired at the time `now`, in Unix seconds, or is larger than
    /// the whole cache.
    pub fn put(&mut self, digest: TokenDigest, token: Rc<VerifiedToken>, now: f64) {
        let limit = self.capacity.get().saturating_mul(TOKEN_SIZE);
        let is_alive = now < token.exp();
        let size = token.size() + ENTRY_SIZE;
        let Ok(own_size) = u32::try_from(size) else {
            return;
        };
        if !is_alive || size > limit {
            return;
        }
        if let Some(index) = self.find(&digest) {
            self.remove(index);
        }
        while self.size + size > limit || self.count >= self.capacity.get() {
            if self.oldest == EntryIndex::NONE {
                return;
            }
            self.remove(self.oldest);
        }
        let Some(index) = self.empty_entry(digest.bucket_hash) else {
            return;
        };
        let Some(entry) = self.entry_mut(index) else {
            return;
        };
        (entry.digest, entry.token, entry.size) = (digest, Some(token), own_size);
        self.link(index);
        self.count += 1;
        self.size += size;
    }

    /// Drops every token that the key signed.
    pub fn forget_key(&mut self, key: &KeyId) {
        let mut index = self.newest;
        while let Some(entry) = self.entry(index) {
            let older = entry.older;
            if entry
                .token
                .as_ref()
                .is_some_and(|token| token.signed_by().key_id() == key)
            {
                self.remove(index);
            }
            index = older;
        }
    }

    /// The hash that chooses the bucket, from the last characters of the token.
    fn bucket_hash(&self, token: &[u8]) -> u32 {
        let end = &token[token.len().saturating_sub(END)..];
        let digest = self.digester.of(Kind::TokenEnd, &[end]);
        u128::from_ne_bytes(digest) as u32
    }

    /// The first entry of a bucket.
    fn first(&self, bucket_hash: u32) -> EntryIndex {
        let bucket = bucket_hash as usize & (self.buckets - 1);
        EntryIndex(bucket as u32 + 1)
    }

    /// An entry of the bucket without a token: the first, or an overflow entry that is linked behind it.
    fn empty_entry(&mut self, bucket_hash: u32) -> Option<EntryIndex> {
        let first = self.first(bucket_hash);
        if self.entry(first)?.token.is_none() {
            return Some(first);
        }
        let mut index = self.free;
        match self.entry(index) {
            Some(free) => self.free = free.next,
            None => {
                self.entries.push(Entry::EMPTY);
                index = EntryIndex(u32::try_from(self.entries.len()).ok()?);
            }
        }
        let next = std::mem::replace(&mut self.entry_mut(first)?.next, index);
        self.entry_mut(index)?.next = next;
        Some(index)
    }

    fn entry(&self, index: EntryIndex) -> Option<&Entry> {
        self.entries.get(index.index()?)
    }

    fn entry_mut(&mut self, index: EntryIndex) -> Option<&mut Entry> {
        self.entries.get_mut(index.index()?)
    }

    fn find(&self, digest: &TokenDigest) -> Option<EntryIndex> {
        let mut index = self.first(digest.bucket_hash);
        while let Some(entry) = self.entry(index) {
            if entry.digest == *digest && entry.token.is_some() {
                return Some(index);
            }
            index = entry.next;
        }
        None
    }

    /// Makes an entry the most recently used one.
    fn link(&mut self, index: EntryIndex) {
        let older = std::mem::replace(&mut self.newest, index);
        if let Some(entry) = self.entry_mut(index) {
            (entry.newer, entry.older) = (EntryIndex::NONE, older);
        }
        match self.entry_mut(older) {
            Some(entry) => entry.newer = index,
            None => self.oldest = index,
        }
    }

    /// Takes an entry out of the order of use.
    fn unlink(&mut self, index: EntryIndex) {
        let Some(&Entry { newer, older, .. }) = self.entry(index) else {
            return;
        };
        match self.entry_mut(newer) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        match self.entry_mut(older) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn remove(&mut self, index: EntryIndex) {
        self.unlink(index);
        let Some(entry) = self.entry_mut(index) else {
            return;
        };
        entry.token = None;
        let (size, bucket_hash, next) = (entry.size, entry.digest.bucket_hash, entry.next);
        self.count -= 1;
        self.size -= size as usize;

        let mut before = self.first(bucket_hash);
        if before == index {
            return;
        }
        let free = std::mem::replace(&mut self.free, index);
        while let Some(entry) = self.entry_mut(before) {
            if entry.next == index {
                entry.next = next;
                break;
            }
            before = entry.next;
        }
        if let Some(entry) = self.entry_mut(index) {
            entry.next = free;
        }
    }
}
