use super::*;
use crate::word::kill;

const NOW: u64 = 1 << 42;

/// Three questions without a response, and what the last one leads to.
fn three(breaker: &Breaker, now: u64) -> Silence {
    assert_eq!(breaker.note_silence(now, now), Silence::Counted);
    assert_eq!(breaker.note_silence(now, now), Silence::Counted);
    breaker.note_silence(now, now)
}

#[test]
fn three_questions_in_a_row_without_a_response_suspend() {
    let breaker = Breaker::default();
    for _ in 0..10 {
        assert_eq!(breaker.note_silence(NOW, NOW), Silence::Counted);
        assert_eq!(breaker.note_silence(NOW, NOW), Silence::Counted);
        assert_eq!(breaker.note_response(NOW), None);
        assert!(!breaker.is_suspended());
    }
    assert_eq!(three(&breaker, NOW), Silence::Suspended);
    assert_eq!(breaker.suspended_since(), Some(NOW));
    // Once, however many follow.
    assert_eq!(breaker.note_silence(NOW, NOW), Silence::Counted);
    assert_eq!(breaker.note_silent_probe(NOW, NOW), Silence::Counted);
}

#[test]
fn the_first_response_ends_it() {
    let breaker = Breaker::default();
    three(&breaker, NOW);
    assert_eq!(breaker.note_response(NOW + 5000), Some(NOW));
    assert!(!breaker.is_suspended());
    assert_eq!(breaker.note_response(NOW + 5001), None);
    // Questions from before it run into their time-outs, and are none of the next row.
    for _ in 0..10 {
        let late = breaker.note_silence(NOW + 4999, NOW + 9000);
        assert_eq!(late, Silence::Counted);
        let late = breaker.note_silent_probe(NOW + 4999, NOW + 9000);
        assert_eq!(late, Silence::Counted);
    }
    assert!(!breaker.is_suspended());
    assert_eq!(three(&breaker, NOW + 5000), Silence::Suspended);
}

#[test]
fn one_probe_a_second_and_the_first_at_once() {
    let breaker = Breaker::default();
    three(&breaker, NOW);
    for second in 0..5 {
        let now = NOW + second * 1000;
        assert!(breaker.take_probe(now), "{second}");
        assert!(!breaker.take_probe(now), "{second}");
        assert!(!breaker.take_probe(now + 999), "{second}");
    }
    breaker.note_response(NOW + 4100);
    three(&breaker, NOW + 4200);
    assert!(breaker.take_probe(NOW + 4200), "of the next suspension too");
}

#[test]
fn clients_whose_questions_are_dropped_suspend_nobody_twice() {
    let breaker = Breaker::default();
    assert_eq!(three(&breaker, NOW), Silence::Suspended);
    assert!(breaker.take_probe(NOW));
    breaker.note_response(NOW + 20);
    // From then on it takes a probe, one a second.
    let mut now = NOW + 30;
    for _ in 0..100 {
        now += 990;
        assert_eq!(three(&breaker, now), Silence::Doubtful);
        assert_eq!(breaker.note_silence(now, now), Silence::Doubtful);
        assert!(breaker.take_probe(now + 10));
        assert!(!breaker.take_probe(now + 10));
        now += 20;
        assert_eq!(breaker.note_response(now), None);
        assert!(!breaker.is_suspended());
    }
    // A probe without a response does suspend, and an old one does not.
    assert_eq!(three(&breaker, now), Silence::Doubtful);
    let old = breaker.note_silent_probe(now - 1, now + 1);
    assert_eq!(old, Silence::Counted);
    assert_eq!(breaker.note_silent_probe(now, now + 1), Silence::Suspended);
    // A suspended resolver is not doubted: nobody sends a probe beside the one a second.
    assert_eq!(breaker.note_silence(now, now + 2), Silence::Counted);
    breaker.note_response(now + 20_000);
    // Nothing is left of that after ten seconds.
    assert_eq!(three(&breaker, now + 20_000), Silence::Suspended);
}

