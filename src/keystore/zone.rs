//! The zone itself: what lies in shared memory, and the mutex around it.
//!
//! Entries are chained from buckets and complete before they are linked, so that a worker that is
//! killed while it holds the mutex leaves none half written.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU64, Ordering};
use core::{mem, slice};

use authgear_core::digest::{random_keys, DigestKeys};
use authgear_core::keys::freshness::Record;
use nginx_sys::{
    ngx_int_t, ngx_shm_zone_t, ngx_shmtx_lock, ngx_shmtx_unlock, ngx_slab_alloc_locked,
    ngx_slab_calloc_locked, ngx_slab_free_locked, ngx_slab_pool_t, NGX_ERROR, NGX_LOG_EMERG,
    NGX_OK,
};

use crate::conf::ZoneConf;
use crate::nginx::fields::slab_pool;
use crate::nginx::guard;
use crate::tally::Tallies;
use crate::verdicts::{Digest, Table};

/// Tells sources of keys apart.
pub type Id = [u8; 32];

const MAGIC: u64 = u64::from_be_bytes(*b"authgear");
/// Changes with the layout of what the zone holds.
const LAYOUT: u64 = (4 << 32) + mem::size_of::<Entry>() as u64;
const BUCKETS: usize = 512;
/// The table of verdicts takes one part in so many of the zone.
const VERDICTS_PART: usize = 4;

/// What stands at the beginning of the zone.
#[repr(C)]
pub struct Zone {
    pub magic: u64,
    pub layout: u64,
    /// Number of the newest change of any entry.
    pub generation: AtomicU64,
    /// Number of the newest lease.
    pub leases: u64,
    /// What the resolver said, or null when no project keeps it.
    pub verdicts: *mut Table,
    pub tallies: Tallies,
    pub buckets: [*mut Entry; BUCKETS],
}

/// One source's keys. Reachable from exactly one bucket.
#[repr(C)]
pub struct Entry {
    pub next: *mut Entry,
    pub id: Id,
    /// The zone's generation at this entry's last change.
    pub generation: u64,
    /// The last good document; null when there is none, or the zone had no room for it.
    pub document: *mut Document,
    /// Digest of the last good document, whether or not the zone has room for it; 0 when there
    /// was none.
    pub published: u64,
    pub record: Record,
    /// Number of the lease that is out, if `record.lease_until` has not passed.
    pub lease: u64,
    /// When a worker last used the entry.
    pub used: u64,
    /// Digest of the last failure that was logged; 0 when the last attempt succeeded.
    pub failure: u64,
    /// Digest of what was last logged of the saved document; 0 when nothing is wrong with it.
    pub complaint: u64,
}

/// A block with `len` bytes behind this header.
#[repr(C)]
pub struct Document {
    pub len: usize,
}

/// The zone's callback: prepares new memory, or takes over that of the configuration before.
pub unsafe extern "C" fn init_zone(zone: *mut ngx_shm_zone_t, old: *mut c_void) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx hands over a mapped zone whose memory begins with a slab pool. `old` is
        // what this function left in `data` for the same memory; `data` is the zone's
        // configuration until then.
        unsafe {
            let keeps_verdicts = (*(*zone).data.cast::<ZoneConf>()).keeps_verdicts();
            let pool = (*zone).shm.addr.cast::<ngx_slab_pool_t>();
            let reused = if old.is_null() { (*pool).data } else { old };
            if !reused.is_null() {
                let header = reused.cast::<Zone>();
                if (*header).magic != MAGIC || (*header).layout != LAYOUT {
                    ngx::ngx_log_error!(
                        NGX_LOG_EMERG,
                        (*zone).shm.log,
                        "authgear: the shared zone was laid out by another version of the \
                         module; restart nginx instead of reloading it"
                    );
                    return NGX_ERROR as ngx_int_t;
                }
                (*zone).data = reused;
                return place_verdicts(zone, keeps_verdicts);
            }
            ngx_shmtx_lock(&mut (*pool).mutex);
            // All zero: no bucket, no count, no table.
            let header = ngx_slab_calloc_locked(pool, mem::size_of::<Zone>()).cast::<Zone>();
            ngx_shmtx_unlock(&mut (*pool).mutex);
            if header.is_null() {
                return NGX_ERROR as ngx_int_t;
            }
            (*header).generation = AtomicU64::new(1);
            (*header).layout = LAYOUT;
            (*header).magic = MAGIC;
            (*pool).data = header.cast();
            // A full zone is no error: the least recently used entry makes room.
            slab_pool::set_log_nomem(&mut *pool, false);
            (*zone).data = header.cast();
            place_verdicts(zone, keeps_verdicts)
        }
    })
}

