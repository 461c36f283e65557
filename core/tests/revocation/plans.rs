//! The tokens and answers that a state revokes.

use super::{after, event};
use authgear_core::revocation::{Effect, State};

use Effect::{Ends, EndsLater, Nothing};

#[test]
fn a_token_is_revoked_by_its_issue_and_by_its_login() {
    let state = after(&[event(1, 100, Ends)]);
    for (iat, auth_time, revoked) in [
        (Some(99.0), Some(50.0), true),
        (Some(100.0), Some(50.0), true),
        (Some(100.0), None, true),
        (Some(100.5), None, false),
        (Some(101.0), None, false),
        (Some(101.0), Some(101.0), false),
        // Issued later to a login from before.
        (Some(200.0), Some(100.0), true),
        (Some(100.0), Some(101.0), true),
        (None, Some(101.0), true),
        (None, None, true),
    ] {
        let name = format!("{iat:?} {auth_time:?}");
        assert_eq!(state.is_revoked(iat, auth_time, 300.0), revoked, "{name}");
        assert!(
            !State::default().is_revoked(iat, auth_time, 300.0),
            "{name}"
        );
    }
}

#[test]
fn nothing_undoes_a_revocation() {
    for opposite in [Nothing, EndsLater(500), Ends] {
        let state = after(&[event(1, 100, Ends), event(2, 110, opposite)]);
        assert!(state.is_revoked(Some(100.0), None, 120.0), "{opposite:?}");
    }
    let state = after(&[event(1, 100, Ends), event(2, 110, Nothing)]);
    assert!(
        !state.is_revoked(Some(111.0), Some(111.0), 120.0),
        "a new login counts"
    );
}

#[test]
fn an_older_instant_moves_nothing_back() {
    let state = after(&[event(9, 100, Ends), event(1, 50, Ends)]);
    assert_eq!(state.instant(120.0), Some(100));
}

#[test]
fn a_plan_counts_from_its_time_on() {
    let state = after(&[event(1, 100, EndsLater(500))]);
    assert!(!state.is_revoked(Some(90.0), Some(90.0), 499.9));
    assert!(!state.is_revoked(None, None, 499.9));
    assert!(state.is_revoked(Some(90.0), Some(90.0), 500.0));
    assert!(state.is_revoked(Some(500.0), None, 501.0));
    assert!(!state.is_revoked(Some(501.0), Some(501.0), 502.0));
    assert_eq!(state.next_plan(499.9), Some(500));
    assert_eq!(state.next_plan(500.0), None);
}

#[test]
fn a_plan_is_called_off_put_off_or_too_late_for_that() {
    for (name, second, at_500, at_900) in [
        ("called off", event(2, 200, Nothing), None, None),
        ("put off", event(2, 200, EndsLater(800)), None, Some(800)),
        (
            "sooner",
            event(2, 200, EndsLater(300)),
            Some(300),
            Some(300),
        ),
        ("for now", event(2, 200, Ends), Some(200), Some(200)),
        (
            "called off in its last second",
            event(2, 499, Nothing),
            None,
            None,
        ),
        ("too late", event(2, 500, Nothing), Some(500), Some(500)),
        (
            "planned again later",
            event(2, 600, EndsLater(800)),
            Some(500),
            Some(800),
        ),
    ] {
        let first = event(1, 100, EndsLater(500));
        let mut events = [first, second];
        for _ in 0..2 {
            let state = after(&events);
            assert_eq!(state.instant(500.0), at_500, "{name}, {events:?}");
            assert_eq!(state.instant(900.0), at_900, "{name}, {events:?}");
            // By the `seq` and not by the order of delivery.
            events.reverse();
        }
    }
}

#[test]
fn a_plan_of_a_lower_seq_sets_none() {
    let state = after(&[event(2, 100, Nothing), event(1, 100, EndsLater(500))]);
    assert_eq!(state.instant(900.0), None);
    let state = after(&[event(2, 100, EndsLater(700)), event(1, 100, EndsLater(500))]);
    assert_eq!(state.instant(600.0), None);
    assert_eq!(state.instant(900.0), Some(700));
}

#[test]
fn an_answer_is_void_if_it_was_asked_for_before_the_instant_came() {
    let state = after(&[event(1, 100, Ends), event(2, 110, EndsLater(500))]);
    let came_at = 103.5;
    for (asked_at, now, void) in [
        (103.5, 104.0, true),
        (103.6, 104.0, false),
        (499.0, 499.5, false),
        (499.0, 500.0, true),
        (500.0, 501.0, true),
        (500.1, 501.0, false),
    ] {
        assert_eq!(
            state.is_answer_void(asked_at, came_at, now),
            void,
            "{asked_at} at {now}"
        );
    }
    let state = after(&[event(1, 100, Nothing)]);
    assert!(!state.is_answer_void(1.0, 103.5, 900.0));
}

#[test]
fn only_an_end_that_is_not_older_voids_answers_again() {
    let state = after(&[event(3, 100, Ends)]);
    for (other, renews) in [
        (event(2, 99, Ends), false),
        (event(3, 100, Ends), true),
        (event(4, 100, Ends), true),
        (event(4, 101, Ends), true),
        (event(4, 101, Nothing), false),
        (event(4, 101, EndsLater(500)), false),
    ] {
        assert_eq!(state.is_renewed_by(&State::of(&other)), renews, "{other:?}");
    }
}

#[test]
fn a_state_tells_how_long_it_counts() {
    for (events, last_time, last_instant) in [
        (vec![], 0, 0),
        (vec![event(1, 100, Ends)], 100, 100),
        (vec![event(1, 100, Nothing)], 100, 0),
        (
            vec![event(1, 100, Ends), event(2, 120, EndsLater(500))],
            500,
            500,
        ),
        (
            vec![event(1, 100, EndsLater(500)), event(2, 120, Nothing)],
            120,
            0,
        ),
    ] {
        let state = after(&events);
        assert_eq!(
            (state.last_time(), state.last_instant()),
            (last_time, last_instant),
            "{events:?}"
        );
    }
}

#[test]
fn three_plans_are_kept_until_their_times() {
    let plan = |number: u64| event(number, 10 * number, EndsLater(10 * number + 5));
    let state = after(&[plan(1), plan(2), plan(3)]);
    for (now, instant) in [
        (14.0, None),
        (15.0, Some(15)),
        (25.0, Some(25)),
        (35.0, Some(35)),
    ] {
        assert_eq!(state.instant(now), instant, "{now}");
    }
}
