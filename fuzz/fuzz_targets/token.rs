//! libFuzzer on `authgear_fuzz::token`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authgear_fuzz::token::run(data));
