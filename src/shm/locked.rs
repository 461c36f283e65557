//! The zone with its mutex held: its entries, and the blocks that they take.
//!
//! Entries are chained from buckets and complete before they are linked, so that a worker that is
//! killed while it holds the mutex leaves none half written. A block that is allocated and not yet
//! linked, or unlinked and not yet freed, stands in the header: the next worker that takes the mutex
//! frees it. Only a worker that is killed inside nginx's allocator, or in the two or three instructions
//! between it and the header, leaves a block that nobody frees.

use core::mem;
use core::ops::Range;
use core::ptr::{self, NonNull};
use std::time::Instant;

use authgear_core::digest::{Digester, Kind};
use authgear_core::status::Duration;
use authgear_tables::judgements::Writer;
use authgear_tables::revocations;
use authgear_tables::source::{DocumentBlock, Id, SourceEntry};
use authgear_tables::word::Link;
use nginx_sys::{
    ngx_shmtx_lock, ngx_shmtx_unlock, ngx_slab_alloc_locked, ngx_slab_free_locked, NGX_LOG_WARN,
};
use ngx::log::ngx_cycle_log;

use super::outgoing::Outgoing;
use super::zone::{SharedZone, Zone};

/// Entries scanned at a time to find those to evict.
const MOST_SEEN: usize = 256;
/// Entries found at a time.
const MOST_FOUND: usize = 32;
/// Scans for one block.
const MOST_SCANS: usize = 8;

/// The zone with its mutex held.
pub struct Locked {
    zone: SharedZone,
    /// When the mutex was taken.
    since: Instant,
}

impl SharedZone {
    /// Takes the mutex, and frees the blocks that a killed worker allocated and did not link, or unlinked
    /// and did not free.
    pub fn lock(self) -> Locked {
        // SAFETY: the zone is mapped, and its slab pool initialised.
        unsafe { ngx_shmtx_lock(&raw mut (*self.pool.as_ptr()).mutex) };
        let since = Instant::now();
        let mut locked = Locked { zone: self, since };
        let header = self.header();
        if !header.unlinked_new.get().is_null() || !header.unlinked_old.get().is_null() {
            locked.clean();
        }
        locked
    }

    /// Changes the table of judgements under the zone's mutex; `None` when there is no table.
    pub fn change<T>(self, change: impl FnOnce(&mut Writer<'_>) -> T) -> Option<T> {
        let locked = self.lock();
        // SAFETY: the mutex is held for as long as the writer is there.
        let mut writer = unsafe { Writer::new(self.judgements()?) };
        let result = change(&mut writer);
        let is_too_small = writer.take_warning();
        drop(locked);
        if is_too_small {
            ngx::ngx_log_error!(
                NGX_LOG_WARN,
                ngx_cycle_log().as_ptr(),
                "authgear: the shared zone is too small: tokens and sessions that are still valid are \
                 dropped from it; enlarge \"authgear_shared_zone\""
            );
        }
        Some(result)
    }

    /// Takes the right to read the revocation stream until `deadline`, or renews it for who has the number `own`;
    /// `None` while another worker has it.
    pub fn take_stream_lease(self, own: Option<u64>, deadline: u64, now: u64) -> Option<u64> {
        // Most often it is another's, which is known without the mutex.
        if self.header().stream_lease.is_others(own, now) {
            return None;
        }
        let locked = self.lock();
        let zone = locked.zone();
        let lease = &zone.stream_lease;
        lease.take_or_renew(&zone.leases, own, deadline, now)
    }

    /// Changes the table of revocations under the zone's mutex; `None` when there is no table.
    pub fn with_revocations<T>(
        self,
        change: impl FnOnce(&mut revocations::Writer) -> T,
    ) -> Option<T> {
        let head = NonNull::new(self.header().revocations.get())?;
        let _locked = self.lock();
        // SAFETY: the table was placed before the workers were started, lives as long as the zone, and
        // the mutex is held while it is changed.
        Some(change(&mut unsafe { revocations::Writer::new(head) }))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let held = self.since.elapsed();
        // SAFETY: `lock` took the mutex.
        unsafe { ngx_shmtx_unlock(&raw mut (*self.zone.pool.as_ptr()).mutex) };
        if let Some(counters) = self.zone.own_counters() {
            counters.measure(Duration::Lock, held);
        }
    }
}

impl Locked {
    /// The zone's header.
    pub fn zone(&self) -> &Zone {
        self.zone.header()
    }

