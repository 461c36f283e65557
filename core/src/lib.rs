//! Verdicts on Authgear's tokens, without nginx.
//!
//! Bytes, keys and a clock come in, a verdict goes out: nothing here reads the time by itself or
//! does I/O, except [`keys::fetch`] and [`keys::saved`], which are blocking and meant for a thread
//! of its own. Whatever decides who gets in lives in this crate, so that it can be tested, fuzzed
//! and measured without a server.
//!
//! One request, as data:
//!
//! 1. [`credential`] finds the token in a header or cookie and says whether it is a JWT.
//! 2. [`token::UnverifiedToken::parse`] takes it apart, [`token::verify`] checks its signature
//!    against a [`keys::KeySet`] and makes a [`token::VerifiedToken`], the only thing that can be
//!    asked for claims.
//! 3. [`policy::judge`] applies the rules of one location.
//! 4. [`session::Session`] is what is then known of the caller, whichever way it was verified.
//!
//! Every refusal is a [`Reason`].

#![forbid(unsafe_code)]

pub mod algorithm;
pub mod credential;
pub mod digest;
pub mod fingerprint;
mod json;
pub mod keys;
pub mod policy;
pub mod reason;
pub mod recheck;
pub mod session;
mod text;
pub mod token;

pub use algorithm::{Algorithm, AlgorithmSet};
pub use reason::Reason;
