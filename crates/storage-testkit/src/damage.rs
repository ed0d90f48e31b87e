//! Damage to the files of a real database, and what became of it.
//!
//! A database is made by a process that ends as the state asks for; each trial copies it, damages one
//! place of one file, opens the copy twice, and compares with what was written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use storage_core::trees::audit_log;
use storage_core::{Db, OpeningReport, TreeId};

use crate::{Directory, LAYOUT, Random};

mod history;

pub use history::{Ended, write};
use history::{options, state, states};

type State = BTreeMap<(TreeId, Vec<u8>), Vec<u8>>;

const HEAD_KEY: &[u8] = b"__audit_head__";

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Bit,
    Byte,
    Page,
    Truncate,
    Delete,
}

const KINDS: [Kind; 5] = [
    Kind::Bit,
    Kind::Byte,
    Kind::Page,
    Kind::Truncate,
    Kind::Delete,
];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Bit => "one bit flipped",
            Self::Byte => "one byte changed",
            Self::Page => "a page zeroed",
            Self::Truncate => "truncated",
            Self::Delete => "deleted",
        }
    }

    fn damage(self, path: &Path, random: &mut Random) -> io::Result<usize> {
        let mut bytes = fs::read(path)?;
        let at = random.index(bytes.len());
        match self {
            Self::Bit => bytes
                .iter_mut()
                .skip(at)
                .take(1)
                .for_each(|b| *b ^= 1 << (at % 8)),
            Self::Byte => bytes.iter_mut().skip(at).take(1).for_each(|b| *b ^= 0x5a),
            Self::Page => {
                let page = bytes.iter_mut().skip(at / 4096 * 4096).take(4096);
                page.for_each(|b| *b = 0);
            }
            Self::Truncate => bytes.truncate(at),
            Self::Delete => return fs::remove_file(path).map(|()| at),
        }
        fs::write(path, bytes)?;
        Ok(at)
    }
}

/// What became of the trials of one kind of damage to one kind of file.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    trials: usize,
    whole: usize,
    named: usize,
    faults: usize,
}

