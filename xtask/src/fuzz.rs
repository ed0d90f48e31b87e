//! The fuzz targets, run one after another under libFuzzer and the address sanitizer.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use storage_fuzz::{TARGETS, Target};

use crate::{Error, failed};

/// Seconds for each target.
const SECONDS: u64 = 60;

/// What no input may take. The limit of a single allocation is libFuzzer's own, which it leaves off where leaks are
/// not looked for: so they are.
const LIMITS: [&str; 4] = [
    "-rss_limit_mb=2048",
    "-malloc_limit_mb=512",
    "-timeout=20",
    "-detect_leaks=1",
];

/// Inputs that a corpus grows by at once, and the length of one in bytes, at most: they are committed.
const MOST_NEW: usize = 24;
const MAX_LEN: u64 = 8 * 1024;

/// What the command line asks for.
struct Asked {
    seconds: u64,
    targets: Vec<Target>,
}

/// What became of a target.
struct Row {
    name: &'static str,
    executions: String,
    seconds: String,
    coverage: String,
    is_clean: bool,
}

/// `--seed` adds the seeds to the corpora, `--keep` what runs found; without them the targets are run.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<bool, Error> {
    let mut args = args.iter();
    let mut asked = Asked {
        seconds: SECONDS,
        targets: Vec::new(),
    };
    let (mut is_seeding, mut is_keeping) = (false, false);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seed" => is_seeding = true,
            "--keep" => is_keeping = true,
            "--seconds" => {
                let seconds = args.next().and_then(|seconds| seconds.parse().ok());
                asked.seconds = seconds.ok_or_else(|| failed("--seconds takes a number"))?;
            }
            name => {
                let target = TARGETS.iter().find(|target| target.name == name);
                let unknown = || failed(format!("no target {name}; there are {}", all_names()));
                asked.targets.push(*target.ok_or_else(unknown)?);
            }
        }
    }
    if asked.targets.is_empty() {
        asked.targets = TARGETS.to_vec();
    }
    if is_seeding {
        return seed(root, &asked);
    }
    expect_tools()?;
    if is_keeping {
        return keep(root, &asked);
    }
    let mut rows = Vec::new();
    for target in &asked.targets {
        rows.push(fuzz(root, target.name, asked.seconds)?);
    }
    println!(
        "| target | executions | seconds | coverage (edges) | faults |\n|---|---|---|---|---|"
    );
    for row in &rows {
        let faults = if row.is_clean { "none" } else { "FOUND" };
        let Row {
            name,
            executions,
            seconds,
            coverage,
            ..
        } = row;
        println!("| {name} | {executions} | {seconds} | {coverage} | {faults} |");
    }
    Ok(rows.iter().all(|row| row.is_clean))
}

fn all_names() -> String {
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    names.join(", ")
}

fn expect_tools() -> Result<(), Error> {
    let ended = cargo_fuzz().arg("--version").output();
    match ended {
        Ok(ended) if ended.status.success() => Ok(()),
        _ => Err(failed(
            "fuzzing needs a nightly toolchain (`rustup toolchain install nightly`) and cargo-fuzz \
             (`cargo install cargo-fuzz`)",
        )),
    }
}

fn cargo_fuzz() -> Command {
    let mut command = Command::new("cargo");
    command.args(["+nightly", "fuzz"]);
    command
}

fn corpus(root: &Path, name: &str) -> PathBuf {
    root.join("fuzz/corpus").join(name)
}

/// Where runs leave what they find.
fn found(root: &Path, name: &str) -> Result<PathBuf, Error> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let path = target.join("fuzz-found").join(name);
    fs::create_dir_all(&path).map_err(|source| Error::Io {
        path: path.clone(),
        source,
    })?;
    Ok(path)
}

