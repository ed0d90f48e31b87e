//! A database on a simulated disk with a simulated index: crashes at every point, against a model.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test ends at what it did not expect"
)]

mod bad_sectors;
mod closing;
mod compaction;
mod crash;
mod damage;
mod frames;
mod full_disk;
mod held_back;
mod index_failure;
mod lifetimes;
mod lost_commits;
mod peers;
mod purge;
mod remains;
mod samples;
mod staged_disk;
mod workload;
