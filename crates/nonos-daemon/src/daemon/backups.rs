//! Backups by the daemon: what is new is shipped, old backups are pruned, and the newest is drilled.
//!
//! What fails is logged and tried again at the next turn: a place that cannot be reached does not stop
//! the node.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nonos_storage::{
    BackupKind, ErrorCode, Keep, NodeStorage, NonosError, NonosResult, Shipped, StorageConfig,
    Target,
};
use tokio::time::{MissedTickBehavior, interval};

use crate::error::CliError;
use crate::output::chain;
use crate::settings::BackupSettings;

/// What is backed up to where.
#[derive(Debug)]
pub(crate) struct Backups {
    pub(crate) storage: Arc<NodeStorage>,
    pub(crate) target: Box<dyn Target>,
    pub(crate) settings: BackupSettings,
    pub(crate) config: StorageConfig,
    /// Where files on their way lie.
    pub(crate) scratch: PathBuf,
}

/// Backs up until the database is closed.
pub(crate) async fn run(backups: Backups) -> Result<(), CliError> {
    let mut turns = interval(Duration::from_secs(backups.settings.every_secs.max(1)));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut state = State {
        backups,
        shipped: Shipped::default(),
        drilled: Instant::now(),
    };
    loop {
        turns.tick().await;
        let turn = tokio::task::spawn_blocking(move || {
            state.turn();
            state
        });
        state = turn.await.map_err(|source| CliError::Task { source })?;
    }
}

struct State {
    backups: Backups,
    shipped: Shipped,
    drilled: Instant,
}

impl State {
    fn turn(&mut self) {
        match self.ship() {
            Ok(()) => {}
            Err(NonosError::Storage(error)) if error.code() == ErrorCode::Poisoned => {
                tracing::debug!(%error, "no backup of a database that is closed");
            }
            Err(error) => {
                let reason = chain(&error);
                tracing::error!(%reason, "no backup could be made; it is tried again");
            }
        }
        let every = Duration::from_secs(self.backups.settings.drill_every_secs);
        if !every.is_zero() && self.drilled.elapsed() >= every {
            self.drilled = Instant::now();
            self.drill();
        }
    }

    fn ship(&mut self) -> NonosResult<()> {
        let Backups {
            storage,
            target,
            settings,
            ..
        } = &self.backups;
        let made = storage.ship(&**target, &mut self.shipped)?;
        if made.iter().any(|backup| backup.kind == BackupKind::Full) {
            let keep = Keep {
                last: settings.keep_last,
                daily: settings.keep_daily,
            };
            for removed in NodeStorage::prune_backups(&**target, keep, false)? {
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

    fn drill(&self) {
        let Backups {
            storage,
            target,
            config,
            scratch,
            ..
        } = &self.backups;
        let store_id = Some(storage.store_id().0);
        match NodeStorage::drill(&**target, store_id, scratch, config) {
            Ok(drill) if drill.is_sound => {
                let (commit, entries) = (drill.backup.commit, drill.entries);
                tracing::info!(
                    commit,
                    entries,
                    "the newest backup was restored and verified"
                );
            }
            Ok(drill) => {
                let (name, errors) = (drill.backup.name(), drill.integrity.errors);
                tracing::error!(name, errors, "records in the newest backup are damaged");
            }
            Err(error) => {
                let reason = chain(&error);
                tracing::error!(%reason, "the newest backup cannot be restored");
            }
        }
    }
}
