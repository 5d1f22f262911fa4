//! The target `bodies`, with what a fuzzer makes up.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::bodies::run(data));