/// Makes the table of verdicts unless it is there, or nobody wants it.
///
/// # Safety
///
/// The zone must be mapped, and its `data` its header.
unsafe fn place_verdicts(zone: *mut ngx_shm_zone_t, wanted: bool) -> ngx_int_t {
    // SAFETY: the caller vouches for the zone. Slab blocks of this size are whole pages.
    unsafe {
        let header = (*zone).data.cast::<Zone>();
        if !wanted || !(*header).verdicts.is_null() {
            return NGX_OK as ngx_int_t;
        }
        let (sets, bytes) = Table::layout((*zone).shm.size / VERDICTS_PART);
        let pool = (*zone).shm.addr.cast::<ngx_slab_pool_t>();
        ngx_shmtx_lock(&mut (*pool).mutex);
        let memory = ngx_slab_calloc_locked(pool, bytes).cast::<u8>();
        ngx_shmtx_unlock(&mut (*pool).mutex);
        let log = (*zone).shm.log;
        let Some(memory) = NonNull::new(memory) else {
            ngx::ngx_log_error!(
                NGX_LOG_EMERG,
                log,
                "authgear: the shared zone has no room for the resolver's verdicts; enlarge \
                 \"authgear_shared_zone\" and restart"
            );
            return NGX_ERROR as ngx_int_t;
        };
        let Ok(keys) = random_keys() else {
            ngx::ngx_log_error!(NGX_LOG_EMERG, log, "authgear: no randomness to be had");
            return NGX_ERROR as ngx_int_t;
        };
        (*header).verdicts = Table::place(memory, sets, keys).as_ptr();
        NGX_OK as ngx_int_t
    }
}

/// The mapped zone. It stays mapped while any configuration refers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedZone {
    pool: NonNull<ngx_slab_pool_t>,
    zone: NonNull<Zone>,
}

impl SharedZone {
    /// The zone behind `shm`, once [`init_zone`] has run.
    pub fn new(shm: &ngx_shm_zone_t) -> Option<Self> {
        Some(Self {
            pool: NonNull::new(shm.shm.addr.cast())?,
            zone: NonNull::new(shm.data.cast())?,
        })
    }

    pub fn generation(self) -> u64 {
        // SAFETY: the zone is mapped.
        unsafe { self.zone.as_ref().generation.load(Ordering::Acquire) }
    }

    /// What `observe` counts.
    pub fn tallies(&self) -> &Tallies {
        // SAFETY: the zone is mapped, and its counters are atomic.
        unsafe { &(*self.zone.as_ptr()).tallies }
    }

    /// Uses the table of verdicts under the zone's mutex; `None` when there is no table.
    pub fn with_verdicts<T>(self, use_it: impl FnOnce(&mut Table) -> T) -> Option<T> {
        let mut locked = self.lock();
        // SAFETY: the table lives as long as the zone, and the mutex makes this reference the
        // only one.
        unsafe { locked.zone().verdicts.as_mut() }.map(use_it)
    }

    /// What makes digests of the table of verdicts.
    pub fn verdicts_keys(self) -> Option<DigestKeys> {
        // SAFETY: the table was placed.
        self.table().map(|table| unsafe { Table::keys_of(table) })
    }

    /// Has the processor fetch what is known of a digest.
    pub fn load_ahead(self, digest: &Digest) {
        if let Some(table) = self.table() {
            // SAFETY: the table was placed.
            unsafe { Table::load_ahead(table, digest) };
        }
    }

    /// The table of verdicts, for what needs no mutex.
    fn table(self) -> Option<*const Table> {
        // SAFETY: the table was placed before the workers were started, and lives as long as the
        // zone.
        let table = unsafe { (*self.zone.as_ptr()).verdicts };
        (!table.is_null()).then(|| table.cast_const())
    }

    pub fn lock(self) -> Locked {
        // SAFETY: the zone is mapped, and its slab pool initialised.
        unsafe { ngx_shmtx_lock(&mut (*self.pool.as_ptr()).mutex) };
        Locked(self)
    }
}

/// The zone with its mutex held.
pub struct Locked(SharedZone);

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: `lock` took the mutex.
        unsafe { ngx_shmtx_unlock(&mut (*self.0.pool.as_ptr()).mutex) };
    }
}

impl Locked {
    pub fn zone(&mut self) -> &mut Zone {
        // SAFETY: the zone is mapped, and the mutex makes this the only reference.
        unsafe { self.0.zone.as_mut() }
    }

    fn bucket(&mut self, id: &Id) -> &mut *mut Entry {
        let hash = u16::from_ne_bytes([id[0], id[1]]) as usize;
        &mut self.zone().buckets[hash % BUCKETS]
    }

    pub fn find(&mut self, id: &Id) -> Option<&mut Entry> {
        let mut entry = *self.bucket(id);
        // SAFETY: what a bucket chains are live entries, and the mutex is held.
        while let Some(found) = unsafe { entry.as_mut() } {
            if found.id == *id {
                return Some(found);
            }
            entry = found.next;
        }
        None
    }

