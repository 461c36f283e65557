//! libFuzzer on `authgear_fuzz::judgements`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authgear_fuzz::judgements::run(data));
