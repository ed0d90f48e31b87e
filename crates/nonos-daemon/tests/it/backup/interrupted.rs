//! Backups and restores that are killed or cancelled.

use std::fs;
use std::io::BufRead as _;
use std::path::PathBuf;

use super::{backups, node, samples};
use crate::program::TestResult;

/// A verb that changes something finishes a restore that was interrupted; one that only reads says so.
#[test]
fn an_interrupted_exchange_is_finished_by_the_next_verb_that_writes() -> TestResult {
    let node = node()?;
    for step in 0..3 {
        let (path, staged) = (node.path("data.sled"), node.path("new.sled"));
        let journal = |path: &std::path::Path| PathBuf::from(format!("{}.journal", path.display()));
        fs::rename(&path, &staged)?;
        fs::rename(journal(&path), journal(&staged))?;
        if step > 0 {
            fs::rename(journal(&staged), journal(&path))?;
        }
        if step > 1 {
            fs::rename(&staged, &path)?;
        }
        // The checksum is that of the lines above it.
        let lines = "nonos-exchange 1\nstaged = new.sled\nkept = kept.sled\n";
        let intent = format!("{lines}checksum = {INTENT_SUM}\n");
        fs::write(node.path("data.sled.intent"), intent)?;
        node.json(&["status", "-o", "json"], 7)?;
        node.json(&["compact", "-o", "json"], 0)?;
        assert!(samples(&node)? >= 3, "step {step}");
        assert!(!node.path("data.sled.intent").exists(), "step {step}");
    }
    Ok(())
}

/// CRC-32 of the three lines of the test above.
const INTENT_SUM: &str = "380b04c8";

/// Killed at moments over the whole length of what it does: what lists is whole, and there is a database.
#[test]
fn killed_at_any_moment_there_is_a_database_and_what_lists_is_whole() -> TestResult {
    let node = node()?;
    node.json(&["backup", "create", "-o", "json"], 0)?;
    let count = samples(&node)?;
    let restore = ["restore", "--yes", "-o", "json"];
    let create = ["backup", "create", "-o", "json"];
    // As long as they take on this machine.
    let mut whole = Vec::new();
    for args in [&restore[..], &create] {
        let started = std::time::Instant::now();
        let mut child = node
            .command(args)
            .stdout(std::process::Stdio::null())
            .spawn()?;
        assert!(child.wait()?.success(), "{args:?}");
        whole.push((args, started.elapsed()));
    }
    let (mut killed, mut completed) = (0, 0);
    for round in 0..24_u32 {
        for (args, whole) in &whole {
            let mut child = node
                .command(args)
                .stdout(std::process::Stdio::null())
                .spawn()?;
            let deadline = std::time::Instant::now() + *whole * round / 24;
            while std::time::Instant::now() < deadline && child.try_wait()?.is_none() {
                std::thread::yield_now();
            }
            child.kill()?;
            match child.wait()?.code() {
                None => killed += 1,
                Some(code) => {
                    assert_eq!(code, 0, "{args:?}");
                    completed += 1;
                }
            }
            // Opens for writing, which finishes what is under way.
            node.json(&["compact", "-o", "json"], 0)?;
        }
        assert_eq!(samples(&node)?, count, "round {round}");
        let listed = backups(&node)?;
        let newest = listed.last().ok_or("none")?["name"]
            .as_str()
            .ok_or("no name")?;
        node.json(&["backup", "verify", newest, "-o", "json"], 0)?;
    }
    for backup in backups(&node)? {
        let name = backup["name"].as_str().ok_or("no name")?;
        node.json(&["backup", "verify", name, "-o", "json"], 0)?;
    }
    assert!(killed >= 10 && killed + completed == 48, "{killed} killed");

    // What they left of files on their way, the next ones remove.
    node.json(&create, 0)?;
    node.json(&restore, 0)?;
    for directory in [node.path(""), node.path("backups")] {
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            assert!(!name.to_string_lossy().starts_with(".scratch"), "{name:?}");
        }
    }
    Ok(())
}

/// A signal in the midst of each part: the exit code says that it can be run again, and nothing is left of it.
#[test]
fn a_restore_that_is_cancelled_leaves_what_was_there() -> TestResult {
    let node = node()?;
    let storage = nonos_daemon::NodeStorage::open(nonos_daemon::StorageConfig {
        path: node.path("data.sled"),
        ..nonos_daemon::StorageConfig::default()
    })?;
    let samples: Vec<_> = (0..30_000_i64)
        .map(|time| (time, nonos_daemon::StoredMetrics::default()))
        .collect();
    storage.store_metrics_batch(&samples)?;
    storage.close()?;
    node.json(&["backup", "create", "-o", "json"], 0)?;
    let hash = || {
        node.json(&["hash", "-o", "json"], 0)
            .map(|hash| hash["data"].clone())
    };
    let names = || -> Result<std::collections::BTreeSet<_>, Box<dyn std::error::Error>> {
        let entries =
            fs::read_dir(node.path(""))?.map(|entry| entry.map(|entry| entry.file_name()));
        Ok(entries.collect::<Result<_, _>>()?)
    };
    let (before, mut there) = (hash()?, names()?);
    let mut cancelled = std::collections::BTreeSet::new();
    for part in ["begin the journal", "rebuild the index", "verify"] {
        let mut child = node
            .command(&["restore", "--yes", "--progress", "json"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()?;
        let told = child.stderr.take().ok_or("no progress")?;
        let mut told = std::io::BufReader::new(told).lines();
        let begun = told.find(|line| line.as_ref().is_ok_and(|line| line.contains(part)));
        assert!(begun.is_some(), "{part} was not told");
        let pid = child.id().to_string();
        std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status()?;
        let rest: Vec<String> = told.collect::<Result<_, _>>()?;
        match child.wait()?.code() {
            Some(12) => {
                let help = "help: run it again";
                assert!(
                    rest.iter().any(|line| line.starts_with(help)),
                    "{part}: {rest:?}"
                );
                cancelled.insert(part);
                assert_eq!(names()?, there, "{part}");
            }
            // It was done before the signal came.
            code => {
                assert_eq!(code, Some(0), "{part}");
                there = names()?;
            }
        }
        assert_eq!(hash()?, before, "{part}");
    }
    assert!(cancelled.len() >= 2, "{cancelled:?}");
    Ok(())
}

/// The second would take what the first one made so far for what a killed one left.
#[test]
fn one_restore_at_a_time_works_in_a_directory() -> TestResult {
    let node = node()?;
    node.json(&["backup", "create", "-o", "json"], 0)?;
    let held = fs::File::open(node.path(""))?;
    held.lock()?;
    for more in [&[][..], &["--dry-run"]] {
        let restore = [&["restore", "--yes", "-o", "json"][..], more].concat();
        let refused = node.json(&restore, 4)?;
        assert_eq!(refused["findings"][0]["code"], "LOCKED", "{refused}");
    }
    drop(held);
    node.json(&["restore", "--yes", "-o", "json"], 0)?;
    Ok(())
}
