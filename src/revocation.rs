//! Revocations that Authgear tells of.

mod saver;
mod shared;
mod stream;
mod webhook;

pub use saver::restore;
pub use stream::start;
pub use webhook::handle as receive_webhook;
