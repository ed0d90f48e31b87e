//! Databases that the first implementation itself wrote, and the listings of what is in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::logs::forbid;
use crate::{Directory, unpack};

/// The names of the fixtures.
pub const FIXTURES: [&str; 2] = ["stamped-1", "stamped-2"];

/// A database of the first implementation, unpacked into a directory of its own.
#[derive(Debug)]
pub struct FirstImplementation {
    directory: Directory,
    name: &'static str,
}

impl FirstImplementation {
    /// Unpacks the fixture of this name.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    pub fn unpack(name: &'static str) -> io::Result<Self> {
        let directory = Directory::new()?;
        unpack(&format!("first-implementation/{name}"), directory.root())?;
        let fixture = Self { directory, name };
        if let Some(secrets) = fixture.listing()?.get("secrets").and_then(Value::as_object) {
            for secret in secrets.values().filter_map(Value::as_str) {
                forbid(secret.as_bytes());
            }
        }
        Ok(fixture)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.root().join(self.name).join(name)
    }

    /// Its sled directory.
    pub fn database(&self) -> PathBuf {
        self.path("data")
    }

    /// Its own backup file of the same contents.
    pub fn backup(&self) -> PathBuf {
        self.path("backup.nonos")
    }

    /// The directory that everything of it lies in.
    pub fn root(&self) -> &Path {
        self.directory.root()
    }

    /// What is in it, as its own methods said.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    pub fn listing(&self) -> io::Result<Value> {
        Ok(serde_json::from_slice(&fs::read(
            self.path("listing.json"),
        )?)?)
    }
}
