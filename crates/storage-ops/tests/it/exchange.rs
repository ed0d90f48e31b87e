//! Exchanging a database for one made beside it, interrupted after every step.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use storage_core::{CoreError, exchange};

use crate::workload::{Random, State, TestResult, change, contents, open, options};

fn made(path: &Path, seed: u64) -> TestResult<State> {
    let db = open(path)?;
    let mut random = Random(seed);
    for _ in 0..20 {
        change(&db, &mut random)?;
    }
    let state = contents(&db)?;
    db.shutdown()?;
    Ok(state)
}

fn journal(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".journal");
    name.into()
}

fn read(path: &Path) -> TestResult<State> {
    let db = open(path)?;
    let state = contents(&db)?;
    db.shutdown()?;
    Ok(state)
}

#[test]
fn interrupted_after_any_step_the_next_opening_finishes() -> TestResult {
    for steps in 0..=5 {
        let root = tempfile::tempdir()?;
        let place = |name: &str| root.path().join(name);
        let (path, staged, kept) = (
            place("data.sled"),
            place("new.sled"),
            place("data.sled.before"),
        );
        let old = made(&path, 1)?;
        let new = made(&staged, 2)?;
        // What an exchange writes, of one that failed at its first step: a file is in its way.
        let intent = "nonos-exchange 1\nstaged = new.sled\nkept = data.sled.before\n";
        let intent = format!("{intent}checksum = {:08x}\n", crc32(intent.as_bytes()));
        fs::write(place("data.sled.intent"), intent)?;
        let moves = [
            (path.clone(), kept.clone()),
            (journal(&path), journal(&kept)),
            (journal(&staged), journal(&path)),
            (staged.clone(), path.clone()),
        ];
        for (from, to) in moves.iter().take(steps) {
            fs::rename(from, to)?;
        }
        if steps < 5 {
            let refused = storage_core::Db::open_readonly(&options(&path));
            assert!(refused.is_err(), "after {steps} steps");
        } else {
            fs::remove_file(place("data.sled.intent"))?;
        }
        assert_eq!(read(&path)?, new, "after {steps} steps");
        assert_eq!(read(&kept)?, old, "after {steps} steps");
        assert!(!place("data.sled.intent").exists());
        assert!(!staged.exists() && !journal(&staged).exists());
    }
    Ok(())
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

#[test]
fn what_cannot_be_exchanged_is_left_as_it_is() -> TestResult {
    let root = tempfile::tempdir()?;
    let place = |name: &str| root.path().join(name);
    let (path, staged, kept) = (place("data.sled"), place("new.sled"), place("kept.sled"));
    let old = made(&path, 1)?;
    let by = options(&path);
    assert!(exchange(&by, &staged, &kept).is_err(), "nothing is staged");
    let new = made(&staged, 2)?;
    let elsewhere = tempfile::tempdir()?;
    let refused = exchange(&by, &staged, &elsewhere.path().join("kept"));
    assert!(
        refused.is_err(),
        "on another file system it would be no rename"
    );
    let odd = OsStr::from_bytes(b"kept\xff.sled");
    for name in [odd, OsStr::new("kept\n.sled")] {
        let refused = exchange(&by, &staged, &root.path().join(name));
        assert!(
            matches!(refused, Err(CoreError::Name { .. })),
            "{refused:?}"
        );
    }
    fs::create_dir(&kept)?;
    assert!(exchange(&by, &staged, &kept).is_err(), "something is kept");
    fs::remove_dir(&kept)?;
    let held = open(&staged)?;
    assert!(exchange(&by, &staged, &kept).is_err(), "it is open");
    held.shutdown()?;
    let held = open(&path)?;
    assert!(exchange(&by, &staged, &kept).is_err(), "it is open");
    held.shutdown()?;
    assert_eq!((read(&path)?, read(&staged)?), (old.clone(), new.clone()));
    exchange(&by, &staged, &kept)?;
    assert_eq!((read(&path)?, read(&kept)?), (new, old));
    Ok(())
}

#[test]
fn an_intent_that_cannot_be_read_stops_the_opening() -> TestResult {
    let root = tempfile::tempdir()?;
    let path = root.path().join("data.sled");
    made(&path, 1)?;
    let intent = root.path().join("data.sled.intent");
    fs::write(&intent, "nonos-exchange 1\nstaged = ../x\nkept = y\n")?;
    let refused = open(&path).expect_err("which names changed is not known");
    assert_eq!(refused.code(), storage_core::ErrorCode::IncompleteSwap);
    fs::remove_file(&intent)?;
    open(&path)?.shutdown()?;
    Ok(())
}
