//! libFuzzer on `authgear_fuzz::revocations`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authgear_fuzz::revocations::run(data));
