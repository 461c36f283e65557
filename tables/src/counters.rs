//! Counters of each project, and the number of requests that wait in each worker.
//!
//! A project has one block: a [`Head`], and behind it one lane of counters for each worker. A worker adds
//! to its own lane, whose cache lines no other worker writes as long as there are as many lanes as
//! workers. Adding is atomic, so that workers may share a lane: those of two configurations during a
//! reload, and more workers than lanes. A worker that is killed loses at most the count under way.
//!
//! A block is placed by the master and never freed: counts survive reloads and workers.

use core::mem::{self, offset_of};
use core::ptr::NonNull;
use core::slice;
use std::time;

use authgear_core::status::{Count, Duration, Totals, COUNTS};
use authgear_core::Reason;

use crate::breaker::Breaker;
use crate::layout_number;
use crate::word::{Counter, Link, Word};

#[cfg(all(test, not(feature = "loom")))]
mod tests;

/// Workers whose waiting requests are counted, those of a configuration that is being replaced included.
const WAITING: usize = 256;

/// The head of a project's block; its lanes follow it. Processes share references to both: each field is
/// atomic, or never changes after [`Counters::place`].
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Head {
    next: Link<Head>,
    project: u64,
    lanes: usize,
    /// When the resolver first failed since its last answer; 0 while it answers.
    failing_since: Word,
    /// The suspension of the resolver, where the project has one.
    breaker: Breaker,
    /// Requests that `observe` would have refused, by reason.
    observed: [Counter; Reason::ALL.len()],
}

/// The counters of one worker, by [`Count::cell`].
#[derive(Debug)]
#[repr(C, align(64))]
struct Lane([Counter; COUNTS]);

/// Differs when the memory is laid out in another way.
pub const LAYOUT: u64 = layout_number(&[
    mem::size_of::<Head>(),
    offset_of!(Head, next),
    offset_of!(Head, project),
    offset_of!(Head, lanes),
    offset_of!(Head, failing_since),
    offset_of!(Head, breaker),
    offset_of!(Head, observed),
    mem::size_of::<Lane>(),
    COUNTS,
    mem::size_of::<Waiting>(),
]);

/// A project's counters, and the lane of this worker. The block stays as long as the zone is mapped, and
/// so must whoever keeps a copy.
#[derive(Debug, Clone, Copy)]
pub struct Counters {
    head: NonNull<Head>,
    lane: usize,
}

impl Counters {
    /// Bytes of a block with so many lanes.
    #[must_use]
    pub fn size(lanes: usize) -> usize {
        mem::size_of::<Head>() + lanes * mem::size_of::<Lane>()
    }

    /// Makes a project's block in zeroed memory, and links it before the others of the list. `project` is
    /// a digest of its name.
    ///
    /// # Safety
    ///
    /// `memory` must be zeroed, aligned to 64, as long as [`Counters::size`] says for `lanes`, which is
    /// not 0, and stay as long as the list. No other process may change the list at the same time.
    pub unsafe fn place(list: &Link<Head>, memory: NonNull<u8>, project: u64, lanes: usize) {
        let head = memory.cast::<Head>();
        // SAFETY: the caller vouches for the memory. Zeroed counters are counters at 0.
        unsafe {
            (*head.as_ptr()).project = project;
            (*head.as_ptr()).lanes = lanes;
            (*head.as_ptr()).next.set(list.get());
        }
        list.set(head.as_ptr());
    }

    /// The counters of a project, if it has a block, and in them the lane of the worker of that number.
    ///
    /// # Safety
    ///
    /// The list must hold blocks of [`Counters::place`] alone, and stay while the counters are used.
    #[must_use]
    pub unsafe fn find(list: &Link<Head>, project: u64, worker: usize) -> Option<Counters> {
        let mut next = list.get();
        loop {
            let head = NonNull::new(next)?;
            // SAFETY: the caller vouches for the list; what changes in a head is atomic.
            let found = unsafe { head.as_ref() };
            if found.project == project {
                let lane = worker % found.lanes;
                return Some(Counters { head, lane });
            }
            next = found.next.get();
        }
    }

