//! Migrations of the real databases of the first implementation: compared with one that was never
//! stopped, killed at every commit and at any moment, and measured with a million peers.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use storage_core::history::About;
use storage_core::trees::audit_log;
use storage_core::{Db, DbOptions, Observer, TreeId, bincode};
use storage_schema::{MigrateOptions, SchemaError, open};
use storage_testkit::damage::copy;
use storage_testkit::first_implementation::{FIXTURES, FirstImplementation};
use storage_testkit::{Directory, Entry, dump};

use crate::{Error, failed};

/// The hidden name under which this program migrates and aborts in the midst.
pub(crate) const NAME: &str = "migrate-and-stop";

const RANDOM_KILLS: u64 = 200;
const PEERS: u64 = 1_000_000;

fn options(path: &Path) -> DbOptions {
    DbOptions::new(path.to_owned(), 2, || 1_770_000_000_000)
}

/// Commits of ten records, so that there are many.
fn small() -> MigrateOptions {
    let mut how = MigrateOptions::default();
    how.batch_records = 10;
    how
}

/// Everything but the schema tree, which tells of the attempts.
fn contents(db: &Db) -> Result<Vec<Entry>, Error> {
    let chain = audit_log::verify(&db.view(), &db.store_id(), None).map_err(failed)?;
    if chain.faults > 0 || chain.entries != chain.len {
        return Err(failed(format!("the audit log is not chained: {chain:?}")));
    }
    let mut contents = Vec::new();
    for (tree, key, value) in dump(db).map_err(failed)? {
        // An entry's place in the chain depends on the store: it was looked at above.
        let value = match tree {
            TreeId::Schema => continue,
            TreeId::AuditLog => {
                let entry = audit_log::open(&key, &value).map_err(failed)?;
                format!("{entry:?}").into_bytes()
            }
            _ => value,
        };
        contents.push((tree, key, value));
    }
    Ok(contents)
}

/// Upgrades every fixture; with `--kill` again and again, stopped everywhere; with `--bench` a million
/// peers.
pub(crate) fn run(how: Option<&str>) -> Result<bool, Error> {
    match how {
        None => fixtures(),
        Some("--kill") => kill(),
        Some("--bench") => bench(),
        Some(other) => Err(Error::Failed(format!(
            "{other:?}: give --kill, --bench or nothing"
        ))),
    }
}

/// The listings are compared by the tests of the facade; here the two ways to one database are.
fn fixtures() -> Result<bool, Error> {
    let mut same = true;
    for name in FIXTURES {
        let fixture = FirstImplementation::unpack(name).map_err(failed)?;
        let opened = open(
            &options(&fixture.database()),
            Some(&MigrateOptions::default()),
        );
        let opened = opened.map_err(failed)?;
        let target = Directory::new().map_err(failed)?;
        storage_schema::import(&fixture.backup(), &options(&target.database())).map_err(failed)?;
        let imported = open(
            &options(&target.database()),
            Some(&MigrateOptions::default()),
        );
        let imported = imported.map_err(failed)?;
        let is_same = contents(&opened.db)? == contents(&imported.db)?;
        let converted = opened
            .climbed
            .iter()
            .map(|step| step.converted)
            .sum::<u64>();
        println!("{name}: {converted} records; directory and backup agree: {is_same}");
        same &= is_same;
    }
    Ok(same)
}

/// Migrates in this process, and aborts it at the commit of this number.
pub(crate) fn stop_at(path: Option<&str>, commit: Option<&str>) -> Result<bool, Error> {
    let path = path.ok_or_else(|| failed("no path"))?;
    let stop_at: u64 = commit
        .and_then(|commit| commit.parse().ok())
        .unwrap_or(u64::MAX);
    let seen = AtomicU64::new(0);
    let mut how = small();
    how.observer = Observer::new(move |progress| {
        if progress.operation == "migrate" && seen.fetch_add(1, Ordering::Relaxed) == stop_at {
            std::process::abort();
        }
        ControlFlow::Continue(())
    });
    let opened = open(&options(Path::new(path)), Some(&how)).map_err(failed)?;
    opened.db.shutdown().map_err(failed)?;
    Ok(true)
}

