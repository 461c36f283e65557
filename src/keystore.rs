//! The shared zone, and this worker's parsed copy of it.
//!
//! The zone holds one entry for each source of keys: the document as it was fetched, and the
//! [`Record`] of what is known of it. Entries are read and written under the zone's slab mutex,
//! which nginx's master unlocks for a worker that dies with it. Every change of an entry takes a
//! new number from the zone's generation, so that a worker whose copies carry the newest number
//! needs neither the mutex nor the entries.

use core::mem;
use core::ptr::{self, NonNull};
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::num::NonZeroUsize;
use std::rc::Rc;

use authgear_core::fingerprint::BuildDigestHasher;
use authgear_core::keys::freshness::{advise, back_off, Advice, Need, Record};
use authgear_core::keys::KeySet;
use lru::LruCache;

use crate::conf::Remote;

mod zone;

use zone::Entry;
pub use zone::{init_zone, Id, SharedZone};

/// Parsed key sets that one worker keeps.
const PARSED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// How often a worker tells the zone that it uses an entry, in milliseconds.
const TOUCH: u64 = 1000;
/// What a lease lasts beyond the fetch's own time limit, in milliseconds.
const LEASE_MARGIN: u64 = 1000;

impl Entry {
    /// What a worker with that copy knows: as long as nothing was published, its own keys count;
    /// of a document that the zone has no room for, only those who fetched it have the keys.
    fn record_for(&self, copy: &Copy) -> Record {
        let fetched_at = if self.published == 0 {
            copy.record.fetched_at
        } else if self.published == copy.document || !self.document.is_null() {
            self.record.fetched_at
        } else {
            None
        };
        Record {
            fetched_at,
            ..self.record
        }
    }
}

/// The right to fetch one source's keys, until its deadline. No two have the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease(pub u64);

/// How a source's failures change: what is worth a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// As before.
    Same,
    /// It fails, or fails in another way.
    Failing,
    /// It works again.
    Recovered,
}

/// This worker's copy of one entry.
struct Copy {
    keys: Option<Rc<KeySet>>,
    record: Record,
    /// The zone's generation when the copy was made.
    seen: u64,
    /// The entry's generation at that time.
    generation: u64,
    /// Digest of the document that `keys` were parsed from.
    document: u64,
    touched: u64,
    /// Whether a lease is this worker's own, since the zone had no room for an entry.
    alone: bool,
}

/// The key sets as this worker sees them.
pub struct KeyStore {
    zone: SharedZone,
    copies: LruCache<Id, Copy, BuildDigestHasher>,
}

/// What [`KeyStore::look_up`] found.
pub struct Found {
    /// The keys, fresh or not, if there are any.
    pub keys: Option<Rc<KeySet>>,
    /// What to do with them, and beside them.
    pub advice: Advice,
}

impl KeyStore {
    /// A store without copies.
    pub fn new(zone: SharedZone) -> Self {
        Self {
            zone,
            copies: LruCache::with_hasher(PARSED, BuildDigestHasher::default()),
        }
    }

    /// The keys of a source, and what a request with that need shall do, at the time `now`.
    pub fn look_up(&mut self, remote: &Remote, need: Need, now: u64) -> Found {
        let copy = self.copy(&remote.id, now);
        Found {
            keys: copy.keys.clone(),
            advice: advise(&copy.record, &remote.timing, need, now),
        }
    }

    /// The copy, brought up to date.
    fn copy(&mut self, id: &Id, now: u64) -> &mut Copy {
        let seen = self.zone.generation();
        let zone = self.zone;
        let copy = self.copies.get_or_insert_mut(*id, || Copy {
            keys: None,
            record: Record::default(),
            seen: 0,
            generation: 0,
            document: 0,
            touched: 0,
            alone: false,
        });
        if copy.seen != seen || now.saturating_sub(copy.touched) >= TOUCH {
            copy.synchronise(zone, id, seen, now);
        }
        copy
    }

