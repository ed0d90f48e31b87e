//! What this process has in memory, and what a directory takes on the disk.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{fs, io};

/// Resident now, and at most so far, in MiB.
pub(crate) fn resident() -> io::Result<(f64, f64)> {
    let status = fs::read_to_string("/proc/self/status")?;
    Ok((field(&status, "VmRSS:"), field(&status, "VmHWM:")))
}

fn field(status: &str, name: &str) -> f64 {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(name));
    let kib = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

/// The blocks of all files below a directory, in MiB: a file with holes takes what is in it.
pub(crate) fn disk(directory: &Path) -> io::Result<f64> {
    let mut mebibytes = 0.0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let about = entry.metadata()?;
        if about.is_dir() {
            mebibytes += disk(&entry.path())?;
        } else {
            mebibytes += f64::from(u32::try_from(about.blocks()).unwrap_or(u32::MAX)) / 2048.0;
        }
    }
    Ok(mebibytes)
}
