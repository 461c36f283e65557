//! From bytes to a [`VerifiedToken`].

mod cache;
mod claims;
mod jose;
mod unproven;
mod verify;

pub use cache::{TokenCache, TokenDigest, TOKEN_SIZE};
pub(crate) use claims::Claimed;
#[cfg(test)]
pub(crate) use claims::KNOWN;
pub use claims::{Claims, Texts};
pub use jose::{LastHeader, UnverifiedToken, MAX_HEADER};
pub use unproven::UnprovenToken;
pub use verify::{verify, SignedBy, VerifiedToken};
