//! Limits the concurrent fetches of a worker, by counting alone.
//!
//! Only an endpoint with variables needs more than one for each project. Its tenants' names come from
//! clients: made-up tenants must not use up the slots of real ones. A fetch that takes long gives its slot to
//! others, so that a tenant that can be reached does not wait until those that cannot have timed out.

/// Fetches that began within [`QUICK_TIME`].
pub const MOST_QUICK: usize = 32;
/// Fetches that take longer.
pub const MOST_SLOW: usize = 128;
/// A fetch that takes longer than so many milliseconds is a slow one.
pub const QUICK_TIME: u64 = 100;

/// The slots of one kind.
struct Bounds {
    most: usize,
    /// Limit for fetches of sources that failed last time: once for those that have never had keys, and once
    /// more for those that had some.
    failing: usize,
    /// Kept for sources that had keys.
    reserved: usize,
}

const QUICK: Bounds = Bounds {
    most: MOST_QUICK,
    failing: MOST_QUICK / 4,
    reserved: MOST_QUICK / 4,
};
const SLOW: Bounds = Bounds {
    most: MOST_SLOW,
    failing: MOST_SLOW / 4,
    reserved: MOST_SLOW / 8,
};

/// The history of a source, which decides how many slots such sources may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// It has had keys.
    pub had_keys: bool,
    /// Its last fetch failed.
    pub fails: bool,
}

/// The slots that are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    quick: Taken,
    slow: Taken,
}

/// Slots of one kind, by [`Standing::had_keys`], then by [`Standing::fails`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken([[usize; 2]; 2]);

impl Slots {
    /// None is taken.
    #[must_use]
    pub const fn new() -> Slots {
        const NONE: Taken = Taken([[0; 2]; 2]);
        Slots {
            quick: NONE,
            slow: NONE,
        }
    }

    /// The number of slots that are taken.
    #[must_use]
    pub fn count(&self) -> usize {
        self.quick.count() + self.slow.count()
    }

    /// Takes a slot for a fetch that begins; returns whether there is one for such a source.
    pub fn take(&mut self, standing: Standing) -> bool {
        self.quick.take(standing, &QUICK)
    }

    /// Gives the slot of a fetch that takes long to others; returns whether there is one for slow fetches of such
    /// a source.
    pub fn slow_down(&mut self, standing: Standing) -> bool {
        let has_moved = self.slow.take(standing, &SLOW);
        if has_moved {
            self.quick.give_back(standing);
        }
        has_moved
    }

    /// Gives a slot back that was taken for such a source, and perhaps slowed down.
    pub fn give_back(&mut self, standing: Standing, is_slow: bool) {
        let taken = if is_slow {
            &mut self.slow
        } else {
            &mut self.quick
        };
        taken.give_back(standing);
    }
}

impl Taken {
    fn count(&self) -> usize {
        self.0.as_flattened().iter().sum()
    }

    fn take(&mut self, standing: Standing, bounds: &Bounds) -> bool {
        let (all, without_keys) = (self.count(), self.0[0].iter().sum::<usize>());
        let alike = self.alike(standing);
        let is_free = all < bounds.most
            && (standing.had_keys || without_keys < bounds.most - bounds.reserved)
            && (!standing.fails || *alike < bounds.failing);
        *alike += usize::from(is_free);
        is_free
    }

    fn give_back(&mut self, standing: Standing) {
        let alike = self.alike(standing);
        *alike = alike.saturating_sub(1);
    }

    fn alike(&mut self, standing: Standing) -> &mut usize {
        &mut self.0[usize::from(standing.had_keys)][usize::from(standing.fails)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Standing = Standing {
        had_keys: false,
        fails: false,
    };
    const UNREACHABLE: Standing = Standing { fails: true, ..NEW };
    const KNOWN: Standing = Standing {
        had_keys: true,
        fails: false,
    };
    const FAILING_KNOWN: Standing = Standing {
        fails: true,
        ..KNOWN
    };

    fn taken(slots: &mut Slots, standing: Standing) -> usize {
        (0..100).filter(|_| slots.take(standing)).count()
    }

    #[test]
    fn each_kind_alone_has_its_bound() {
        for (standing, most) in [(NEW, 24), (UNREACHABLE, 8), (KNOWN, 32), (FAILING_KNOWN, 8)] {
            let mut slots = Slots::new();
            assert_eq!(taken(&mut slots, standing), most, "{standing:?}");
            assert_eq!(slots.count(), most);
            slots.give_back(standing, false);
            assert!(slots.take(standing) && !slots.take(standing));
        }
    }

    #[test]
    fn made_up_sources_leave_room_for_others() {
        let mut slots = Slots::new();
        assert_eq!(taken(&mut slots, UNREACHABLE), 8);
        assert_eq!(
            taken(&mut slots, NEW),
            16,
            "new ones have more than those that failed"
        );
        assert_eq!(
            taken(&mut slots, KNOWN),
            8,
            "those that had keys have a part of their own"
        );
        assert_eq!(taken(&mut slots, KNOWN), 0, "and no more than all");
    }

    #[test]
    fn made_up_sources_that_fail_keep_no_known_one_out_that_fails() {
        let mut slots = Slots::new();
        assert_eq!(taken(&mut slots, UNREACHABLE), 8);
        assert_eq!(taken(&mut slots, FAILING_KNOWN), 8);
    }

    #[test]
    fn slow_fetches_leave_their_slots_to_others() {
        for (standing, most) in [
            (NEW, 112),
            (UNREACHABLE, 32),
            (KNOWN, 128),
            (FAILING_KNOWN, 32),
        ] {
            let mut slots = Slots::new();
            let slow = (0..200).filter(|_| slots.take(standing) && slots.slow_down(standing));
            assert_eq!(slow.count(), most, "{standing:?}");
            // The last one found no slot for slow ones, and has its own still.
            assert!(!slots.slow_down(standing));
            slots.give_back(standing, true);
            assert!(slots.slow_down(standing) && !slots.slow_down(standing));
        }
    }

    #[test]
    fn a_hundred_tenants_that_hang_leave_room_for_one_that_does_not() {
        let (mut slots, mut waiting, mut rounds) = (Slots::new(), 110, 0);
        while waiting > 0 {
            let begun = (0..waiting).filter(|_| slots.take(NEW)).count();
            let slow = (0..begun).filter(|_| slots.slow_down(NEW)).count();
            assert_eq!(slow, begun);
            waiting -= begun;
            rounds += 1;
        }
        assert!(slots.take(NEW));
        assert_eq!(rounds, 5, "half a second");
    }
}
