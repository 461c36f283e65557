//! The shared zone, and this worker's parsed copy of it.
//!
//! The zone holds one entry for each source of keys: the document as it was fetched, and the
//! [`Record`] of what is known of it. Entries are read and written under the zone's slab mutex,
//! which nginx's master unlocks for a worker that dies with it. Every change of an entry takes a
//! new number from the zone's generation, so that a worker whose copies carry the newest number
//! needs neither the mutex nor the entries.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU64, Ordering};
use core::{mem, slice};
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::num::NonZeroUsize;
use std::rc::Rc;

use authgear_core::fingerprint::random_key;
use authgear_core::keys::freshness::{advise, back_off, Advice, Need, Record};
use authgear_core::keys::KeySet;
use lru::LruCache;
use nginx_sys::{
    ngx_int_t, ngx_shm_zone_t, ngx_shmtx_lock, ngx_shmtx_unlock, ngx_slab_alloc_locked,
    ngx_slab_calloc_locked, ngx_slab_free_locked, ngx_slab_pool_t, NGX_ERROR, NGX_LOG_EMERG,
    NGX_OK,
};

use crate::conf::{Remote, ZoneConf};
use crate::nginx::guard;
use crate::verdicts::Table;

/// Tells sources of keys apart.
pub type Id = [u8; 32];

const MAGIC: u64 = u64::from_be_bytes(*b"authgear");
/// Changes with the layout of what the zone holds.
const LAYOUT: u64 = (1 << 32) + mem::size_of::<Entry>() as u64;
const BUCKETS: usize = 512;
/// Parsed key sets that one worker keeps.
const PARSED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// How often a worker tells the zone that it uses an entry, in milliseconds.
const TOUCH: u64 = 1000;
/// The table of verdicts takes one part in so many of the zone.
const VERDICTS_PART: usize = 4;
/// What a lease lasts beyond the fetch's own time limit, in milliseconds.
const LEASE_MARGIN: u64 = 1000;

/// What stands at the beginning of the zone.
#[repr(C)]
struct Zone {
    magic: u64,
    layout: u64,
    /// Number of the newest change of any entry.
    generation: AtomicU64,
    /// Number of the newest lease.
    leases: u64,
    /// What the resolver said, or null when no project keeps it.
    verdicts: *mut Table,
    buckets: [*mut Entry; BUCKETS],
}

/// One source's keys. Reachable from exactly one bucket.
#[repr(C)]
struct Entry {
    next: *mut Entry,
    id: Id,
    /// The zone's generation at this entry's last change.
    generation: u64,
    /// The last good document; null when there is none, or the zone had no room for it.
    document: *mut Document,
    /// Digest of the last good document, whether or not the zone has room for it; 0 when there
    /// was none.
    published: u64,
    record: Record,
    /// Number of the lease that is out, if `record.lease_until` has not passed.
    lease: u64,
    /// When a worker last used the entry.
    used: u64,
    /// Digest of the last failure that was logged; 0 when the last attempt succeeded.
    failure: u64,
}

/// A block with `len` bytes behind this header.
#[repr(C)]
struct Document {
    len: usize,
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
            let header = ngx_slab_alloc_locked(pool, mem::size_of::<Zone>()).cast::<Zone>();
            ngx_shmtx_unlock(&mut (*pool).mutex);
            if header.is_null() {
                return NGX_ERROR as ngx_int_t;
            }
            header.write(Zone {
                magic: MAGIC,
                layout: LAYOUT,
                generation: AtomicU64::new(1),
                leases: 0,
                verdicts: ptr::null_mut(),
                buckets: [ptr::null_mut(); BUCKETS],
            });
            (*pool).data = header.cast();
            // A full zone is no error: the least recently used entry makes room.
            (*pool).set_log_nomem(0);
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
        let Ok(key) = random_key() else {
            ngx::ngx_log_error!(NGX_LOG_EMERG, log, "authgear: no randomness to be had");
            return NGX_ERROR as ngx_int_t;
        };
        (*header).verdicts = Table::place(memory, sets, key).as_ptr();
        NGX_OK as ngx_int_t
    }
}

