//! Revocations: webhook events of Authgear, and the state of a user that they make.
//!
//! A delivery's signature is checked by [`Secrets`], its body is read by [`Delivery::read`], and an
//! [`Event`] becomes a [`State`]. States merge: any order, repetition and delay of deliveries ends in the
//! same one, on every node.

mod event;
pub mod journal;
mod lines;
mod secrets;
mod state;
pub mod stream;
pub mod untold;

pub use event::{Delivery, Effect, Event, EventError, MOST_AHEAD, MOST_BODY};
pub use secrets::{Secrets, SecretsError};
pub use state::{Mark, State, MARKS};
