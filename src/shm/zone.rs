//! The zone itself: the header in shared memory, and what can be read without its mutex.

use core::mem::{self, offset_of};
use core::ptr::NonNull;

use authgear_core::digest::{Digest, DigestKey};
use authgear_tables::layout_number;
use authgear_tables::resolver_cache::{self, Head, Table};
use authgear_tables::revocations::{self, Reader};
use authgear_tables::word::{Link, Word};
use nginx_sys::ngx_slab_pool_t;

use super::counters::{self, Counters};
use super::entry::{self, SourceEntry};
use crate::prefetch::prefetch_lines;

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
    offset_of!(Zone, resolver_cache),
    offset_of!(Zone, revocations),
    offset_of!(Zone, long_lived),
    offset_of!(Zone, counters),
    offset_of!(Zone, buckets),
    entry::LAYOUT as usize,
    counters::LAYOUT as usize,
    resolver_cache::LAYOUT as usize,
    revocations::LAYOUT as usize,
    1,
]);
pub(super) const BUCKETS: usize = 512;

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
    /// The resolver's answers, or null when no project keeps them.
    pub(super) resolver_cache: Link<Head>,
    /// Users' revocations, or null when no project has a webhook.
    pub(super) revocations: Link<revocations::Head>,
    /// A bit for each project of which a token that outlives its revocation was logged.
    long_lived: Word,
    counters: Counters,
    pub(super) buckets: [Link<SourceEntry>; BUCKETS],
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

    /// The counters of `observe`.
    pub fn counters(&self) -> &Counters {
        &self.header().counters
    }

    /// The secret key of the digests in the table of resolver answers.
    pub fn resolver_cache_key(self) -> Option<DigestKey> {
        // SAFETY: the table was placed.
        self.table().map(|table| unsafe { Table::key_of(table) })
    }

    /// Prefetches the memory in which a digest will be looked up.
    pub fn prefetch(self, digest: &Digest) {
        if let Some(table) = self.table() {
            // SAFETY: the table was placed.
            unsafe { Table::prefetch(table, digest, prefetch_lines) };
        }
    }

    /// The table of revocations, to read from; `None` where there is none.
    pub fn revocations(&self) -> Option<Reader<'_>> {
        let head = NonNull::new(self.header().revocations.get())?;
        // SAFETY: the table was placed, and the zone stays mapped.
        Some(unsafe { Reader::new(head) })
    }

    /// Notes a token that outlives its revocation; true for the first of a project.
    pub fn note_long_lived(self, project: usize) -> bool {
        let (noted, bit) = (&self.header().long_lived, 1 << (project % 64));
        let before = noted.get();
        noted.set(before | bit);
        before & bit == 0
    }

    /// The table of resolver answers, if there is one.
    pub(super) fn table(self) -> Option<NonNull<Head>> {
        NonNull::new(self.header().resolver_cache.get())
    }
}