fn kill() -> Result<bool, Error> {
    let program = std::env::current_exe().map_err(failed)?;
    let (mut faults, mut boundaries) = (0, 0);
    for name in FIXTURES {
        let fixture = FirstImplementation::unpack(name).map_err(failed)?;
        let expected = {
            let target = Directory::new().map_err(failed)?;
            copy(&fixture.database(), &target.database()).map_err(failed)?;
            contents(
                &open(&options(&target.database()), Some(&small()))
                    .map_err(failed)?
                    .db,
            )?
        };
        let start = |path: &Path, commit: u64| {
            let mut command = Command::new(&program);
            command.arg(NAME).arg(path).arg(commit.to_string());
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .map_err(failed)
        };
        let mut trial = |what: String, stop: &dyn Fn(&Path) -> Result<bool, Error>| {
            let target = Directory::new().map_err(failed)?;
            copy(&fixture.database(), &target.database()).map_err(failed)?;
            let was_stopped = stop(&target.database())?;
            match finish(&target.database()) {
                Ok(found) if found == expected => {}
                Ok(_) => {
                    faults += 1;
                    println!("{name}, {what}: other contents");
                }
                Err(error) => {
                    faults += 1;
                    println!("{name}, {what}: {error}");
                }
            }
            Ok::<_, Error>(was_stopped)
        };
        let mut commit = 0;
        while trial(format!("at commit {commit}"), &|path| {
            let status = start(path, commit)?.wait().map_err(failed)?;
            Ok(!status.success())
        })? {
            commit += 1;
        }
        boundaries += commit;
        for number in 0..RANDOM_KILLS / 2 {
            trial(format!("kill {number}"), &|path| {
                let mut child = start(path, u64::MAX)?;
                std::thread::sleep(Duration::from_micros(number * 7919 % 150_000));
                let _gone = child.kill();
                child.wait().map_err(failed)?;
                Ok(true)
            })?;
        }
    }
    println!(
        "migrations: stopped at {boundaries} commits and {RANDOM_KILLS} random moments, {faults} faults"
    );
    Ok(faults == 0)
}

fn finish(path: &Path) -> Result<Vec<Entry>, Error> {
    let opened = open(&options(path), Some(&small())).map_err(failed)?;
    let report = opened.db.opening_report();
    // The engine does not survive every kill while it opens; then its directory is made anew, and told.
    if !report.damage.is_empty() && report.moved_aside.is_empty() {
        return Err(Error::Failed(format!("a false alarm: {:?}", report.damage)));
    }
    for line in &report.damage {
        println!("healed: {line}");
    }
    contents(&opened.db)
}

/// A database of the first implementation with a million peers, migrated in a process of its own, so
/// that its memory is that of the migration alone.
fn bench() -> Result<bool, Error> {
    let directory = Directory::new().map_err(failed)?;
    let path = directory.database();
    begin(&path).map_err(failed)?;
    println!("{PEERS} peers were written in the form of the first implementation");
    let started = Instant::now();
    let program = std::env::current_exe().map_err(failed)?;
    let mut child = Command::new(program)
        .arg(MEASURED)
        .arg(&path)
        .spawn()
        .map_err(failed)?;
    let mut peak_kib = 0;
    while child.try_wait().map_err(failed)?.is_none() {
        let now_kib = resident_kib(child.id()).unwrap_or(0);
        peak_kib = peak_kib.max(now_kib);
        std::thread::sleep(Duration::from_millis(20));
    }
    let seconds = started.elapsed().as_secs().max(1);
    println!(
        "with opening before and closing after: {seconds} s, at most {} MiB",
        peak_kib / 1024
    );
    Ok(true)
}

/// The hidden name under which this program migrates and prints how long it took.
pub(crate) const MEASURED: &str = "migrate-and-measure";

