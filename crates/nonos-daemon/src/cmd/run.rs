//! `nonos run`: the daemon.

use std::sync::Arc;
use std::time::Duration;

use crate::args::Args;
#[cfg(feature = "encrypted-storage")]
use crate::cmd::init::LOSING_IT;
use crate::daemon::{sampler, shutdown};
use crate::error::CliError;
#[cfg(feature = "encrypted-storage")]
use crate::keys;
use crate::progress;
use crate::settings::Places;
#[cfg(feature = "encrypted-storage")]
use crate::settings::Settings;
#[cfg(feature = "encrypted-storage")]
use nonos_storage::NodeStorage;

pub(crate) fn run(args: &Args, migrate: bool) -> Result<(), CliError> {
    let places = Places::of(args)?;
    let is_fresh = !places.load()?.storage.path.exists();
    let is_sealed = is_fresh && cfg!(feature = "encrypted-storage");
    if places.create(is_sealed)? {
        tracing::info!(path = %places.config.display(), "wrote the documented configuration");
    }
    let settings = places.load()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| CliError::Setup {
            what: "the runtime",
            source,
        })?;
    runtime.block_on(async {
        // Signals are caught before the database is open: none may end it in the midst.
        let stop = shutdown::signal()?;
        let opening = progress::opening(args, settings.storage.clone()).migrate(migrate);
        #[cfg(feature = "encrypted-storage")]
        let opening = keys::guarded(opening, &settings);
        let storage = Arc::new(opening.open()?);
        #[cfg(feature = "encrypted-storage")]
        unlock(args, &settings, &storage, is_fresh)?;
        let schema = storage.schema_version()?;
        let path = storage.data_path().display();
        for step in storage.migrations_taken() {
            let (from, to) = (step.from_version, step.to_version);
            tracing::info!(from, to, records = step.converted, "migrated the database");
        }
        tracing::info!(database = %path, schema, "the database is open");
        let interval = Duration::from_secs(settings.metrics.interval_secs);
        let sampling = sampler::run(Arc::clone(&storage), interval);
        let ended = tokio::select! {
            signal = stop => {
                tracing::info!(signal, "stopping");
                Ok(())
            }
            failed = sampling => failed,
        };
        let closing = tokio::task::spawn_blocking(move || storage.shutdown());
        let closed = closing.await.map_err(|source| CliError::Task { source })?;
        ended?;
        closed?;
        tracing::info!("the database is closed");
        Ok(())
    })
}

/// The keys of this node, made for a fresh one, and its identity.
#[cfg(feature = "encrypted-storage")]
fn unlock(
    args: &Args,
    settings: &Settings,
    storage: &NodeStorage,
    is_fresh: bool,
) -> Result<(), CliError> {
    if !is_fresh {
        keys::unlock(args, settings, storage)?;
    } else if keys::ensure(args, settings, storage, None)? {
        let path = settings.secrets.key_file.display();
        tracing::warn!(%path, "made the key file of this node; {LOSING_IT}");
    }
    if storage.secrets_status()?.access.is_none() {
        tracing::warn!(
            "there is no key file: no secret can be stored, and this node has no identity"
        );
        return Ok(());
    }
    keys::ensure_identity(storage)
}
