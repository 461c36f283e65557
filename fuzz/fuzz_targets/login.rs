//! libFuzzer on `authgear_fuzz::login`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authgear_fuzz::login::run(data));
