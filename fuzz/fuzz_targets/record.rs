//! libFuzzer on `authgear_fuzz::record`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authgear_fuzz::record::run(data));
