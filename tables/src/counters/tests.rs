use std::alloc::{alloc_zeroed, Layout};
use std::thread;
use std::time::Duration as Time;

use authgear_core::status::{Answer, Mode, Source};

use super::*;
use crate::word::kill;

/// A list, and the memory of its blocks, which stays until the process ends.
fn list(projects: &[u64], lanes: usize) -> Link<Head> {
    let list = Link::null();
    for project in projects {
        let layout = Layout::from_size_align(Counters::size(lanes), 64).unwrap();
        // SAFETY: the layout is not of size 0; the memory is zeroed, aligned, and never freed.
        unsafe {
            let memory = NonNull::new(alloc_zeroed(layout)).unwrap();
            Counters::place(&list, memory, *project, lanes);
        }
    }
    list
}

fn find(list: &Link<Head>, project: u64, worker: usize) -> Option<Counters> {
    // SAFETY: `list` made it, and its blocks stay.
    unsafe { Counters::find(list, project, worker) }
}

const OK: Count = Count::Request(Mode::Required, Source::Jwt, Reason::Ok);

#[test]
fn projects_are_counted_apart_and_workers_together() {
    let list = list(&[1, 3], 2);
    for worker in 0..5 {
        find(&list, 1, worker).unwrap().count(OK);
    }
    find(&list, 3, 0).unwrap().count(Count::SignatureCheck);
    let (one, three) = (find(&list, 1, 9).unwrap(), find(&list, 3, 9).unwrap());
    assert_eq!(one.totals().get(OK), 5);
    assert_eq!(one.totals().get(Count::SignatureCheck), 0);
    assert_eq!(three.totals().get(OK), 0);
    assert_eq!(three.totals().get(Count::SignatureCheck), 1);
    assert!(find(&list, 5, 0).is_none());
}

#[test]
fn a_lane_takes_cache_lines_of_its_own() {
    assert_eq!(mem::size_of::<Lane>() % 64, 0);
    assert_eq!(mem::size_of::<Head>() % 64, 0);
    // Three projects and eight workers take less than 100 KiB.
    assert!(3 * Counters::size(8) < 100 << 10, "{}", Counters::size(8));
}

/// A list of blocks for several threads. Its words are atomics.
struct Shared(Link<Head>);

#[test]
fn no_count_is_lost_where_workers_share_a_lane() {
    let shared = Shared(list(&[1], 2));
    let each = if cfg!(miri) { 20 } else { 10_000 };
    thread::scope(|scope| {
        for worker in 0..4 {
            let shared = &shared;
            scope.spawn(move || {
                let counters = find(&shared.0, 1, worker).unwrap();
                for _ in 0..each {
                    counters.count(OK);
                    counters.count_observed(Reason::Expired);
                }
            });
        }
    });
    let counters = find(&shared.0, 1, 0).unwrap();
    assert_eq!(counters.totals().get(OK), 4 * each);
    assert_eq!(counters.count_observed(Reason::Expired), 4 * each + 1);
    assert_eq!(counters.count_observed(Reason::Ok), 1);
}

#[test]
fn a_duration_is_counted_and_summed() {
    let list = list(&[1], 1);
    let counters = find(&list, 1, 0).unwrap();
    counters.measure(Duration::Question, Time::from_micros(1_500));
    let (bucket, sum) = Duration::Question.cells(Time::from_micros(1_500));
    assert_eq!(counters.own()[bucket].get(), 1);
    assert_eq!(counters.own()[sum].get(), 1_500_000);
    counters.count(Count::Question(Answer::Yes));
    assert_eq!(counters.totals().get(Count::Question(Answer::Yes)), 1);
}

#[test]
fn the_resolver_fails_from_the_first_failure_to_the_next_answer() {
    let list = list(&[1], 1);
    let counters = find(&list, 1, 0).unwrap();
    assert_eq!(counters.resolver_failing_since(), None);
    counters.note_resolver(false, 5);
    counters.note_resolver(false, 9);
    assert_eq!(counters.resolver_failing_since(), Some(5));
    counters.note_resolver(true, 10);
    assert_eq!(counters.resolver_failing_since(), None);
}

fn waiting() -> Box<Waiting> {
    Box::new(Waiting(core::array::from_fn(|_| WaitingIn {
        worker: Word::default(),
        requests: Word::default(),
    })))
}

#[test]
fn waiting_requests_are_those_of_living_workers() {
    let waiting = waiting();
    let all = |_| true;
    let (one, two) = (waiting.claim(101, all), waiting.claim(102, all));
    assert_eq!((one, two), (Some(0), Some(1)));
    waiting.set(0, 3);
    waiting.set(1, 4);
    assert_eq!(waiting.total(all), 7);
    assert_eq!(waiting.total(|worker| worker != 101), 4);
    // A new worker takes the place of the dead one, and begins at 0.
    assert_eq!(waiting.claim(103, |worker| worker != 101), Some(0));
    assert_eq!(waiting.total(all), 4);
    assert_eq!(waiting.claim(102, all), Some(1), "a worker keeps its place");
}

