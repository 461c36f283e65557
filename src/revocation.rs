//! Revocations that Authgear tells of.

mod saver;
mod webhook;

pub use saver::restore;
pub use webhook::handle as receive_webhook;
