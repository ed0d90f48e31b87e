//! The journal on a simulated disk, against a model.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test ends at what it did not expect"
)]

mod checkpoints;
mod crash;
mod damage;
mod extracts;
mod frames;
mod headers;
mod long_segments;
mod stretches;
mod syncing;
mod torn_tails;
mod workload;
