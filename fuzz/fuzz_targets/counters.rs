//! libFuzzer on `authgear_fuzz::counters`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authgear_fuzz::counters::run(data));
