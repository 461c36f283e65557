//! libFuzzer on `authgear_fuzz::cookies`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authgear_fuzz::cookies::run(data));
