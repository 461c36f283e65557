//! Counters of the requests that `observe` would have refused, for all workers and across reloads.

use core::mem::{self, offset_of};
use core::sync::atomic::{AtomicU64, Ordering};

use authgear_core::fingerprint::fingerprint;
use authgear_core::Reason;
use authgear_tables::layout_number;

/// Projects that are counted. Those beyond are logged without a count.
const PROJECTS: usize = 64;
const REASONS: usize = Reason::ALL.len();

/// Counters in the shared zone. All-zero memory is an empty one.
#[repr(C)]
pub struct Counters([ProjectCounters; PROJECTS]);

/// One project's counters, found by its name: a reload may change the order of projects.
#[repr(C)]
struct ProjectCounters {
    /// A digest of the name; 0 while the place is free.
    project: AtomicU64,
    counts: [AtomicU64; REASONS],
}

/// Differs when the counters are laid out in another way.
pub const LAYOUT: u64 = layout_number(&[
    mem::size_of::<Counters>(),
    mem::size_of::<ProjectCounters>(),
    offset_of!(ProjectCounters, project),
    offset_of!(ProjectCounters, counts),
]);

impl Counters {
    /// Counts one more, and returns how many there are now.
    pub fn count(&self, project: &str, reason: Reason) -> Option<u64> {
        let digest = fingerprint([project.as_bytes()]);
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        // Never the mark of a free place.
        let id = u64::from_ne_bytes(id) | 1;
        let free =
            |place: &AtomicU64| place.compare_exchange(0, id, Ordering::Relaxed, Ordering::Relaxed);
        let project = self.0.iter().find(|project| match free(&project.project) {
            Ok(_) => true,
            Err(taken) => taken == id,
        })?;
        let reason = Reason::ALL.iter().position(|known| *known == reason)?;
        Some(project.counts[reason].fetch_add(1, Ordering::Relaxed) + 1)
    }
}
