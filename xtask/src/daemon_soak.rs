//! The daemon under a node's load: 200 writes a second, readers, scrapes, backups, scrubs and a compaction; killed at random
//! moments in the first half, left alone in the second. What it acknowledged is compared with what is there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nonos_storage::{NodeStorage, StorageConfig};

use crate::daemon::{self, Daemon};
use crate::{Error, failed, number};

const KILLS: u32 = 20;
/// As in the daemon's soak.
const RECORDS: u64 = 10_000;
const TICK: Duration = Duration::from_secs(1);
const CONFIG: &str = "[metrics]\ninterval_secs = 1\n[server]\nlisten = \"127.0.0.1:0\"\n\
                      [backup]\nevery_secs = 10\nkeep_last = 3\nkeep_daily = 0\ndrill_every_secs = 60\n\
                      [maintenance]\nscrub_every_secs = 30\nscrub_bytes_per_sec = 4194304\n";

/// What was measured.
#[derive(Debug, Default)]
struct Measured {
    /// Commits by the upper bound of their duration, of lives that ended.
    buckets: BTreeMap<u64, u64>,
    /// Of the life that goes on, by its last scrape.
    current: BTreeMap<u64, u64>,
    scrapes: u64,
    reads: u64,
    /// Resident MiB of the life that is left alone, a second apart.
    resident: Vec<u64>,
    backups: u64,
    scrubs: u64,
}

/// Runs for so many minutes, 15 unless another number is given.
pub(crate) fn run(root: &Path, minutes: Option<&str>) -> Result<bool, Error> {
    let minutes = number("minutes", minutes, 15)?;
    let nonos = daemon::build(root, "release", &["--features", "soak"])?;
    let scratch = tempfile::tempdir().map_err(failed)?;
    let node = scratch.path().join("node");
    let notes = scratch.path().join("notes");
    let init = Command::new(&nonos)
        .arg("-d")
        .arg(&node)
        .args(["-q", "init"])
        .output();
    if !init.map_err(failed)?.status.success() {
        return Err(failed("nonos init failed"));
    }
    let sealed = "[storage]\nencryption_mode = \"sealed_box\"\n";
    fs::write(node.join("config.toml"), format!("{sealed}{CONFIG}")).map_err(failed)?;

    let soak = Soak {
        nonos: &nonos,
        node: &node,
        notes: &notes,
    };
    let half = Duration::from_secs(minutes * 30);
    let mut measured = Measured::default();
    let mut random = Random(0x5eed);
    let mut compared = Progress::default();
    let mut left = half;
    for kill in 0..KILLS {
        let share = left / (KILLS - kill);
        let life = share.mul_f64(0.5 + random.unit());
        left = left.saturating_sub(life);
        let mut daemon = soak.start()?;
        soak.live(&mut daemon, life, &mut measured, |_, _| {})?;
        daemon.kill()?;
        measured.end_of_life();
        compared = compare(&node, &notes, &compared)?;
        println!(
            "kill {:>2} after {:>5.1} s: {} acknowledged, {} compared, {} lost",
            kill + 1,
            life.as_secs_f64(),
            compared.acknowledged,
            compared.compared,
            compared.lost
        );
    }
    let mut daemon = soak.start()?;
    let mut is_compacted = false;
    soak.live(&mut daemon, half, &mut measured, |measured, resident| {
        measured.resident.push(resident);
        if !is_compacted && measured.resident.len() > 60 {
            is_compacted = true;
            let compacted = nonos_verb(&nonos, &node, &["compact"]);
            println!(
                "compacted beside the writes: {}",
                compacted.trim().replace('\n', ", ")
            );
        }
    })?;
    let code = daemon.end()?;
    measured.end_of_life();
    compared = compare(&node, &notes, &compared)?;
    let status = nonos_verb(&nonos, &node, &["status"]);
    let verified = Command::new(&nonos)
        .arg("-d")
        .arg(&node)
        .args(["verify", "--deep"])
        .output();
    let verified = verified.map_err(failed)?.status.success();
    Ok(measured.report(&compared, code, verified, &status))
}

