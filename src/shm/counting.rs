//! The counters in the zone: their memory, and the lane of this worker.

use core::ptr::NonNull;

use authgear_core::fingerprint::fingerprint;
use authgear_tables::counters::{Counters, Head};
use authgear_tables::source::{Id, SourceEntry};
use authgear_tables::word::Link;
use nginx_sys::{ngx_pagesize, ngx_pid, ngx_slab_calloc, ngx_worker, NGX_LOG_WARN};
use ngx::log::ngx_cycle_log;

use super::zone::SharedZone;
use crate::nginx::is_process_alive;

/// The most lanes of a project.
const MOST_LANES: usize = 64;
/// Counters take at most one part in so many of the zone, unless one lane for each project takes more.
const PART: usize = 64;
/// In place of a project's digest, which is never 0.
const OWN: u64 = 0;
/// Buckets that are scanned at a time, for the status page.
const SCANNED: usize = 256;

/// The digest of a project's name, by which its counters are found: a reload may change the order of
/// projects. Never 0.
pub fn project_digest(name: &str) -> u64 {
    let digest = fingerprint([name.as_bytes()]);
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_ne_bytes(first) | 1
}

impl SharedZone {
    /// Makes the counters of projects that have none, for so many workers. A project for which there is no
    /// room is not counted. No worker with these projects runs yet.
    pub(super) fn place_counters(self, projects: &[u64], workers: usize, size: usize) {
        let room = size / PART / (projects.len() + 1);
        let fits = |lanes: &usize| Counters::size(*lanes) <= room;
        let lanes = (1..=workers.clamp(1, MOST_LANES))
            .rev()
            .find(fits)
            .unwrap_or(1);
        let header = self.header();
        if self.own_counters().is_none() {
            self.place(&header.own_counters, OWN, lanes);
        }
        for project in projects {
            if self.counters(*project).is_none() {
                self.place(&header.counters, *project, lanes);
            }
        }
    }

    fn place(self, list: &Link<Head>, project: u64, lanes: usize) {
        // SAFETY: the zone is mapped. The memory is zeroed, and slab blocks of this size are whole pages. Of
        // all processes the master alone changes the list.
        unsafe {
            let memory = ngx_slab_calloc(self.pool.as_ptr(), Counters::size(lanes));
            match NonNull::new(memory.cast::<u8>()) {
                Some(memory) => Counters::place(list, memory, project, lanes),
                None => {
                    ngx::ngx_log_error!(
                        NGX_LOG_WARN,
                        ngx_cycle_log().as_ptr(),
                        "authgear: the shared zone has no room for the counters of a new project; \
                         enlarge \"authgear_shared_zone\" and restart"
                    );
                }
            }
        }
    }

    /// The counters of the project with that digest, and in them the lane of this worker.
    pub fn counters(self, project: u64) -> Option<Counters> {
        // SAFETY: nginx sets the worker's number before the worker runs. The list is this module's own, and
        // stays mapped as long as the zone, which whoever has this handle gives up first.
        unsafe { Counters::find(&self.header().counters, project, ngx_worker) }
    }

    /// The counters of the zone itself, and in them the lane of this worker.
    pub fn own_counters(self) -> Option<Counters> {
        // SAFETY: as in `counters`.
        unsafe { Counters::find(&self.header().own_counters, OWN, ngx_worker) }
    }

    /// The number of key sets in use that gave way.
    pub fn evicted_keys(self) -> u64 {
        self.header().evicted_keys.get()
    }

    /// Gives this worker a place for the number of its waiting requests.
    pub fn claim_waiting(self) -> Option<usize> {
        // SAFETY: nginx sets it when the process starts.
        let own = unsafe { ngx_pid } as u64;
        self.lock().zone().waiting.claim(own, is_process_alive)
    }

    /// Sets the number of this worker's waiting requests.
    pub fn set_waiting(self, place: usize, requests: u64) {
        self.header().waiting.set(place, requests);
    }

    /// The number of waiting requests of all workers.
    pub fn waiting(self) -> u64 {
        self.header().waiting.total(is_process_alive)
    }

    /// The zone's size, and the bytes of it that are not free.
    pub fn size(self) -> (usize, usize) {
        // SAFETY: the zone is mapped, and begins with its pool. The free pages are a number that may be a
        // moment old; the page size never changes.
        let (end, free) = unsafe {
            let pool = self.pool.as_ptr();
            let end = (&raw const (*pool).end).read();
            let free = (&raw const (*pool).pfree).read_volatile();
            (end as usize, free * ngx_pagesize)
        };
        let size = end - self.pool.as_ptr() as usize;
        (size, size - free.min(size))
    }

    /// Hands the entry of a source to `read`.
    pub fn read_source<T>(self, id: &Id, read: impl FnOnce(&SourceEntry) -> T) -> Option<T> {
        self.lock().find(id).map(read)
    }

    /// Hands every entry to `read`. The mutex is given to others in between.
    pub fn read_sources(self, mut read: impl FnMut(&SourceEntry)) {
        let buckets = self.header().buckets().len();
        for first in (0..buckets).step_by(SCANNED) {
            let locked = self.lock();
            locked
                .entries(first..(first + SCANNED).min(buckets))
                .for_each(&mut read);
        }
    }
}
