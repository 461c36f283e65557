//! libFuzzer on `authgear_fuzz::resolver`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authgear_fuzz::resolver::run(data));