pub(crate) fn measured(path: Option<&str>) -> Result<bool, Error> {
    let path = PathBuf::from(path.ok_or_else(|| failed("no path"))?);
    let mut how = MigrateOptions::default();
    let longest = std::sync::Arc::new(AtomicU64::new(0));
    let pauses = std::sync::Arc::clone(&longest);
    let told = std::sync::Arc::new(std::sync::Mutex::new((
        Instant::now(),
        Instant::now(),
        "start",
    )));
    let seen = std::sync::Arc::clone(&told);
    let peak = std::sync::Arc::new(AtomicU64::new(0));
    let resident = std::sync::Arc::clone(&peak);
    how.observer = Observer::new(move |progress| {
        if progress.operation != "rebuild the index" {
            let kib = resident_kib(std::process::id()).unwrap_or(0);
            resident.fetch_max(kib, Ordering::Relaxed);
        }
        if let Ok(mut told) = told.lock() {
            let (last, began, operation) = *told;
            let pause = u64::try_from(last.elapsed().as_millis()).unwrap_or(u64::MAX);
            pauses.fetch_max(pause, Ordering::Relaxed);
            let now = Instant::now();
            if operation == progress.operation {
                told.0 = now;
            } else {
                let took = (last - began).as_millis();
                let mib = resident_kib(std::process::id()).unwrap_or(0) / 1024;
                println!("{operation}: {took} ms, then {pause} ms without a word; {mib} MiB");
                *told = (now, now, progress.operation);
            }
        }
        ControlFlow::Continue(())
    });
    let mut options = options(&path);
    // What an operator with little memory configures.
    options.cache_capacity_bytes = 8 * 1024 * 1024;
    options.observer = how.observer.clone();
    let opened = open(&options, Some(&how)).map_err(failed)?;
    if let Ok((last, began, operation)) = seen.lock().map(|told| *told) {
        let (took, pause) = ((last - began).as_millis(), last.elapsed().as_millis());
        println!("{operation}: {took} ms, then {pause} ms without a word");
    }
    for step in &opened.climbed {
        let rate = step.converted * 1000 / step.duration_ms.max(1);
        println!(
            "schema {} to {}: {} records in {} ms, {rate} records/s",
            step.from_version, step.to_version, step.converted, step.duration_ms
        );
    }
    println!(
        "longest time without a word: {} ms",
        longest.load(Ordering::Relaxed)
    );
    let mib = peak.load(Ordering::Relaxed) / 1024;
    println!("most memory resident while migrating: {mib} MiB");
    opened.db.shutdown().map_err(failed)?;
    Ok(true)
}

fn begin(path: &Path) -> Result<(), SchemaError> {
    let about = About {
        store_id: [7; 16],
        term: 0,
        schema_version: 1,
        commit: 1,
        created_at: 1_770_000_000,
        program: "xtask".to_owned(),
    };
    let schema = bincode::encode(&(2_u32, 1_770_000_000_i64, None::<i64>, Vec::<u8>::new()));
    let schema = schema.unwrap_or_default();
    let first = (
        TreeId::Schema.number(),
        b"__schema_version__".to_vec(),
        schema,
    );
    let peers = (0..PEERS).map(|number| {
        let id = format!("12D3KooW{number:044}");
        let addresses = vec![format!(
            "/ip4/10.0.{}.{}/tcp/9000",
            number % 256,
            number % 250
        )];
        let absent = None::<u64>;
        let peer = (
            &id,
            addresses,
            1_770_000_000_i64,
            Some(42_u32),
            7_u32,
            false,
            50_u8,
        );
        let rest = (None::<String>, Some(vec!["relay"]), absent, absent, 0_u32);
        let mut value = bincode::encode(&peer).unwrap_or_default();
        value.extend(bincode::encode(&rest).unwrap_or_default());
        (TreeId::Peers.number(), id.into_bytes(), value)
    });
    let records = std::iter::once(first).chain(peers).map(Ok);
    Ok(storage_core::begin(&about, records, &options(path))?)
}

fn resident_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}
