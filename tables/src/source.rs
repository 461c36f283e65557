//! One source of keys: its key-set document, what is known of it, and the right to fetch it.
//!
//! Readers and writers of an entry hold a lock that all processes share. A process can be killed with it at any
//! store: the next one finds the keys of before, those of after, or none, and keys are never newer than their time.

use core::mem::{self, offset_of};
use core::ptr::NonNull;
use core::slice;

use authgear_core::keys::freshness::Record;
use authgear_core::status::{FetchResult, KeyFacts, KeyOrigin};

use crate::layout_number;
use crate::lease::Lease;
use crate::word::{Link, Word};

#[cfg(all(test, not(feature = "loom")))]
mod tests;

/// A digest that identifies a source of keys, or a tenant.
pub type Id = [u8; 32];

/// One source's keys. Exactly one bucket chains it. Processes share references to it while they hold
/// the zone's mutex; all that changes in it is atomic.
#[derive(Debug)]
#[repr(C)]
pub struct SourceEntry {
    /// The next entry of the bucket.
    pub next: Link<SourceEntry>,
    /// Never changes.
    pub id: Id,
    /// The zone's generation at this entry's last change.
    pub generation: Word,
    /// The last good document; null when there is none, or the zone had no room for it.
    pub document: Link<DocumentBlock>,
    /// Digest of the last good document, whether or not the zone has room for it; 0 when there
    /// was none.
    pub published: Word,
    record: SharedRecord,
    /// The right to fetch.
    lease: Lease,
    /// When a worker last used the entry.
    pub used: Word,
    /// Digest of the last failure that was logged; 0 when the last attempt succeeded.
    pub failure: Word,
    /// Digest of what was last logged of the saved document; 0 when nothing is wrong with it.
    pub complaint: Word,
    /// Digest of the name of the project that asked for it last.
    pub project: Word,
    /// For the status page: keys in the last good document, its origin, and the last failure.
    number: Word,
    origin: Word,
    error: Word,
    error_at: Word,
}

/// A [`Record`] in shared memory. All its times are far from 0, which stands for none.
#[derive(Debug, Default)]
#[repr(C)]
struct SharedRecord {
    fetched_at: Word,
    attempted_at: Word,
    failures: Word,
    next_try: Word,
}

/// The header of a block that holds a document: `len` bytes follow it. Nothing in it ever changes.
#[derive(Debug)]
#[repr(C)]
pub struct DocumentBlock {
    /// The length of the document.
    pub len: usize,
}

/// Differs when entries are laid out in another way.
pub const LAYOUT: u64 = layout_number(&[
    mem::size_of::<SourceEntry>(),
    offset_of!(SourceEntry, next),
    offset_of!(SourceEntry, id),
    offset_of!(SourceEntry, generation),
    offset_of!(SourceEntry, document),
    offset_of!(SourceEntry, published),
    offset_of!(SourceEntry, record),
    offset_of!(SourceEntry, lease),
    offset_of!(SourceEntry, used),
    offset_of!(SourceEntry, failure),
    offset_of!(SourceEntry, complaint),
    offset_of!(SourceEntry, project),
    offset_of!(SourceEntry, number),
    offset_of!(SourceEntry, origin),
    offset_of!(SourceEntry, error),
    offset_of!(SourceEntry, error_at),
    mem::size_of::<SharedRecord>(),
    offset_of!(SharedRecord, fetched_at),
    offset_of!(SharedRecord, attempted_at),
    offset_of!(SharedRecord, failures),
    offset_of!(SharedRecord, next_try),
    mem::size_of::<DocumentBlock>(),
    offset_of!(DocumentBlock, len),
]);

/// A document that an entry gets.
#[derive(Debug, Clone, Copy)]
pub struct Publication {
    /// A digest of it, which is not 0.
    pub digest: u64,
    /// The number of its keys.
    pub keys: usize,
    /// How this node came by it.
    pub origin: KeyOrigin,
    /// When it was fetched.
    pub fetched_at: u64,
}

impl SourceEntry {
    /// An entry without keys.
    #[must_use]
    pub fn new(next: *mut SourceEntry, id: &Id, now: u64) -> SourceEntry {
        let entry = SourceEntry {
            next: Link::null(),
            id: *id,
            generation: Word::default(),
            document: Link::null(),
            published: Word::default(),
            record: SharedRecord::default(),
            lease: Lease::default(),
            used: Word::default(),
            failure: Word::default(),
            complaint: Word::default(),
            project: Word::default(),
            number: Word::default(),
            origin: Word::default(),
            error: Word::default(),
            error_at: Word::default(),
        };
        entry.next.set(next);
        entry.used.set(now);
        entry
    }

