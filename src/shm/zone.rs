//! The zone itself: the header in shared memory, and access to what it holds.

use core::mem::{self, offset_of};
use core::ptr::NonNull;

use authgear_core::digest::{Digest, DigestKey};
use authgear_tables::layout_number;
use authgear_tables::resolver_cache::{self, Head, Table};
use authgear_tables::word::{Link, Word};
use nginx_sys::{ngx_shmtx_lock, ngx_slab_pool_t, NGX_LOG_WARN};
use ngx::log::ngx_cycle_log;

use super::counters::{self, Counters};
use super::entry::{self, SourceEntry};
use super::locked::Locked;
use crate::prefetch::prefetch_lines;

pub(super) const MAGIC: u64 = u64::from_be_bytes(*b"authgear");
/// Differs when anything in the zone is laid out in another way. The last number is for changes of
/// meaning.
pub(super) const LAYOUT: u64 = layout_number(&[
    mem::size_of::<Zone>(),
    offset_of!(Zone, generation),
    offset_of!(Zone, leases),
    offset_of!(Zone, bucket_key),
    offset_of!(Zone, arriving),
    offset_of!(Zone, leaving),
    offset_of!(Zone, hand),
    offset_of!(Zone, resolver_cache),
    offset_of!(Zone, counters),
    offset_of!(Zone, buckets),
    entry::LAYOUT as usize,
    counters::LAYOUT as usize,
    resolver_cache::LAYOUT as usize,
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
    pub(super) arriving: Link<u8>,
    /// A block that nothing will point to when it is freed.
    pub(super) leaving: Link<u8>,
    /// The bucket in which the search for room goes on.
    pub(super) hand: Word,
    /// The resolver's answers, or null when no project keeps them.
    pub(super) resolver_cache: Link<Head>,
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

    /// Uses the table of resolver answers under the zone's mutex; `None` when there is no table.
    pub fn with_resolver_cache<T>(self, use_it: impl FnOnce(&mut Table) -> T) -> Option<T> {
        let locked = self.lock();
        // SAFETY: the table was placed before the workers were started, lives as long as the zone, and
        // the mutex is held while it is used.
        let mut table = unsafe { Table::locked(self.table()?) };
        let result = use_it(&mut table);
        let is_too_small = table.take_warning();
        drop(locked);
        if is_too_small {
            ngx::ngx_log_error!(
                NGX_LOG_WARN,
                ngx_cycle_log().as_ptr(),
                "authgear: the shared zone is too small: answers of the resolver that still count \
                 give way; enlarge \"authgear_shared_zone\""
            );
        }
        Some(result)
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

    /// The table of resolver answers, if there is one.
    fn table(self) -> Option<NonNull<Head>> {
        NonNull::new(self.header().resolver_cache.get())
    }

    /// Takes the mutex, and frees the blocks that a killed worker had in hand.
    pub fn lock(self) -> Locked {
        // SAFETY: the zone is mapped, and its slab pool initialised.
        unsafe { ngx_shmtx_lock(&raw mut (*self.pool.as_ptr()).mutex) };
        let mut locked = Locked(self);
        let header = self.header();
        if !header.arriving.get().is_null() || !header.leaving.get().is_null() {
            locked.clean();
        }
        locked
    }
}
