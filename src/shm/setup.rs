//! Asks nginx for the zone, and prepares its memory before the workers start.

use core::cell::{Cell, RefCell};
use core::ffi::c_void;
use core::fmt::Display;
use core::mem;
use core::ptr::{self, NonNull};

use authgear_core::digest::random_key;
use authgear_tables::breaker::Breakers;
use authgear_tables::judgements::{Dimensions, Table};
use authgear_tables::revocations::{self, Merged};
use nginx_sys::{
    ngx_cycle_t, ngx_int_t, ngx_shared_memory_add, ngx_shm_zone_t, ngx_slab_alloc, ngx_slab_calloc,
    ngx_slab_pool_t, ngx_timeofday, NGX_ERROR, NGX_LOG_EMERG, NGX_LOG_ERR, NGX_OK,
};

use super::zone::{SharedZone, Zone, LAYOUT, MAGIC};
use crate::nginx::fields::slab_pool;
use crate::nginx::{guard, Conf, Failed};

/// Bytes of the table of revocations in a zone of that size: at least 64 KiB, and of what is above 32 MiB
/// an eighth.
fn size_of_revocations(zone: usize) -> usize {
    (zone / 32).max(64 << 10) + zone.saturating_sub(32 << 20) / 8
}

/// The zone of one configuration: what it shall hold, and the memory once nginx has mapped it.
#[derive(Debug, Default)]
pub struct ZoneSetup {
    /// Digests of the projects that are counted.
    projects: RefCell<Vec<u64>>,
    /// The configuration's cycle, once the zone was asked for.
    cycle: Cell<Option<NonNull<ngx_cycle_t>>>,
    keeps_revocations: Cell<bool>,
    has_new_revocations: Cell<bool>,
    mapped: Cell<Option<SharedZone>>,
}

impl ZoneSetup {
    /// Makes room for the counters of a project, by the digest of its name.
    pub fn count_project(&self, project: u64) {
        self.projects.borrow_mut().push(project);
    }

    /// Makes room for revocations in the zone.
    pub fn keep_revocations(&self) {
        self.keeps_revocations.set(true);
    }

    /// True when the zone has a table of revocations that no configuration before had.
    pub fn has_new_revocations(&self) -> bool {
        self.has_new_revocations.get()
    }

    /// True when nginx has been asked for the zone.
    pub fn is_added(&self) -> bool {
        self.cycle.get().is_some()
    }

    /// The zone, once nginx has mapped it.
    pub fn zone(&self) -> Option<SharedZone> {
        self.mapped.get()
    }

    /// Asks nginx for the zone. `tag` tells this module's zones from those of others.
    ///
    /// # Safety
    ///
    /// This value must stay where it is as long as the configuration, and nobody may hold a mutable
    /// reference to it.
    pub unsafe fn add(
        &self,
        cf: &Conf,
        name: &str,
        size: usize,
        tag: *mut c_void,
    ) -> Result<(), Failed> {
        let mut name = cf.pool().copy(name.as_bytes())?;
        // SAFETY: the context is live. nginx allocates the zone's structure in the cycle's pool.
        unsafe {
            let shm = ngx_shared_memory_add(cf.raw(), &mut name, size, tag);
            let shm = shm.as_mut().ok_or(Failed)?;
            shm.init = Some(init_zone);
            shm.data = ptr::from_ref(self).cast_mut().cast();
            self.cycle.set(NonNull::new((*cf.raw()).cycle));
        }
        Ok(())
    }
}

/// The zone's callback: prepares new memory, or takes over that of the configuration before.
unsafe extern "C" fn init_zone(shm: *mut ngx_shm_zone_t, old: *mut c_void) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx hands over a mapped zone whose memory begins with a slab pool, and calls this once
        // for the setup that `add` left in `data`, which the caller of `add` keeps alive. `old` is the
        // `data` of the configuration before for the same memory, so a header.
        let prepared = unsafe {
            let setup = &*(*shm).data.cast::<ZoneSetup>();
            prepare(&mut *shm, old.cast(), setup).inspect(|zone| setup.mapped.set(Some(*zone)))
        };
        prepared.map_or(NGX_ERROR as ngx_int_t, |_| NGX_OK as ngx_int_t)
    })
}

