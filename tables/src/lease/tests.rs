use super::*;
use crate::word::kill;

/// The newest number of all, and a lease.
type Numbered = (Word, Lease);

impl kill::Shared for Numbered {
    fn words(&self) -> Vec<u64> {
        kill::words_of(self)
    }
}

fn take((numbers, lease): &Numbered, own: Option<u64>, until: u64, now: u64) -> Option<u64> {
    lease.take_or_renew(numbers, own, until, now)
}

#[test]
fn it_is_renewed_until_it_runs_out_and_is_anothers_then() {
    let lease = Numbered::default();
    assert_eq!(take(&lease, None, 100, 1), Some(1));
    assert_eq!(take(&lease, None, 200, 99), None);
    assert_eq!(take(&lease, Some(1), 200, 99), Some(1));
    assert_eq!((lease.1.number(), lease.1.until()), (1, 200));
    assert!(lease.1.is_others(None, 199) && !lease.1.is_others(Some(1), 199));
    // Late, but before anybody else.
    assert_eq!(take(&lease, Some(1), 300, 250), Some(1));
    assert_eq!(take(&lease, None, 400, 300), Some(2));
    assert_eq!(take(&lease, Some(1), 500, 399), None, "it has passed on");
    assert_eq!(take(&lease, Some(1), 500, 400), Some(3));
    lease.1.set_until(0);
    assert_eq!(take(&lease, None, 500, 401), Some(4));
}

#[test]
fn a_killed_holder_stops_nobody_once_its_lease_has_run_out() {
    for own in [None, Some(1)] {
        let held = || {
            let lease = Numbered::default();
            take(&lease, None, 100, 1);
            lease
        };
        let program = |lease: &Numbered| {
            let now = if own.is_some() { 99 } else { 100 };
            assert!(take(lease, own, 200, now).is_some());
        };
        let stores = kill::before_each(held, program, |lease, stores| {
            // Nobody gets the number of another.
            let (before, now) = (lease.1.number(), 200);
            let next = take(&lease, None, 300, now).expect("it has run out");
            assert!(next > before && next > 1, "{stores}");
            assert_eq!(take(&lease, Some(1), 300, 299), None, "{stores}");
        });
        assert_eq!(stores, if own.is_some() { 1 } else { 3 });
    }
}
