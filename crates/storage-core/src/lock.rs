//! The lock of a database: `<path>.lock`, never moved or deleted.
//!
//! The operating system releases it when its holder ends, however it ends, so a lock is never
//! stale. The text in it only tells a person who the holder is.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::CoreError;

/// Who holds a lock, as the lock file tells it; every part may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    pid: Option<u32>,
    started_at: Option<OffsetDateTime>,
    command: Option<String>,
}

impl Holder {
    /// This process, which opened the database at `started_at` (Unix seconds).
    fn here(started_at: i64) -> Self {
        let command: Vec<String> = std::env::args_os()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect();
        Self {
            pid: Some(std::process::id()),
            started_at: OffsetDateTime::from_unix_timestamp(started_at).ok(),
            command: Some(command.join(" ")),
        }
    }

    fn parse(text: &str) -> Self {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))
        };
        Self {
            pid: field("pid").and_then(|pid| pid.parse().ok()),
            started_at: field("started_at")
                .and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok()),
            command: field("command").map(str::to_owned),
        }
    }

    fn to_text(&self) -> String {
        let line = |name: &str, value: Option<String>| match value {
            Some(value) => format!("{name} = {}\n", value.replace(['\n', '\r'], " ")),
            None => String::new(),
        };
        line("pid", self.pid.map(|pid| pid.to_string()))
            + &line(
                "started_at",
                self.started_at.and_then(|time| time.format(&Rfc3339).ok()),
            )
            + &line("command", self.command.clone())
    }

    /// The process id.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// When the holder opened the database, in Unix seconds.
    pub fn started_at(&self) -> Option<i64> {
        self.started_at.map(OffsetDateTime::unix_timestamp)
    }

    /// The holder's command line.
    pub fn command(&self) -> Option<&str> {
        self.command.as_deref()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "pid {pid}")?,
            None => write!(f, "an unknown process")?,
        }
        if let Some(time) = self.started_at.and_then(|time| time.format(&Rfc3339).ok()) {
            write!(f, ", since {time}")?;
        }
        if let Some(command) = &self.command {
            write!(f, ", command {command:?}")?;
        }
        Ok(())
    }
}

/// A held lock, released at drop.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the database at `path`; waits up to `timeout` for its holder to end.
    pub(crate) fn take(path: &Path, timeout: Duration, now: i64) -> Result<Self, CoreError> {
        let path = lock_path(path);
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| CoreError::io("open", &path, e))?;
        let deadline = Instant::now() + timeout;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => {
                    let holder = read_holder(&mut file);
                    return Err(CoreError::Locked { holder });
                }
                Err(TryLockError::Error(e)) => return Err(CoreError::io("lock", &path, e)),
            }
        }
        let text = Holder::here(now).to_text();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(|e| CoreError::io("write", &path, e))?;
        Ok(Self { _file: file })
    }
}

impl Lock {
    /// Takes the lock without writing who holds it, so on a disk that is for reading only as well. `None` if
    /// there is no lock file, which nothing that opened the database is without.
    pub(crate) fn take_as_it_is(path: &Path, timeout: Duration) -> Result<Option<Self>, CoreError> {
        let path = lock_path(path);
        let mut file = match File::open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|e| CoreError::io("open", &path, e))?,
        };
        let deadline = Instant::now() + timeout;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Self { _file: file })),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => {
                    let holder = read_holder(&mut file);
                    return Err(CoreError::Locked { holder });
                }
                Err(TryLockError::Error(e)) => return Err(CoreError::io("lock", &path, e)),
            }
        }
    }
}

fn read_holder(file: &mut File) -> Holder {
    let mut text = Vec::new();
    // The text is for a person: whatever of it can be read is shown.
    let _read = file.take(64 * 1024).read_to_end(&mut text);
    Holder::parse(&String::from_utf8_lossy(&text))
}

/// The lock file of the database at `path`: its name with `.lock` appended.
pub fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Who holds the database at `path` now; `None` if nobody does. Takes no lock that lasts.
///
/// # Errors
///
/// [`CoreError::Io`] if the lock file exists and cannot be opened.
pub fn holder(path: &Path) -> Result<Option<Holder>, CoreError> {
    let path = lock_path(path);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(CoreError::io("open", &path, e)),
    };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Ok(Some(read_holder(&mut file))),
        _ => Ok(None),
    }
}