#[test]
fn after_a_false_alarm_the_resolver_is_trusted_for_ten_seconds() {
    let breaker = Breaker::default();
    three(&breaker, NOW);
    breaker.note_response(NOW + PROBE_PAUSE - 1);
    let end = NOW + PROBE_PAUSE - 1 + TRUST;
    assert_eq!(three(&breaker, end - 1), Silence::Doubtful);
    assert_eq!(breaker.note_silence(end, end), Silence::Suspended);
    // A response that comes as late as the second probe shows no false alarm.
    breaker.note_response(end + PROBE_PAUSE);
    assert_eq!(three(&breaker, end + PROBE_PAUSE), Silence::Suspended);
}

#[test]
fn many_ask_for_a_probe_at_once_and_one_gets_it() {
    let breaker = Breaker::default();
    three(&breaker, NOW);
    let times = if cfg!(miri) { 3 } else { 100 };
    let took = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..times).filter(|_| breaker.take_probe(NOW)).count()))
            .collect();
        let took = threads.into_iter().map(|thread| thread.join().unwrap());
        took.sum::<usize>()
    });
    assert_eq!(took, 1);
}

/// A closed breaker counts to three, an open one is closed by the next response.
fn assert_works(breaker: &Breaker, now: u64) {
    assert!(
        breaker.is_suspended()
            || (0..3).any(|_| { breaker.note_silence(now, now) == Silence::Suspended })
    );
    assert!(breaker.take_probe(now));
    breaker.note_response(now + 2000);
    assert!(!breaker.is_suspended());
    assert_eq!(three(breaker, now + 20_000), Silence::Suspended);
}

impl kill::Shared for Breaker {
    fn words(&self) -> Vec<u64> {
        kill::words_of(self)
    }
}

#[test]
fn a_killed_process_stops_nobody() {
    let stores = kill::before_each(
        Breaker::default,
        |breaker| {
            three(breaker, NOW);
            breaker.take_probe(NOW);
            breaker.note_response(NOW + 1500);
            three(breaker, NOW + 1500);
            // A false alarm, after which a probe decides.
            breaker.take_probe(NOW + 1500);
            breaker.note_response(NOW + 1600);
            three(breaker, NOW + 1700);
            breaker.note_silent_probe(NOW + 1700, NOW + 1800);
        },
        |breaker, _| assert_works(&breaker, NOW + 20_000),
    );
    assert!(stores > 20, "{stores}");
}

fn sets() -> Vec<Set> {
    (0..Breakers::sets_in(0)).map(|_| Set::default()).collect()
}

#[test]
fn a_zone_has_room_for_its_tenants() {
    assert_eq!(Breakers::sets_in(512 << 10) * WAYS, 128);
    assert_eq!(Breakers::sets_in(32 << 20) * WAYS, 2048);
    let (zone, tenants) = match cfg!(miri) {
        true => (512 << 10, 40),
        false => (32 << 20, 1000),
    };
    let sets: Vec<Set> = (0..Breakers::sets_in(zone))
        .map(|_| Set::default())
        .collect();
    let table = Breakers::new(&sets);
    for tenant in 0..tenants {
        three(table.find_or_insert(tenant * 2 + 1, 7, NOW), NOW);
    }
    let suspended = |tenant: &u64| {
        table
            .find(tenant * 2 + 1)
            .is_some_and(Breaker::is_suspended)
    };
    assert_eq!((0..tenants).filter(suspended).count() as u64, tenants);
}

#[test]
fn each_tenant_has_its_own() {
    let sets = sets();
    let table = Breakers::new(&sets);
    for tenant in [1, 3, 33, 65] {
        assert!(table.find(tenant).is_none());
        three(table.find_or_insert(tenant, 7, NOW), NOW + tenant);
    }
    for tenant in [1, 3, 33, 65] {
        let found = table.find(tenant).and_then(Breaker::suspended_since);
        assert_eq!(found, Some(NOW + tenant));
    }
    assert_eq!(table.suspended_since(7), Some(NOW + 1));
    assert_eq!(table.suspended_since(8), None);
}

