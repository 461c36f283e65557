//! The zone itself: the header in shared memory, and what can be read without its mutex.

use core::mem::{self, offset_of};
use core::ptr::NonNull;
use core::slice;

use authgear_core::digest::DigestKey;
use authgear_tables::breaker::{self, Breakers};
use authgear_tables::counters::{self, Waiting};
use authgear_tables::early::{self, EarlyQuestions};
use authgear_tables::judgements::{self, Head, Key, Known, Table, Text};
use authgear_tables::layout_number;
use authgear_tables::lease::Lease;
use authgear_tables::revocations::{self, Reader};
use authgear_tables::source::{self, SourceEntry};
use authgear_tables::word::{Link, Word};
use nginx_sys::ngx_slab_pool_t;

use super::outgoing::{self, Outgoing};
pub(super) const MAGIC: u64 = u64::from_be_bytes(*b"authgear");
/// Differs when anything in the zone is laid out in another way. The last number is for changes of
/// meaning.
pub(super) const LAYOUT: u64 = layout_number(&[
    mem::size_of::<Zone>(),
    offset_of!(Zone, generation),
    offset_of!(Zone, leases),
    offset_of!(Zone, bucket_key),
    offset_of!(Zone, unlinked_new),
    offset_of!(Zone, unlinked_old),
    offset_of!(Zone, eviction_hand),
    offset_of!(Zone, judgements),
    offset_of!(Zone, revocations),
    offset_of!(Zone, long_lived),
    offset_of!(Zone, stream_lease),
    offset_of!(Zone, stream_down_since),
    offset_of!(Zone, learning_until),
    offset_of!(Zone, outgoing),
    offset_of!(Zone, counters),
    offset_of!(Zone, own_counters),
    offset_of!(Zone, evicted_keys),
    offset_of!(Zone, waiting),
    offset_of!(Zone, early),
    offset_of!(Zone, breakers),
    offset_of!(Zone, breaker_sets),
    offset_of!(Zone, buckets),
    offset_of!(Zone, bucket_count),
    source::LAYOUT as usize,
    outgoing::LAYOUT as usize,
    counters::LAYOUT as usize,
    judgements::LAYOUT as usize,
    revocations::LAYOUT as usize,
    early::LAYOUT as usize,
    breaker::LAYOUT as usize,
    2,
]);

/// The header of the zone. Processes share references to it, so each field is atomic, or is written
/// before a second process knows the zone and never again.
#[repr(C)]
pub struct Zone {
    pub(super) magic: u64,
    pub(super) layout: u64,
    /// Number of the newest change of any entry.
    pub(super) generation: Word,
    /// Number of the newest lease.
    pub leases: Word,
    /// The secret key of the hash that chooses buckets: tenants' names come from clients.
    pub(super) bucket_key: DigestKey,
    /// A block that was allocated and that nothing points to yet.
    pub(super) unlinked_new: Link<u8>,
    /// A block that was unlinked, or is about to be, and is not freed yet.
    pub(super) unlinked_old: Link<u8>,
    /// Clock hand: the bucket where the next eviction scan starts.
    pub(super) eviction_hand: Word,
    /// All that was judged. Placed with the header.
    pub(super) judgements: Link<Head>,
    /// Users' revocations, or null when no project has a webhook.
    pub(super) revocations: Link<revocations::Head>,
    /// A bit for each project of which a token that outlives its revocation was logged.
    long_lived: Word,
    /// The right to read the revocation stream.
    pub(super) stream_lease: Lease,
    /// Since when the stream is broken; 0 while it is not.
    stream_down_since: Word,
    /// Until this time JWTs wait for what the stream has told so far; 0 once that was read, 1 while there
    /// is none.
    learning_until: Word,
    /// Webhooks that other nodes have yet to be told.
    pub(super) outgoing: Link<Outgoing>,
    /// The counters of the projects.
    pub(super) counters: Link<counters::Head>,
    /// The counters of the zone itself.
    pub(super) own_counters: Link<counters::Head>,
    /// Key sets in use that gave way.
    pub(super) evicted_keys: Word,
    /// The waiting requests of each worker.
    pub(super) waiting: Waiting,
    /// The questions that client addresses caused before any limit.
    pub(super) early: EarlyQuestions,
    /// The suspension of tenants' resolvers: so many sets of breakers.
    pub(super) breakers: Link<breaker::Set>,
    pub(super) breaker_sets: usize,
    /// The chains of entries.
    pub(super) buckets: Link<Link<SourceEntry>>,
    pub(super) bucket_count: usize,
}

