//! This worker's parsed copy of what the zone holds of one source.

use std::rc::Rc;

use authgear_core::keys::freshness::Record;
use authgear_core::keys::KeySet;

use crate::shm::{Id, SharedZone, SourceEntry};

/// This worker's copy of one entry.
#[derive(Default)]
pub struct LocalCopy {
    pub keys: Option<Rc<KeySet>>,
    /// Bytes of the keys.
    pub size: usize,
    /// True once the source has had keys, here or in the zone.
    pub had_keys: bool,
    pub record: Record,
    /// The zone's generation when the copy was made.
    pub seen: u64,
    /// The entry's generation at that time.
    pub generation: u64,
    /// Digest of the document that `keys` were parsed from; 0 without keys.
    pub document: u64,
    /// When this worker last marked the entry as used.
    pub touched: u64,
    /// True when a lease is this worker's own, since the zone had no room for an entry.
    pub alone: bool,
}

impl LocalCopy {
    /// This worker's view of the record.
    pub fn record_of(&self, entry: &SourceEntry) -> Record {
        entry.record_beside(self.document, self.record.fetched_at)
    }

    /// Reads the entry if it changed, and marks it as used.
    pub fn synchronise(&mut self, zone: SharedZone, id: &Id, seen: u64, now: u64) {
        let locked = zone.lock();
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
        entry.used.set(now);
        self.alone = false;
        self.record.lease_until = entry.record().lease_until;
        let published = entry.published.get();
        self.had_keys |= published != 0;
        if self.generation == entry.generation.get() {
            return;
        }
        let is_newer = published != 0 && published != self.document;
        let fresh = entry.document().filter(|_| is_newer).map(<[u8]>::to_vec);
        self.record = self.record_of(entry);
        self.generation = entry.generation.get();
        drop(locked);
        if is_newer {
            // A document in the zone was parsed before it was published. One that is not in it cannot
            // be had here, and the keys that it replaces do not count any more.
            let parsed = fresh.and_then(|bytes| KeySet::parse(&bytes).ok());
            self.size = parsed.as_ref().map_or(0, |(keys, _)| keys.size());
            self.document = parsed.as_ref().map_or(0, |_| published);
            self.keys = parsed.map(|(keys, _)| Rc::new(keys));
        }
        if self.keys.is_none() {
            self.record.fetched_at = None;
        }
    }
}
