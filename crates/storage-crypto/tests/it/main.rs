//! Sealed secrets and their keys: against an oracle in another language, tampered with, and forged.
#![cfg(feature = "encrypted-storage")]
#![expect(
    clippy::indexing_slicing,
    reason = "a test ends at what it did not expect"
)]

mod forged;
mod hashes;
mod key_files;
mod keys;
mod libsodium;
#[cfg(target_os = "linux")]
mod memory;
mod oracle;
#[cfg(target_os = "linux")]
mod own_memory;
mod properties;
mod samples;
mod tamper;
mod ui;
mod vectors;

type TestResult<T = ()> = Result<T, Box<dyn std::error::Error>>;
