//! This test binary, run again as another process that plays one part.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Child, ChildStdin, ChildStdout, Command, Stdio};

use nonos_storage::{EpochNumber, NodeStorage, NonosError, StorageConfig, StoredPeerInfo};
use storage_testkit::damage;

use crate::TestResult;
use crate::contents::{chain, claim, peer, sample, summary};

/// Begins the part that writes a database to be damaged; the rest says how it ends.
pub(crate) const DAMAGED: &str = "damaged-";

const PART: &str = "NONOS_TEST_PART";
const DATABASE: &str = "NONOS_TEST_DATABASE";
/// Begins what a part says; the test harness prints lines of its own.
const SAYS: &str = "@";

/// The command that plays `part` on the database at `path`, in the executable at `exe`.
pub(crate) fn command(exe: &Path, part: &str, path: &Path) -> Command {
    let mut command = Command::new(exe);
    command
        .args(["--exact", "child::plays_its_part"])
        .args(["--nocapture", "--test-threads=1"])
        .env(PART, part)
        .env(DATABASE, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// A running child; killed at drop.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    _stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(part: &str, path: &Path) -> io::Result<Self> {
        Self::spawn(&mut command(&env::current_exe()?, part, path))
    }

    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self {
            child,
            _stdin: stdin,
            stdout: BufReader::new(stdout),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next thing that the child says.
    pub(crate) fn hear(&mut self) -> io::Result<String> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.stdout.read_line(&mut line)? == 0 {
                return Err(io::Error::other("the child ended without a word"));
            }
            if let Some(said) = line.trim_end().strip_prefix(SAYS) {
                return Ok(said.to_owned());
            }
        }
    }

    /// Kills it with SIGKILL and returns what it had said until then.
    pub(crate) fn kill(mut self) -> io::Result<Vec<String>> {
        self.child.kill()?;
        self.child.wait()?;
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest)?;
        let whole_lines = rest.split_inclusive('\n').filter(|l| l.ends_with('\n'));
        let said = whole_lines.filter_map(|line| line.trim_end().strip_prefix(SAYS));
        Ok(said.map(str::to_owned).collect())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// The peer that is overwritten in each round.
pub(crate) fn rounds(round: u64) -> StoredPeerInfo {
    rounds_of("last", round)
}

/// A peer that carries the number of a round.
pub(crate) fn rounds_of(peer_id: &str, round: u64) -> StoredPeerInfo {
    StoredPeerInfo {
        connection_count: u32::try_from(round).unwrap_or(u32::MAX),
        ..peer(peer_id)
    }
}

pub(crate) fn say(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "\n{SAYS}{text}")?;
    stdout.flush()
}

/// Stays until the parent closes the other end, or kills it.
fn wait_for_parent() -> io::Result<()> {
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}

fn play(part: &str, path: PathBuf) -> TestResult {
    let config = StorageConfig {
        path,
        flush_every_ms: None,
        ..Default::default()
    };
    match part {
        // Says the code of opening, and whether there is a remedy.
        "open" => match NodeStorage::open(config) {
            Ok(storage) => say(&format!("OK {}", storage.data_path().display()))?,
            Err(NonosError::Storage(error)) => {
                let remedy = error.remedy().unwrap_or("no remedy");
                say(&format!("{} {} ({remedy})", error.code(), chain(&error)))?;
            }
            Err(error) => say(&chain(&error))?,
        },
        // Opens what an unconfigured program opens.
        "default" => {
            let storage = NodeStorage::open(StorageConfig::default())?;
            storage.store_peer("a", &peer("a"))?;
            let path = storage.data_path().to_owned();
            storage.close()?;
            say(&format!("OK {}", path.display()))?;
        }
        // Holds the database with something durable in it.
        "hold" => {
            let storage = NodeStorage::open(config)?;
            storage.store_claim(EpochNumber(1), &claim(1))?;
            storage.store_peer("a", &peer("a"))?;
            storage.flush()?;
            say("holding")?;
            wait_for_parent()?;
        }
        // Stores claims for ever, and says each one that is durable.
        "claim" => {
            let storage = NodeStorage::open(config)?;
            for epoch in 1.. {
                storage.store_claim(EpochNumber(epoch), &claim(epoch))?;
                say(&epoch.to_string())?;
            }
        }
        // Writes everything, durable and not, from several trees, and says each round that returned.
        "mix" => {
            let storage = NodeStorage::open(config)?;
            let first = storage.tree_sizes()?.metrics;
            for round in u64::try_from(first)?.. {
                let durable = round % 7 == 0;
                storage.update(durable, |update| {
                    if durable {
                        update.store_claim(EpochNumber(round), &claim(round))?;
                    }
                    update.store_metrics(round.try_into().unwrap_or(0), &sample(round))?;
                    update.store_epoch(EpochNumber(round), &summary(round))?;
                    update.store_peer("last", &rounds(round))
                })?;
                if round % 31 == 0 {
                    storage.flush()?;
                }
                say(&round.to_string())?;
            }
        }
        part if part.starts_with(crate::repair::REPAIRS) => {
            let into = part.strip_prefix(crate::repair::REPAIRS).unwrap_or(part);
            crate::repair::play(into, &config.path)?;
        }
        part if part.starts_with(DAMAGED) => {
            let mut known = damage::Ended::ALL.into_iter();
            let ended = known.find(|ended| part.ends_with(ended.name()));
            let held = damage::write(&config.path, ended.ok_or("how to end?")?)?;
            say("written")?;
            if held.is_some() {
                wait_for_parent()?;
                process::abort();
            }
        }
        #[cfg(feature = "encrypted-storage")]
        part if part.starts_with(crate::secrets_kill::PART) => {
            crate::secrets_kill::play(part, config)?;
        }
        #[cfg(feature = "encrypted-storage")]
        crate::secrets_logs::PART => crate::secrets_logs::play(&config)?,
        part => return Err(format!("no part {part:?}").into()),
    }
    Ok(())
}

#[test]
fn plays_its_part() -> TestResult {
    let (Ok(part), Some(path)) = (env::var(PART), env::var_os(DATABASE)) else {
        return Ok(());
    };
    let path: OsString = path;
    play(&part, path.into())
}
