//! Workers that want one lease, in every order that the memory model allows.

use loom::sync::{Arc, Mutex};
use loom::thread;

use super::*;

#[derive(Default)]
struct Shared {
    lock: Mutex<()>,
    numbers: Word,
    lease: Lease,
}

impl Shared {
    /// As a worker does it: first a look without the lock.
    fn take(&self, own: Option<u64>, until: u64, now: u64) -> Option<u64> {
        if self.lease.is_others(own, now) {
            return None;
        }
        let _locked = self.lock.lock().unwrap();
        self.lease.take_or_renew(&self.numbers, own, until, now)
    }
}

/// Workers that take or renew it at the same time, with their numbers, after so many leases that have run out. One
/// of them has it.
fn one_of(owns: [Option<u64>; 2], leases: u64) {
    crate::models::check(move || {
        let shared = Arc::new(Shared::default());
        for number in 1..=leases {
            let until = 10 * number;
            assert_eq!(shared.take(None, until, until - 1), Some(number));
        }
        let [first, others @ ..] = owns;
        let others = others.map(|own| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.take(own, 200, 100))
        });
        let first = shared.take(first, 200, 100);
        let all = others.map(|thread| thread.join().unwrap());
        let mut taken = all.into_iter().chain([first]).flatten();
        let number = taken.next().expect("somebody has it");
        assert_eq!(taken.next(), None, "nobody else has");
        assert_eq!(shared.lease.number(), number);
        assert!(!shared.lease.is_others(Some(number), 199));
    });
}

#[test]
fn one_of_two_takes_what_has_run_out() {
    one_of([None, None], 1);
}

#[test]
fn its_holder_renews_it_or_another_takes_it() {
    one_of([Some(1), None], 1);
}

#[test]
fn its_last_holder_renews_it_or_the_one_before_takes_it_anew() {
    one_of([Some(1), Some(2)], 2);
}

/// A holder that is late renews nothing that is another's by then.
#[test]
fn a_late_holder_has_it_no_more() {
    crate::models::check(|| {
        let shared = Arc::new(Shared::default());
        assert_eq!(shared.take(None, 100, 1), Some(1));
        assert_eq!(shared.take(None, 200, 100), Some(2));
        let of_late = Arc::clone(&shared);
        let late = thread::spawn(move || of_late.take(Some(1), 300, 150));
        let own = shared.take(Some(2), 300, 150);
        assert_eq!(late.join().unwrap(), None);
        assert_eq!(own, Some(2));
    });
}
