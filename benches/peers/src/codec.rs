//! Records to bytes and back, for the engines that store bytes: postcard, as in the library.

use nonos_storage::{StoredMetrics, StoredPeerInfo};
use serde::Serialize;

use crate::error::Result;

pub(crate) fn encode(record: &impl Serialize) -> Result<Vec<u8>> {
    Ok(postcard::to_stdvec(record)?)
}

pub(crate) fn peer(bytes: &[u8]) -> Result<StoredPeerInfo> {
    Ok(postcard::from_bytes(bytes)?)
}

pub(crate) fn metrics(bytes: &[u8]) -> Result<StoredMetrics> {
    Ok(postcard::from_bytes(bytes)?)
}

/// The key of a peer, as text.
pub(crate) fn id(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Times from 1970 on, so that bytes sort as they do.
pub(crate) fn key(at: i64) -> [u8; 8] {
    at.to_be_bytes()
}

pub(crate) fn time(key: &[u8]) -> i64 {
    key.try_into().map_or(0, i64::from_be_bytes)
}