    /// Allocates, making room by dropping other entries than `keep`: first those that hold no
    /// keys and wait for none, such as made-up tenants; then the least recently used; last those
    /// whose keys are being fetched, since whoever dropped one would make that fetch void.
    fn allocate(&mut self, size: usize, keep: &Id, now: u64) -> Option<NonNull<u8>> {
        loop {
            // SAFETY: the mutex is held.
            let block = unsafe { ngx_slab_alloc_locked(self.0.pool.as_ptr(), size) };
            if let Some(block) = NonNull::new(block.cast()) {
                return Some(block);
            }
            let oldest = self.oldest(keep, now)?;
            self.remove(&oldest);
        }
    }

    fn oldest(&mut self, keep: &Id, now: u64) -> Option<Id> {
        let mut oldest: Option<((u8, u64), Id)> = None;
        for bucket in self.zone().buckets {
            let mut entry = bucket;
            // SAFETY: as in `find`.
            while let Some(found) = unsafe { entry.as_ref() } {
                let worth = match (now < found.record.lease_until, found.document.is_null()) {
                    (true, _) => 2,
                    (false, false) => 1,
                    (false, true) => 0,
                };
                let rank = (worth, found.used);
                if found.id != *keep && oldest.is_none_or(|(least, _)| rank < least) {
                    oldest = Some((rank, found.id));
                }
                entry = found.next;
            }
        }
        oldest.map(|(_, id)| id)
    }

    fn remove(&mut self, id: &Id) {
        let mut link: *mut *mut Entry = self.bucket(id);
        // SAFETY: as in `find`. The entry is unlinked by one store before it is freed.
        unsafe {
            while let Some(found) = (*link).as_mut() {
                if found.id == *id {
                    *link = found.next;
                    self.free(found.document);
                    self.free(ptr::from_mut(found));
                    self.zone().generation.fetch_add(1, Ordering::Release);
                    return;
                }
                link = &mut found.next;
            }
        }
    }

    /// # Safety
    ///
    /// `block` must be null or come from `allocate`, and nothing may point to it any more.
    pub unsafe fn free<T>(&mut self, block: *mut T) {
        if !block.is_null() {
            // SAFETY: the mutex is held, and the caller vouches for the block.
            unsafe { ngx_slab_free_locked(self.0.pool.as_ptr(), block.cast()) };
        }
    }

    pub fn find_or_insert(&mut self, id: &Id, now: u64) -> Option<&mut Entry> {
        if self.find(id).is_none() {
            let block = self
                .allocate(mem::size_of::<Entry>(), id, now)?
                .cast::<Entry>();
            let next = *self.bucket(id);
            // SAFETY: the block is large enough, and slab blocks are aligned to their size
            // rounded up to a power of two. The entry is complete before it is linked.
            unsafe {
                block.write(Entry {
                    next,
                    id: *id,
                    generation: 0,
                    document: ptr::null_mut(),
                    published: 0,
                    record: Record::default(),
                    lease: 0,
                    used: now,
                    failure: 0,
                    complaint: 0,
                });
            }
            *self.bucket(id) = block.as_ptr();
        }
        self.find(id)
    }

    pub fn next_generation(&mut self) -> u64 {
        self.zone().generation.fetch_add(1, Ordering::Release) + 1
    }

    /// A copy of the bytes as a block of the zone, or `None` when it cannot hold them.
    pub fn document(&mut self, bytes: &[u8], keep: &Id, now: u64) -> Option<NonNull<Document>> {
        let size = mem::size_of::<Document>() + bytes.len();
        let block = self.allocate(size, keep, now)?.cast::<Document>();
        // SAFETY: the block holds the header and the bytes behind it.
        unsafe {
            block.write(Document { len: bytes.len() });
            ptr::copy_nonoverlapping(bytes.as_ptr(), block.add(1).cast().as_ptr(), bytes.len());
        }
        Some(block)
    }

    /// Takes the entry's document away.
    pub fn discard(&mut self, id: &Id) {
        if let Some(entry) = self.find(id) {
            let old = mem::replace(&mut entry.document, ptr::null_mut());
            // SAFETY: the entry does not point to it any more.
            unsafe { self.free(old) };
        }
    }
}

impl Entry {
    /// The bytes of the document, if it has one.
    pub fn document(&self) -> Option<&[u8]> {
        // SAFETY: a document is complete before an entry points to it, and is freed only after
        // the entry points elsewhere, both under the mutex that the caller holds.
        unsafe {
            let document = self.document.as_ref()?;
            let bytes = ptr::from_ref(document).add(1).cast::<u8>();
            Some(slice::from_raw_parts(bytes, document.len))
        }
    }
}