    /// Takes the lease for a fetch, unless the entry, read under the mutex, advises otherwise.
    /// The store's own copy is brought up to date either way.
    pub fn try_lease(&mut self, remote: &Remote, need: Need, now: u64) -> Option<Lease> {
        let deadline = now + remote.source.timeout.as_millis() as u64 + LEASE_MARGIN;
        self.copy(&remote.id, now);
        let copy = self.copies.get_mut(&remote.id)?;
        let mut locked = self.zone.lock();
        let number = locked.zone().leases + 1;
        let entry = locked.find_or_insert(&remote.id, now);
        copy.alone = entry.is_none();
        if let Some(entry) = &entry {
            copy.record = Record {
                fetched_at: copy.record.fetched_at,
                ..entry.record
            };
        }
        let view = match &entry {
            Some(entry) => entry.record_for(copy),
            None => copy.record,
        };
        let advice = advise(&view, &remote.timing, need, now);
        if !matches!(advice, Advice::UseAndFetch | Advice::FetchAndWait) {
            return None;
        }
        copy.record.lease_until = deadline;
        if let Some(entry) = entry {
            entry.record.lease_until = deadline;
            entry.lease = number;
        }
        locked.zone().leases = number;
        Some(Lease(number))
    }

    /// Publishes a document that was fetched under `lease`, with its parsed keys. A lease that has
    /// passed to somebody else publishes nothing.
    pub fn publish(
        &mut self,
        id: &Id,
        lease: Lease,
        document: &[u8],
        keys: KeySet,
        now: u64,
    ) -> Published {
        let mut locked = self.zone.lock();
        let generation = locked.next_generation();
        let record = Record {
            fetched_at: Some(now),
            attempted_at: Some(now),
            ..Record::default()
        };
        let is_late = |entry: &mut Entry| entry.lease > lease.0;
        if locked.find_or_insert(id, now).is_some_and(is_late) {
            return Published::TooLate;
        }
        let mut block = locked.document(document, id, now).or_else(|| {
            // The old document and the new one do not fit at the same time.
            locked.discard(id);
            locked.document(document, id, now)
        });
        let mut change = Change::Same;
        locked.discard(id);
        if let Some(entry) = locked.find(id) {
            entry.document = block.map_or(ptr::null_mut(), NonNull::as_ptr);
            entry.published = digest(document);
            entry.record = record;
            entry.generation = generation;
            if mem::take(&mut entry.failure) != 0 {
                change = Change::Recovered;
            }
        } else if let Some(block) = block.take() {
            // SAFETY: nothing points to it.
            unsafe { locked.free(block.as_ptr()) };
        }
        drop(locked);
        self.copies.put(
            *id,
            Copy {
                keys: Some(Rc::new(keys)),
                record,
                seen: generation,
                generation,
                document: digest(document),
                touched: now,
                alone: false,
            },
        );
        match block {
            Some(_) => Published::Stored(change),
            None => Published::NoRoom(change),
        }
    }

    /// Offers a document that was saved `age` milliseconds ago to a source without keys, whose
    /// fetch under `lease` is still under way.
    pub fn offer(&mut self, id: &Id, lease: Lease, document: &[u8], age: u64, now: u64) {
        let mut locked = self.zone.lock();
        let generation = locked.next_generation();
        let wanted = |entry: &mut Entry| entry.published == 0 && entry.lease == lease.0;
        if !locked.find(id).is_some_and(wanted) {
            return;
        }
        let Some(block) = locked.document(document, id, now) else {
            return;
        };
        if let Some(entry) = locked.find(id) {
            entry.document = block.as_ptr();
            entry.published = digest(document);
            entry.record.fetched_at = Some(now.saturating_sub(age));
            entry.generation = generation;
        }
    }

