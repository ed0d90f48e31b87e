//! What a checkpoint says of itself.

use super::{MAGIC, VERSION};
use crate::bytes::{Fields, put_sized};

/// What a checkpoint says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The store whose state it is.
    pub store_id: [u8; 16],
    /// The term of the open that wrote it.
    pub term: u64,
    /// The schema of its records.
    pub schema_version: u32,
    /// The commit at which it is the state.
    pub commit: u64,
    /// When it was made, in Unix seconds.
    pub created_at: i64,
    /// The program that made it, at most 256 bytes.
    pub program: String,
}

impl About {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.store_id);
        bytes.extend(self.term.to_le_bytes());
        bytes.extend(self.schema_version.to_le_bytes());
        bytes.extend(self.commit.to_le_bytes());
        bytes.extend(self.created_at.to_le_bytes());
        let program = self.program.as_bytes();
        put_sized(
            &mut bytes,
            program.get(..MAX_PROGRAM_LEN).unwrap_or(program),
        );
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// What tells it from any other checkpoint at its commit.
    pub(crate) fn content(&self) -> u32 {
        crc32fast::hash(&self.encode())
    }

    /// What is said, and how long the header is.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut fields = Fields(bytes);
        if fields.array()? != *MAGIC || fields.u32()? != VERSION {
            return None;
        }
        let about = Self {
            store_id: fields.array()?,
            term: fields.u64()?,
            schema_version: fields.u32()?,
            commit: fields.u64()?,
            created_at: fields.i64()?,
            program: String::from_utf8_lossy(fields.sized()?).into_owned(),
        };
        let message = bytes.get(..bytes.len() - fields.0.len())?;
        let sound = crc32fast::hash(message) == fields.u32()? && about.commit < MAX_COMMIT;
        sound.then(|| (about, bytes.len() - fields.0.len()))
    }
}

const MAX_PROGRAM_LEN: usize = 256;

/// No store gets there by counting.
const MAX_COMMIT: u64 = u64::MAX / 2;
