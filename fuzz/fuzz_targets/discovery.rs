//! libFuzzer on `authgear_fuzz::discovery`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authgear_fuzz::discovery::run(data));