/// The mapped zone. It stays mapped while any configuration refers to it.
#[derive(Debug, Clone, Copy)]
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

    fn generation(self) -> u64 {
        // SAFETY: the zone is mapped.
        unsafe { self.zone.as_ref().generation.load(Ordering::Acquire) }
    }

    /// Uses the table of verdicts under the zone's mutex; `None` when there is no table.
    pub fn with_verdicts<T>(self, use_it: impl FnOnce(&mut Table) -> T) -> Option<T> {
        let mut locked = self.lock();
        // SAFETY: the table lives as long as the zone, and the mutex makes this reference the
        // only one.
        unsafe { locked.zone().verdicts.as_mut() }.map(use_it)
    }

    /// What makes digests of the table of verdicts.
    pub fn verdicts_key(self) -> Option<[u8; 32]> {
        self.with_verdicts(|table| *table.key())
    }

    fn lock(self) -> Locked {
        // SAFETY: the zone is mapped, and its slab pool initialised.
        unsafe { ngx_shmtx_lock(&mut (*self.pool.as_ptr()).mutex) };
        Locked(self)
    }
}

/// The zone with its mutex held.
struct Locked(SharedZone);

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: `lock` took the mutex.
        unsafe { ngx_shmtx_unlock(&mut (*self.0.pool.as_ptr()).mutex) };
    }
}

impl Locked {
    fn zone(&mut self) -> &mut Zone {
        // SAFETY: the zone is mapped, and the mutex makes this the only reference.
        unsafe { self.0.zone.as_mut() }
    }

    fn bucket(&mut self, id: &Id) -> &mut *mut Entry {
        let hash = u16::from_ne_bytes([id[0], id[1]]) as usize;
        &mut self.zone().buckets[hash % BUCKETS]
    }

    fn find(&mut self, id: &Id) -> Option<&mut Entry> {
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
    /// keys and wait for none, such as made-up tenants, then the least recently used.
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
        let mut oldest: Option<((bool, u64), Id)> = None;
        for bucket in self.zone().buckets {
            let mut entry = bucket;
            // SAFETY: as in `find`.
            while let Some(found) = unsafe { entry.as_ref() } {
                let is_wanted = !found.document.is_null() || now < found.record.lease_until;
                let rank = (is_wanted, found.used);
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
    unsafe fn free<T>(&mut self, block: *mut T) {
        if !block.is_null() {
            // SAFETY: the mutex is held, and the caller vouches for the block.
            unsafe { ngx_slab_free_locked(self.0.pool.as_ptr(), block.cast()) };
        }
    }

    fn find_or_insert(&mut self, id: &Id, now: u64) -> Option<&mut Entry> {
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
                });
            }
            *self.bucket(id) = block.as_ptr();
        }
        self.find(id)
    }

    fn next_generation(&mut self) -> u64 {
        self.zone().generation.fetch_add(1, Ordering::Release) + 1
    }

    /// A copy of the bytes as a block of the zone, or `None` when it cannot hold them.
    fn document(&mut self, bytes: &[u8], keep: &Id, now: u64) -> Option<NonNull<Document>> {
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
    fn discard(&mut self, id: &Id) {
        if let Some(entry) = self.find(id) {
            let old = mem::replace(&mut entry.document, ptr::null_mut());
            // SAFETY: the entry does not point to it any more.
            unsafe { self.free(old) };
        }
    }
}

impl Entry {
    fn document(&self) -> Option<&[u8]> {
        // SAFETY: a document is complete before an entry points to it, and is freed only after
        // the entry points elsewhere, both under the mutex that the caller holds.
        unsafe {
            let document = self.document.as_ref()?;
            let bytes = ptr::from_ref(document).add(1).cast::<u8>();
            Some(slice::from_raw_parts(bytes, document.len))
        }
    }

    /// What a worker with that copy knows: as long as nothing was published, its own keys count;
    /// of a document that the zone has no room for, only those who fetched it have the keys.
    fn record_for(&self, copy: &Copy) -> Record {
        let fetched_at = if self.published == 0 {
            copy.record.fetched_at
        } else if self.published == copy.document || !self.document.is_null() {
            self.record.fetched_at
        } else {
            None
        };
        Record {
            fetched_at,
            ..self.record
        }
    }
}

/// The right to fetch one source's keys, until its deadline. No two have the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease(pub u64);

/// How a source's failures change: what is worth a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// As before.
    Same,
    /// It fails, or fails in another way.
    Failing,
    /// It works again.
    Recovered,
}

/// This worker's copy of one entry.
struct Copy {
    keys: Option<Rc<KeySet>>,
    record: Record,
    /// The zone's generation when the copy was made.
    seen: u64,
    /// The entry's generation at that time.
    generation: u64,
    /// Digest of the document that `keys` were parsed from.
    document: u64,
    touched: u64,
    /// Whether a lease is this worker's own, since the zone had no room for an entry.
    alone: bool,
}

