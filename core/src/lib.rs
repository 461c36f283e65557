//! Verdicts on Authgear's tokens, without nginx.
//!
//! Bytes, keys and a clock come in, a verdict goes out: nothing here reads the time by itself or
//! does I/O, except [`keys::fetch`], [`keys::saved`], [`revocation::journal`] and [`revocation::stream`], which block and run on a thread of their
//! own ([`keys::saved::check_folder`] while the configuration is read). All decisions are in this
//! crate, so that they can be tested, fuzzed and measured without a server.
//!
//! One request, as data:
//!
//! 1. [`credential`] finds the token in a header or cookie and says whether it is a JWT.
//! 2. [`token::UnverifiedToken::parse`] splits it, [`token::verify`] checks its signature
//!    against a [`keys::KeySet`] and makes a [`token::VerifiedToken`], which has the claims.
//! 3. [`policy::judge`] applies the rules of one location.
//! 4. [`session::Session`] is the caller's identity, from a token or from the resolver.
//!
//! Every refusal is a [`Reason`]. [`revocation`] reads Authgear's webhooks, which refuse tokens that would stand.

#![cfg_attr(not(test), warn(unused_crate_dependencies))]
#![forbid(unsafe_code)]

pub mod algorithm;
pub mod credential;
pub mod digest;
pub mod fingerprint;
mod folder;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod json;
pub mod keys;
pub mod login;
pub mod policy;
pub mod reason;
pub mod recheck;
pub mod revocation;
pub mod session;
pub mod share;
pub mod status;
mod text;
pub mod token;

pub use algorithm::{Algorithm, AlgorithmSet};
pub use reason::Reason;
