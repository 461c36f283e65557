//! libFuzzer on `authgear_fuzz::webhook`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authgear_fuzz::webhook::run(data));
