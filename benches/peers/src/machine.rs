//! What this machine is, as far as it matters.

use std::fs;
use std::path::Path;

use crate::error::Result;

/// The processor, how many of its threads this process may use, the kernel.
pub(crate) fn processor() -> Result<String> {
    let about = fs::read_to_string("/proc/cpuinfo")?;
    let mut lines = about.lines();
    let model = lines.find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{model}, {cores} cores, Linux {}", kernel.trim()))
}

/// The kind of the file system that a directory is on.
pub(crate) fn file_system(directory: &Path) -> Result<String> {
    let directory = fs::canonicalize(directory)?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let kinds = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (place, kind) = (fields.next()?, fields.next()?);
        directory.starts_with(place).then_some((place.len(), kind))
    });
    // Of several on one place the last covers the others.
    let found = kinds.max_by_key(|(len, _)| *len);
    Ok(found.map_or("unknown", |(_, kind)| kind).to_owned())
}