    /// Records that the fetch under `lease` failed. `failure` is a digest of how, not 0; `jitter`
    /// is from 0 to 1.
    pub fn fail(
        &mut self,
        remote: &Remote,
        lease: Lease,
        failure: u64,
        now: u64,
        jitter: f64,
    ) -> Change {
        let age_limit = remote.timing.refresh.saturating_add(remote.timing.stale);
        self.copy(&remote.id, now);
        let Some(copy) = self.copies.get_mut(&remote.id) else {
            return Change::Same;
        };
        let mut locked = self.zone.lock();
        let generation = locked.next_generation();
        let entry = locked.find_or_insert(&remote.id, now);
        if entry.as_ref().is_some_and(|entry| entry.lease > lease.0) {
            return Change::Same;
        }
        let mut record = match &entry {
            Some(entry) => entry.record_for(copy),
            None => copy.record,
        };
        let is_usable = |at: u64| now.saturating_sub(at) < age_limit;
        let usable = record.fetched_at.is_some_and(is_usable);
        record.failures = record.failures.saturating_add(1);
        record.attempted_at = Some(now);
        record.lease_until = 0;
        record.next_try = now + back_off(record.failures, &remote.timing, usable, jitter);
        match entry {
            Some(entry) => {
                entry.record = Record {
                    fetched_at: entry.record.fetched_at,
                    ..record
                };
                entry.generation = generation;
                match mem::replace(&mut entry.failure, failure) == failure {
                    true => Change::Same,
                    false => Change::Failing,
                }
            }
            None => {
                copy.record = record;
                Change::Failing
            }
        }
    }

    /// Takes note of what is wrong with the source's saved document, a digest of it or 0; says
    /// whether that is news.
    pub fn complain(&mut self, id: &Id, complaint: u64) -> bool {
        match self.zone.lock().find(id) {
            Some(entry) => mem::replace(&mut entry.complaint, complaint) != complaint,
            None => true,
        }
    }

    /// The number of the source's last change, for [`KeyStore::has_news`].
    pub fn last_change(&mut self, id: &Id, now: u64) -> u64 {
        self.copy(id, now).generation
    }

    /// Whether a source has changed since its last change was `since`, or is not being fetched by
    /// anybody any more.
    pub fn has_news(&mut self, id: &Id, since: u64, now: u64) -> bool {
        let copy = self.copy(id, now);
        copy.generation != since || now >= copy.record.lease_until
    }
}

/// Tells a source's documents apart; never 0.
fn digest(document: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(document);
    hasher.finish() | 1
}

/// What became of a fetched document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// Every worker has it.
    Stored(Change),
    /// This worker alone has it: the zone is too small.
    NoRoom(Change),
    /// Another fetch has begun since; its document counts.
    TooLate,
}

impl Copy {
    /// Reads the entry if it changed, and tells it that it is used.
    fn synchronise(&mut self, zone: SharedZone, id: &Id, seen: u64, now: u64) {
        let mut locked = zone.lock();
        self.seen = seen;
        self.touched = now;
        let Some(entry) = locked.find(id) else {
            // Evicted, or never there: what this worker has parsed is as good as before, and its
            // age is known. Nobody else is fetching for it.
            if !self.alone {
                self.record.lease_until = 0;
            }
            return;
        };
        entry.used = now;
        self.alone = false;
        self.record.lease_until = entry.record.lease_until;
        if self.generation == entry.generation {
            return;
        }
        let is_newer = entry.published != 0 && entry.published != self.document;
        let fresh = entry.document().filter(|_| is_newer).map(<[u8]>::to_vec);
        self.record = entry.record_for(self);
        self.generation = entry.generation;
        let published = entry.published;
        drop(locked);
        if is_newer {
            // What is in the zone was parsed before it was published. What is not in it cannot
            // be had here, and the keys that it replaces do not count any more.
            self.keys = fresh
                .and_then(|bytes| KeySet::parse(&bytes).ok())
                .map(|(keys, _)| Rc::new(keys));
            self.document = published;
        }
        if self.keys.is_none() {
            self.record.fetched_at = None;
        }
    }
}
