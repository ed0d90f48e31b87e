//! Backups by the daemon: what is new is shipped, old backups are pruned, and the newest is drilled.
//!
//! What fails is logged and tried again at the next turn: a place that cannot be reached does not stop
//! the node.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nonos_daemon::encryption::EncryptedTarget;
use nonos_storage::{
    BackupKind, ErrorCode, Keep, NodeStorage, NonosError, NonosResult, Shipped, StorageConfig,
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::error::CliError;
use crate::output::chain;
use crate::settings::BackupSettings;

/// What is backed up to where.
#[derive(Debug)]
pub(crate) struct Backups {
    pub(crate) storage: Arc<NodeStorage>,
    pub(crate) target: EncryptedTarget,
    /// Whether it is on another machine.
    pub(crate) is_remote: bool,
    pub(crate) settings: BackupSettings,
    pub(crate) config: StorageConfig,
    /// Where files on their way lie.
    pub(crate) scratch: PathBuf,
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
    let mut turns = every(backups.settings.every_secs, Duration::ZERO);
    let mut shipped = Shipped::default();
    loop {
        turns.tick().await;
        let backups = Arc::clone(&backups);
        let turn = tokio::task::spawn_blocking(move || {
            told(
                backups.ship(&mut shipped),
                "no backup could be made; it is tried again",
            );
            shipped
        });
        shipped = turn.await.map_err(|source| CliError::Task { source })?;
    }
}

async fn drill(backups: Arc<Backups>) -> Result<(), CliError> {
    let seconds = backups.settings.drill_every_secs;
    if seconds == 0 {
        return std::future::pending().await;
    }
    if backups.target.is_sealed_to_others() {
        tracing::warn!(
            "backups are encrypted, and no identity is here that opens them: `nonos backup drill --identity \
             FILE` is to be run where there is one"
        );
        return std::future::pending().await;
    }
    let mut turns = every(seconds, Duration::from_secs(seconds));
    loop {
        turns.tick().await;
        let backups = Arc::clone(&backups);
        let turn = tokio::task::spawn_blocking(move || {
            told(backups.drill(), "the newest backup cannot be restored");
        });
        turn.await.map_err(|source| CliError::Task { source })?;
    }
}

fn every(seconds: u64, first: Duration) -> Interval {
    let period = Duration::from_secs(seconds.max(1));
    let mut turns = interval_at(Instant::now() + first, period);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turns
}

fn told(result: NonosResult<()>, what: &'static str) {
    match result {
        Err(NonosError::Storage(error)) if error.code() == ErrorCode::Poisoned => {
            tracing::debug!(%error, "the database is closed");
        }
        Err(error) => {
            let reason = chain(&error);
            tracing::error!(%reason, "{what}");
        }
        Ok(()) => {}
    }
}

impl Backups {
    fn ship(&self, shipped: &mut Shipped) -> NonosResult<()> {
        let Self {
            storage,
            target,
            settings,
            ..
        } = self;
        let plain = storage.plain_secrets()?;
        if plain > 0 && self.is_remote && !target.encrypts() {
            tracing::error!(
                plain,
                "not backed up: secrets that are not sealed do not leave this machine; give the node its keys, \
                 or set backup.recipients"
            );
            return Ok(());
        }
        let made = storage.ship(target, shipped)?;
        if made.iter().any(|backup| backup.kind == BackupKind::Full) {
            let keep = Keep {
                last: settings.keep_last,
                daily: settings.keep_daily,
            };
            let store_id = Some(storage.store_id().0);
            for removed in NodeStorage::prune_backups(target, store_id, keep, false)? {
                let name = removed.name();
                tracing::info!(name, "removed an old backup");
            }
        }
        if let Some(last) = made.last() {
            let (commit, count) = (last.commit, made.len());
            tracing::info!(commit, count, "backed up");
        }
        Ok(())
    }

    fn drill(&self) -> NonosResult<()> {
        let store_id = Some(self.storage.store_id().0);
        let drill = NodeStorage::drill(&self.target, store_id, &self.scratch, &self.config)?;
        let (commit, entries) = (drill.backup.commit, drill.entries);
        if drill.is_sound {
            tracing::info!(
                commit,
                entries,
                "the newest backup was restored and verified"
            );
        } else {
            let (name, errors) = (drill.backup.name(), drill.integrity.errors);
            tracing::error!(name, errors, "records in the newest backup are damaged");
        }
        Ok(())
    }
}
