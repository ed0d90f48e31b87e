//! What is kept in `fuzz/corpus` is replayed: what a target once was fuzzed with, and each input that found a fault.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use storage_fuzz::{TARGETS, Target};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn names(directory: &Path) -> io::Result<BTreeSet<String>> {
    let entries = fs::read_dir(directory)?;
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into());
    entries.map(name).collect()
}

#[test]
fn every_kept_input_keeps_every_promise() -> io::Result<()> {
    for target in TARGETS {
        let corpus = fuzz().join("corpus").join(target.name);
        let inputs = names(&corpus).map_err(|e| io::Error::new(e.kind(), target.name))?;
        assert!(!inputs.is_empty(), "{}: no corpus", target.name);
        for input in inputs {
            let bytes = fs::read(corpus.join(&input))?;
            // Printed if it panics.
            println!("{}/{input}", target.name);
            (target.run)(&bytes);
        }
    }
    Ok(())
}

#[test]
fn every_target_has_a_program_and_nothing_else_has() -> io::Result<()> {
    let expected: BTreeSet<String> = TARGETS
        .iter()
        .map(|target| target.name.to_owned())
        .collect();
    assert_eq!(expected.len(), TARGETS.len(), "a name for each");
    let without_ending = |name: &String| name.trim_end_matches(".rs").to_owned();
    let programs = names(&fuzz().join("fuzz_targets"))?;
    assert_eq!(
        programs.iter().map(without_ending).collect::<BTreeSet<_>>(),
        expected
    );
    assert_eq!(names(&fuzz().join("corpus"))?, expected);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml"))?;
    for name in &expected {
        let program = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs")))?;
        assert!(
            program.contains(&format!("storage_fuzz::run(\"{name}\", data)")),
            "{name}"
        );
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn every_target_is_in_the_table_of_what_was_fuzzed() -> io::Result<()> {
    let document = fs::read_to_string(fuzz().join("../docs/RELIABILITY.md"))?;
    for Target { name, .. } in TARGETS {
        let rows = document.lines();
        let rows = rows.filter(|row| row.starts_with(&format!("| `{name}` |")));
        assert_eq!(rows.count(), 1, "{name}");
    }
    Ok(())
}
