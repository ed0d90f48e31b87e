//! A database on a simulated disk with a simulated index: crashes at every point, against a model.
#![expect(clippy::expect_used, reason = "a test ends at what it did not expect")]

mod crash;
mod damage;
mod workload;
