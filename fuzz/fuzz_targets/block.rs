//! Fuzzes `block` of storage-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| storage_fuzz::run("block", data));
