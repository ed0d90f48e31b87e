//! Where backups go, by URL: a directory, or a bucket of an object store.
//!
//! `s3://bucket/prefix` is any store that speaks the protocol of S3, `gs://bucket/prefix` is Google
//! Cloud Storage, `az://container/prefix` is Azure Blob Storage; `file:///directory` and a plain path
//! are directories. This module reads the URL; `remote` is the [`Target`], `transfer` moves content,
//! `retry` decides what is tried again, `provider` makes the client.
//!
//! # Settings
//!
//! Credentials and endpoints come from the environment, under the names that the provider's own tools
//! use, and never from the URL, which is shown in messages and kept in `config.toml`:
//!
//! - S3: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT`,
//!   and `AWS_ALLOW_HTTP=true` for an endpoint without TLS; or the role of the instance or container.
//! - Google: `GOOGLE_SERVICE_ACCOUNT` (a file), `GOOGLE_SERVICE_ACCOUNT_KEY`,
//!   `GOOGLE_APPLICATION_CREDENTIALS`; or the account of the instance.
//! - Azure: `AZURE_STORAGE_ACCOUNT_NAME` with `AZURE_STORAGE_ACCOUNT_KEY`, `AZURE_STORAGE_SAS_TOKEN`, or
//!   `AZURE_CLIENT_ID`, `AZURE_CLIENT_SECRET` and `AZURE_TENANT_ID`.
//!
//! # Invariants
//!
//! - An object appears whole or not at all, and what [`Target::upload`] accepted was read back and has
//!   the hash that was given.
//! - An upload that fails leaves under the name what it had, or nothing. Parts of it can stay, unlisted,
//!   only where the store could not be told to drop them, or dropped the answer that named the upload:
//!   a lifecycle rule of the bucket that ends incomplete uploads is for those.

use std::path::Path;

use nonos_storage::{BackupDirectory, CoreError, Target, is_backup_name as is_name};

#[cfg(feature = "object-store")]
mod provider;
#[cfg(feature = "object-store")]
mod remote;
#[cfg(feature = "object-store")]
mod retry;
#[cfg(feature = "object-store")]
mod source;
#[cfg(feature = "object-store")]
mod transfer;

#[cfg(feature = "object-store")]
pub use remote::ObjectTarget;
#[cfg(feature = "object-store")]
pub use retry::Limits;

/// Without the feature `object-store`, only directories can be opened.
#[cfg(not(feature = "object-store"))]
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ObjectTarget;

/// Why a place for backups cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL has a scheme that no target has.
    #[error(
        "{scheme:?} is not a place for backups: give s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, \
         az://CONTAINER/PREFIX, file:///DIRECTORY or a path"
    )]
    Scheme {
        /// What the URL begins with.
        scheme: String,
    },
    /// The URL asks for what cannot be honoured. It is not shown: it may hold a password.
    #[error(
        "the place for backups {what}: give s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, \
         az://CONTAINER/PREFIX, file:///DIRECTORY or a path"
    )]
    Location {
        /// What is wrong with it.
        what: &'static str,
    },
    /// This program has no client for the scheme.
    #[error(
        "{scheme}:// is not built in: this program was built without the feature object-store, and \
         takes file:///DIRECTORY or a path"
    )]
    NotBuiltIn {
        /// The scheme.
        scheme: &'static str,
    },
    /// The environment's settings do not make a client.
    #[error("the environment does not say how to reach {scheme}://")]
    Settings {
        /// The scheme.
        scheme: &'static str,
        /// What is missing or wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The directory cannot be made.
    #[error(transparent)]
    Directory(#[from] CoreError),
    /// No thread could be started.
    #[error("cannot start the thread that talks to the object store")]
    Thread {
        /// What the system says.
        source: std::io::Error,
    },
}

/// A kind of object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    S3,
    Google,
    Azure,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }
}

/// What a URL says.
#[derive(Debug, PartialEq, Eq)]
enum Location<'a> {
    Directory(&'a Path),
    Bucket {
        scheme: Scheme,
        bucket: &'a str,
        /// Without `/` at either end; may be empty.
        prefix: &'a str,
    },
}

/// Whether a URL or a path names a place for backups that this program has a client for. Nothing is asked.
///
/// # Errors
///
/// [`OpenError::Scheme`], [`OpenError::Location`], [`OpenError::NotBuiltIn`].
pub fn check(url: &str) -> Result<(), OpenError> {
    match locate(url)? {
        #[cfg(not(feature = "object-store"))]
        Location::Bucket { scheme, .. } => Err(OpenError::NotBuiltIn {
            scheme: scheme.name(),
        }),
        _ => Ok(()),
    }
}