/// The key sets as this worker sees them.
pub struct KeyStore {
    zone: SharedZone,
    copies: LruCache<Id, Copy>,
}

/// What [`KeyStore::look_up`] found.
pub struct Found {
    /// The keys, fresh or not, if there are any.
    pub keys: Option<Rc<KeySet>>,
    /// What to do with them, and beside them.
    pub advice: Advice,
}

impl KeyStore {
    /// A store without copies.
    pub fn new(zone: SharedZone) -> Self {
        Self {
            zone,
            copies: LruCache::new(PARSED),
        }
    }

    /// Whether the store is that of `zone`: a reload can replace the memory.
    pub fn is_of(&self, zone: SharedZone) -> bool {
        self.zone.zone == zone.zone
    }

    /// The keys of a source, and what a request with that need shall do, at the time `now`.
    pub fn look_up(&mut self, remote: &Remote, need: Need, now: u64) -> Found {
        let copy = self.copy(&remote.id, now);
        Found {
            keys: copy.keys.clone(),
            advice: advise(&copy.record, &remote.timing, need, now),
        }
    }

    /// The copy, brought up to date.
    fn copy(&mut self, id: &Id, now: u64) -> &mut Copy {
        let seen = self.zone.generation();
        let zone = self.zone;
        let copy = self.copies.get_or_insert_mut(*id, || Copy {
            keys: None,
            record: Record::default(),
            seen: 0,
            generation: 0,
            document: 0,
            touched: 0,
            alone: false,
        });
        if copy.seen != seen || now.saturating_sub(copy.touched) >= TOUCH {
            copy.synchronise(zone, id, seen, now);
        }
        copy
    }

    /// Takes the lease for a fetch, unless the entry, read under the mutex, advises otherwise.
    /// The store's own copy is brought up to date either way.
    pub fn try_lease(&mut self, remote: &Remote, need: Need, now: u64) -> Option<Lease> {
        let deadline = now + remote.source.timeout.as_millis() as u64 + LEASE_MARGIN;
        self.copy(&remote.id, now);
        let copy = self.copies.get_mut(&remote.id)?;
        let mut locked = self.zone.lock();
        let number = locked.zone().leases + 1;
        let entry = locked.find_or_insert(&remote.id, now);
        copy.alone = entry.is_none();
        if let Some(entry) = &entry {
            copy.record = Record {
                fetched_at: copy.record.fetched_at,
                ..entry.record
            };
        }
        let view = match &entry {
            Some(entry) => entry.record_for(copy),
            None => copy.record,
        };
        let advice = advise(&view, &remote.timing, need, now);
        if !matches!(advice, Advice::UseAndFetch | Advice::FetchAndWait) {
            return None;
        }
        copy.record.lease_until = deadline;
        if let Some(entry) = entry {
            entry.record.lease_until = deadline;
            entry.lease = number;
        }
        locked.zone().leases = number;
        Some(Lease(number))
    }

    /// Publishes a document that was fetched under `lease`, with its parsed keys. A lease that has
    /// passed to somebody else publishes nothing.
    pub fn publish(
        &mut self,
        id: &Id,
        lease: Lease,
        document: &[u8],
        keys: KeySet,
        now: u64,
    ) -> Published {
        let mut locked = self.zone.lock();
        let generation = locked.next_generation();
        let record = Record {
            fetched_at: Some(now),
            attempted_at: Some(now),
            ..Record::default()
        };
        let is_late = |entry: &mut Entry| entry.lease > lease.0;
        if locked.find_or_insert(id, now).is_some_and(is_late) {
            return Published::TooLate;
        }
        let mut block = locked.document(document, id, now).or_else(|| {
            // The old document and the new one do not fit at the same time.
            locked.discard(id);
            locked.document(document, id, now)
        });
        let mut change = Change::Same;
        locked.discard(id);
        if let Some(entry) = locked.find(id) {
            entry.document = block.map_or(ptr::null_mut(), NonNull::as_ptr);
            entry.published = digest(document);
            entry.record = record;
            entry.generation = generation;
            if mem::take(&mut entry.failure) != 0 {
                change = Change::Recovered;
            }
        } else if let Some(block) = block.take() {
            // SAFETY: nothing points to it.
            unsafe { locked.free(block.as_ptr()) };
        }
        drop(locked);
        self.copies.put(
            *id,
            Copy {
                keys: Some(Rc::new(keys)),
                record,
                seen: generation,
                generation,
                document: digest(document),
                touched: now,
                alone: false,
            },
        );
        match block {
            Some(_) => Published::Stored(change),
            None => Published::NoRoom(change),
        }
    }

