//! A small file system that fills up under a writer.

use std::fs;

use crate::Error;
use crate::mount::Mount;
use crate::writer::{Writer, check};

const MIB: usize = 1024 * 1024;

/// Fills 24 MB, frees them, and expects everything that returned.
pub(crate) fn run() -> Result<bool, Error> {
    let Some(mount) = Mount::new(24)? else {
        return Ok(true);
    };
    let ballast = mount.path().join("ballast");
    let io = |source| Error::Io {
        path: ballast.clone(),
        source,
    };
    let mut faults = 0;
    for cycle in 0..5 {
        fs::write(&ballast, vec![1; 8 * MIB]).map_err(io)?;
        let mut writer = Writer::start(&mount.path())?;
        // Ends by itself, with an error: a hang would be one here.
        while writer.next_round() {}
        let returned = writer.kill();
        fs::remove_file(&ballast).map_err(io)?;
        let found = check(&mount.path(), returned, true);
        println!(
            "cycle {cycle}: {returned:?} was the last round, {} are there",
            found.rounds
        );
        for fault in &found.faults {
            faults += 1;
            println!("cycle {cycle}: {fault}");
        }
    }
    println!("full disk: 5 cycles, {faults} faults");
    Ok(faults == 0)
}
