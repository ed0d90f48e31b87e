//! How secrets are protected.

use serde::{Deserialize, Serialize};

/// How secrets are protected on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::exhaustive_enums,
    reason = "the documented two; programs match on both"
)]
pub enum EncryptionMode {
    /// Secrets are stored as they are given, until keys are set.
    #[default]
    None,
    /// Secrets are sealed to a public key; without keys none is stored and none is read.
    SealedBox,
}
