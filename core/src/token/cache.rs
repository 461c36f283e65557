//! Verified tokens that one worker has met: their claims and which key signed them, never a
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

/// What an entry takes beside its token: itself, its part of the buckets that are empty, of which there is
/// no more than one for each token that there is room for, and the allocator's own.
const ENTRY_SIZE: usize = 2 * size_of::<Entry>() + 32;

/// Bytes before the value of an [`Rc`], which every use of it changes.
const COUNTS: usize = 2 * size_of::<usize>();

/// Last characters of a token that choose its bucket, 96 bits of its signature.
const END: usize = 16;

/// Tells tokens apart without keeping them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenDigest {
    digest: Digest,
    /// Half of the source's number, compared beside the digest, which covers all of it.
    source: [u8; 16],
    /// Chooses the bucket.
    aim: u32,
}

/// The tokens that were verified last, the least recently used of which go first.
///
/// A token is found by its [digest](Digester), which covers the source of the keys: a token that was
/// verified for one is unknown to any other. Whoever takes a token out still has to ask
/// [`SignedBy::is_backed_by`](super::SignedBy::is_backed_by) and the rules of the location.
///
/// The bucket is chosen by another digest, of the token's last characters alone, which are those of its
/// signature. So it is known before the token's own digest is, and the processor fetches entry and token
/// meanwhile. How long it takes to find nothing may tell a client whether the bucket of a signature's
/// end that it made up has tokens, but neither which ones nor anything about the key. Only a token that
/// was verified fills a bucket, and its issuer cannot predict which.
pub struct TokenCache {
    digester: Digester,
    capacity: NonZeroUsize,
    /// How many, a power of two.
    buckets: usize,
    /// The first entry of each bucket, with or without a token; then those that came when a bucket's
    /// first had one.
    entries: Vec<Entry>,
    /// Of the latter those without a token, one leading to the next as in a bucket.
    free: Place,
    newest: Place,
    oldest: Place,
    count: usize,
    /// What the entries take together, about.
    size: usize,
}

/// The number of an entry from 1, or 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place(u32);

impl Place {
    const NONE: Place = Place(0);

    fn index(self) -> Option<usize> {
        (self.0 as usize).checked_sub(1)
    }
}

/// Lies in one line of the processor's cache.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Entry {
    digest: TokenDigest,
    token: Option<Rc<VerifiedToken>>,
    /// What both take; the token itself need not be looked at again to be dropped.
    size: u32,
    /// The next in the bucket.
    next: Place,
    newer: Place,
    older: Place,
}

const _: () = assert!(size_of::<Entry>() == 64);

impl Entry {
    const EMPTY: Entry = Entry {
        digest: TokenDigest {
            digest: [0; 16],
            source: [0; 16],
            aim: 0,
        },
        token: None,
        size: 0,
        next: Place::NONE,
        newer: Place::NONE,
        older: Place::NONE,
    };
}

impl TokenCache {
    /// An empty cache for that many tokens, and for that many times [`TOKEN_SIZE`].
    ///
    /// # Errors
    ///
    /// When the system has no randomness to give.
    pub fn new(capacity: NonZeroUsize) -> Result<TokenCache, NoRandomness> {
        let buckets = capacity.get().next_power_of_two();
        // They never move: no more can come than there are buckets. What is not used yet takes no memory.
        let mut entries = Vec::with_capacity(2 * buckets);
        entries.resize(buckets, Entry::EMPTY);
        Ok(TokenCache {
            digester: Digester::new()?,
            capacity,
            buckets,
            entries,
            free: Place::NONE,
            newest: Place::NONE,
            oldest: Place::NONE,
            count: 0,
            size: 0,
        })
    }

    /// Tells `load_ahead` where [`TokenCache::look_up`] will begin, for a text that ends with the token:
    /// to be called some time before.
    pub fn expect(&self, text: &[u8], load_ahead: impl Fn(*const u8, usize)) {
        self.expect_entry(self.first(self.aim(text)), load_ahead);
    }