    fn head(&self) -> &Head {
        // SAFETY: `find` made the handle, so the block is mapped; what changes in it is atomic.
        unsafe { self.head.as_ref() }
    }

    fn lanes(&self) -> &[Lane] {
        // SAFETY: the pointer is that of the whole block, which holds as many lanes as the head says;
        // they are atomics.
        unsafe { slice::from_raw_parts(self.head.add(1).cast().as_ptr(), self.head().lanes) }
    }

    #[inline]
    fn own(&self) -> &[Counter; COUNTS] {
        // SAFETY: as in `lanes`; the lane is below their number.
        unsafe { &self.head.add(1).cast::<Lane>().add(self.lane).as_ref().0 }
    }

    /// Counts one more.
    #[inline]
    pub fn count(&self, count: Count) {
        self.own()[count.cell()].add(1);
    }

    /// Counts a duration.
    pub fn measure(&self, duration: Duration, measured: time::Duration) {
        let (bucket, sum) = duration.cells(measured);
        let nanos = u64::try_from(measured.as_nanos()).unwrap_or(u64::MAX);
        self.own()[sum].add(nanos);
        self.own()[bucket].add(1);
    }

    /// Counts one more request that `observe` would have refused, and returns how many of that reason
    /// there are now. No two are told the same number.
    pub fn count_observed(&self, reason: Reason) -> u64 {
        self.head().observed[reason as usize].add(1).wrapping_add(1)
    }

    /// Notes at the time `now` that the resolver answered, or that it cannot.
    pub fn note_resolver(&self, answers: bool, now: u64) {
        let head = self.head();
        // Most find it as it is, and leave the cache line to the others.
        match (answers, head.failing_since.get()) {
            (true, 0) => {}
            (true, _) => head.failing_since.set(0),
            (false, 0) => head.failing_since.set(now),
            (false, _) => {}
        }
    }

    /// The time since which the resolver fails; `None` while it answers, or before it was asked.
    #[must_use]
    pub fn resolver_failing_since(&self) -> Option<u64> {
        Some(self.head().failing_since.get()).filter(|since| *since != 0)
    }

    /// The breaker of the project's resolver.
    #[must_use]
    pub fn breaker(&self) -> &Breaker {
        &self.head().breaker
    }

    /// The counts of all lanes.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for lane in self.lanes() {
            for (cell, counter) in lane.0.iter().enumerate() {
                totals.add(cell, counter.get());
            }
        }
        totals
    }
}

/// The number of waiting requests of each worker. Zeroed memory is one without workers.
#[derive(Debug)]
#[repr(C)]
pub struct Waiting([WaitingIn; WAITING]);

#[derive(Debug)]
#[repr(C)]
struct WaitingIn {
    /// The process id of the worker; 0 for none.
    worker: Word,
    requests: Word,
}

impl Waiting {
    /// Gives a worker a place: its own, a free one, or that of a worker that `is_alive` no more. The caller
    /// holds a lock. `None` where each place has a living worker.
    pub fn claim(&self, worker: u64, is_alive: impl Fn(u64) -> bool) -> Option<usize> {
        let owner = |place: &WaitingIn| place.worker.get();
        let own = self.0.iter().position(|place| owner(place) == worker);
        let place = own.or_else(|| {
            let is_free = |owner: u64| owner == 0 || !is_alive(owner);
            self.0.iter().position(|place| is_free(owner(place)))
        })?;
        // The number first: a killed worker leaves a place of nobody, or one at 0.
        self.0[place].requests.set(0);
        self.0[place].worker.set(worker);
        Some(place)
    }

    /// Sets the number of a worker's place.
    pub fn set(&self, place: usize, requests: u64) {
        self.0[place].requests.set(requests);
    }

    /// The requests that wait in all workers that are alive.
    pub fn total(&self, is_alive: impl Fn(u64) -> bool) -> u64 {
        let waiting = self.0.iter().filter(|place| place.requests.get() > 0);
        waiting
            .filter(|place| is_alive(place.worker.get()))
            .map(|place| place.requests.get())
            .fold(0, u64::saturating_add)
    }
}