    fn bucket(&self, id: &Id) -> &Link<SourceEntry> {
        let zone = self.zone();
        let digest = Digester::with(zone.bucket_key).of(Kind::Bucket, &[id]);
        let hash = u128::from_ne_bytes(digest) as usize;
        let buckets = zone.buckets();
        &buckets[hash % buckets.len()]
    }

    /// The entries in a bucket.
    fn chain<'a>(&'a self, bucket: &'a Link<SourceEntry>) -> impl Iterator<Item = &'a SourceEntry> {
        let mut link = bucket;
        core::iter::from_fn(move || {
            // SAFETY: what a bucket chains are live entries. None is freed while this reference to the
            // locked zone exists.
            let entry = unsafe { link.get().as_ref()? };
            link = &entry.next;
            Some(entry)
        })
    }

    /// All entries of some buckets.
    pub fn entries(&self, buckets: Range<usize>) -> impl Iterator<Item = &SourceEntry> {
        let buckets = &self.zone().buckets()[buckets];
        buckets.iter().flat_map(|bucket| self.chain(bucket))
    }

    /// All webhooks that other nodes have yet to be told, and their blocks.
    pub(super) fn outgoing(&self) -> impl Iterator<Item = (NonNull<Outgoing>, &Outgoing)> {
        let mut link = &self.zone().outgoing;
        core::iter::from_fn(move || {
            let block = NonNull::new(link.get())?;
            // SAFETY: the chain holds live blocks. None is freed while this reference to the locked zone exists.
            let outgoing = unsafe { block.as_ref() };
            link = &outgoing.next;
            Some((block, outgoing))
        })
    }

    /// The entry of a source.
    pub fn find(&self, id: &Id) -> Option<&SourceEntry> {
        self.chain(self.bucket(id)).find(|entry| entry.id == *id)
    }

    /// Frees the blocks that a killed worker allocated and did not link, or unlinked and did not free.
    #[cold]
    fn clean(&mut self) {
        type Unlinked = fn(&Zone) -> &Link<u8>;
        let both: [Unlinked; 2] = [|zone| &zone.unlinked_new, |zone| &zone.unlinked_old];
        for unlinked in both {
            let block = unlinked(self.zone()).get();
            if block.is_null() {
                continue;
            }
            let is_linked = self
                .zone()
                .buckets()
                .iter()
                .flat_map(|bucket| self.chain(bucket))
                .any(|entry| {
                    ptr::from_ref(entry).cast() == block || entry.document.get().cast() == block
                })
                || self
                    .outgoing()
                    .any(|(outgoing, _)| outgoing.as_ptr().cast() == block);
            unlinked(self.zone()).set(ptr::null_mut());
            if !is_linked {
                // SAFETY: the worker that had it is gone, and nothing points to it.
                unsafe { self.free(block) };
            }
        }
    }

    /// Allocates a block, which is `unlinked_new` until [`Locked::linked`]. Makes room by evicting other
    /// entries than `keep`: first those that hold no keys and wait for none, such as made-up tenants;
    /// then the least recently used; last those whose keys are being fetched, since an eviction would
    /// make that fetch void. The work is bounded: of a large zone only a part is scanned, each time
    /// another one.
    fn allocate(&mut self, size: usize, keep: &Id, now: u64) -> Option<NonNull<u8>> {
        if let Some(block) = self.allocate_spare(size) {
            return Some(block);
        }
        for _ in 0..MOST_SCANS {
            let oldest = self.oldest(keep, now);
            if oldest.is_empty() {
                return None;
            }
            for id in oldest {
                let entry = self.find(&id);
                if entry.is_some_and(|entry| !entry.document.get().is_null()) {
                    self.zone().evicted_keys.increment();
                }
                self.remove(&id);
                if let Some(block) = self.allocate_spare(size) {
                    return Some(block);
                }
            }
        }
        None
    }

    /// Allocates a block where there is room, which is `unlinked_new` until [`Locked::linked`].
    pub(super) fn allocate_spare(&mut self, size: usize) -> Option<NonNull<u8>> {
        // SAFETY: the mutex is held.
        let block = unsafe { ngx_slab_alloc_locked(self.zone.pool.as_ptr(), size) };
        let block = NonNull::new(block.cast::<u8>())?;
        self.zone().unlinked_new.set(block.as_ptr());
        Some(block)
    }

    /// The block that was allocated last is linked.
    pub(super) fn linked(&self) {
        self.zone().unlinked_new.set(ptr::null_mut());
    }