/// What a verb prints.
fn nonos_verb(nonos: &Path, node: &Path, args: &[&str]) -> String {
    let output = Command::new(nonos).arg("-d").arg(node).args(args).output();
    output.map_or_else(
        |e| e.to_string(),
        |output| {
            String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr)
        },
    )
}

/// A node that is used.
struct Soak<'a> {
    nonos: &'a Path,
    node: &'a Path,
    notes: &'a Path,
}

impl Soak<'_> {
    fn start(&self) -> Result<Daemon, Error> {
        let mut command = Command::new(self.nonos);
        command
            .arg("-d")
            .arg(self.node)
            .env("NONOS_SOAK_NOTES", self.notes);
        Daemon::start(&mut command, &self.notes.with_extension("log"), |_| true)
    }

    /// Reads and scrapes beside it for so long.
    fn live(
        &self,
        daemon: &mut Daemon,
        life: Duration,
        measured: &mut Measured,
        mut each: impl FnMut(&mut Measured, u64),
    ) -> Result<(), Error> {
        const READS: [&[&str]; 4] = [
            &["peers", "--limit", "100"],
            &["metrics", "--limit", "100"],
            &["status"],
            &["verify", "--quick"],
        ];
        let ends = Instant::now() + life;
        for turn in 0_usize.. {
            let next = (Instant::now() + TICK).min(ends);
            daemon.check()?;
            if let Some(text) = daemon.get("/metrics") {
                measured.scraped(&text);
            }
            let read = READS.get(turn % READS.len()).copied().unwrap_or_default();
            let output = Command::new(self.nonos)
                .arg("-d")
                .arg(self.node)
                .args(read)
                .output();
            let output = output.map_err(failed)?;
            if !output.status.success() {
                let told = String::from_utf8_lossy(&output.stderr);
                return Err(failed(format!("{read:?} beside the daemon: {told}")));
            }
            measured.reads += 1;
            each(measured, resident_mib(daemon.id()));
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            if Instant::now() >= ends {
                break;
            }
        }
        Ok(())
    }
}

fn resident_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0) / 1024
}

/// How far writes were acknowledged and compared.
#[derive(Debug, Default)]
struct Progress {
    acknowledged: u64,
    /// One by one, while they were the last of their record: the others were replaced by acknowledged ones.
    compared: u64,
    lost: u64,
}

/// Compares what was acknowledged since the last time with what is there.
fn compare(node: &Path, notes: &Path, before: &Progress) -> Result<Progress, Error> {
    let notes = fs::read_to_string(notes).map_err(failed)?;
    let acknowledged: u64 = notes
        .lines()
        .last()
        .map_or(Ok(0), str::parse)
        .map_err(failed)?;
    let storage = NodeStorage::open_readonly(StorageConfig {
        path: node.join("data.sled"),
        ..StorageConfig::default()
    })?;
    let end = i64::try_from(RECORDS).map_err(failed)?;
    let samples = storage.load_metrics_range(0, end)?.into_iter();
    let samples: BTreeMap<u64, u64> = samples
        .map(|(time, sample)| (time.unsigned_abs(), sample.total_requests))
        .collect();
    let since = acknowledged.saturating_sub(before.acknowledged);
    let mut lost = before.lost;
    for turn in 0..RECORDS.min(acknowledged + 1) {
        // The last of its numbers that was acknowledged, or the one after.
        let expected = acknowledged - (acknowledged + RECORDS - turn) % RECORDS;
        let seen = if turn.is_multiple_of(2) {
            let found = storage.load_peer(&format!("soak-{turn:05}"))?;
            found.map_or(0, |peer| peer.last_seen.unsigned_abs())
        } else {
            samples.get(&turn).copied().unwrap_or(0)
        };
        lost += u64::from(expected > 0 && seen < expected);
    }
    Ok(Progress {
        acknowledged,
        compared: before.compared + since.min(RECORDS),
        lost,
    })
}

