//! Storing secrets of which no log of any test may say anything.

use nonos_storage::{NodeId, NodeStorage, NonosResult};
use storage_testkit::logs::forbid;

/// The operations that a secret goes in by; what they are given is looked for in all that is logged.
pub(crate) trait Watched {
    fn keep_secret(&self, name: &str, value: &[u8]) -> NonosResult<()>;
    fn keep_identity(&self, id: &NodeId, key: &[u8]) -> NonosResult<()>;
}

impl Watched for NodeStorage {
    fn keep_secret(&self, name: &str, value: &[u8]) -> NonosResult<()> {
        forbid(value);
        self.store_secret(name, value)
    }

    fn keep_identity(&self, id: &NodeId, key: &[u8]) -> NonosResult<()> {
        forbid(key);
        self.store_identity(id, key)
    }
}
