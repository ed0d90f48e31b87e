//! Temporary databases on disk, and those that are kept.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use lzma_rust2::XzReader;
use storage_core::{CoreError, Db, DbOptions, Layout};
use tempfile::TempDir;

/// What records of the current schema are.
pub const LAYOUT: Layout = Layout {
    schema_version: 2,
    is_framed: true,
};

/// A directory for one database, removed at drop.
#[derive(Debug)]
pub struct Directory {
    root: TempDir,
}

impl Directory {
    /// An empty one.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    pub fn new() -> io::Result<Self> {
        let root = tempfile::Builder::new()
            .prefix("nonos-storage-")
            .tempdir()?;
        Ok(Self { root })
    }

    /// The directory that everything of the database lies in.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Where the database is, or will be: `data.sled` in the root.
    pub fn database(&self) -> PathBuf {
        self.root().join("data.sled")
    }

    /// Opens the database below the facade, to look at its entries or to damage them. Whoever
    /// opened it before must have closed it.
    ///
    /// # Errors
    ///
    /// Errors of [`Db::open`].
    pub fn open_core(&self) -> Result<Db, CoreError> {
        Db::open(&DbOptions::new(self.database(), 2, || 0), &|_| Ok(LAYOUT))
    }

    /// Every file and directory below the root, by its path from there.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    pub fn files(&self) -> io::Result<BTreeSet<PathBuf>> {
        let mut found = BTreeSet::new();
        let mut directories = vec![self.root().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    directories.push(entry.path());
                }
                let path = entry.path();
                found.insert(path.strip_prefix(self.root()).unwrap_or(&path).to_owned());
            }
        }
        Ok(found)
    }
}

/// Unpacks `fixtures/{name}.tar.xz` into a directory.
///
/// # Errors
///
/// Errors of the file system.
pub fn unpack(name: &str, into: &Path) -> io::Result<()> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let packed = fs::File::open(fixtures.join(format!("{name}.tar.xz")))?;
    let mut archive = Vec::new();
    XzReader::new(packed, false).read_to_end(&mut archive)?;
    tar::Archive::new(archive.as_slice()).unpack(into)
}