    /// Scans the next entries and returns those to evict, in this order.
    fn oldest(&mut self, keep: &Id, now: u64) -> Vec<Id> {
        let zone = self.zone();
        let buckets = zone.buckets();
        let first = zone.eviction_hand.get() as usize;
        let mut ranked = Vec::new();
        for at in 0..buckets.len() {
            if ranked.len() >= MOST_SEEN {
                zone.eviction_hand
                    .set(((first + at) % buckets.len()) as u64);
                break;
            }
            for entry in self.chain(&buckets[(first + at) % buckets.len()]) {
                let is_fetched = now < entry.record().lease_until;
                let worth = match (is_fetched, entry.document.get().is_null()) {
                    (true, _) => 2,
                    (false, false) => 1,
                    (false, true) => 0,
                };
                if entry.id != *keep {
                    ranked.push(((worth, entry.used.get()), entry.id));
                }
            }
        }
        ranked.sort_unstable();
        let oldest = ranked.into_iter().take(MOST_FOUND);
        oldest.map(|(_, id)| id).collect()
    }

    fn remove(&mut self, id: &Id) {
        self.discard(id);
        let mut link = self.bucket(id);
        // SAFETY: as in `chain`.
        while let Some(found) = unsafe { link.get().as_ref() } {
            if found.id == *id {
                // This pointer has write provenance for the whole block; one made from `found` has not.
                let block = link.get();
                self.zone().unlinked_old.set(block.cast());
                link.set(found.next.get());
                self.zone().generation.increment();
                self.zone().unlinked_old.set(ptr::null_mut());
                // SAFETY: nothing points to the entry any more.
                unsafe { self.free(block) };
                return;
            }
            link = &found.next;
        }
    }

    /// # Safety
    ///
    /// `block` must be null or come from `allocate`, and nothing may point to it any more.
    pub(super) unsafe fn free<T>(&mut self, block: *mut T) {
        if !block.is_null() {
            // SAFETY: the mutex is held, and the caller vouches for the block.
            unsafe { ngx_slab_free_locked(self.zone.pool.as_ptr(), block.cast()) };
        }
    }

    /// The entry of a source, which is made if it is not there; `None` when there is no room for it.
    pub fn find_or_insert(&mut self, id: &Id, now: u64) -> Option<&SourceEntry> {
        if self.find(id).is_none() {
            let block = self
                .allocate(mem::size_of::<SourceEntry>(), id, now)?
                .cast::<SourceEntry>();
            let bucket = self.bucket(id);
            // SAFETY: the block is large enough, and slab blocks are aligned to their size
            // rounded up to a power of two.
            unsafe { block.write(SourceEntry::new(bucket.get(), id, now)) };
            bucket.set(block.as_ptr());
            self.linked();
        }
        self.find(id)
    }

    /// A new number for a change.
    pub fn next_generation(&mut self) -> u64 {
        self.zone().generation.increment()
    }

    /// A copy of the bytes as a block of the zone, or `None` when it cannot hold them. It has to be
    /// handed to [`Locked::attach`] before the mutex is let go.
    pub fn document(
        &mut self,
        bytes: &[u8],
        keep: &Id,
        now: u64,
    ) -> Option<NonNull<DocumentBlock>> {
        let size = mem::size_of::<DocumentBlock>() + bytes.len();
        let block = self.allocate(size, keep, now)?.cast::<DocumentBlock>();
        // SAFETY: the block holds the header and the bytes behind it.
        unsafe {
            block.write(DocumentBlock { len: bytes.len() });
            ptr::copy_nonoverlapping(bytes.as_ptr(), block.add(1).cast().as_ptr(), bytes.len());
        }
        Some(block)
    }

    /// Gives the source a document, or frees that if there is no such source any more.
    pub fn attach(&mut self, id: &Id, block: NonNull<DocumentBlock>) {
        self.discard(id);
        let entry = self.find(id);
        let is_linked = entry.is_some();
        if let Some(entry) = entry {
            entry.document.set(block.as_ptr());
        }
        self.linked();
        if !is_linked {
            // SAFETY: nothing points to it.
            unsafe { self.free(block.as_ptr()) };
        }
    }

    /// Takes the entry's document away.
    pub fn discard(&mut self, id: &Id) {
        let Some(entry) = self.find(id) else {
            return;
        };
        let old = entry.document.get();
        if old.is_null() {
            return;
        }
        self.zone().unlinked_old.set(old.cast());
        entry.document.set(ptr::null_mut());
        self.zone().unlinked_old.set(ptr::null_mut());
        // SAFETY: the entry does not point to it any more.
        unsafe { self.free(old) };
    }
}
