//! A database on a simulated disk with a simulated index: crashes at every point, against a model.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test ends at what it did not expect"
)]

mod crash;
mod damage;
mod index_failure;
mod lifetimes;
mod workload;