impl ObjectTarget {
    /// The place that a URL or a path names. A directory is made where it does not exist; a bucket is
    /// not, nor is it asked for anything yet.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn open(url: &str) -> Result<Box<dyn Target>, OpenError> {
        match locate(url)? {
            Location::Directory(path) => Ok(Box::new(BackupDirectory::new(path)?)),
            #[cfg(feature = "object-store")]
            Location::Bucket { .. } => Ok(Box::new(Self::with(url, &[], Limits::default())?)),
            #[cfg(not(feature = "object-store"))]
            Location::Bucket { scheme, .. } => {
                let scheme = scheme.name();
                Err(OpenError::NotBuiltIn { scheme })
            }
        }
    }
}

fn locate(url: &str) -> Result<Location<'_>, OpenError> {
    let wrong = |what| Err(OpenError::Location { what });
    let Some((scheme, rest)) = url.split_once("://") else {
        let first = url.split('/').next().unwrap_or_default();
        return match first.split_once(':') {
            // `s3:/bucket` would become a directory, and the backups would stay on this machine.
            Some((scheme, _)) => Err(OpenError::Scheme {
                scheme: scheme.to_owned(),
            }),
            None if url.is_empty() => wrong("is empty"),
            None => Ok(Location::Directory(Path::new(url))),
        };
    };
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "s3" => Scheme::S3,
        "gs" => Scheme::Google,
        "az" => Scheme::Azure,
        "file" if !rest.starts_with('/') => return wrong("is a file:// on another machine"),
        "file" if rest.contains(['%', '?', '#']) => {
            return wrong("is a file:// with %, ? or #, which is given as a path");
        }
        "file" => return Ok(Location::Directory(Path::new(rest))),
        _ => {
            let scheme = scheme.to_owned();
            return Err(OpenError::Scheme { scheme });
        }
    };
    if rest.contains(['?', '#']) {
        return wrong("has options, which come from the environment instead");
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.contains(['@', ':']) {
        return wrong("has a user or a port, which come from the environment instead");
    }
    if !is_name(bucket) {
        return wrong("names no bucket");
    }
    let prefix = prefix.trim_end_matches('/');
    if !prefix.is_empty() && !is_name(prefix) {
        return wrong("has a prefix with other than letters, digits, '-', '_' and '.'");
    }
    Ok(Location::Bucket {
        scheme,
        bucket,
        prefix,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_paths_say_where() -> Result<(), OpenError> {
        let bucket = |scheme, bucket, prefix| Location::Bucket {
            scheme,
            bucket,
            prefix,
        };
        for (url, expected) in [
            ("s3://b/a/c", bucket(Scheme::S3, "b", "a/c")),
            ("S3://b", bucket(Scheme::S3, "b", "")),
            ("gs://b/", bucket(Scheme::Google, "b", "")),
            ("az://b/a/", bucket(Scheme::Azure, "b", "a")),
            ("file:///a/b", Location::Directory(Path::new("/a/b"))),
            ("a/b c", Location::Directory(Path::new("a/b c"))),
            ("./a:b", Location::Directory(Path::new("./a:b"))),
        ] {
            assert_eq!(locate(url)?, expected, "{url}");
        }
        Ok(())
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_and_the_schemes_are_listed() {
        for url in [
            "",
            "ftp://b/a",
            "http://b/a",
            "s3:/b/a",
            "s3:b",
            "s3://",
            "s3:///a",
            "s3://b/a?region=x",
            "s3://b/a#x",
            "s3://key:secret@b/a",
            "s3://b:9000/a",
            "s3://b/a/../c",
            "s3://b//a",
            "s3://b/a%20c",
            "file://host/a",
            "file:///a%20b",
        ] {
            let error = locate(url).unwrap_err().to_string();
            for scheme in ["s3://", "gs://", "az://", "file:///"] {
                assert!(error.contains(scheme), "{url}: {error}");
            }
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[cfg(not(feature = "object-store"))]
    #[test]
    fn without_the_feature_a_bucket_is_not_built_in() {
        for url in ["s3://b/a", "gs://b", "az://b"] {
            let error = ObjectTarget::open(url).unwrap_err();
            assert!(
                matches!(error, OpenError::NotBuiltIn { .. }),
                "{url}: {error}"
            );
        }
    }
}
