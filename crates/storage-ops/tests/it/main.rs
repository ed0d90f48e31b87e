//! Operations on whole databases, through what the crate exports.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test ends at what it did not expect"
)]

mod browsing;
mod clock_ahead;
mod differences;
mod exchange;
mod kept;
mod linked;
mod scratch;
mod soak;
mod targets;
mod time_travel;
mod workload;
