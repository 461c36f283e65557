//! Fuzz targets: each module has a function `run`, which panics where its invariant does not hold.
//!
//! `fuzz_targets/` hands each to libFuzzer, and `tests/corpus.rs` runs each over its corpus on stable Rust.

#![cfg_attr(not(test), warn(unused_crate_dependencies))]

pub mod claims;
pub mod cookies;
pub mod counters;
pub mod discovery;
pub mod journal;
pub mod json;
pub mod judgements;
pub mod jwks;
pub mod login;
pub mod memory;
pub mod origin;
pub mod record;
pub mod reference;
pub mod resolver;
pub mod revocations;
pub mod signature;
pub mod signer;
pub mod stream;
pub mod token;
pub mod webhook;

/// The part of an input before the first line end, and the part after it.
fn line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[]),
    }
}

/// Fails if a text holds a character that would end or split a header or a log line.
#[track_caller]
fn assert_printable(text: &str) {
    let is_control = |c: char| c < ' ' || c == '\u{7f}';
    assert!(!text.contains(is_control), "{text:?}");
}