#[test]
fn workers_beyond_the_places_have_none() {
    let waiting = waiting();
    // Miri takes long for all of them.
    let others = if cfg!(miri) { WAITING - 4 } else { 0 };
    for (worker, place) in (1..).zip(&waiting.0[..others]) {
        place.worker.set(worker);
    }
    for worker in others as u64 + 1..=WAITING as u64 {
        assert_eq!(waiting.claim(worker, |_| true), Some(worker as usize - 1));
    }
    assert_eq!(waiting.claim(1_000, |_| true), None);
}

impl kill::Shared for Box<Waiting> {
    fn words(&self) -> Vec<u64> {
        kill::words_of(&**self)
    }
}

/// A worker that is killed before any store of its claim leaves the numbers of the others, and a place
/// that the next one can have.
#[test]
fn a_claim_may_end_anywhere() {
    let two = || {
        let waiting = waiting();
        waiting.claim(101, |_| true);
        waiting.set(0, 3);
        waiting.claim(102, |_| true);
        waiting.set(1, 4);
        waiting
    };
    let stores = kill::before_each(
        two,
        |waiting| {
            waiting.claim(103, |worker| worker != 101);
            waiting.set(0, 1);
        },
        |waiting, stores| {
            let is_alive = |worker| worker == 102 || worker == 104;
            assert_eq!(waiting.total(is_alive), 4, "{stores}");
            assert_eq!(waiting.claim(104, is_alive), Some(0));
            assert_eq!(waiting.total(is_alive), 4, "{stores}");
        },
    );
    assert_eq!(stores, 3);
}

/// The memory of one project's block.
struct Block(Link<Head>);

impl kill::Shared for Block {
    fn words(&self) -> Vec<u64> {
        let words = Counters::size(2) / 8;
        // SAFETY: `list` allocated as many for two lanes, zeroed, and nobody changes them meanwhile.
        unsafe { slice::from_raw_parts(self.0.get().cast(), words).to_vec() }
    }
}

/// A worker that is killed while it counts loses the count under way, and of a duration its bucket.
#[test]
fn a_killed_worker_loses_at_most_the_count_under_way() {
    let stores = kill::before_each(
        || Block(list(&[1], 2)),
        |block| {
            let counters = find(&block.0, 1, 0).unwrap();
            counters.count(OK);
            counters.count(OK);
            counters.count_observed(Reason::Expired);
            counters.measure(Duration::Question, Time::from_micros(1_500));
            counters.note_resolver(false, 5);
            counters.note_resolver(true, 9);
        },
        |block, stores| {
            let counters = find(&block.0, 1, 1).unwrap();
            assert_eq!(counters.totals().get(OK), stores.min(2) as u64);
            let observed = counters.count_observed(Reason::Expired);
            assert_eq!(observed, if stores < 3 { 1 } else { 2 });
            let (bucket, sum) = Duration::Question.cells(Time::from_micros(1_500));
            let count = |cell: usize| counters.lanes()[0].0[cell].get();
            assert_eq!(count(sum), if stores < 4 { 0 } else { 1_500_000 });
            assert_eq!(count(bucket), if stores < 5 { 0 } else { 1 });
            let failing = counters.resolver_failing_since();
            assert_eq!(failing, (stores == 6).then_some(5));
            // The next worker of that lane, and one of another, count on.
            find(&block.0, 1, 2).unwrap().count(OK);
            counters.count(OK);
            assert_eq!(counters.totals().get(OK), stores.min(2) as u64 + 2);
        },
    );
    assert_eq!(stores, 7);
}

#[test]
fn spoiled_counters_are_counted_on() {
    let waiting = waiting();
    waiting.claim(101, |_| true);
    waiting.claim(102, |_| true);
    waiting.set(0, u64::MAX);
    waiting.set(1, 4);
    assert_eq!(waiting.total(|_| true), u64::MAX);
    let list = list(&[1], 1);
    let counters = find(&list, 1, 0).unwrap();
    counters.head().observed[Reason::Expired as usize].add(u64::MAX);
    assert_eq!(counters.count_observed(Reason::Expired), 0);
    for time in [Time::ZERO, Time::from_secs(3600)] {
        counters.own()[Duration::Fetch.cells(time).0].add(u64::MAX);
    }
    let fetches = counters.totals().histogram(Duration::Fetch);
    assert_eq!(fetches.count(), u64::MAX - 1);
}