    /// Offers a document that was saved `age` milliseconds ago to a source without keys, whose
    /// fetch under `lease` is still under way.
    pub fn offer(&mut self, id: &Id, lease: Lease, document: &[u8], age: u64, now: u64) {
        let mut locked = self.zone.lock();
        let generation = locked.next_generation();
        let wanted = |entry: &mut Entry| entry.published == 0 && entry.lease == lease.0;
        if !locked.find(id).is_some_and(wanted) {
            return;
        }
        let Some(block) = locked.document(document, id, now) else {
            return;
        };
        if let Some(entry) = locked.find(id) {
            entry.document = block.as_ptr();
            entry.published = digest(document);
            entry.record.fetched_at = Some(now.saturating_sub(age));
            entry.generation = generation;
        }
    }

    /// Records that the fetch under `lease` failed. `failure` is a digest of how, not 0; `jitter`
    /// is from 0 to 1.
    pub fn fail(
        &mut self,
        remote: &Remote,
        lease: Lease,
        failure: u64,
        now: u64,
        jitter: f64,
    ) -> Change {
        let age_limit = remote.timing.refresh.saturating_add(remote.timing.stale);
        self.copy(&remote.id, now);
        let Some(copy) = self.copies.get_mut(&remote.id) else {
            return Change::Same;
        };
        let mut locked = self.zone.lock();
        let generation = locked.next_generation();
        let entry = locked.find_or_insert(&remote.id, now);
        if entry.as_ref().is_some_and(|entry| entry.lease > lease.0) {
            return Change::Same;
        }
        let mut record = match &entry {
            Some(entry) => entry.record_for(copy),
            None => copy.record,
        };
        let is_usable = |at: u64| now.saturating_sub(at) < age_limit;
        let usable = record.fetched_at.is_some_and(is_usable);
        record.failures = record.failures.saturating_add(1);
        record.attempted_at = Some(now);
        record.lease_until = 0;
        record.next_try = now + back_off(record.failures, &remote.timing, usable, jitter);
        match entry {
            Some(entry) => {
                entry.record = Record {
                    fetched_at: entry.record.fetched_at,
                    ..record
                };
                entry.generation = generation;
                match mem::replace(&mut entry.failure, failure) == failure {
                    true => Change::Same,
                    false => Change::Failing,
                }
            }
            None => {
                copy.record = record;
                Change::Failing
            }
        }
    }

    /// The number of the source's last change, for [`KeyStore::has_news`].
    pub fn last_change(&mut self, id: &Id, now: u64) -> u64 {
        self.copy(id, now).generation
    }

    /// Whether a source has changed since its last change was `since`, or is not being fetched by
    /// anybody any more.
    pub fn has_news(&mut self, id: &Id, since: u64, now: u64) -> bool {
        let copy = self.copy(id, now);
        copy.generation != since || now >= copy.record.lease_until
    }
}

/// Tells a source's documents apart; never 0.
fn digest(document: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(document);
    hasher.finish() | 1
}

/// What became of a fetched document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// Every worker has it.
    Stored(Change),
    /// This worker alone has it: the zone is too small.
    NoRoom(Change),
    /// Another fetch has begun since; its document counts.
    TooLate,
}

impl Copy {
    /// Reads the entry if it changed, and tells it that it is used.
    fn synchronise(&mut self, zone: SharedZone, id: &Id, seen: u64, now: u64) {
        let mut locked = zone.lock();
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
        entry.used = now;
        self.alone = false;
        self.record.lease_until = entry.record.lease_until;
        if self.generation == entry.generation {
            return;
        }
        let is_newer = entry.published != 0 && entry.published != self.document;
        let fresh = entry.document().filter(|_| is_newer).map(<[u8]>::to_vec);
        self.record = entry.record_for(self);
        self.generation = entry.generation;
        let published = entry.published;
        drop(locked);
        if is_newer {
            // What is in the zone was parsed before it was published. What is not in it cannot
            // be had here, and the keys that it replaces do not count any more.
            self.keys = fresh
                .and_then(|bytes| KeySet::parse(&bytes).ok())
                .map(|(keys, _)| Rc::new(keys));
            self.document = published;
        }
        if self.keys.is_none() {
            self.record.fetched_at = None;
        }
    }
}
