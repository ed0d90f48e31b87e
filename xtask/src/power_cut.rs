//! Power cuts on a real file system, under a real writer.

use crate::mount::Mount;
use crate::writer::{Writer, check};
use crate::{Error, number};

const TRIALS: u64 = 100;

/// Shuts a file system down while a process writes to it, mounts it again, and compares.
pub(crate) fn run(trials: Option<&str>) -> Result<bool, Error> {
    let trials = number("trials", trials, TRIALS)?;
    let Some(mut mount) = Mount::new(256)? else {
        return Ok(true);
    };
    let (mut rounds, mut faults) = (0, 0);
    for trial in 0..trials {
        // Ten cuts on one database, then a fresh one.
        if trial % 10 == 0 && trial > 0 {
            drop(mount);
            match Mount::new(256)? {
                Some(fresh) => mount = fresh,
                None => return Ok(true),
            }
        }
        let mut writer = Writer::start(&mount.path())?;
        for _ in 0..=(trial * 7919 % 397) {
            if !writer.next_round() {
                break;
            }
        }
        // Only what was said before: a bare append with `fdatasync` shows that ext4 answers some of those
        // that the shutdown meets with success, though nothing of them is kept.
        let returned = writer.last_round();
        if !mount.shut_down() {
            println!("skipped: this needs python3 and a file system that can be shut down");
            return Ok(true);
        }
        writer.kill();
        if !mount.unmount() || !mount.mount() {
            return Err(Error::Failed(
                "the file system cannot be mounted again".into(),
            ));
        }
        let found = check(&mount.path(), returned, false);
        rounds += found.rounds;
        for fault in &found.faults {
            faults += 1;
            println!("trial {trial}: {fault}");
        }
    }
    println!("power cuts: {trials} trials, {rounds} rounds compared, {faults} faults");
    Ok(faults == 0)
}
