//! The program as an operator uses it: its output, its exit codes, and the daemon itself.
#![expect(
    clippy::indexing_slicing,
    reason = "a field of JSON that is not there is null"
)]

mod admin;
mod backup;
#[cfg(feature = "encrypted-storage")]
mod beside;
mod config;
mod docs;
mod doctor;
mod encrypted;
#[cfg(feature = "encrypted-storage")]
mod full_disk;
#[cfg(feature = "encrypted-storage")]
mod golden;
mod http;
mod kept;
mod migrate;
#[cfg(feature = "object-store")]
mod object_target;
#[cfg(feature = "encrypted-storage")]
mod poisoned;
mod program;
mod records;
mod repair;
mod run;
#[cfg(feature = "object-store")]
mod s3;
mod secrets;
mod targets;
mod verbs;
