//! `nonos run`: the daemon.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nonos_daemon::settings::Settings;
use nonos_storage::{ErrorCode, NodeStorage, NonosError, Progress};
use tokio::net::TcpListener;

use crate::args::Args;
use crate::cmd;
#[cfg(feature = "encrypted-storage")]
use crate::cmd::init::LOSING_IT;
use crate::daemon::admin::Admin;
use crate::daemon::node::{Node, Periods, Phase};
use crate::daemon::server::{Server, Token, status};
use crate::daemon::shutdown::{Stops, hangups};
use crate::daemon::{retention, sampler, supervisor, upkeep, watch};
use crate::error::CliError;
#[cfg(feature = "encrypted-storage")]
use crate::keys;
use crate::places::Places;
use crate::progress;

mod backup;

/// How long what does not notice the end may take to.
const GRACE: Duration = Duration::from_secs(1);

/// How long it takes until a place for backups that could not be used is tried again.
const TRY_AGAIN: Duration = Duration::from_mins(1);

/// Which node a restored database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Same,
    Other,
}

pub(crate) fn run(
    args: &Args,
    migrate: bool,
    node: Option<Which>,
    listen: Option<SocketAddr>,
) -> Result<(), CliError> {
    let places = Places::of(args)?;
    let settings = places.load()?;
    let is_fresh = !settings.storage.path.exists();
    // Its disk is not mounted, or somebody removed it: a node that has had a database is given no empty one.
    #[cfg(feature = "encrypted-storage")]
    if places.config.exists()
        && let Some(left) = keys::left_of_gone(args, &settings)?
    {
        let path = settings.storage.path;
        return Err(CliError::DatabaseGone { path, left });
    }
    // A node that was put back on another machine has keys, and perhaps no configuration yet.
    let has_keys =
        cfg!(feature = "encrypted-storage") && (is_fresh || settings.secrets.key_file.exists());
    if places.create(has_keys)? {
        tracing::info!(path = %places.config.display(), "wrote the documented configuration");
    }
    let settings = places.load()?;
    if let Some(owner) = cmd::other_owner(&places.data_dir, &settings.storage.path) {
        tracing::warn!(
            owner,
            "root runs the node of another user, who then cannot read what it writes"
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| CliError::Setup {
            what: "the runtime",
            source,
        })?;
    let daemon = Daemon {
        args,
        settings: &settings,
        node: Arc::new(Node::new(settings.storage.flush_every_ms)),
        listen: listen.or(settings.server.address()),
        #[cfg(feature = "encrypted-storage")]
        is_fresh,
        migrate,
        which: node,
    };
    let done = runtime.block_on(daemon.run());
    // What is under way ends with the program: half of an upload is no backup.
    runtime.shutdown_timeout(GRACE);
    done
}

/// One run of the daemon.
struct Daemon<'a> {
    args: &'a Args,
    settings: &'a Settings,
    node: Arc<Node>,
    listen: Option<SocketAddr>,
    #[cfg(feature = "encrypted-storage")]
    is_fresh: bool,
    migrate: bool,
    which: Option<Which>,
}

