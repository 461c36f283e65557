//! The shared zone, and this worker's parsed copy of it.
//!
//! The zone holds one entry for each source of keys: the document as it was fetched, and the
//! [`Record`] of what is known of it. Entries are read and written under the zone's slab mutex,
//! which nginx's master unlocks for a worker that dies with it. Every change of an entry takes a
//! new number from the zone's generation, so that a worker whose copies carry the newest number
//! needs neither the mutex nor the entries.

use std::collections::hash_map::{DefaultHasher, RandomState};
use std::hash::Hasher;
use std::rc::Rc;

use authgear_core::keys::freshness::{advise, back_off, Advice, Need, Record};
use authgear_core::keys::saved::Saved;
use authgear_core::keys::slots::Standing;
use authgear_core::keys::KeySet;
use authgear_core::status::{FetchResult, KeyOrigin};
use lru::LruCache;

use crate::shm::{Id, Publication, SharedZone, SourceEntry};

use super::local_copy::LocalCopy;
use super::source::KeySource;

/// Sources that one worker knows.
const MOST_COPIES: usize = 1024;
/// Bytes of parsed key sets that one worker keeps.
const MOST_BYTES: usize = 16 << 20;
/// How often a worker tells the zone that it uses an entry, in milliseconds.
const TOUCH: u64 = 1000;
/// Milliseconds of a lease beyond the time limit of the fetch.
const LEASE_MARGIN: u64 = 1000;

/// The right to fetch one source's keys, until its deadline. No two have the same number.
///
/// Dropping one does not release it. It travels with the thread of the fetch, which never touches the
/// zone, and its end says how the fetch ended: [`KeyStore::publish`] or [`KeyStore::fail`], which also
/// sets the time of the next try. Both are called for every fetch, a panic included; without them the
/// deadline ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLease(u64);

/// A change of a source's failures, which is worth a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// As before.
    Same,
    /// It fails, or fails in another way.
    Failing,
    /// It works again.
    Recovered,
}

/// The key sets as this worker sees them.
pub struct KeyStore {
    zone: SharedZone,
    /// Under a hash with a secret of its own: tenants' names come from clients.
    copies: LruCache<Id, LocalCopy, RandomState>,
    /// Bytes of the copies' keys.
    bytes: usize,
}

impl KeyStore {
    /// A store without copies.
    pub fn new(zone: SharedZone) -> Self {
        Self {
            zone,
            copies: LruCache::unbounded_with_hasher(RandomState::new()),
            bytes: 0,
        }
    }

    /// The zone that it is a copy of.
    pub fn zone(&self) -> SharedZone {
        self.zone
    }

    /// The keys of a source, fresh or not, and the next step of a request with that need.
    pub fn look_up(
        &mut self,
        source: &KeySource,
        need: Need,
        now: u64,
    ) -> (Option<Rc<KeySet>>, Advice) {
        let copy = self.copy(&source.id, now);
        let advice = advise(&copy.record, &source.timing, need, now);
        (copy.keys.clone(), advice)
    }

    /// The copy, brought up to date.
    fn copy(&mut self, id: &Id, now: u64) -> &mut LocalCopy {
        let seen = self.zone.generation();
        let zone = self.zone;
        let copy = self.copies.get_or_insert_mut(*id, LocalCopy::default);
        if copy.seen != seen || now.saturating_sub(copy.touched) >= TOUCH {
            let before = copy.size;
            copy.synchronise(zone, id, seen, now);
            self.bytes = self.bytes + copy.size - before;
            self.make_room();
        }
        self.copies.get_or_insert_mut(*id, LocalCopy::default)
    }

    /// Forgets the least recently used copies, but never the last one.
    fn make_room(&mut self) {
        while self.copies.len() > 1 && (self.copies.len() > MOST_COPIES || self.bytes > MOST_BYTES)
        {
            let oldest = self.copies.pop_lru();
            self.bytes -= oldest.map_or(0, |(_, copy)| copy.size);
        }
    }

    /// The standing of a fetch of the source beside those of others.
    pub fn standing(&mut self, id: &Id, now: u64) -> Standing {
        let copy = self.copy(id, now);
        Standing {
            had_keys: copy.had_keys,
            fails: copy.record.failures > 0,
        }
    }

    /// Takes the lease for a fetch, unless the entry, read under the mutex, advises otherwise.
    /// The store's own copy is brought up to date either way.
    pub fn try_lease(&mut self, source: &KeySource, need: Need, now: u64) -> Option<FetchLease> {
        let deadline = now + source.from.timeout.as_millis() as u64 + LEASE_MARGIN;
        self.copy(&source.id, now);
        let copy = self.copies.get_mut(&source.id)?;
        let mut locked = self.zone.lock();
        let number = locked.zone().leases.increment();
        let entry = locked.find_or_insert(&source.id, now);
        copy.alone = entry.is_none();
        if let Some(entry) = &entry {
            copy.record = Record {
                fetched_at: copy.record.fetched_at,
                ..entry.record()
            };
        }
        let view = match &entry {
            Some(entry) => copy.record_of(entry),
            None => copy.record,
        };
        let advice = advise(&view, &source.timing, need, now);
        if !matches!(advice, Advice::UseAndFetch | Advice::FetchAndWait) {
            return None;
        }
        copy.record.lease_until = deadline;
        if let Some(entry) = entry {
            entry.give_lease(number, deadline, source.project);
        }
        Some(FetchLease(number))
    }

