//! libFuzzer on `authgear_fuzz::jwks`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authgear_fuzz::jwks::run(data));
