//! Revocations that Authgear tells of.

pub mod webhook;