    /// Publishes a document that was fetched under `lease`, with its parsed keys. A lease that has
    /// passed to somebody else publishes nothing.
    pub fn publish(
        &mut self,
        source: &KeySource,
        lease: FetchLease,
        document: &[u8],
        keys: KeySet,
        now: u64,
    ) -> Published {
        let id = &source.id;
        let mut locked = self.zone.lock();
        let generation = locked.next_generation();
        let record = Record {
            fetched_at: Some(now),
            attempted_at: Some(now),
            ..Record::default()
        };
        let is_late = |entry: &SourceEntry| entry.is_too_late(lease.0);
        if locked.find_or_insert(id, now).is_some_and(is_late) {
            return Published::TooLate;
        }
        let block = locked.document(document, id, now).or_else(|| {
            // The old document and the new one do not fit at the same time.
            locked.discard(id);
            locked.document(document, id, now)
        });
        let mut change = Change::Same;
        // First the old document goes and last the new one comes: a worker that is killed between
        // leaves a source without keys, which is fetched again, and no old keys that seem new.
        locked.discard(id);
        let entry = locked.find(id);
        let is_stored = entry.is_some() && block.is_some();
        if let Some(entry) = entry {
            let document = Publication {
                digest: digest(document),
                keys: keys.len(),
                origin: KeyOrigin::Network,
                fetched_at: now,
            };
            if entry.publish(&document, generation, source.project) {
                change = Change::Recovered;
            }
        }
        if let Some(block) = block {
            locked.attach(id, block);
        }
        drop(locked);
        let size = keys.size();
        let copy = LocalCopy {
            keys: Some(Rc::new(keys)),
            size,
            had_keys: true,
            record,
            seen: generation,
            generation,
            document: digest(document),
            touched: now,
            alone: false,
        };
        let old = self.copies.put(*id, copy);
        self.bytes = self.bytes + size - old.map_or(0, |old| old.size);
        self.make_room();
        match is_stored {
            true => Published::Stored(change),
            false => Published::NoRoom(change),
        }
    }

    /// Publishes a document that was saved by an earlier process to a source without keys, whose
    /// fetch under `lease` is still under way.
    pub fn offer(&mut self, id: &Id, lease: FetchLease, saved: &Saved, now: u64) {
        let (document, age) = (saved.document.as_slice(), saved.age.as_millis() as u64);
        let mut locked = self.zone.lock();
        let generation = locked.next_generation();
        let wanted =
            |entry: &SourceEntry| entry.published.get() == 0 && entry.is_leased_to(lease.0);
        if !locked.find(id).is_some_and(wanted) {
            return;
        }
        let Some(block) = locked.document(document, id, now) else {
            return;
        };
        if let Some(entry) = locked.find(id) {
            let document = Publication {
                digest: digest(document),
                keys: saved.keys.len(),
                origin: KeyOrigin::Saved,
                fetched_at: now.saturating_sub(age),
            };
            entry.offer(&document, generation);
        }
        locked.attach(id, block);
    }

    /// Records that the fetch under `lease` failed: `failure` is the stage, and a digest of the error, not
    /// 0; `jitter` is from 0 to 1.
    pub fn fail(
        &mut self,
        source: &KeySource,
        lease: FetchLease,
        failure: (FetchResult, u64),
        now: u64,
        jitter: f64,
    ) -> Change {
        let age_limit = source.timing.refresh.saturating_add(source.timing.stale);
        self.copy(&source.id, now);
        let Some(copy) = self.copies.get_mut(&source.id) else {
            return Change::Same;
        };
        let mut locked = self.zone.lock();
        let generation = locked.next_generation();
        let entry = locked.find_or_insert(&source.id, now);
        if entry.is_some_and(|entry| entry.is_too_late(lease.0)) {
            return Change::Same;
        }
        let mut record = match &entry {
            Some(entry) => copy.record_of(entry),
            None => copy.record,
        };
        let is_usable = |at: u64| now.saturating_sub(at) < age_limit;
        let usable = record.fetched_at.is_some_and(is_usable);
        record.failures = record.failures.saturating_add(1);
        record.attempted_at = Some(now);
        record.lease_until = 0;
        record.next_try = now + back_off(record.failures, &source.timing, usable, jitter);
        match entry {
            Some(entry) => match entry.fail(failure, &record, generation, now) {
                true => Change::Failing,
                false => Change::Same,
            },
            None => {
                copy.record = record;
                Change::Failing
            }
        }
    }

    /// Notes a complaint about the source's saved document: a digest of it, or 0 for none. Returns true
    /// when it is another than before.
    pub fn complain(&mut self, id: &Id, complaint: u64) -> bool {
        match self.zone.lock().find(id) {
            Some(entry) => {
                let is_news = entry.complaint.get() != complaint;
                entry.complaint.set(complaint);
                is_news
            }
            None => true,
        }
    }

    /// The number of the source's last change.
    pub fn last_change(&mut self, id: &Id, now: u64) -> u64 {
        self.copy(id, now).generation
    }

    /// True while somebody fetches a source's keys.
    pub fn is_fetched(&mut self, id: &Id, now: u64) -> bool {
        now < self.copy(id, now).record.lease_until
    }
}

/// A digest of a document, to compare it with another. Never 0.
fn digest(document: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(document);
    hasher.finish() | 1
}

/// The outcome of publishing a fetched document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// Every worker has it.
    Stored(Change),
    /// This worker alone has it: the zone is too small.
    NoRoom(Change),
    /// Another fetch has begun since; its document counts.
    TooLate,
}
