//! Backups by the daemon: what is new is shipped, old backups are pruned, and the newest is drilled.
//!
//! What fails is logged and tried again at the next turn: a place that cannot be reached does not stop
//! the node.

use std::io;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use data_encoding::HEXLOWER;
use nonos_daemon::encryption::EncryptedTarget;
use nonos_daemon::settings::BackupSettings;
use nonos_storage::{
    Backup, BackupKind, ErrorCode, Keep, NodeStorage, NonosError, NonosResult, Shipped,
};
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::{MissedTickBehavior, interval};

use crate::daemon::node::{LastBackup, Node};
use crate::daemon::turns::Turns;
use crate::daemon::upkeep::turn;
use crate::error::CliError;
use crate::output::chain;

/// What is backed up to where.
#[derive(Debug)]
pub(crate) struct Backups {
    pub(crate) storage: Arc<NodeStorage>,
    pub(crate) node: Arc<Node>,
    pub(crate) target: EncryptedTarget,
    pub(crate) settings: BackupSettings,
    pub(crate) data_dir: PathBuf,
    pub(crate) config_file: PathBuf,
    /// Whether old backups are to be looked for: a full one was made, and it was not done since.
    pub(crate) is_prune_due: AtomicBool,
}

/// Ships and drills until the database is closed. A drill takes as long as it takes: shipping goes on.
pub(crate) async fn run(backups: Backups) -> Result<(), CliError> {
    let backups = Arc::new(backups);
    tokio::select! {
        ended = ship(Arc::clone(&backups)) => ended,
        ended = drill(backups) => ended,
    }
}

async fn ship(backups: Arc<Backups>) -> Result<(), CliError> {
    let known = Arc::clone(&backups);
    turn(move || known.look()).await?;
    if backups.settings.every_secs == 0 {
        return std::future::pending().await;
    }
    let period = Duration::from_secs(backups.settings.every_secs);
    let mut turns = interval(period);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shipped = Shipped::default();
    loop {
        turns.tick().await;
        let backups = Arc::clone(&backups);
        shipped = turn(move || {
            let made = backups.ship(&mut shipped);
            let failed = told(
                made,
                "backing up, or removing old backups, failed; it is tried again",
            );
            backups.node.note(|done| done.backup_failed = failed);
            shipped
        })
        .await?;
    }
}

async fn drill(backups: Arc<Backups>) -> Result<(), CliError> {
    let seconds = backups.settings.drill_every_secs;
    if seconds == 0 || backups.settings.every_secs == 0 {
        return std::future::pending().await;
    }
    if backups.target.is_sealed_to_others() {
        tracing::warn!(
            "backups are encrypted, and no identity is here that opens them: `nonos backup drill --identity \
             FILE` is to be run where there is one"
        );
        return std::future::pending().await;
    }
    let mut turns = Turns::new(&backups.storage, seconds, |of| of.drilled_at);
    loop {
        turns.next().await;
        // Another process: a second database, and what it leaves of memory, end with it.
        let drilled = backups.command().output().await;
        let known = Arc::clone(&backups);
        turn(move || known.drilled(drilled)).await?;
    }
}

/// Logs why it failed, if it did, and returns that.
fn told(result: NonosResult<()>, what: &'static str) -> Option<String> {
    match result {
        Err(NonosError::Storage(error)) if error.code() == ErrorCode::Poisoned => {
            tracing::debug!(%error, "the database is closed");
            None
        }
        Err(error) => {
            let reason = chain(&error);
            tracing::error!(%reason, "{what}");
            Some(reason)
        }
        Ok(()) => None,
    }
}

impl Backups {
    /// Notes the newest backup that there is.
    fn look(&self) {
        let store_id = Some(self.storage.store_id().0);
        match NodeStorage::newest_backup(&self.target, store_id) {
            Ok(newest) => self.node.backed_up(LastBackup::of(&newest)),
            Err(error) => tracing::debug!(%error, "no backup is known"),
        }
    }

    fn ship(&self, shipped: &mut Shipped) -> NonosResult<()> {
        let Self {
            storage,
            target,
            settings,
            ..
        } = self;
        let alone = self.node.shipping.lock();
        let _alone = alone.unwrap_or_else(PoisonError::into_inner);
        let made = storage.ship(target, shipped)?;
        if let Some(last) = made.last() {
            self.node.backed_up(LastBackup::of(last));
            let (commit, count) = (last.commit, made.len());
            tracing::info!(commit, count, "backed up");
        }
        if made.iter().any(|backup| backup.kind == BackupKind::Full) {
            self.is_prune_due.store(true, Ordering::Relaxed);
        }
        if self.is_prune_due.load(Ordering::Relaxed) {
            let keep = Keep {
                last: settings.keep_last,
                daily: settings.keep_daily,
            };
            let store_id = Some(storage.store_id().0);
            // What was made is a backup, whatever becomes of the old ones.
            for name in NodeStorage::prune_backups(target, store_id, keep, false)?
                .iter()
                .map(Backup::name)
            {
                tracing::info!(name, "removed an old backup");
            }
            self.is_prune_due.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// `nonos backup drill` by this program, wherever its file is now; ended with the daemon.
    fn command(&self) -> Command {
        let mut drill = Command::new("/proc/self/exe");
        drill.arg("--data-dir").arg(&self.data_dir);
        if self.config_file.exists() {
            drill.arg("--config").arg(&self.config_file);
        }
        drill.args([
            // What it found is noted here.
            "--offline",
            "--quiet",
            "--output",
            "ndjson",
            "backup",
            "drill",
            "--store",
        ]);
        drill.arg(HEXLOWER.encode(&self.storage.store_id().0));
        drill.stdin(Stdio::null()).kill_on_drop(true);
        drill
    }

    /// Notes what a drill said.
    fn drilled(&self, drilled: io::Result<Output>) {
        let said = drilled
            .map_err(|error| error.to_string())
            .and_then(|output| {
                let told = serde_json::from_slice::<Said>(&output.stdout);
                told.map_err(|_none| String::from_utf8_lossy(&output.stderr).trim().to_owned())
            });
        let failed = match said {
            Ok(said) if said.ok => {
                self.look();
                let noted = self.node.drilled(&self.storage);
                let entries = said.data.map(|drilled| drilled.entries);
                tracing::info!(entries, "the newest backup was restored and verified");
                told(noted, "the drill could not be noted")
            }
            Ok(said) => Some(said.reason()),
            Err(reason) => Some(reason),
        };
        if let Some(reason) = &failed {
            tracing::error!(%reason, "the newest backup cannot be restored");
        }
        self.node.note(|done| done.drill_failed = failed);
    }
}

/// What `nonos backup drill` says, as far as it is needed here.
#[derive(Debug, Deserialize)]
struct Said {
    ok: bool,
    data: Option<Drilled>,
    findings: Vec<Found>,
}

#[derive(Debug, Deserialize)]
struct Drilled {
    entries: u64,
    errors: u64,
    backup: Named,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Found {
    detail: String,
}

impl Said {
    /// Why it is not as it should be.
    fn reason(&self) -> String {
        match (self.findings.first(), &self.data) {
            (Some(found), _) => found.detail.clone(),
            (None, Some(drilled)) => {
                format!(
                    "{} records in {} are damaged",
                    drilled.errors, drilled.backup.name
                )
            }
            (None, None) => "it was not said why".to_owned(),
        }
    }
}
