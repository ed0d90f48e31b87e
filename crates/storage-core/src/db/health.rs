//! How an open database is doing.

use std::sync::PoisonError;

use super::Db;

/// How an open database is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// Reads and writes work.
    Ok,
    /// Everything works, but not as well as it should.
    Degraded {
        /// What happened.
        reason: String,
    },
    /// A write failed: reads work, no write does. Opening again recovers.
    Poisoned {
        /// The first error.
        reason: String,
    },
}

impl Db {
    /// How the database is doing.
    pub fn health(&self) -> Health {
        match (self.inner.failed(), self.inner.index()) {
            (Some(reason), _) => Health::Poisoned {
                reason: reason.to_owned(),
            },
            (None, Err(closed)) => Health::Poisoned {
                reason: closed.to_string(),
            },
            (None, Ok(_)) => {
                let degraded = self.inner.degraded.lock();
                let degraded = degraded.unwrap_or_else(PoisonError::into_inner);
                let index = self.inner.index_failure();
                let index = index.map(|reason| format!("the index takes no writes: {reason}"));
                match index.or_else(|| degraded.clone()) {
                    Some(reason) => Health::Degraded { reason },
                    None => Health::Ok,
                }
            }
        }
    }

    /// Whether writes are taken: it is open for them, and neither the journal nor the index failed. A full disk, which
    /// some writes still fit on, is no reason.
    pub fn accepts_writes(&self) -> bool {
        let inner = &self.inner;
        inner.merged.is_none()
            && inner.check_journal().is_ok()
            && inner.index().is_ok()
            && inner.index_failure().is_none()
    }
}
