//! A small file system that fills up under a writer.

use std::fs;

use storage_journal::disk::{Disk, RealDisk};

use crate::Error;
use crate::mount::Mount;
use crate::writer::{Writer, check};

const MIB: u64 = 1024 * 1024;

/// What the writer finds free in each cycle.
const LEFT: u64 = 3 * MIB;

/// Fills 24 MB, frees them, and expects everything that returned, and that writing goes on.
pub(crate) fn run() -> Result<bool, Error> {
    let Some(mount) = Mount::new(24)? else {
        return Ok(true);
    };
    let ballast = mount.path().join("ballast");
    let io = |source| Error::Io {
        path: ballast.clone(),
        source,
    };
    let mut faults = Vec::new();
    for cycle in 0..5 {
        let free = RealDisk.space(&mount.path()).map_err(io)?.free;
        let len = usize::try_from(free.saturating_sub(LEFT)).unwrap_or(0);
        fs::write(&ballast, vec![1; len]).map_err(io)?;
        let mut writer = Writer::start(&mount.path())?;
        // Ends by itself, with an error: a hang would be one here.
        while writer.next_round() {}
        let full = writer.kill();
        fs::remove_file(&ballast).map_err(io)?;
        let found = check(&mount.path(), full, true);
        println!(
            "cycle {cycle}: full after round {full:?}, {} rounds are there",
            found.rounds
        );
        faults.extend(found.faults);

        let mut writer = Writer::start(&mount.path())?;
        let mut more = 0;
        while more < 200 && writer.next_round() {
            more += 1;
        }
        let found = check(&mount.path(), writer.kill(), true);
        println!("cycle {cycle}: {more} rounds more after space was freed");
        faults.extend(found.faults);
        if more < 200 {
            faults.push("writing did not go on".into());
        }
    }
    println!("{}", faults.join("\n"));
    println!("full disk: 5 cycles, {} faults", faults.len());
    Ok(faults.is_empty())
}