fn seed(root: &Path, asked: &Asked) -> Result<bool, Error> {
    for target in &asked.targets {
        let path = corpus(root, target.name);
        let seeded = target.seed(&path);
        let count = seeded.map_err(|source| Error::Io { path, source })?;
        println!("{}: {count} seeds", target.name);
    }
    Ok(true)
}

/// Takes what runs found into the corpora, where it covers what nothing kept does; of much a part, from the shortest to
/// the longest. Nothing that is kept goes: it may have found a fault.
fn keep(root: &Path, asked: &Asked) -> Result<bool, Error> {
    for Target { name, .. } in &asked.targets {
        let (kept, found) = (corpus(root, name), found(root, name)?);
        let io = |source| Error::Io {
            path: kept.clone(),
            source,
        };
        let merged = found.with_extension("merged");
        remove_directory(&merged).map_err(io)?;
        fs::create_dir_all(&merged).map_err(io)?;
        for file in fs::read_dir(&kept).map_err(io)? {
            let file = file.map_err(io)?;
            fs::copy(file.path(), merged.join(file.file_name())).map_err(io)?;
        }
        let ended = cargo_fuzz()
            .args(["run", "--fuzz-dir", "fuzz", name])
            .args([&merged, &found])
            .args(["--", "-set_cover_merge=1", "-use_counters=0"])
            .args(LIMITS)
            .current_dir(root)
            .stderr(Stdio::null())
            .status()
            .map_err(|source| process("cargo fuzz", source))?;
        if !ended.success() {
            return Err(failed(format!("{name}: merging failed")));
        }
        let mut new = Vec::new();
        for file in fs::read_dir(&merged).map_err(io)? {
            let file = file.map_err(io)?;
            let len = file.metadata().map_err(io)?.len();
            if len <= MAX_LEN && !kept.join(file.file_name()).exists() {
                new.push((len, file.file_name()));
            }
        }
        new.sort();
        let every = new.len().div_ceil(MOST_NEW).max(1);
        for (_, file) in new.iter().step_by(every) {
            fs::copy(merged.join(file), kept.join(file)).map_err(io)?;
        }
        let count = new.iter().step_by(every).count();
        println!("{name}: {count} of {} that cover more", new.len());
    }
    Ok(true)
}

fn remove_directory(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn process(what: &'static str, source: io::Error) -> Error {
    Error::Process { what, source }
}

/// Runs a target; what it says is passed on, and its last words are kept.
fn fuzz(root: &Path, name: &'static str, seconds: u64) -> Result<Row, Error> {
    let mut command = cargo_fuzz();
    command
        .args(["run", "--fuzz-dir", "fuzz", name])
        .args([found(root, name)?, corpus(root, name)])
        .args(["--", "-print_final_stats=1"])
        .arg(format!("-max_total_time={seconds}"))
        .args(LIMITS)
        .current_dir(root)
        .stderr(Stdio::piped());
    // Some targets write small files and sync them.
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        command.env("TMPDIR", memory);
    }
    let mut child = command.spawn().map_err(|e| process("cargo fuzz", e))?;
    let mut row = Row {
        name,
        executions: String::new(),
        seconds: String::new(),
        coverage: String::new(),
        is_clean: false,
    };
    for line in BufReader::new(child.stderr.take().ok_or_else(|| failed("no output"))?).lines() {
        let line = line.map_err(|e| process("cargo fuzz", e))?;
        eprintln!("{line}");
        if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            count.trim().clone_into(&mut row.executions);
        }
        // "Done 4711 runs in 60 second(s)"
        if let Some(done) = line.strip_prefix("Done ") {
            let seconds = done.split(' ').nth(3).unwrap_or_default();
            seconds.clone_into(&mut row.seconds);
        }
        if let Some((_, rest)) = line.split_once(" cov: ") {
            let edges = rest.split(' ').next().unwrap_or_default();
            edges.clone_into(&mut row.coverage);
        }
    }
    row.is_clean = child
        .wait()
        .map_err(|e| process("cargo fuzz", e))?
        .success();
    Ok(row)
}
