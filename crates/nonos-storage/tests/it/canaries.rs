//! Bytes that are nowhere else, and looking for them in every file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// 32 random bytes by number, other ones in each run of a test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Canaries {
    seed: u64,
}

impl Canaries {
    pub(crate) fn new() -> Self {
        let fresh = nonos_storage::EncryptionKeys::generate().key_id();
        Self::of(u64::from_be_bytes(fresh.0))
    }

    /// Those of a process that was given the seed.
    pub(crate) fn of(seed: u64) -> Self {
        Self { seed }
    }

    pub(crate) fn seed(self) -> u64 {
        self.seed
    }

    /// The canary of this number: splitmix64.
    pub(crate) fn get(self, number: u64) -> Vec<u8> {
        let mut state = self.seed ^ number.wrapping_mul(0xd134_2543_de82_ef95);
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)).to_le_bytes()
        };
        [next(), next(), next(), next()].concat()
    }
}

/// What is looked for, by name.
#[derive(Debug, Default)]
pub(crate) struct Hunt {
    sought: Vec<(String, Vec<u8>)>,
    /// Which of them begin with these two bytes.
    starts: Vec<Vec<usize>>,
}

impl Hunt {
    /// Looks for these bytes; for the middle of them if they are many, as a record may lie in pieces.
    pub(crate) fn add(&mut self, name: impl Into<String>, bytes: &[u8]) {
        let from = bytes.len().saturating_sub(32) / 2;
        let part: Vec<u8> = bytes.iter().skip(from).take(32).copied().collect();
        self.starts.resize(1 << 16, Vec::new());
        if let [first, second, ..] = part.as_slice()
            && let Some(starting) = self.starts.get_mut(start_of(*first, *second))
        {
            starting.push(self.sought.len());
        }
        self.sought.push((name.into(), part));
    }

    /// Which of them are in which file below `root`, or in this file.
    pub(crate) fn found(&self, root: &Path) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        for path in files(root)? {
            found.extend(self.found_in(&fs::read(&path)?, &path));
        }
        Ok(found)
    }

    /// Which of them are in these bytes, which are of this file.
    pub(crate) fn found_in(&self, bytes: &[u8], path: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for (at, pair) in bytes.windows(2).enumerate() {
            let [first, second] = pair else { continue };
            let starting = self.starts.get(start_of(*first, *second));
            for number in starting.into_iter().flatten() {
                let rest = bytes.get(at..).unwrap_or_default();
                if let Some((name, sought)) = self.sought.get(*number)
                    && rest.starts_with(sought)
                {
                    found.push(format!("{name} in {} at {at}", path.display()));
                }
            }
        }
        found
    }
}

fn start_of(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

/// Every file below a directory, or the one file.
pub(crate) fn files(root: &Path) -> io::Result<Vec<PathBuf>> {
    if !root.is_dir() {
        return Ok(vec![root.to_owned()]);
    }
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
