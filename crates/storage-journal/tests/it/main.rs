//! The journal on a simulated disk, against a model.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test ends at what it did not expect"
)]

mod crash;
mod damage;
mod workload;