impl Daemon<'_> {
    async fn run(&self) -> Result<(), CliError> {
        // Signals are caught before the database is open: none may end it in the midst.
        let mut stops = Stops::listen()?;
        let mut stop = pin!(stops.next());
        let serving = self.server().await?;
        let mut serving = pin!(async move {
            match serving {
                Some((server, listener)) => server.serve(listener).await,
                None => std::future::pending().await,
            }
        });
        let Some(storage) = self.open(stop.as_mut(), serving.as_mut()).await? else {
            tracing::info!(
                "stopped while the database was being opened; it goes on at the next start"
            );
            return Ok(());
        };
        let closing = Arc::clone(&storage);
        let ended = match self.ready(&storage) {
            Ok(()) => self.work(&storage, stop, serving).await,
            failed => failed,
        };
        supervisor::stopping();
        self.node.enter(Phase::Closing);
        let closed = tokio::task::spawn_blocking(move || closing.shutdown()).await;
        let closed = closed.map_err(|source| CliError::Task { source })?;
        ended?;
        closed?;
        tracing::info!("the database is closed");
        Ok(())
    }

    async fn server(&self) -> Result<Option<(Arc<Server>, TcpListener)>, CliError> {
        let Some(address) = self.listen else {
            return Ok(None);
        };
        let token_file = &self.settings.server.token_file;
        let token = if token_file.as_os_str().is_empty() {
            None
        } else {
            Some(Token::read(token_file)?)
        };
        let place = status::Place {
            data_dir: Places::of(self.args)?.data_dir,
            database: self.settings.storage.path.clone(),
        };
        let server = Arc::new(Server::new(Arc::clone(&self.node), place, token));
        let listener = server.listen(address).await?;
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "the status page");
        }
        Ok(Some((server, listener)))
    }

    /// Opens the database on another thread: meanwhile it is told how far that is, and a signal ends it where it
    /// can go on from. `None` if one did.
    async fn open(
        &self,
        stop: Pin<&mut impl Future<Output = &'static str>>,
        serving: Pin<&mut impl Future<Output = CliError>>,
    ) -> Result<Option<Arc<NodeStorage>>, CliError> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let (flag, node) = (Arc::clone(&cancelled), Arc::clone(&self.node));
        let watch = move |progress: &Progress| {
            if node.opening(progress) {
                supervisor::opening(progress);
            }
            if flag.load(Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let config = self.settings.storage.clone();
        let opening = progress::watched(self.args, config, watch).migrate(self.migrate);
        #[cfg(feature = "encrypted-storage")]
        let opening = keys::guarded(opening, self.settings);
        let mut opening = tokio::task::spawn_blocking(move || opening.open());
        let failed = |source| CliError::Task { source };
        tokio::select! {
            opened = &mut opening => Ok(Some(Arc::new(opened.map_err(failed)??))),
            error = serving => {
                cancelled.store(true, Ordering::Relaxed);
                drop(opening.await);
                Err(error)
            }
            signal = stop => {
                tracing::info!(signal, "stopping");
                cancelled.store(true, Ordering::Relaxed);
                match opening.await.map_err(failed)? {
                    Ok(storage) => {
                        let closed = tokio::task::spawn_blocking(move || storage.close()).await;
                        closed.map_err(failed)??;
                        Ok(None)
                    }
                    Err(NonosError::Storage(error)) if error.code() == ErrorCode::Cancelled => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// Keys are set and it is known which node this is: from here on it works.
    fn ready(&self, storage: &Arc<NodeStorage>) -> Result<(), CliError> {
        if self.which == Some(Which::Same)
            && is_unsettled(storage)?
            && storage.load_node_id()?.is_none()
        {
            return Err(CliError::NoNode);
        }
        #[cfg(feature = "encrypted-storage")]
        unlock(self.args, self.settings, storage, self.is_fresh)?;
        settle(storage, self.which)?;
        let schema = storage.schema_version()?;
        let path = storage.data_path().display();
        for step in storage.migrations_taken() {
            let (from, to) = (step.from_version, step.to_version);
            tracing::info!(from, to, records = step.converted, "migrated the database");
        }
        tracing::info!(database = %path, schema, "the database is open");
        let damage = &storage.opening_report().damage;
        for what in damage {
            tracing::error!(what, "the database was damaged");
        }
        let damage = damage.clone();
        self.node.note(|done| done.damage = damage);
        self.node.enter(Phase::Open(Arc::clone(storage)));
        supervisor::ready();
        Ok(())
    }

    /// Until a signal, or something fails that the daemon cannot be without. SIGHUP has the configuration read again.
    async fn work(
        &self,
        storage: &Arc<NodeStorage>,
        mut stop: Pin<&mut impl Future<Output = &'static str>>,
        mut serving: Pin<&mut impl Future<Output = CliError>>,
    ) -> Result<(), CliError> {
        #[cfg(feature = "soak")]
        crate::daemon::soak::start(storage)?;
        let mut hangups = hangups()?;
        let data_dir = Places::of(self.args)?.data_dir;
        let admin = match Admin::listen(&data_dir) {
            Ok(admin) => Some(admin),
            Err(error) => {
                // Its path is too long for a socket, for example: verbs that change something say that it is locked.
                let reason = crate::output::chain(&error);
                tracing::warn!(%reason, "verbs cannot have this daemon change its database");
                None
            }
        };
        let mut administering = pin!(async {
            match &admin {
                Some(admin) => admin.serve(Arc::clone(&self.node)).await,
                None => std::future::pending().await,
            }
        });
        let mut counting = pin!(upkeep::count(Arc::clone(storage), Arc::clone(&self.node)));
        let mut failing = pin!(watch::until_it_fails(Arc::clone(storage)));
        let mut settings = self.settings.clone();
        loop {
            self.node.note(|done| done.periods = Periods::of(&settings));
            let interval = Duration::from_secs(settings.metrics.interval_secs);
            let sampling = sampler::run(Arc::clone(storage), interval);
            let backing_up = self.back_up(storage, &settings);
            let upkeep = settings.maintenance.clone();
            let node = Arc::clone(&self.node);
            let scrubbing = upkeep::scrub(Arc::clone(storage), node, upkeep.clone());
            let compacting = upkeep::compact(Arc::clone(storage), upkeep);
            let retaining = retention::run(Arc::clone(storage), settings.retention.clone());
            tokio::select! {
                signal = &mut stop => {
                    tracing::info!(signal, "stopping");
                    supervisor::stopping();
                    self.node.enter(Phase::Closing);
                    let patience = Duration::from_secs(settings.maintenance.stop_within_secs);
                    // Whoever asks meanwhile is told so.
                    tokio::select! {
                        () = self.let_upload_end(patience) => {}
                        _ = &mut administering => {}
                        _ = &mut serving => {}
                    }
                    return Ok(());
                }
                failed = sampling => return failed,
                failed = backing_up => return failed,
                failed = scrubbing => return failed,
                failed = compacting => return failed,
                failed = retaining => return failed,
                failed = &mut administering => return failed,
                failed = &mut counting => return failed,
                error = &mut failing => return Err(error),
                error = &mut serving => return Err(error),
                _ = hangups.recv() => {}
            }
            settings = self.reload(settings);
        }
    }

    /// The settings as they are in the file now; those that cannot be changed while the database is open stay.
    fn reload(&self, before: Settings) -> Settings {
        let loaded = Places::of(self.args).and_then(|places| places.load());
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                let reason = crate::output::chain(&error);
                tracing::error!(%reason, "the configuration stays as it was");
                return before;
            }
        };
        let is_kept = (&loaded.storage, &loaded.secrets, &loaded.server)
            == (&before.storage, &before.secrets, &before.server);
        if !is_kept {
            tracing::warn!("changes of [storage], [secrets] and [server] need a restart");
        }
        tracing::info!("the configuration was read again");
        Settings {
            storage: before.storage,
            secrets: before.secrets,
            server: before.server,
            ..loaded
        }
    }
}

/// Whether it was restored and not said yet which node it is.
fn is_unsettled(storage: &NodeStorage) -> Result<bool, CliError> {
    Ok(storage.origin()?.is_some_and(|origin| !origin.is_settled))
}

/// Two nodes with one identity would each claim what the other earned: somebody has to say once which of
/// them a restored database is.
fn settle(storage: &NodeStorage, which: Option<Which>) -> Result<(), CliError> {
    let Some(origin) = storage.origin()?.filter(|origin| !origin.is_settled) else {
        return Ok(());
    };
    match which {
        None => {
            let commit = origin.commit;
            return Err(CliError::WhichNode { commit });
        }
        Some(Which::Same) => storage.settle_origin(None)?,
        #[cfg(feature = "encrypted-storage")]
        Some(Which::Other) => {
            let identity = nonos_storage::NodeIdentity::generate().map_err(keys::encryption)?;
            let id = nonos_storage::NodeId(identity.node_id);
            storage.settle_origin(Some((&id, identity.expose_seed())))?;
            tracing::info!(%id, "made a new identity for this node");
        }
        #[cfg(not(feature = "encrypted-storage"))]
        Some(Which::Other) => storage.settle_origin(None)?,
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
