//! libFuzzer on `authgear_fuzz::origin`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authgear_fuzz::origin::run(data));