    /// The source's record.
    #[must_use]
    pub fn record(&self) -> Record {
        let time = |word: &Word| Some(word.get()).filter(|time| *time != 0);
        Record {
            fetched_at: time(&self.record.fetched_at),
            attempted_at: time(&self.record.attempted_at),
            failures: self.record.failures.get() as u32,
            next_try: self.record.next_try.get(),
            lease_until: self.lease.until(),
        }
    }

    /// The record for a worker whose own keys are of the document with the digest `own`, fetched at `fetched_at`. If
    /// there is no document here, those count, unless others were published after them.
    #[must_use]
    pub fn record_beside(&self, own: u64, fetched_at: Option<u64>) -> Record {
        let record = self.record();
        let published = self.published.get();
        let fetched_at = if published == 0 {
            fetched_at
        } else if published == own || !self.document.get().is_null() {
            record.fetched_at
        } else {
            None
        };
        Record {
            fetched_at,
            ..record
        }
    }

    /// Gives the right to fetch to a new number, until a deadline.
    pub fn give_lease(&self, number: u64, until: u64, project: u64) {
        self.lease.give(number, until);
        self.project.set(project);
    }

    /// True for a number whose lease is the newest.
    #[must_use]
    pub fn is_leased_to(&self, number: u64) -> bool {
        self.lease.number() == number
    }

    /// True for a number after whose lease there was another.
    #[must_use]
    pub fn is_too_late(&self, number: u64) -> bool {
        self.lease.number() > number
    }

    /// Notes a document that was fetched, and ends the lease; true if fetches failed before. The entry has no document
    /// meanwhile: first the old one goes, and last the new one comes.
    pub fn publish(&self, document: &Publication, generation: u64, project: u64) -> bool {
        self.published.set(document.digest);
        self.generation.set(generation);
        self.project.set(project);
        self.note_document(document);
        self.set_record(&Record {
            fetched_at: Some(document.fetched_at),
            attempted_at: Some(document.fetched_at),
            ..Record::default()
        });
        let failed = self.failure.get() != 0;
        if failed {
            self.failure.set(0);
        }
        failed
    }

    /// Notes a document that an earlier process saved, in an entry without one. The lease goes on.
    pub fn offer(&self, document: &Publication, generation: u64) {
        self.published.set(document.digest);
        self.generation.set(generation);
        self.note_document(document);
        self.record.fetched_at.set(document.fetched_at);
    }

    /// Notes that a fetch failed at a stage, and ends the lease; `failure` is a digest of the error, not 0. True when
    /// that is another than before. The time of the keys stays.
    pub fn fail(
        &self,
        (stage, failure): (FetchResult, u64),
        record: &Record,
        generation: u64,
        now: u64,
    ) -> bool {
        let is_new = self.failure.get() != failure;
        self.failure.set(failure);
        self.error.set(stage as u64);
        self.error_at.set(now);
        self.generation.set(generation);
        self.set_record(&Record {
            fetched_at: self.record().fetched_at,
            ..*record
        });
        is_new
    }

    /// Replaces the source's record. The lease comes last: after a worker that is killed on the
    /// way, nobody fetches before it has run out.
    fn set_record(&self, record: &Record) {
        let shared = &self.record;
        shared.failures.set(record.failures.into());
        shared.next_try.set(record.next_try);
        shared.attempted_at.set(record.attempted_at.unwrap_or(0));
        shared.fetched_at.set(record.fetched_at.unwrap_or(0));
        self.lease.set_until(record.lease_until);
    }

    fn note_document(&self, document: &Publication) {
        self.number.set(document.keys as u64);
        self.origin.set(document.origin as u64);
    }

    /// The source's state, for the status page.
    #[must_use]
    pub fn facts(&self) -> KeyFacts {
        let at = |all: u64| usize::try_from(all).unwrap_or(usize::MAX);
        let error = FetchResult::ALL.get(at(self.error.get()));
        let failed_at = Some(self.error_at.get()).filter(|time| *time != 0);
        let origin = KeyOrigin::ALL.get(at(self.origin.get()));
        KeyFacts {
            record: self.record(),
            number: self.number.get(),
            origin: origin.copied().filter(|_| self.published.get() != 0),
            last_error: error.copied().zip(failed_at),
        }
    }

    /// The bytes of the document, if it has one. The caller holds the lock as long as it reads them.
    #[must_use]
    pub fn document(&self) -> Option<&[u8]> {
        let block = NonNull::new(self.document.get())?;
        // SAFETY: a document is complete before an entry points to it, and is freed only after
        // the entry points elsewhere, both under the mutex that the caller holds. The pointer is that
        // of the whole block, which holds so many bytes behind the header.
        unsafe {
            let bytes = block.add(1).cast::<u8>();
            Some(slice::from_raw_parts(bytes.as_ptr(), block.as_ref().len))
        }
    }
}