/// What became of all trials.
#[derive(Debug, Default)]
pub struct Table {
    rows: BTreeMap<(&'static str, Kind), Row>,
    /// A line for each thing that must not be.
    pub faults: Vec<String>,
}

impl Table {
    /// How many trials there were.
    pub fn trials(&self) -> usize {
        self.rows.values().map(|row| row.trials).sum()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| file | damage | trials | nothing lost | later commits named | faults |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for ((file, kind), row) in &self.rows {
            let Row {
                trials,
                whole,
                named,
                faults,
            } = row;
            let kind = kind.name();
            writeln!(
                f,
                "| {file} | {kind} | {trials} | {whole} | {named} | {faults} |"
            )?;
        }
        Ok(())
    }
}

/// Makes as many trials, on a database that `make` writes in another process, by [`write()`].
///
/// # Errors
///
/// Errors of the file system and of `make`.
pub fn run(
    trials: usize,
    make: impl Fn(Ended, &Path) -> io::Result<()>,
) -> Result<Table, Box<dyn std::error::Error>> {
    let states = states()?;
    let mut originals = Vec::new();
    for ended in Ended::ALL {
        let original = Directory::new()?;
        make(ended, &original.database())?;
        let expected = match ended {
            Ended::Ahead => states.as_slice(),
            Ended::Cleanly | Ended::Flushed => states.get(..1).unwrap_or_default(),
        };
        let files = files_to_damage(&original)?;
        originals.push((ended, original, files, expected));
    }
    let mut table = Table::default();
    let mut random = Random(1);
    for trial in 0..trials {
        let Some((ended, original, files, states)) = originals.get(trial % originals.len()) else {
            break;
        };
        let kind = *KINDS
            .get(trial / originals.len() % KINDS.len())
            .unwrap_or(&Kind::Bit);
        let Some(file) = files.get(random.index(files.len())) else {
            break;
        };
        let copied = Directory::new()?;
        copy(original.root(), copied.root())?;
        let at = kind.damage(&copied.root().join(file), &mut random)?;
        let caught = panic::catch_unwind(AssertUnwindSafe(|| judge(&copied, states)));
        let judged = caught.unwrap_or_else(|_| Err("a panic escaped".to_owned()));
        let row = table.rows.entry((name_of(file), kind)).or_default();
        row.trials += 1;
        match judged {
            Ok(Found::Whole) => row.whole += 1,
            // A single flipped bit is always healed.
            Ok(Found::Named) if kind != Kind::Bit => row.named += 1,
            Ok(Found::Named) => {
                row.faults += 1;
                table
                    .faults
                    .push(format!("trial {trial}: a flipped bit lost a commit"));
            }
            Err(fault) => {
                row.faults += 1;
                let (kind, file) = (kind.name(), file.display());
                let fault =
                    format!("trial {trial}, ended {ended:?}, {file} {kind} at {at}: {fault}");
                table.faults.push(fault);
            }
        }
    }
    Ok(table)
}

enum Found {
    /// Everything that returned.
    Whole,
    /// Everything up to the last flush, and what is lost behind it is named.
    Named,
}

/// Opens twice, and compares with the states from the last flush on.
fn judge(copied: &Directory, states: &[State]) -> Result<Found, String> {
    let open = |again: &str| {
        let db = Db::open(&options(&copied.database()), &|_| Ok(LAYOUT));
        db.map_err(|e| format!("does not open{again}: {}", chain(&e)))
    };
    let read = |db: &Db| state(db).map_err(|e| format!("cannot be read: {}", chain(&e)));
    let db = open("")?;
    let found = read(&db)?;
    let report = db.opening_report().clone();
    let judged = compare(&found, states, &report)?;
    let audited = audit_log::verify(&db.view(), &db.store_id(), None);
    let audited = audited.map_err(|e| format!("cannot be read: {}", chain(&e)))?;
    if audited.faults > 0 {
        return Err(format!("the audit log: {:?}", audited.findings));
    }
    db.shutdown()
        .map_err(|e| format!("does not close: {}", chain(&e)))?;
    drop(db);
    let again = open(" again")?;
    if !again.opening_report().clean {
        return Err(format!(
            "not clean after a close: {:?}",
            again.opening_report()
        ));
    }
    if read(&again)? != found {
        return Err("holds something else after a close".to_owned());
    }
    Ok(judged)
}

fn compare(found: &State, states: &[State], report: &OpeningReport) -> Result<Found, String> {
    if states.last() == Some(found) {
        return Ok(Found::Whole);
    }
    let keys: BTreeSet<_> = states
        .iter()
        .flat_map(BTreeMap::keys)
        .chain(found.keys())
        .collect();
    for key in keys {
        let value = found.get(key);
        if !states.iter().any(|state| state.get(key) == value) {
            let what = if value.is_some() { "WRONG" } else { "LOST" };
            return Err(format!("{what}: {key:?}: {report:?}"));
        }
    }
    let said = !report.damage.is_empty() || report.cut_bytes > 0 || report.healed_records > 0;
    if said {
        Ok(Found::Named)
    } else {
        Err(format!("SILENT loss of a later commit: {report:?}"))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}

/// The files of a database, but for its lock.
fn files_to_damage(directory: &Directory) -> io::Result<Vec<PathBuf>> {
    let files = directory.files()?.into_iter();
    let is_one = |file: &PathBuf| directory.root().join(file).is_file() && name_of(file) != "lock";
    Ok(files.filter(is_one).collect())
}

/// What a file is, by its name.
fn name_of(file: &Path) -> &'static str {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    match &*name {
        "db" => "index: db",
        "conf" => "index: conf",
        "FORMAT" => "journal: FORMAT",
        name if name.starts_with("snap") => "index: snap",
        name if name.starts_with("checkpoint") => "journal: checkpoint",
        _ => match file.extension().and_then(|extension| extension.to_str()) {
            Some("log") => "journal: segment",
            Some("lock") => "lock",
            _ => "other",
        },
    }
}

/// Copies a directory with everything in it.
///
/// # Errors
///
/// Errors of the file system.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