#[test]
fn made_up_tenants_take_no_place_of_one_that_is_suspended() {
    let sets = sets();
    let table = Breakers::new(&sets);
    // Miri takes long: tenants of the same set alone.
    let (step, last) = if cfg!(miri) { (16, 400) } else { (1, 5000) };
    three(table.find_or_insert(1, 7, NOW), NOW);
    for tenant in (step..last).step_by(step as usize) {
        table
            .find_or_insert(tenant * 2 + 1, 7, NOW + tenant)
            .note_silence(NOW, NOW);
    }
    assert!(table.find(1).is_some_and(Breaker::is_suspended));
    // Not even where all are: the one that was so for longest gives way.
    for tenant in (step..last).step_by(step as usize) {
        table.find_or_insert(1, 7, NOW + tenant * 10);
        three(
            table.find_or_insert(tenant * 2 + 1, 7, NOW + tenant * 10),
            NOW,
        );
    }
    assert!(table.find(1).is_some_and(Breaker::is_suspended));
}

#[test]
fn the_tenant_of_whom_nothing_is_to_be_remembered_gives_way_first() {
    let tenant = |number| 1 + number * 32;
    let sets = sets();
    let table = Breakers::new(&sets);
    for number in 0..8 {
        let breaker = table.find_or_insert(tenant(number), 7, NOW + number);
        match number {
            // By a probe: no question of a client counts.
            0 => _ = breaker.note_silent_probe(NOW, NOW),
            // Its resolver answered since. It is not the one that was used least recently.
            5 => {
                breaker.note_silence(NOW, NOW);
                breaker.note_response(NOW);
            }
            _ => _ = breaker.note_silence(NOW, NOW),
        }
    }
    let there = || -> Vec<u64> {
        let is_there = |number: &u64| table.find(tenant(*number)).is_some();
        (0..10).filter(is_there).collect()
    };
    table
        .find_or_insert(tenant(8), 7, NOW + 8)
        .note_silence(NOW, NOW);
    assert_eq!(there(), [0, 1, 2, 3, 4, 6, 7, 8]);
    // Then, of those that count questions, the one that was used least recently.
    table.find_or_insert(tenant(9), 7, NOW + 9);
    assert_eq!(there(), [0, 2, 3, 4, 6, 7, 8, 9]);
}

impl kill::Shared for Vec<Set> {
    fn words(&self) -> Vec<u64> {
        self.iter().flat_map(kill::words_of).collect()
    }
}

#[test]
fn a_killed_process_leaves_no_record_of_another_tenant() {
    let tenant = |number| 1 + number * 32;
    let suspended = || {
        let sets = sets();
        for number in 0..8 {
            three(
                Breakers::new(&sets).find_or_insert(tenant(number), 7, NOW),
                NOW + number,
            );
        }
        sets
    };
    kill::before_each(
        suspended,
        |sets| {
            Breakers::new(sets).find_or_insert(tenant(8), 9, NOW + 1);
        },
        |sets, stores| {
            let table = Breakers::new(&sets);
            let new = table.find(tenant(8)).map(Breaker::is_suspended);
            assert_ne!(new, Some(true), "{stores}");
            assert_eq!(table.suspended_since(9), None, "{stores}");
            // One gave way at most, and the others are as before.
            let others = (0..8).filter(|number| {
                let found = table.find(tenant(*number));
                found.and_then(Breaker::suspended_since) == Some(NOW + number)
            });
            assert!(others.count() >= 7, "{stores}");
            // The record is of use to the next one.
            let next = table.find_or_insert(tenant(8), 9, NOW + 2);
            assert_eq!(three(next, NOW + 2), Silence::Suspended, "{stores}");
            assert_eq!(table.suspended_since(9), Some(NOW + 2), "{stores}");
        },
    );
}
