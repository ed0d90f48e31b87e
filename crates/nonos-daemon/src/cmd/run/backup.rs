//! The backups that a daemon makes.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use nonos_daemon::settings::Settings;
use nonos_storage::NodeStorage;

use super::{Daemon, TRY_AGAIN};
use crate::daemon::backups::{self, Backups};
use crate::error::CliError;
use crate::places::Places;
use crate::targets;

impl Daemon<'_> {
    /// Waits until the upload that is under way ended, if one is, but not for ever.
    pub(super) async fn let_upload_end(&self, patience: Duration) {
        let waited = tokio::time::timeout(patience, async {
            while self.node.shipping.try_lock().is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        if waited.await.is_err() {
            tracing::warn!("an upload is cut off; it is made again");
        }
    }

    /// Backs up for as long as the daemon runs, if it is told to. A place that cannot be used is tried again: the node goes
    /// on without.
    pub(super) async fn back_up(
        &self,
        storage: &Arc<NodeStorage>,
        settings: &Settings,
    ) -> Result<(), CliError> {
        loop {
            let backups = self.backups(storage, settings);
            let failed = backups
                .as_ref()
                .err()
                .map(|error| crate::output::chain(error));
            if let Some(reason) = &failed {
                tracing::error!(%reason, "no backup can be made; it is tried again");
            }
            self.node.note(|done| done.backup_failed = failed);
            match backups {
                Ok(Some(backups)) => return backups::run(backups).await,
                Ok(None) => return std::future::pending().await,
                Err(_) => tokio::time::sleep(TRY_AGAIN).await,
            }
        }
    }

    /// What is backed up to where, if anything is, or is looked at.
    pub(super) fn backups(
        &self,
        storage: &Arc<NodeStorage>,
        settings: &Settings,
    ) -> Result<Option<Backups>, CliError> {
        let args = self.args;
        let ships = settings.backup.every_secs > 0;
        let keys = targets::reading_keys(args, settings, None).or_else(|error| {
            // Making backups needs no identity.
            let reason = crate::output::chain(&error);
            tracing::warn!(%reason, "backups are not drilled");
            targets::writing_keys(settings, &[])
        })?;
        // Who does not ship only looks at what is there.
        let target = if ships {
            Some(targets::open(args, settings, None, keys)?)
        } else {
            targets::existing(args, settings, None, keys).ok()
        };
        let places = Places::of(args)?;
        Ok(target.map(|target| Backups {
            storage: Arc::clone(storage),
            node: Arc::clone(&self.node),
            target,
            settings: settings.backup.clone(),
            data_dir: places.data_dir,
            config_file: places.config,
            is_prune_due: AtomicBool::new(true),
        }))
    }
}
