//! Limits the concurrent fetches of a worker, by counting alone.
//!
//! Only an endpoint with variables needs more than one for each project. Its tenants' names come from
//! clients: made-up tenants must not use up the slots of real ones.

/// Fetches at the same time.
pub const MOST: usize = 32;
/// Limit for fetches of sources that failed last time: once for those that have never had keys, and once
/// more for those that had some.
const FAILING: usize = MOST / 4;
/// Kept for sources that had keys.
const RESERVED: usize = 8;

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
    /// By [`Standing::had_keys`], then by [`Standing::fails`].
    taken: [[usize; 2]; 2],
}

impl Slots {
    /// None is taken.
    #[must_use]
    pub const fn new() -> Slots {
        Slots { taken: [[0; 2]; 2] }
    }

    /// The number of slots that are taken.
    #[must_use]
    pub fn count(&self) -> usize {
        self.taken.as_flattened().iter().sum()
    }

    /// Takes a slot; returns whether there is one for such a source.
    pub fn take(&mut self, standing: Standing) -> bool {
        let (all, without_keys) = (self.count(), self.taken[0].iter().sum::<usize>());
        let alike = self.alike(standing);
        let is_free = all < MOST
            && (standing.had_keys || without_keys < MOST - RESERVED)
            && (!standing.fails || *alike < FAILING);
        *alike += usize::from(is_free);
        is_free
    }

    /// Gives a slot back that was taken for such a source.
    pub fn give_back(&mut self, standing: Standing) {
        let alike = self.alike(standing);
        *alike = alike.saturating_sub(1);
    }

    fn alike(&mut self, standing: Standing) -> &mut usize {
        &mut self.taken[usize::from(standing.had_keys)][usize::from(standing.fails)]
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
            slots.give_back(standing);
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
}
