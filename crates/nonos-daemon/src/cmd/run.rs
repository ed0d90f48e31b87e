//! `nonos run`: the daemon.

use std::sync::Arc;
use std::time::Duration;

use crate::args::Args;
use crate::cmd::backup::scratch;
#[cfg(feature = "encrypted-storage")]
use crate::cmd::init::LOSING_IT;
use crate::daemon::backups::{self, Backups};
use crate::daemon::{sampler, shutdown, upkeep};
use crate::error::CliError;
#[cfg(feature = "encrypted-storage")]
use crate::keys;
use crate::progress;
use crate::settings::{Places, Settings};
use crate::targets;
use nonos_storage::NodeStorage;

/// How long work that is under way beside the database may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// Which node a restored database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Same,
    Other,
}

pub(crate) fn run(args: &Args, migrate: bool, node: Option<Node>) -> Result<(), CliError> {
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
    let done = runtime.block_on(async {
        // Signals are caught before the database is open: none may end it in the midst.
        let stop = shutdown::signal()?;
        let opening = progress::opening(args, settings.storage.clone()).migrate(migrate);
        #[cfg(feature = "encrypted-storage")]
        let opening = keys::guarded(opening, &settings);
        let storage = Arc::new(opening.open()?);
        #[cfg(feature = "encrypted-storage")]
        unlock(args, &settings, &storage, is_fresh)?;
        settle(&storage, node)?;
        let schema = storage.schema_version()?;
        let path = storage.data_path().display();
        for step in storage.migrations_taken() {
            let (from, to) = (step.from_version, step.to_version);
            tracing::info!(from, to, records = step.converted, "migrated the database");
        }
        tracing::info!(database = %path, schema, "the database is open");
        let interval = Duration::from_secs(settings.metrics.interval_secs);
        let sampling = sampler::run(Arc::clone(&storage), interval);
        let backing_up = back_up(args, &settings, &storage)?;
        let scrubbing = upkeep::scrub(Arc::clone(&storage), settings.maintenance.clone());
        let compacting = upkeep::compact(Arc::clone(&storage), settings.maintenance.clone());
        let ended = tokio::select! {
            signal = stop => {
                tracing::info!(signal, "stopping");
                Ok(())
            }
            failed = sampling => failed,
            failed = backing_up => failed,
            failed = scrubbing => failed,
            failed = compacting => failed,
        };
        let closing = tokio::task::spawn_blocking(move || storage.shutdown());
        let closed = closing.await.map_err(|source| CliError::Task { source })?;
        ended?;
        closed?;
        tracing::info!("the database is closed");
        Ok(())
    });
    // An upload or a drill that is under way ends with the program: what it leaves is no backup.
    runtime.shutdown_timeout(GRACE);
    done
}

/// Backs up for as long as the daemon runs, if it is told to.
fn back_up(
    args: &Args,
    settings: &Settings,
    storage: &Arc<NodeStorage>,
) -> Result<impl Future<Output = Result<(), CliError>> + use<>, CliError> {
    let backups = if settings.backup.every_secs == 0 {
        None
    } else {
        Some(Backups {
            storage: Arc::clone(storage),
            target: targets::open(
                args,
                settings,
                None,
                targets::keys(args, settings, &[], None)?,
            )?,
            is_remote: targets::is_remote(args, settings)?,
            settings: settings.backup.clone(),
            config: settings.storage.clone(),
            scratch: scratch(settings)?,
        })
    };
    Ok(async {
        match backups {
            Some(backups) => backups::run(backups).await,
            None => std::future::pending().await,
        }
    })
}

/// Two nodes with one identity would each claim what the other earned: somebody has to say once which of
/// them a restored database is.
fn settle(storage: &NodeStorage, node: Option<Node>) -> Result<(), CliError> {
    let Some(origin) = storage.origin()?.filter(|origin| !origin.is_settled) else {
        return Ok(());
    };
    match node {
        None => {
            let commit = origin.commit;
            return Err(CliError::WhichNode { commit });
        }
        Some(Node::Same) => storage.settle_origin(None)?,
        #[cfg(feature = "encrypted-storage")]
        Some(Node::Other) => {
            let identity = nonos_storage::NodeIdentity::generate().map_err(keys::encryption)?;
            let id = nonos_storage::NodeId(identity.node_id);
            storage.settle_origin(Some((&id, identity.expose_seed())))?;
            tracing::info!(%id, "made a new identity for this node");
        }
        #[cfg(not(feature = "encrypted-storage"))]
        Some(Node::Other) => storage.settle_origin(None)?,
    }
    Ok(())
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
