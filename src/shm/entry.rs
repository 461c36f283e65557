//! One source of keys in the zone.

use core::mem::{self, offset_of};
use core::ptr::NonNull;
use core::slice;

use authgear_core::keys::freshness::Record;
use authgear_core::status::{FetchResult, KeyFacts, KeyOrigin};
use authgear_tables::layout_number;
use authgear_tables::word::{Link, Word};

/// A digest that identifies a source of keys, or a tenant.
pub type Id = [u8; 32];

/// One source's keys. Exactly one bucket chains it. Processes share references to it while they hold
/// the zone's mutex; all that changes in it is atomic.
#[repr(C)]
pub struct SourceEntry {
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
    /// Number of the lease that is out, if the record's `lease_until` has not passed.
    pub lease: Word,
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
#[repr(C)]
#[derive(Default)]
struct SharedRecord {
    fetched_at: Word,
    attempted_at: Word,
    failures: Word,
    next_try: Word,
    lease_until: Word,
}

/// The header of a block that holds a document: `len` bytes follow it. Nothing in it ever changes.
#[repr(C)]
pub struct DocumentBlock {
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
    offset_of!(SharedRecord, lease_until),
    mem::size_of::<DocumentBlock>(),
    offset_of!(DocumentBlock, len),
]);

impl SourceEntry {
    /// An entry without keys.
    pub fn new(next: *mut SourceEntry, id: &Id, now: u64) -> SourceEntry {
        let entry = SourceEntry {
            next: Link::null(),
            id: *id,
            generation: Word::default(),
            document: Link::null(),
            published: Word::default(),
            record: SharedRecord::default(),
            lease: Word::default(),
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
    pub fn record(&self) -> Record {
        let time = |word: &Word| Some(word.get()).filter(|time| *time != 0);
        Record {
            fetched_at: time(&self.record.fetched_at),
            attempted_at: time(&self.record.attempted_at),
            failures: self.record.failures.get() as u32,
            next_try: self.record.next_try.get(),
            lease_until: self.record.lease_until.get(),
        }
    }

    /// Replaces the source's record. The lease comes last: after a worker that is killed on the
    /// way, nobody fetches before it has run out.
    pub fn set_record(&self, record: &Record) {
        let shared = &self.record;
        shared.failures.set(record.failures.into());
        shared.next_try.set(record.next_try);
        shared.attempted_at.set(record.attempted_at.unwrap_or(0));
        shared.fetched_at.set(record.fetched_at.unwrap_or(0));
        shared.lease_until.set(record.lease_until);
    }

    /// Notes when the keys were fetched.
    pub fn set_fetched_at(&self, time: u64) {
        self.record.fetched_at.set(time);
    }

    /// Notes the number of keys of a good document, and its origin.
    pub fn note_document(&self, number: usize, origin: KeyOrigin) {
        self.number.set(number as u64);
        self.origin.set(origin as u64);
    }

    /// Notes the stage and the time of a failure.
    pub fn note_failure(&self, stage: FetchResult, now: u64) {
        self.error.set(stage as u64);
        self.error_at.set(now);
    }

    /// The source's state, for the status page.
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

    /// Gives the right to fetch to a lease. Its number comes first, so that a time that counts never has
    /// an older number.
    pub fn set_lease(&self, number: u64, until: u64) {
        self.lease.set(number);
        self.record.lease_until.set(until);
    }

    /// The bytes of the document, if it has one.
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
