//! The socket through which verbs have the daemon change the database that it holds.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};

use super::node::{Node, Phase};
use crate::admin::{MAX_LINE, carry_out, socket};
use crate::error::CliError;

/// The socket, removed at drop.
#[derive(Debug)]
pub(crate) struct Admin {
    path: PathBuf,
    listener: UnixListener,
}

impl Admin {
    /// Makes the socket. The database's lock is held, so one that is there was left by a daemon that is gone.
    pub(crate) fn listen(data_dir: &Path) -> Result<Self, CliError> {
        let path = socket(data_dir);
        let failed = |source| CliError::Io {
            action: "listen at",
            path: path.clone(),
            source,
        };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { path, listener })
    }

    /// Answers for as long as the daemon runs.
    pub(crate) async fn serve(&self, node: Arc<Node>) -> Result<(), CliError> {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let node = Arc::clone(&node);
                    tokio::spawn(async move {
                        if let Err(error) = answer(stream, node).await {
                            tracing::debug!(%error, "a verb went away");
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "a verb was not accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
        }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        // The next daemon removes one that is left.
        let _removed = fs::remove_file(&self.path);
    }
}

#[cfg(feature = "encrypted-storage")]
type Line = nonos_storage::Zeroizing<Vec<u8>>;
#[cfg(not(feature = "encrypted-storage"))]
type Line = Vec<u8>;

/// What was asked for, read to one place that never grows: growing, or a buffer in between, would leave copies.
async fn read_line(from: &mut OwnedReadHalf) -> io::Result<Line> {
    let mut line = Line::from(Vec::with_capacity(MAX_LINE));
    while line.len() < MAX_LINE && !line.ends_with(b"\n") {
        let left = MAX_LINE - line.len();
        let into: &mut Vec<u8> = &mut line;
        let mut from = (&mut *from).take(u64::try_from(left).unwrap_or(u64::MAX));
        if from.read_buf(into).await? == 0 {
            break;
        }
    }
    Ok(line)
}

async fn answer(stream: UnixStream, node: Arc<Node>) -> io::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    let asking = stream.peer_cred()?.uid();
    if asking != own && asking != 0 {
        tracing::warn!(user = asking, "another user asked, and was refused");
        return Ok(());
    }
    let (mut read, mut write) = stream.into_split();
    let line = read_line(&mut read).await?;
    if line.is_empty() {
        // It only looked whether somebody is here.
        return Ok(());
    }
    let Phase::Open(storage) = node.phase() else {
        return Ok(());
    };
    let done = tokio::task::spawn_blocking(move || {
        // The line is wiped with this: it may have held a secret.
        carry_out(&storage, &node, &line)
    });
    let done = done.await.map_err(io::Error::other)?;
    let mut text = serde_json::to_vec(&done).unwrap_or_default();
    text.push(b'\n');
    write.write_all(&text).await?;
    write.shutdown().await
}
