//! The zone itself: what lies in shared memory, and the mutex around it.

use core::ffi::c_void;
use core::mem::{self, offset_of};
use core::ptr::NonNull;

use authgear_core::digest::{random_key, Digest, DigestKey};
use authgear_tables::layout_number;
use authgear_tables::resolver_cache::{self, Head, Table};
use authgear_tables::word::{Link, Word};
use nginx_sys::{
    ngx_int_t, ngx_shm_zone_t, ngx_shmtx_lock, ngx_shmtx_unlock, ngx_slab_calloc_locked,
    ngx_slab_pool_t, NGX_ERROR, NGX_LOG_EMERG, NGX_LOG_WARN, NGX_OK,
};
use ngx::log::ngx_cycle_log;

use super::entry::{self, Entry};
use super::locked::Locked;
use crate::conf::ZoneConf;
use crate::nginx::fields::slab_pool;
use crate::nginx::guard;
use crate::prefetch::prefetch_lines;
use crate::shm::counters::{self, Counters};

const MAGIC: u64 = u64::from_be_bytes(*b"authgear");
/// Differs when anything in the zone is laid out in another way. The last number is for changes of
/// meaning.
const LAYOUT: u64 = layout_number(&[
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
/// The table of resolver answers takes one part in so many of the zone.
const RESOLVER_CACHE_PART: usize = 4;

/// The header of the zone.
#[repr(C)]
pub struct Zone {
    magic: u64,
    layout: u64,
    /// Number of the newest change of any entry.
    pub(super) generation: Word,
    /// Number of the newest lease.
    pub leases: Word,
    /// Chooses buckets: tenants' names come from clients.
    pub(super) bucket_key: DigestKey,
    /// A block that was allocated and that nothing points to yet.
    pub(super) arriving: Link<u8>,
    /// A block that nothing will point to when it is freed.
    pub(super) leaving: Link<u8>,
    /// The bucket in which the search for room goes on.
    pub(super) hand: Word,
    /// The resolver's answers, or null when no project keeps them.
    resolver_cache: Link<Head>,
    counters: Counters,
    pub(super) buckets: [Link<Entry>; BUCKETS],
}

/// The zone's callback: prepares new memory, or takes over that of the configuration before.
pub unsafe extern "C" fn init_zone(zone: *mut ngx_shm_zone_t, old: *mut c_void) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx hands over a mapped zone whose memory begins with a slab pool. `old` is
        // what this function left in `data` for the same memory; `data` is the zone's
        // configuration until then.
        unsafe {
            let keeps_answers = (*(*zone).data.cast::<ZoneConf>()).keeps_answers();
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
                return place_resolver_cache(zone, keeps_answers);
            }
            let Ok(bucket_key) = random_key() else {
                return no_randomness(zone);
            };
            ngx_shmtx_lock(&mut (*pool).mutex);
            // All zero: no bucket, no count, no table.
            let header = ngx_slab_calloc_locked(pool, mem::size_of::<Zone>()).cast::<Zone>();
            ngx_shmtx_unlock(&mut (*pool).mutex);
            if header.is_null() {
                return NGX_ERROR as ngx_int_t;
            }
            (*header).generation.set(1);
            (*header).bucket_key = bucket_key;
            (*header).layout = LAYOUT;
            (*header).magic = MAGIC;
            (*pool).data = header.cast();
            // A full zone is no error: the least recently used entry makes room.
            slab_pool::set_log_nomem(&mut *pool, false);
            (*zone).data = header.cast();
            place_resolver_cache(zone, keeps_answers)
        }
    })
}

/// Makes the table of resolver answers unless it is there, or nobody wants it.
///
/// # Safety
///
/// The zone must be mapped, and its `data` its header.
unsafe fn place_resolver_cache(zone: *mut ngx_shm_zone_t, wanted: bool) -> ngx_int_t {
    // SAFETY: the caller vouches for the zone. Slab blocks of this size are whole pages.
    unsafe {
        let header = (*zone).data.cast::<Zone>();
        if !wanted || !(*header).resolver_cache.get().is_null() {
            return NGX_OK as ngx_int_t;
        }
        let (sets, bytes) = Table::layout((*zone).shm.size / RESOLVER_CACHE_PART);
        let pool = (*zone).shm.addr.cast::<ngx_slab_pool_t>();
        ngx_shmtx_lock(&mut (*pool).mutex);
        let memory = ngx_slab_calloc_locked(pool, bytes).cast::<u8>();
        ngx_shmtx_unlock(&mut (*pool).mutex);
        let log = (*zone).shm.log;
        let Some(memory) = NonNull::new(memory) else {
            ngx::ngx_log_error!(
                NGX_LOG_EMERG,
                log,
                "authgear: the shared zone has no room for the resolver's answers; enlarge \
                 \"authgear_shared_zone\" and restart"
            );
            return NGX_ERROR as ngx_int_t;
        };
        let Ok(key) = random_key() else {
            return no_randomness(zone);
        };
        let table = Table::place(memory, sets, key);
        (*header).resolver_cache.set(table.as_ptr());
        NGX_OK as ngx_int_t
    }
}

/// # Safety
///
/// The zone must be live.
unsafe fn no_randomness(zone: *mut ngx_shm_zone_t) -> ngx_int_t {
    // SAFETY: the caller vouches for the zone.
    let log = unsafe { (*zone).shm.log };
    ngx::ngx_log_error!(
        NGX_LOG_EMERG,
        log,
        "authgear: the system gives no random numbers"
    );
    NGX_ERROR as ngx_int_t
}

/// The mapped zone. It stays mapped while any configuration refers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedZone {
    pub(super) pool: NonNull<ngx_slab_pool_t>,
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

    /// The zone's header.
    pub(super) fn header(&self) -> &Zone {
        // SAFETY: the zone is mapped. What changes in it is atomic, or behind its pointers.
        unsafe { self.zone.as_ref() }
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

    /// The key of the digests that the table of resolver answers is asked by.
    pub fn resolver_cache_key(self) -> Option<DigestKey> {
        // SAFETY: the table was placed.
        self.table().map(|table| unsafe { Table::key_of(table) })
    }

    /// Has the processor fetch what is known of a digest.
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

    /// Takes the mutex, and frees what a killed worker has left.
    pub fn lock(self) -> Locked {
        // SAFETY: the zone is mapped, and its slab pool initialised.
        unsafe { ngx_shmtx_lock(&mut (*self.pool.as_ptr()).mutex) };
        let mut locked = Locked(self);
        let header = self.header();
        if !header.arriving.get().is_null() || !header.leaving.get().is_null() {
            locked.clean();
        }
        locked
    }
}
