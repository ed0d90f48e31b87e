//! Why a measurement could not be made.

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Nonos(#[from] nonos_storage::NonosError),
    #[error(transparent)]
    Core(#[from] storage_core::CoreError),
    #[error(transparent)]
    Sled(#[from] sled::Error),
    #[error(transparent)]
    Redb(#[from] redb::Error),
    #[error(transparent)]
    Fjall(#[from] fjall::Error),
    #[error(transparent)]
    Lmdb(#[from] heed::Error),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[cfg(feature = "rocksdb")]
    #[error(transparent)]
    RocksDb(#[from] rocksdb::Error),
    #[error(transparent)]
    Codec(#[from] postcard::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Failed(String),
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

pub(crate) fn failed(what: impl Into<String>) -> Error {
    Error::Failed(what.into())
}
