//! A file on its way to an object store.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::retry::Fault;

/// A file to be sent.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) file: Arc<File>,
    pub(super) size: u64,
    pub(super) hash: [u8; 32],
}

impl Source {
    /// Reads some of it on a thread for that.
    pub(super) async fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>, Fault> {
        let file = Arc::clone(&self.file);
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
            file.read_exact_at(&mut bytes, offset)?;
            Ok(bytes)
        });
        Ok(read.await.map_err(io::Error::other).flatten()?)
    }
}