/// Prepares the zone's memory, and leaves its header in `data` for the next configuration.
///
/// # Safety
///
/// `shm` must be mapped and begin with a slab pool; `old` must be null or the header in the same memory.
unsafe fn prepare(
    shm: &mut ngx_shm_zone_t,
    old: *mut Zone,
    setup: &ZoneSetup,
) -> Result<SharedZone, Failed> {
    let pool = NonNull::new(shm.shm.addr.cast::<ngx_slab_pool_t>()).ok_or(Failed)?;
    // SAFETY: the caller vouches for the memory. No worker knows new memory yet.
    let zone = unsafe {
        let old = if old.is_null() {
            (*pool.as_ptr()).data.cast()
        } else {
            old
        };
        let header = match NonNull::new(old) {
            Some(header) => header,
            None => new_header(shm, pool)?,
        };
        if (*header.as_ptr()).magic != MAGIC || (*header.as_ptr()).layout != LAYOUT {
            return Err(emerg(
                shm,
                "the shared zone was laid out by another version of the module; restart nginx \
                 instead of reloading it",
            ));
        }
        SharedZone { pool, header }
    };
    shm.data = zone.header.as_ptr().cast();
    if zone.header().judgements.get().is_null() {
        place_judgements(shm, zone)?;
    }
    let workers = setup.cycle.get().map_or(1, worker_processes);
    zone.place_counters(&setup.projects.borrow(), workers, shm.shm.size);
    if setup.keeps_revocations.get() && zone.header().revocations.get().is_null() {
        let before = setup.cycle.get().and_then(zone_before(shm.tag));
        place_revocations(shm, zone, before.filter(|before| *before != zone))?;
        setup.has_new_revocations.set(true);
    }
    Ok(zone)
}

/// The number of workers of a configuration that has been read.
fn worker_processes(cycle: NonNull<ngx_cycle_t>) -> usize {
    // SAFETY: nginx calls `init_zone` after it has read the configuration of this cycle, so the core
    // module's part of it is complete.
    let configured = unsafe {
        let core = ptr::addr_of!(nginx_sys::ngx_core_module);
        let conf = *(*cycle.as_ptr()).conf_ctx.add((*core).index);
        (*conf.cast::<nginx_sys::ngx_core_conf_t>()).worker_processes
    };
    usize::try_from(configured).unwrap_or(1)
}

/// Makes the zone's header.
///
/// # Safety
///
/// `pool` must be the slab pool of new memory.
unsafe fn new_header(
    shm: &ngx_shm_zone_t,
    pool: NonNull<ngx_slab_pool_t>,
) -> Result<NonNull<Zone>, Failed> {
    let bucket_key = random_key().map_err(|error| emerg(shm, error))?;
    // SAFETY: the caller vouches for the pool. A zeroed header is one without buckets, counts and
    // table; no other process knows the zone yet.
    unsafe {
        let header = ngx_slab_calloc(pool.as_ptr(), mem::size_of::<Zone>()).cast::<Zone>();
        let zone = header.as_mut().ok_or(Failed)?;
        (zone.bucket_count, zone.breaker_sets) = (
            Zone::buckets_in(shm.shm.size),
            Breakers::sets_in(shm.shm.size),
        );
        zone.buckets.set(place_zeroed(pool, zone.bucket_count)?);
        zone.breakers.set(place_zeroed(pool, zone.breaker_sets)?);
        zone.generation.set(1);
        zone.bucket_key = bucket_key;
        zone.layout = LAYOUT;
        zone.magic = MAGIC;
        (*pool.as_ptr()).data = header.cast();
        // A full zone is no error: the least recently used entry makes room.
        slab_pool::set_log_nomem(&mut *pool.as_ptr(), false);
        NonNull::new(header).ok_or(Failed)
    }
}

/// Memory for so many values of a type of which all-zero is one.
///
/// # Safety
///
/// `pool` must be the slab pool of new memory.
unsafe fn place_zeroed<T>(pool: NonNull<ngx_slab_pool_t>, count: usize) -> Result<*mut T, Failed> {
    // SAFETY: the caller vouches for the pool. Slab blocks are aligned to 8 bytes at least.
    let memory = unsafe { ngx_slab_calloc(pool.as_ptr(), count * mem::size_of::<T>()) }.cast::<T>();
    NonNull::new(memory).map(NonNull::as_ptr).ok_or(Failed)
}