    /// What a token is found by, for one source of keys, and the token if it is here, which is then
    /// the most recently used one. `None` for what is too long to be a token.
    ///
    /// `load_ahead` is told of memory, by where it begins and its length, that will be used soon: while
    /// the digest is made, the token that it will most likely lead to is on its way; and while the
    /// signature of a new one is checked, what [`TokenCache::put`] takes out for it.
    pub fn look_up(
        &mut self,
        source: &[u8; 32],
        token: &[u8],
        load_ahead: impl Fn(*const u8, usize),
    ) -> Option<(TokenDigest, Option<Rc<VerifiedToken>>)> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let aim = self.aim(token);
        let first = self.entry(self.first(aim));
        if let Some(entry) = first.filter(|entry| entry.digest.aim == aim) {
            self.expect_use(entry, &load_ahead);
        }
        let digest = TokenDigest {
            digest: self.digester.of(Kind::Token, &[source, token]),
            source: *source.first_chunk()?,
            aim,
        };
        let found = self.get(&digest);
        if found.is_none() {
            self.expect_removal(load_ahead);
        }
        Some((digest, found))
    }

    /// Tells `load_ahead` of what the use of an entry will read or write: its token, and the entries that
    /// it stands between.
    fn expect_use(&self, entry: &Entry, load_ahead: impl Fn(*const u8, usize)) {
        if let Some(token) = &entry.token {
            let value = Rc::as_ptr(token).cast::<u8>();
            load_ahead(
                value.wrapping_sub(COUNTS),
                COUNTS + size_of::<VerifiedToken>(),
            );
        }
        for neighbour in [entry.newer, entry.older] {
            self.expect_entry(neighbour, &load_ahead);
        }
    }

    /// Tells `load_ahead` of what it takes to make room for one more, if it does.
    fn expect_removal(&self, load_ahead: impl Fn(*const u8, usize)) {
        let oldest = self.entry(self.oldest);
        if let Some(oldest) = oldest.filter(|_| self.count == self.capacity.get()) {
            self.expect_use(oldest, &load_ahead);
            self.expect_entry(self.first(oldest.digest.aim), load_ahead);
        }
    }

    fn expect_entry(&self, place: Place, load_ahead: impl Fn(*const u8, usize)) {
        if let Some(entry) = self.entry(place) {
            load_ahead(ptr::from_ref(entry).cast(), size_of::<Entry>());
        }
    }

    /// The token of that digest, which is then the most recently used one.
    fn get(&mut self, digest: &TokenDigest) -> Option<Rc<VerifiedToken>> {
        let place = self.find(digest)?;
        if place != self.newest {
            self.unlink(place);
            self.link(place);
        }
        self.entry(place)?.token.clone()
    }

    /// Keeps a token, unless it has expired at the time `now`, in Unix seconds, or is larger than
    /// the whole cache.
    pub fn put(&mut self, digest: TokenDigest, token: Rc<VerifiedToken>, now: f64) {
        let limit = self.capacity.get().saturating_mul(TOKEN_SIZE);
        let is_alive = now < token.claims().exp();
        let size = token.size() + ENTRY_SIZE;
        let Ok(own_size) = u32::try_from(size) else {
            return;
        };
        if !is_alive || size > limit {
            return;
        }
        if let Some(place) = self.find(&digest) {
            self.remove(place);
        }
        while self.size + size > limit || self.count >= self.capacity.get() {
            if self.oldest == Place::NONE {
                return;
            }
            self.remove(self.oldest);
        }
        let Some(place) = self.empty_place(digest.aim) else {
            return;
        };
        let Some(entry) = self.entry_mut(place) else {
            return;
        };
        (entry.digest, entry.token, entry.size) = (digest, Some(token), own_size);
        self.link(place);
        self.count += 1;
        self.size += size;
    }

    /// Drops every token that the key signed.
    pub fn forget_key(&mut self, key: &KeyId) {
        let mut place = self.newest;
        while let Some(entry) = self.entry(place) {
            let older = entry.older;
            if entry
                .token
                .as_ref()
                .is_some_and(|token| token.signed_by().key_id() == key)
            {
                self.remove(place);
            }
            place = older;
        }
    }

    /// What the token's last characters choose a bucket by.
    fn aim(&self, token: &[u8]) -> u32 {
        let end = &token[token.len().saturating_sub(END)..];
        let digest = self.digester.of(Kind::TokenEnd, &[end]);
        u128::from_ne_bytes(digest) as u32
    }

    /// The first place of a bucket.
    fn first(&self, aim: u32) -> Place {
        let bucket = aim as usize & (self.buckets - 1);
        Place(bucket as u32 + 1)
    }

    /// A place in a bucket that has no token: the first, or another that now comes behind it.
    fn empty_place(&mut self, aim: u32) -> Option<Place> {
        let first = self.first(aim);
        if self.entry(first)?.token.is_none() {
            return Some(first);
        }
        let mut place = self.free;
        match self.entry(place) {
            Some(free) => self.free = free.next,
            None => {
                self.entries.push(Entry::EMPTY);
                place = Place(u32::try_from(self.entries.len()).ok()?);
            }
        }
        let next = std::mem::replace(&mut self.entry_mut(first)?.next, place);
        self.entry_mut(place)?.next = next;
        Some(place)
    }

    fn entry(&self, place: Place) -> Option<&Entry> {
        self.entries.get(place.index()?)
    }

    fn entry_mut(&mut self, place: Place) -> Option<&mut Entry> {
        self.entries.get_mut(place.index()?)
    }

    fn find(&self, digest: &TokenDigest) -> Option<Place> {
        let mut place = self.first(digest.aim);
        while let Some(entry) = self.entry(place) {
            if entry.digest == *digest && entry.token.is_some() {
                return Some(place);
            }
            place = entry.next;
        }
        None
    }

    /// Makes a place the most recently used one.
    fn link(&mut self, place: Place) {
        let older = std::mem::replace(&mut self.newest, place);
        if let Some(entry) = self.entry_mut(place) {
            (entry.newer, entry.older) = (Place::NONE, older);
        }
        match self.entry_mut(older) {
            Some(entry) => entry.newer = place,
            None => self.oldest = place,
        }
    }

    /// Takes a place out of the order of use.
    fn unlink(&mut self, place: Place) {
        let Some(&Entry { newer, older, .. }) = self.entry(place) else {
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

    fn remove(&mut self, place: Place) {
        self.unlink(place);
        let Some(entry) = self.entry_mut(place) else {
            return;
        };
        entry.token = None;
        let (size, aim, next) = (entry.size, entry.digest.aim, entry.next);
        self.count -= 1;
        self.size -= size as usize;

        let mut before = self.first(aim);
        if before == place {
            return;
        }
        let free = std::mem::replace(&mut self.free, place);
        while let Some(entry) = self.entry_mut(before) {
            if entry.next == place {
                entry.next = next;
                break;
            }
            before = entry.next;
        }
        if let Some(entry) = self.entry_mut(place) {
            entry.next = free;
        }
    }
}
