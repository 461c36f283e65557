//! A stand-in for an Authgear server, for tests, the demo and benchmarks.
//!
//! [`serve`] answers what the module asks of Authgear (discovery, key set, resolver) for one
//! project or for one per `Host`. What a test wants of it, tokens, dead users, a key set that
//! hangs, is arranged over a control API on a listener of its own. [`echo`] is a backend that
//! answers with the request it received.

#![cfg_attr(not(test), warn(unused_crate_dependencies))]

pub mod client;
pub mod control;
pub mod echo;
pub mod fault;
pub mod keys;
pub mod listener;
pub mod mint;
pub mod origin;
pub mod project;
pub mod public;
pub mod resolver;
pub mod serve;
pub mod standin;
pub mod tls;
mod util;
pub mod verify;
pub mod webhook;