impl Zone {
    /// Buckets in a zone of so many bytes. One for 16 KiB of it keeps chains short even where the entries of made-up
    /// tenants fill what is free.
    pub(super) fn buckets_in(size: usize) -> usize {
        (size / (16 << 10)).max(512)
    }

    /// The chains of entries.
    pub(super) fn buckets(&self) -> &[Link<SourceEntry>] {
        // SAFETY: `setup` has placed so many zeroed links there before it left the header to others.
        unsafe { slice::from_raw_parts(self.buckets.get(), self.bucket_count) }
    }

    /// The breakers of tenants.
    pub(super) fn breakers(&self) -> Breakers<'_> {
        // SAFETY: as in `buckets`, with sets.
        Breakers::new(unsafe { slice::from_raw_parts(self.breakers.get(), self.breaker_sets) })
    }
}

/// The mapped zone. [`ZoneSetup`](super::ZoneSetup) alone makes it. It stays mapped while a configuration
/// refers to it: whoever keeps a copy gives it up when the configuration is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedZone {
    pub(super) pool: NonNull<ngx_slab_pool_t>,
    pub(super) header: NonNull<Zone>,
}

impl SharedZone {
    /// The zone's header.
    pub(super) fn header(&self) -> &Zone {
        // SAFETY: the zone is mapped, and other processes write only the header's atomics.
        unsafe { self.header.as_ref() }
    }

    /// Number of the newest change of any entry.
    pub fn generation(self) -> u64 {
        self.header().generation.get()
    }

    /// The table of judgements, for reading.
    pub fn judgements(&self) -> Option<Table<'_>> {
        let head = NonNull::new(self.header().judgements.get())?;
        // SAFETY: the table was placed before any worker was started, and lives as long as the zone.
        Some(unsafe { Table::new(head) })
    }

    /// Looks a key up in the table of judgements, and copies its text if `text` is there to take it. Takes the mutex only where a writer
    /// is changing the slot, or was killed while it did.
    pub fn read(self, key: &Key, now: u64, mut text: Option<&mut Text>) -> Known {
        let table = self.judgements();
        let found = table.map(|table| table.read(key, now, text.as_deref_mut()));
        match found {
            Some(Ok(known)) => known,
            Some(Err(_)) => self
                .change(|writer| writer.read(key, now, text))
                .unwrap_or_default(),
            None => Known::default(),
        }
    }

    /// The table of revocations, to read from; `None` where there is none.
    pub fn revocations(&self) -> Option<Reader<'_>> {
        let head = NonNull::new(self.header().revocations.get())?;
        // SAFETY: the table was placed, and the zone stays mapped.
        Some(unsafe { Reader::new(head) })
    }

    /// Has JWTs wait, until that time at most, for what the revocation stream has told so far.
    pub fn learn_until(self, time: u64) {
        self.header().learning_until.set(time);
    }

    /// Notes that there is no revocation stream: a later one has yet to be read, for which no JWT waits.
    pub fn forget_stream(self) {
        let header = self.header();
        header.stream_down_since.set(0);
        header.learning_until.set(1);
    }

    /// The time until which JWTs wait for the revocation stream; 0 once it was read.
    pub fn learning_until(self) -> u64 {
        self.header().learning_until.get()
    }

    /// Notes that the stream works, and that all it has told is known. Returns since when it did not.
    pub fn stream_is_up(self) -> Option<u64> {
        let header = self.header();
        if header.learning_until.get() != 0 {
            header.learning_until.set(0);
        }
        let since = header.stream_down_since.get();
        if since != 0 {
            header.stream_down_since.set(0);
        }
        Some(since).filter(|since| *since != 0)
    }

    /// Notes that the stream is broken; true if that is new.
    pub fn stream_is_down(self, now: u64) -> bool {
        let since = &self.header().stream_down_since;
        let is_new = since.get() == 0;
        if is_new {
            since.set(now);
        }
        is_new
    }

    /// The time since which the stream is broken, if it is.
    pub fn stream_down_since(self) -> Option<u64> {
        Some(self.header().stream_down_since.get()).filter(|since| *since != 0)
    }

    /// True when a token of a project was met that outlives its revocation.
    pub fn has_long_lived(self, project: usize) -> bool {
        self.header().long_lived.get() & 1 << (project % 64) != 0
    }

    /// Notes a token that outlives its revocation; true for the first of a project.
    pub fn note_long_lived(self, project: usize) -> bool {
        let (noted, bit) = (&self.header().long_lived, 1 << (project % 64));
        let before = noted.get();
        noted.set(before | bit);
        before & bit == 0
    }
}
