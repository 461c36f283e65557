//! libFuzzer on `authgear_fuzz::json`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authgear_fuzz::json::run(data));
