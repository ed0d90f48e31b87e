//! The facade, tested through what it exports.

#![expect(
    clippy::from_iter_instead_of_collect,
    reason = "names the collection where an assertion compares with one"
)]

mod backup;
mod bad_input;
mod batches;
mod child;
mod concurrency;
mod config_values;
mod contents;
mod damage;
mod first_implementation;
mod kill;
mod large_values;
mod lifecycle;
mod model;
mod on_disk;
mod processes;
mod readonly;
mod records;
mod spec;
mod until_its_issue;

/// What tests return.
type TestResult = Result<(), Box<dyn std::error::Error>>;
