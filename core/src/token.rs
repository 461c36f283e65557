//! From bytes to a [`VerifiedToken`].

mod cache;
mod claims;
mod jose;
mod signer;
mod unproven;
mod verify;

pub use cache::{TokenCache, TOKEN_SIZE};
pub(crate) use claims::Claims;
pub(crate) use jose::Header;
pub use jose::{UnverifiedToken, MAX_HEADER};
pub use signer::SignedBy;
pub use unproven::UnprovenToken;
pub use verify::{read_again, verify, VerifiedToken};
