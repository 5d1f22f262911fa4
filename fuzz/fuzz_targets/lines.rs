//! The target `lines`, with what a fuzzer makes up.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::lines::run(data));
