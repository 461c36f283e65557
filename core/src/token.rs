//! From bytes to a [`VerifiedToken`].

mod claims;
mod jose;
mod verify;

pub use claims::Claims;
pub use jose::{UnverifiedToken, MAX_HEADER};
pub use verify::{verify, VerifiedToken};
