//! The facade, tested through what it exports.

#![expect(
    clippy::from_iter_instead_of_collect,
    reason = "names the collection where an assertion compares with one"
)]

mod backup;
mod bad_input;
mod batches;
#[cfg(feature = "encrypted-storage")]
mod canaries;
mod child;
mod concurrency;
mod config_values;
mod contents;
mod damage;
mod first_implementation;
mod independent_reader;
#[cfg(feature = "encrypted-storage")]
mod integrity;
mod kill;
mod large_values;
mod lifecycle;
mod model;
mod on_disk;
mod processes;
mod readonly;
mod records;
mod repair;
mod retention;
#[cfg(feature = "encrypted-storage")]
mod sealed_disk;
#[cfg(feature = "encrypted-storage")]
mod secrets_access;
#[cfg(feature = "encrypted-storage")]
mod secrets_anchor;
#[cfg(feature = "encrypted-storage")]
mod secrets_audit;
#[cfg(feature = "encrypted-storage")]
mod secrets_changing;
#[cfg(feature = "encrypted-storage")]
mod secrets_cut;
#[cfg(feature = "encrypted-storage")]
mod secrets_disk;
#[cfg(feature = "encrypted-storage")]
mod secrets_flips;
#[cfg(feature = "encrypted-storage")]
mod secrets_forged_log;
#[cfg(feature = "encrypted-storage")]
mod secrets_kill;
#[cfg(feature = "encrypted-storage")]
mod secrets_logs;
#[cfg(feature = "encrypted-storage")]
mod secrets_matrix;
#[cfg(feature = "encrypted-storage")]
mod secrets_modes;
#[cfg(feature = "encrypted-storage")]
mod secrets_purge;
#[cfg(feature = "encrypted-storage")]
mod secrets_rekey;
#[cfg(feature = "encrypted-storage")]
mod secrets_rekey_threads;
#[cfg(feature = "encrypted-storage")]
mod secrets_repair;
#[cfg(feature = "encrypted-storage")]
mod secrets_rewrite;
#[cfg(feature = "encrypted-storage")]
mod secrets_tamper;
#[cfg(feature = "encrypted-storage")]
mod simulation;
mod spec;
mod watched;
mod wipe;
#[cfg(not(feature = "encrypted-storage"))]
mod without_the_feature;

/// What tests return.
type TestResult<T = ()> = Result<T, Box<dyn std::error::Error>>;