/// Makes the table of judgements.
fn place_judgements(shm: &ngx_shm_zone_t, zone: SharedZone) -> Result<(), Failed> {
    let dimensions = Dimensions::in_zone(shm.shm.size);
    let key = random_key().map_err(|error| emerg(shm, error))?;
    // SAFETY: the zone is mapped, and no other process knows it yet. The memory is as long as
    // `dimensions` says; slab blocks of this size are whole pages. It is not cleared, so that pages
    // without judgements take no memory.
    let table = unsafe {
        let memory = ngx_slab_alloc(zone.pool.as_ptr(), dimensions.size()).cast::<u8>();
        NonNull::new(memory).map(|memory| Table::place(memory, dimensions, key))
    };
    let table = table.ok_or_else(|| {
        emerg(
            shm,
            "the shared zone has no room for its table; enlarge \"authgear_shared_zone\" and restart",
        )
    })?;
    zone.header().judgements.set(table.as_ptr());
    Ok(())
}

/// The zone of the configuration before that of a cycle; `None` without one. `tag` is that of this module's zones.
fn zone_before(tag: *mut c_void) -> impl Fn(NonNull<ngx_cycle_t>) -> Option<SharedZone> {
    // SAFETY: nginx calls `init_zone` while the old cycle and its zones are still there; at a start that is
    // one without zones. The tag is this very module's, which left its header in `data`.
    move |cycle| unsafe {
        let before = (*cycle.as_ptr()).old_cycle.as_ref()?;
        let mut part = before.shared_memory.part;
        loop {
            let zones = part.elts.cast::<ngx_shm_zone_t>();
            let mut zones = (0..part.nelts).map(|index| &*zones.add(index));
            if let Some(shm) = zones.find(|shm| shm.tag == tag && !shm.data.is_null()) {
                return Some(SharedZone {
                    pool: NonNull::new(shm.shm.addr.cast())?,
                    header: NonNull::new(shm.data.cast())?,
                });
            }
            part = *part.next.as_ref()?;
        }
    }
}

/// Makes the table of revocations, with what counts in that of the zone before.
fn place_revocations(
    shm: &ngx_shm_zone_t,
    zone: SharedZone,
    before: Option<SharedZone>,
) -> Result<(), Failed> {
    let (sets, bytes) = revocations::layout(size_of_revocations(shm.shm.size));
    let key = match before.as_ref().and_then(SharedZone::revocations) {
        Some(table) => table.key(),
        None => random_key().map_err(|error| emerg(shm, error))?,
    };
    // SAFETY: as for the resolver's answers.
    let head = unsafe {
        let memory = ngx_slab_calloc(zone.pool.as_ptr(), bytes).cast::<u8>();
        NonNull::new(memory).map(|memory| revocations::place(memory, sets, key))
    };
    let head = head.ok_or_else(|| {
        emerg(
            shm,
            "the shared zone has no room for revocations; enlarge \"authgear_shared_zone\" and restart",
        )
    })?;
    zone.header().revocations.set(head.as_ptr());
    let now = ngx_timeofday().sec as u64;
    // Its mutex keeps old workers from changing it meanwhile.
    let taken = before.and_then(|before| {
        before.with_revocations(|from| {
            zone.with_revocations(|table| table.take_over(&from.reader(), now))
        })
    });
    if taken
        .flatten()
        .is_some_and(|worst| worst >= Merged::Evicted)
    {
        ngx::ngx_log_error!(
            NGX_LOG_ERR,
            shm.shm.log,
            "authgear: the new shared zone is too small for all revocations: the oldest are forgotten; enlarge \
             \"authgear_shared_zone\""
        );
    }
    Ok(())
}

/// Logs why the zone cannot be used.
fn emerg(shm: &ngx_shm_zone_t, why: impl Display) -> Failed {
    ngx::ngx_log_error!(NGX_LOG_EMERG, shm.shm.log, "authgear: {why}");
    Failed
}