impl Measured {
    fn scraped(&mut self, text: &str) {
        self.scrapes += 1;
        let of = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        };
        // An age that is shorter than a tick: it was done in this one.
        self.backups += u64::from(of("nonos_backup_age_seconds ").is_some_and(|age| age < 1.0));
        self.scrubs += u64::from(of("nonos_scrub_age_seconds ").is_some_and(|age| age < 1.0));
        self.current.clear();
        let mut below = 0;
        for line in text.lines() {
            let Some(rest) = line.strip_prefix("nonos_commit_seconds_bucket{") else {
                continue;
            };
            if !rest.contains("class=\"buffered\"") {
                continue;
            }
            let bound = rest
                .split_once("le=\"")
                .and_then(|(_, rest)| rest.split('"').next());
            let bound = bound
                .and_then(|bound| bound.parse::<f64>().ok())
                .unwrap_or(f64::INFINITY);
            let count = rest
                .rsplit(' ')
                .next()
                .and_then(|count| count.parse::<f64>().ok());
            // Whole numbers, as microseconds and as counts.
            let (bound, count) = (micros(bound), whole(count.unwrap_or(0.0)));
            if count > below {
                self.current.insert(bound, count - below);
                below = count;
            }
        }
    }

    fn end_of_life(&mut self) {
        for (bound, count) in std::mem::take(&mut self.current) {
            *self.buckets.entry(bound).or_default() += count;
        }
    }

    /// The bound below which so many thousandths are, in microseconds.
    fn quantile(&self, thousandths: u64) -> u64 {
        let all: u64 = self.buckets.values().sum();
        let mut below = 0;
        for (bound, count) in &self.buckets {
            below += count;
            if below * 1000 >= all * thousandths {
                return *bound;
            }
        }
        0
    }

    fn report(&self, compared: &Progress, code: Option<i32>, verified: bool, status: &str) -> bool {
        let commits: u64 = self.buckets.values().sum();
        // A drill has a second database open for some seconds: what stays is told by the least of a minute.
        let minutes: Vec<(u64, u64)> = self
            .resident
            .chunks(60)
            .map(|of| {
                let least = of.iter().copied().min().unwrap_or(0);
                (least, of.iter().copied().max().unwrap_or(0))
            })
            .collect();
        let (p50, p99, p999) = (self.quantile(500), self.quantile(990), self.quantile(999));
        println!("{status}");
        println!(
            "acknowledged {}, compared one by one {}, lost {}; {} scrapes, {} reads",
            compared.acknowledged, compared.compared, compared.lost, self.scrapes, self.reads
        );
        println!(
            "seconds with a backup {}, with the end of a scrub {}",
            self.backups, self.scrubs
        );
        println!("buffered commits {commits}: p50 at most {p50} us, p99 {p99} us, p99.9 {p999} us");
        println!("resident MiB in the life of its own, least and most of each minute: {minutes:?}");
        let (early, late) = minutes.split_at(minutes.len() / 2);
        let least = |of: &[(u64, u64)]| of.iter().map(|(least, _)| *least).min().unwrap_or(0);
        // Of one minute nothing can be told.
        let is_flat = early.is_empty() || least(late) <= least(early) + least(early) / 10 + 8;
        println!(
            "ended with {code:?}, verified deeply: {verified}, memory flat: {is_flat}, scrubbed: {}",
            self.scrubs > 0
        );
        compared.lost == 0
            && verified
            && code == Some(0)
            && p99 < 5_000
            && is_flat
            && self.scrubs > 0
    }
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of a scrape"
)]
fn whole(number: f64) -> u64 {
    number.max(0.0).round() as u64
}

fn micros(seconds: f64) -> u64 {
    whole((seconds * 1e6).min(1e15))
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    /// From 0 up to 1.
    fn unit(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let bits = u32::try_from(self.0 >> 32).unwrap_or(0);
        f64::from(bits) / f64::from(u32::MAX)
    }
}
