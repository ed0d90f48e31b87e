//! Fuzzes `config` of storage-fuzz.
#![no_main]

// For its features.
use nonos_daemon as _;

libfuzzer_sys::fuzz_target!(|data: &[u8]| storage_fuzz::run("config", data));
