//! The program as an operator uses it: its output, its exit codes, and the daemon itself.
#![expect(
    clippy::indexing_slicing,
    reason = "a field of JSON that is not there is null"
)]

mod backup;
mod docs;
mod migrate;
mod program;
mod repair;
mod run;
mod secrets;
mod verbs;
