//! What is fuzzed: a function of any bytes for each decoder, and one that lives whole lives of a database.
//!
//! A target panics where a promise is broken, and does nothing else. The package `fuzz/`, outside of the
//! workspace, runs them under libFuzzer (`cargo xtask fuzz`); the tests of this crate replay what is kept in
//! `fuzz/corpus`.
//!
//! Nearly every format has a checksum, behind which random bytes never get. So the first byte of an input says
//! whether its sums are put right before it is decoded.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what must not fail is a finding where it does"
)]

mod backup;
mod block;
mod checkpoint;
mod commit;
mod config;
mod disk;
mod first_backup;
mod first_export;
mod first_record;
mod format;
mod frame;
mod input;
mod intent;
mod key_file;
mod keyring;
mod life;
mod note;
mod record;
mod salvage;
mod sealed_record;
mod segment;

use std::fs;
use std::io;
use std::path::Path;

use blake2::digest::consts::U16;
use blake2::{Blake2b, Digest};

/// What is fuzzed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Target {
    /// Its name, as those of its program and its corpus.
    pub name: &'static str,
    /// Decodes any bytes; panics if a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs to begin with, made by the code that writes the format.
    seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        /// All of them.
        pub const TARGETS: &[Target] = &[$(Target {
            name: stringify!($name),
            run: $name::run,
            seeds: $name::seeds,
        }),*];
    };
}

targets![
    backup,
    block,
    checkpoint,
    commit,
    config,
    first_backup,
    first_export,
    first_record,
    format,
    frame,
    intent,
    key_file,
    keyring,
    life,
    note,
    record,
    salvage,
    sealed_record,
    segment,
];

/// Runs the target of this name.
///
/// # Panics
///
/// If it breaks a promise on these bytes, or there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of this name").run)(data);
}

impl Target {
    /// Adds what there is to begin with to the corpus in `directory`; returns how many files that is.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    pub fn seed(&self, directory: &Path) -> io::Result<usize> {
        fs::create_dir_all(directory)?;
        let seeds = (self.seeds)();
        for seed in &seeds {
            let hash = u128::from_be_bytes(Blake2b::<U16>::digest(seed).into());
            fs::write(directory.join(format!("{hash:032x}")), seed)?;
        }
        Ok(seeds.len())
    }
}
