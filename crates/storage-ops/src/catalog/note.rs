//! What is noted of a backup, as text beside its file.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use storage_core::history::After;

use crate::origin::HistoryId;

/// The ending of notes.
pub(super) const ENDING: &str = ".json";
/// Whether a name is one that the file of a backup may have.
pub(super) fn is_of_backup(file: &str) -> bool {
    let ending = file.rsplit_once('.').map(|(_, ending)| ending);
    file.split('/').count() == 3 && matches!(ending, Some("nonos" | "log"))
}

const FORMAT: &str = "nonos.backup/1";

/// What a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// The whole state at a commit.
    Full,
    /// The commits since another backup.
    Increment,
}

/// A backup at a target.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the note has exactly these fields"
)]
pub struct Backup {
    /// Full, or an increment.
    pub kind: Kind,
    /// The database.
    pub store_id: [u8; 16],
    /// Which of its histories, where it was restored.
    pub history: HistoryId,
    /// The last commit in it.
    pub commit: u64,
    /// The end of the backup that an increment goes on from.
    pub after: After,
    /// What an increment that goes on from it is chained to.
    pub checksum: u32,
    /// What tells the last commit from any other of its number; `None` if it was made without a journal.
    pub content: Option<u32>,
    /// When the last commit was made, in Unix milliseconds.
    pub last_at_ms: i64,
    /// When the backup was made, in Unix seconds.
    pub created_at: i64,
    /// The length of its file.
    pub bytes: u64,
    /// Records in a full one.
    pub entries: u64,
    /// The schema of its records.
    pub schema_version: u32,
    /// The BLAKE2b-256 of its file.
    pub hash: [u8; 32],
    /// The program that made it.
    pub program: String,
    /// To whom its file is encrypted, as the target names them; `None` if it is as it is.
    pub readers: Option<String>,
    /// When it was last read whole and found to be what it says, in Unix seconds.
    pub verified_at: Option<i64>,
}

/// The same as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    format: String,
    kind: Kind,
    store_id: String,
    history: String,
    commit: u64,
    after_commit: u64,
    after_checksum: u32,
    after_content: u32,
    checksum: u32,
    content: Option<u32>,
    last_at_ms: i64,
    created_at: i64,
    bytes: u64,
    entries: u64,
    schema_version: u32,
    blake2b_256: String,
    program: String,
    readers: Option<String>,
    verified_at: Option<i64>,
    /// The crc32 of this line where these eight digits are zeros.
    crc32: String,
}

const NO_SUM: &str = "00000000";

impl Backup {
    /// Its file's name at the target.
    pub fn name(&self) -> String {
        let (store, history) = (
            HEXLOWER.encode(&self.store_id),
            HEXLOWER.encode(&self.history),
        );
        // Of its content: a backup that was interrupted cannot have another one's name, so no note speaks
        // of a file that was replaced.
        let hash: String = HEXLOWER.encode(&self.hash).chars().take(16).collect();
        let commit = self.commit;
        match self.kind {
            Kind::Full => format!("{store}/{history}/{commit:020}-{hash}.nonos"),
            Kind::Increment => {
                let first = self.after.commit + 1;
                format!("{store}/{history}/{first:020}-{commit:020}-{hash}.log")
            }
        }
    }

    pub(super) fn note_name(&self) -> String {
        self.name() + ENDING
    }

    pub(super) fn is_of_history(&self, other: &Self) -> bool {
        (self.store_id, self.history) == (other.store_id, other.history)
    }

    /// Whether it is an increment of the history of a full backup.
    pub(super) fn goes_on_in(&self, full: &Self) -> bool {
        self.kind == Kind::Increment && self.is_of_history(full) && self.commit > self.after.commit
    }

    /// Where the next increment goes on.
    pub(super) fn end(&self) -> After {
        After {
            commit: self.commit,
            checksum: self.checksum,
            content: self.content.unwrap_or(0),
        }
    }

    /// The note: a line of JSON.
    pub(super) fn encode(&self) -> String {
        let mut note = Note {
            format: FORMAT.to_owned(),
            kind: self.kind,
            store_id: HEXLOWER.encode(&self.store_id),
            history: HEXLOWER.encode(&self.history),
            commit: self.commit,
            after_commit: self.after.commit,
            after_checksum: self.after.checksum,
            after_content: self.after.content,
            checksum: self.checksum,
            content: self.content,
            last_at_ms: self.last_at_ms,
            created_at: self.created_at,
            bytes: self.bytes,
            entries: self.entries,
            schema_version: self.schema_version,
            blake2b_256: HEXLOWER.encode(&self.hash),
            program: self.program.clone(),
            readers: self.readers.clone(),
            verified_at: self.verified_at,
            crc32: NO_SUM.to_owned(),
        };
        note.crc32 = sum(&note);
        // Numbers and texts: nothing in it cannot be written.
        serde_json::to_string(&note).unwrap_or_default() + "\n"
    }

    /// What a note says; `None` if it is none, has another byte anywhere, or speaks of an increment of nothing.
    pub(super) fn decode(text: &[u8]) -> Option<Self> {
        let mut note: Note = serde_json::from_slice(text).ok()?;
        let stored = std::mem::replace(&mut note.crc32, NO_SUM.to_owned());
        if note.format != FORMAT || stored != sum(&note) {
            return None;
        }
        let backup = Self {
            kind: note.kind,
            store_id: exactly(&note.store_id)?,
            history: exactly(&note.history)?,
            commit: note.commit,
            after: After {
                commit: note.after_commit,
                checksum: note.after_checksum,
                content: note.after_content,
            },
            checksum: note.checksum,
            content: note.content,
            last_at_ms: note.last_at_ms,
            created_at: note.created_at,
            bytes: note.bytes,
            entries: note.entries,
            schema_version: note.schema_version,
            hash: exactly(&note.blake2b_256)?,
            program: note.program,
            readers: note.readers,
            verified_at: note.verified_at,
        };
        // Going on from itself, or from a later one, a way through increments would not end.
        let is_forward = backup.kind == Kind::Full || backup.commit > backup.after.commit;
        (is_forward && backup.encode().as_bytes() == text).then_some(backup)
    }
}

fn sum(note: &Note) -> String {
    let line = serde_json::to_string(note).unwrap_or_default();
    format!("{:08x}", crc32fast::hash(line.as_bytes()))
}

/// So many bytes in hexadecimal.
fn exactly<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_byte_of_a_note_is_noticed() {
        let backup = Backup {
            kind: Kind::Increment,
            store_id: *b"a store of tests",
            history: [7; 16],
            commit: 12,
            after: After {
                commit: 9,
                checksum: 5,
                content: 3,
            },
            checksum: 6,
            content: Some(8),
            last_at_ms: 1_770_000_000_123,
            created_at: 1_770_000_001,
            bytes: 4242,
            entries: 0,
            schema_version: 2,
            hash: [9; 32],
            program: "nonos 0.1.0".to_owned(),
            readers: Some("0123".to_owned()),
            verified_at: Some(1_770_000_002),
        };
        let text = backup.encode().into_bytes();
        assert_eq!(Backup::decode(&text), Some(backup));
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Backup::decode(&flipped), None, "bit {bit}");
        }
        let backup = Backup::decode(&text).map(|backup| Backup {
            commit: 9,
            ..backup
        });
        let in_a_circle = backup.map(|backup| backup.encode());
        assert_eq!(
            in_a_circle.map(|text| Backup::decode(text.as_bytes())),
            Some(None)
        );
        for len in 0..text.len() {
            assert_eq!(Backup::decode(&text[..len]), None, "cut to {len}");
        }
    }
}
