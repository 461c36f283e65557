//! libFuzzer on `authgear_fuzz::journal`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authgear_fuzz::journal::run(data));
