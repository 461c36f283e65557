//! Verified tokens that one worker has met: their claims and which key signed them, never a
//! verdict.

use std::num::NonZeroUsize;
use std::ptr;
use std::rc::Rc;

use super::verify::VerifiedToken;
use crate::credential::MAX_TOKEN;
use crate::digest::{random_key, Digester, NoRandomness};
use crate::fingerprint::mixed;
use crate::keys::KeyId;

/// Bytes for one token, on average over the cache. A token of Authgear's takes three quarters of it.
pub const TOKEN_SIZE: usize = 2048;

/// What an entry takes beside its token: itself, when half of the list is empty, its bucket and the
/// allocator's own.
const ENTRY_SIZE: usize = 2 * size_of::<Entry>() + 32;

/// Tells tokens apart without keeping them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenDigest {
    digest: u128,
    /// Chooses the bucket.
    aim: u64,
}

/// The tokens that were verified last, the least recently used of which go first.
///
/// A token is found by its [digest](Digester), which covers the source of the keys: a token that was
/// verified for one is unknown to any other. Whoever takes a token out still has to ask
/// [`SignedBy::is_backed_by`](super::SignedBy::is_backed_by) and the rules of the location.
///
/// The bucket is chosen by a keyed hash of the token's last characters, which are those of its
/// signature: nobody but the issuer fills one on purpose. So it is known before the digest is, and the
/// processor fetches bucket, entry and token meanwhile: among thousands of tokens that takes longer than
/// the digest.
pub struct TokenCache {
    digester: Digester,
    aim_key: u64,
    capacity: NonZeroUsize,
    /// The first entry of each, as many as a power of two.
    buckets: Box<[Place]>,
    entries: Vec<Entry>,
    /// Entries without a token, one leading to the next as in a bucket.
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
#[derive(Debug)]
#[repr(align(64))]
struct Entry {
    digest: TokenDigest,
    token: Option<Rc<VerifiedToken>>,
    /// What both take; the token itself need not be looked at again to be dropped.
    size: usize,
    /// The next in the bucket.
    next: Place,
    newer: Place,
    older: Place,
}

fn load<T>(it: &T, load_ahead: impl Fn(*const u8, usize)) {
    load_ahead(ptr::from_ref(it).cast(), size_of::<T>());
}

impl TokenCache {
    /// An empty cache for that many tokens, and for that many times [`TOKEN_SIZE`].
    ///
    /// # Errors
    ///
    /// When the system has no randomness to give.
    pub fn new(capacity: NonZeroUsize) -> Result<TokenCache, NoRandomness> {
        let aim_key = random_key()?;
        Ok(TokenCache {
            digester: Digester::new()?,
            aim_key: u128::from_ne_bytes(aim_key) as u64,
            capacity,
            buckets: vec![Place::NONE; capacity.get().next_power_of_two()].into(),
            // Their memory grows with what is in them.
            entries: Vec::new(),
            free: Place::NONE,
            newest: Place::NONE,
            oldest: Place::NONE,
            count: 0,
            size: 0,
        })
    }

    /// Tells `load_ahead` where [`TokenCache::look_up`] will begin, for a text that ends with the token:
    /// to be called some time before, and before [`TokenCache::expect_entry`].
    pub fn expect(&self, text: &[u8], load_ahead: impl Fn(*const u8, usize)) {
        load(self.first(self.aim(text)), load_ahead);
    }

    /// Tells `load_ahead` what [`TokenCache::look_up`] will read next.
    pub fn expect_entry(&self, text: &[u8], load_ahead: impl Fn(*const u8, usize)) {
        if let Some(entry) = self.entry(*self.first(self.aim(text))) {
            load(entry, load_ahead);
        }
    }

    /// What a token is found by, for one source of keys, and the token if it is here, which is then
    /// the most recently used one. `None` for what is too long to be a token.
    ///
    /// `load_ahead` is told of memory, by where it begins and its length, that will be read soon: while
    /// the digest is made, the token that it will most likely lead to is on its way. The steps before
    /// are those of [`TokenCache::expect`] and [`TokenCache::expect_entry`].
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
        let aimed_at = self
            .entry(*self.first(aim))
            .filter(|entry| entry.digest.aim == aim);
        if let Some(token) = aimed_at.and_then(|entry| entry.token.as_deref()) {
            load(token, load_ahead);
        }
        let digest = self.digester.digest(source, token);
        let digest = TokenDigest { digest, aim };
        Some((digest, self.get(&digest)))
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
        let bucket = self.bucket(digest.aim);
        let entry = Entry {
            digest,
            token: Some(token),
            size,
            next: self.buckets[bucket],
            newer: Place::NONE,
            older: Place::NONE,
        };
        let place = self.free;
        let place = match self.entry_mut(place) {
            Some(free) => {
                let next = std::mem::replace(free, entry).next;
                self.free = next;
                place
            }
            None => {
                let Ok(number) = u32::try_from(self.entries.len() + 1) else {
                    return;
                };
                self.entries.push(entry);
                Place(number)
            }
        };
        self.buckets[bucket] = place;
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

    /// A hash of the token's last characters.
    fn aim(&self, token: &[u8]) -> u64 {
        let end = token.last_chunk().copied().map_or(0, u64::from_ne_bytes);
        mixed(end ^ self.aim_key)
    }

    fn bucket(&self, aim: u64) -> usize {
        (aim >> 32) as usize & (self.buckets.len() - 1)
    }

    /// The first entry of a bucket.
    fn first(&self, aim: u64) -> &Place {
        &self.buckets[self.bucket(aim)]
    }

    fn entry(&self, place: Place) -> Option<&Entry> {
        self.entries.get(place.index()?)
    }

    fn entry_mut(&mut self, place: Place) -> Option<&mut Entry> {
        self.entries.get_mut(place.index()?)
    }

    fn find(&self, digest: &TokenDigest) -> Option<Place> {
        let mut place = *self.first(digest.aim);
        while let Some(entry) = self.entry(place) {
            if entry.digest == *digest {
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
        let free = self.free;
        let Some(entry) = self.entry_mut(place) else {
            return;
        };
        let (size, aim) = (entry.size, entry.digest.aim);
        let next = std::mem::replace(&mut entry.next, free);
        entry.token = None;
        self.free = place;
        self.count -= 1;
        self.size -= size;

        let bucket = self.bucket(aim);
        let mut before = self.buckets[bucket];
        if before == place {
            self.buckets[bucket] = next;
            return;
        }
        while let Some(entry) = self.entry_mut(before) {
            if entry.next == place {
                entry.next = next;
                return;
            }
            before = entry.next;
        }
    }
}
