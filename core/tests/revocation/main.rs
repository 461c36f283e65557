//! Webhooks, and the state of a user that they make.

mod deliveries;
mod order;
mod plans;

use authgear_core::revocation::{Effect, Event, State};

/// An event of one user.
fn event(seq: u64, at: u64, effect: Effect) -> Event {
    let user = "user".to_string();
    Event {
        user,
        seq,
        at,
        effect,
    }
}

/// The state after events in that order.
fn after(events: &[Event]) -> State {
    let one = |state: State, event| state.merge(&State::of(event));
    events.iter().fold(State::default(), one)
}
