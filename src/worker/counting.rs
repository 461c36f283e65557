//! This worker's counters.

use core::cell::{Cell, RefCell};
use core::mem::ManuallyDrop;

use authgear_core::status::{Count, Found, Table};
use authgear_tables::counters::Counters;
use authgear_tables::judgements::Known;

use crate::conf::Project;
use crate::shm::SharedZone;

/// The counters of the projects, by their number. The digest tells the projects of a configuration that
/// was replaced from those of the new one.
type ByNumber = Vec<(u64, Option<Counters>)>;

thread_local! {
    // Never dropped, as the worker's other state.
    static KNOWN: ManuallyDrop<RefCell<ByNumber>> = const { ManuallyDrop::new(RefCell::new(Vec::new())) };
    /// The counters of the zone itself.
    static OWN: Cell<Option<Counters>> = const { Cell::new(None) };
    /// This worker's place among those whose waiting requests are counted, once it has one.
    static PLACE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Forgets what is in the zone, which may be replaced.
pub(super) fn reset() {
    KNOWN.with(|known| known.borrow_mut().clear());
    OWN.with(|own| own.set(None));
    PLACE.with(|place| place.set(None));
}

/// The counters of a project; `None` where there was no room for them.
pub fn counters(project: &Project, zone: impl Fn() -> Option<SharedZone>) -> Option<Counters> {
    KNOWN.with(|known| {
        let mut known = known.borrow_mut();
        if let Some((digest, counters)) = known.get(project.index) {
            if *digest == project.digest {
                return *counters;
            }
        }
        let counters = zone()?.counters(project.digest);
        if known.len() <= project.index {
            known.resize(project.index + 1, (0, None));
        }
        known[project.index] = (project.digest, counters);
        counters
    })
}

/// Counts a look-up in the table of judgements.
pub fn count_lookup(known: &Known, zone: SharedZone) {
    let own = OWN.with(|own| {
        let counters = own.get().or_else(|| zone.own_counters());
        own.set(counters);
        counters
    });
    let found = match known.verdict.is_some() || known.token.is_some() {
        true => Found::Hit,
        false => Found::Miss,
    };
    if let Some(own) = own {
        own.count(Count::Lookup(Table::Judgements, found));
    }
}

/// Says how many requests wait in this worker.
pub fn set_waiting(requests: usize, zone: SharedZone) {
    let place = PLACE.with(|place| {
        let claimed = place.get().or_else(|| zone.claim_waiting());
        place.set(claimed);
        claimed
    });
    if let Some(place) = place {
        zone.set_waiting(place, requests as u64);
    }
}
