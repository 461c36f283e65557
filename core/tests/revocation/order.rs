//! Any order and repetition of deliveries ends in the same state, on one node and on two.

use authgear_core::revocation::{Effect, Event, State, MARKS};
use proptest::prelude::*;
use proptest::sample::Index;

use super::{after, event};

/// An event whose `seq` is yet to come. Times are few, so that they meet.
fn step() -> impl Strategy<Value = (u64, Effect)> {
    (1..30_u64, 1..10_u64, 0..6_u32).prop_map(|(at, ahead, kind)| {
        let effect = match kind {
            0 | 1 => Effect::Ends,
            2 | 3 => Effect::EndsLater(at + ahead),
            _ => Effect::Nothing,
        };
        (at, effect)
    })
}

fn numbered(steps: Vec<(u64, Effect)>) -> Vec<Event> {
    let of = |(seq, (at, effect)): (usize, _)| event(seq as u64 + 1, at, effect);
    steps.into_iter().enumerate().map(of).collect()
}

/// So few that none has to be given up.
fn few() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(step(), 0..=MARKS).prop_map(numbered)
}

/// More than a state keeps. The last of them ends sessions, so that those before it do not matter.
fn many() -> impl Strategy<Value = Vec<Event>> {
    let kinds = prop::sample::select(vec![Effect::Ends, Effect::Nothing]);
    prop::collection::vec((1..30_u64, kinds), 0..12).prop_map(|mut steps| {
        steps.push((30, Effect::Ends));
        numbered(steps)
    })
}

/// Deliveries of events: each at least once, in any order.
fn deliveries(
    events: impl Strategy<Value = Vec<Event>>,
) -> impl Strategy<Value = (Vec<Event>, Vec<Event>)> {
    (events, prop::collection::vec(any::<Index>(), 0..8)).prop_flat_map(|(events, again)| {
        let mut all = events.clone();
        if !events.is_empty() {
            all.extend(again.iter().map(|index| index.get(&events).clone()));
        }
        (Just(events), Just(all).prop_shuffle())
    })
}

/// The instant at `now`, by the rule itself: ends count, and plans that no event of a higher `seq` and a time
/// before theirs called off.
fn instant(events: &[Event], now: u64) -> Option<u64> {
    let stands = |plan: u64, seq| {
        !events
            .iter()
            .any(|other| other.seq > seq && other.at < plan)
    };
    let instants = events.iter().filter_map(|event| match event.effect {
        Effect::Ends => Some(event.at),
        Effect::EndsLater(plan) => (plan <= now && stands(plan, event.seq)).then_some(plan),
        Effect::Nothing => None,
    });
    instants.max()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn any_order_with_repetitions_ends_in_one_state((events, deliveries) in deliveries(few())) {
        let state = after(&deliveries);
        prop_assert_eq!(state, after(&events));
        for now in 0..50 {
            prop_assert_eq!(state.instant(now as f64), instant(&events, now), "at {}", now);
        }
    }

    #[test]
    fn however_many_events_end_in_one_state_if_the_last_ends_sessions(
        (events, deliveries) in deliveries(many()),
    ) {
        prop_assert_eq!(after(&deliveries), after(&events));
        prop_assert_eq!(after(&deliveries).instant(30.0), Some(30));
    }

    #[test]
    fn two_nodes_that_merge_agree(
        (events, deliveries) in deliveries(few()),
        cut in any::<Index>(),
        again in any::<Index>(),
    ) {
        let (left, right) = deliveries.split_at(cut.index(deliveries.len() + 1));
        let (one, other) = (after(left), after(right));
        let merged = one.merge(&other);
        prop_assert_eq!(merged, other.merge(&one));
        prop_assert_eq!(merged, after(&events));
        prop_assert_eq!(merged.merge(&one), merged);
        prop_assert_eq!(merged.merge(&merged), merged);
        // A node that learns what another has, and hears events again.
        let more = after(&deliveries[again.index(deliveries.len() + 1)..]);
        prop_assert_eq!(more.merge(&merged), merged);
        let (ended_at, marks) = merged.parts();
        prop_assert_eq!(State::from_parts(ended_at, marks), merged);
    }

    /// However many events come, and however wrong their times: sessions that have ended stay ended.
    #[test]
    fn an_instant_never_moves_back(
        steps in prop::collection::vec((step(), 1..40_u64), 0..20),
    ) {
        let mut state = State::default();
        for ((at, effect), seq) in steps {
            let before = state.parts().0;
            state = state.merge(&State::of(&event(seq, at, effect)));
            prop_assert!(state.parts().0 >= before);
        }
    }

    /// Delivered as they happened, events have the effect that the rule gives them, however many they are.
    #[test]
    fn in_the_order_of_the_server_no_number_is_too_many(
        steps in prop::collection::vec((0..4_u64, 1..6_u64, 0..3_u32), 0..20),
    ) {
        let mut now = 1;
        let mut events = Vec::new();
        let mut state = State::default();
        for (seq, (passes, ahead, kind)) in steps.into_iter().enumerate() {
            now += passes;
            let effect = match kind {
                0 => Effect::Ends,
                1 => Effect::EndsLater(now + ahead),
                _ => Effect::Nothing,
            };
            events.push(event(seq as u64 + 1, now, effect));
            state = state.merge(&State::of(&events[seq]));
            for later in 0..8 {
                let later = now + later;
                prop_assert_eq!(state.instant(later as f64), instant(&events, later));
            }
        }
    }
}
