//! A bucket as a target: blocking calls on a runtime of its own.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, mpsc};

use nonos_storage::{Target, TargetError, is_backup_name as is_name};
use object_store::path::Path as ObjectPath;
use tokio::runtime::{Builder, Runtime};

use super::retry::{Fault, Limits};
use super::source::Source;
use super::transfer::Bucket;
use super::{Location, OpenError, locate, provider};

/// A prefix of a bucket, where backups are kept.
///
/// Its calls block, from any thread; the requests run on a thread that the target has for itself.
#[derive(Debug)]
pub struct ObjectTarget {
    bucket: Arc<Bucket>,
    /// What every name has before it: empty, or ending in `/`.
    prefix: String,
    /// There until the target is dropped.
    runtime: Option<Runtime>,
}

impl Drop for ObjectTarget {
    fn drop(&mut self) {
        // Waiting for it to end would panic on a thread of another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl ObjectTarget {
    /// The bucket that a URL names, with settings in the place of those that the environment has, under
    /// the environment's names in lower case, and with limits in the place of the usual ones.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; [`OpenError::Location`] for a directory.
    pub fn with(url: &str, settings: &[(&str, &str)], limits: Limits) -> Result<Self, OpenError> {
        let Location::Bucket {
            scheme,
            bucket,
            prefix,
        } = locate(url)?
        else {
            let what = "is no bucket";
            return Err(OpenError::Location { what });
        };
        let prefix = match prefix {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(1).thread_name("object-store");
        let runtime = builder.enable_all().build();
        let runtime = runtime.map_err(|source| OpenError::Thread { source })?;
        let store = provider::connect(scheme, bucket, settings, &limits)?;
        Ok(Self {
            bucket: Arc::new(Bucket { store, limits }),
            prefix,
            runtime: Some(runtime),
        })
    }

    /// The object of a name.
    fn place(&self, name: &str) -> Result<ObjectPath, TargetError> {
        let path = ObjectPath::parse(format!("{}{name}", self.prefix));
        match path {
            Ok(path) if is_name(name) => Ok(path),
            _ => {
                let name = name.to_owned();
                Err(TargetError::Name { name })
            }
        }
    }

    /// Runs requests to their end, from a thread that may itself belong to a runtime.
    fn wait<T, W>(&self, work: impl FnOnce(Arc<Bucket>) -> W) -> Result<T, Fault>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let work = work(Arc::clone(&self.bucket));
        let (done, outcome) = mpsc::sync_channel(1);
        let runtime = self.runtime.as_ref().ok_or(Fault::Ended)?;
        let _task = runtime.spawn(async move {
            // Whoever asked is waiting.
            let _sent = done.send(work.await);
        });
        outcome.recv().map_err(|_ended| Fault::Ended)?
    }
}

/// What a fault is to the caller of a target.
fn told(action: &'static str, name: &str) -> impl FnOnce(Fault) -> TargetError {
    move |fault| match fault {
        Fault::Differs => TargetError::Differs {
            name: name.to_owned(),
        },
        Fault::File(source) => TargetError::failed(action, name, source),
        fault => TargetError::failed(action, name, fault),
    }
}

/// The same, where the object has to be there.
fn told_of_reading(name: &str) -> impl FnOnce(Fault) -> TargetError {
    move |fault| match fault {
        fault if fault.is_missing() => TargetError::Missing {
            name: name.to_owned(),
        },
        fault => told("read", name)(fault),
    }
}

impl Target for ObjectTarget {
    fn list(&self, prefix: &str) -> Result<Vec<String>, TargetError> {
        // A bucket lists below a directory; the rest of the prefix is compared here.
        let directory = match prefix.rsplit_once('/') {
            Some((directory, _)) if !is_name(directory) => return Ok(Vec::new()),
            Some((directory, _)) => directory,
            None => "",
        };
        let below = ObjectPath::parse(format!("{}{directory}", self.prefix));
        let below = below.map_err(|e| TargetError::failed("list", prefix, e))?;
        let listed = self.wait(|bucket| async move { bucket.list(&below).await });
        let listed = listed.map_err(told("list", prefix))?;
        let names = listed.iter().filter_map(|object| {
            let name = object.as_ref().strip_prefix(&self.prefix)?;
            (is_name(name) && name.starts_with(prefix)).then(|| name.to_owned())
        });
        Ok(names.collect())
    }

    fn upload(&self, name: &str, file: &Path, hash: &[u8; 32]) -> Result<(), TargetError> {
        let at = self.place(name)?;
        let opened = File::open(file).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (size, file) = opened.map_err(|e| TargetError::failed("write", name, e))?;
        let source = Source {
            file: Arc::new(file),
            size,
            hash: *hash,
        };
        let uploaded = self.wait(|bucket| async move { bucket.upload(&at, &source).await });
        uploaded.map_err(told("write", name))
    }

    fn download(&self, name: &str, file: &Path) -> Result<(), TargetError> {
        let at = self.place(name)?;
        let mut options = OpenOptions::new();
        let created = options.write(true).create_new(true).mode(0o600).open(file);
        let created = created.map_err(|e| TargetError::failed("read", name, e))?;
        let created = Arc::new(created);
        let writer = Arc::clone(&created);
        let downloaded = self
            .wait(|bucket| async move { bucket.download(&at, &writer).await })
            .and_then(|()| Ok(created.sync_all()?));
        if downloaded.is_err() {
            // It is not whole, and the failure is the one to tell.
            let _removed = fs::remove_file(file);
        }
        downloaded.map_err(told_of_reading(name))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TargetError> {
        let (at, bytes) = (self.place(name)?, bytes.to_vec());
        let written = self.wait(|bucket| async move { bucket.write(&at, bytes).await });
        written.map_err(told("write", name))
    }

    fn read(&self, name: &str, max: usize) -> Result<Vec<u8>, TargetError> {
        let at = self.place(name)?;
        let read = self.wait(|bucket| async move { bucket.read(&at, max).await });
        read.map_err(told_of_reading(name))
    }

    fn remove(&self, name: &str) -> Result<(), TargetError> {
        let at = self.place(name)?;
        let removed = self.wait(|bucket| async move { bucket.remove(&at).await });
        removed.map_err(told("remove", name))
    }
}
