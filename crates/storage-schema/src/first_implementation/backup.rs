//! Reading the first implementation's backup, of which every byte is one of a record or of what is around it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek, SeekFrom};
use std::path::Path;

use storage_core::TreeId;

use super::{DEFAULT_TREE, TREE, core_io};
use crate::error::SchemaError;

/// Keys and names over this are no backup's.
const MAX_KEY_LEN: u64 = 4 * 1024 * 1024;
/// Values over this are no backup's.
const MAX_VALUE_LEN: u64 = 64 * 1024 * 1024;
const NOT_AT_ITS_END: &str = "a tree does not end with its last record";

/// A backup file of the first implementation, open for reading in the order of tree and key.
pub(super) struct OldBackup<'a> {
    path: &'a Path,
    file: BufReader<File>,
    trees: BTreeMap<TreeId, Records>,
}

/// The records of a tree: where they begin and end, and how many there are.
#[derive(Clone, Copy)]
struct Records {
    start: u64,
    end: u64,
    count: u64,
}

impl<'a> OldBackup<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self, SchemaError> {
        let io = |source| SchemaError::Core(core_io("read", path, source));
        let file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let mut backup = Self {
            path,
            file: BufReader::new(file),
            trees: BTreeMap::new(),
        };
        let count = backup.u64()?;
        let mut at = 8;
        for _ in 0..count {
            let len = backup.u64()?;
            let end = (at + 8_u64).checked_add(len).filter(|end| *end <= size);
            let end = end.ok_or_else(|| backup.wrong("a tree ends behind the file"))?;
            if backup.bytes(MAX_KEY_LEN)? != TREE {
                return Err(backup.wrong("it holds something that is no tree"));
            }
            let name = backup.bytes(MAX_KEY_LEN)?;
            let count = backup.u64()?;
            let start = backup.position()?;
            let records = Records { start, end, count };
            if count == 0 && start != end {
                return Err(backup.wrong(NOT_AT_ITS_END));
            }
            let known = str::from_utf8(&name).ok().and_then(TreeId::from_name);
            match known {
                Some(tree) => {
                    if backup.trees.insert(tree, records).is_some() {
                        return Err(backup.wrong("a tree is there twice"));
                    }
                }
                None if name == DEFAULT_TREE.as_bytes() && count == 0 => {}
                None => {
                    let name = String::from_utf8_lossy(&name).into_owned();
                    return Err(backup.wrong(&format!("it holds records of a tree {name:?}")));
                }
            }
            backup.file.seek(SeekFrom::Start(end)).map_err(io)?;
            at = end;
        }
        if at != size {
            return Err(backup.wrong("bytes follow the last tree"));
        }
        Ok(backup)
    }

    /// All records in the order of tree and key; an error ends them.
    pub(super) fn records(
        &mut self,
    ) -> impl Iterator<Item = Result<(u8, Vec<u8>, Vec<u8>), SchemaError>> {
        let mut trees = self.trees.clone().into_iter();
        let mut current: Option<(TreeId, Records, Option<Vec<u8>>)> = None;
        std::iter::from_fn(move || {
            loop {
                if let Some((tree, left, last)) = &mut current
                    && left.count > 0
                {
                    left.count -= 1;
                    let record = self.record(last.as_deref()).and_then(|record| {
                        // A count that is not right would leave records out, without a word.
                        match (left.count, self.position()? == left.end) {
                            (0, false) => Err(self.wrong(NOT_AT_ITS_END)),
                            _ => Ok(record),
                        }
                    });
                    if let Ok((key, _)) = &record {
                        *last = Some(key.clone());
                    } else {
                        left.count = 0;
                    }
                    return Some(record.map(|(key, value)| (tree.number(), key, value)));
                }
                let (tree, records) = trees.next()?;
                if let Err(source) = self.file.seek(SeekFrom::Start(records.start)) {
                    return Some(Err(SchemaError::Core(core_io("read", self.path, source))));
                }
                current = Some((tree, records, None));
            }
        })
    }

    fn position(&mut self) -> Result<u64, SchemaError> {
        let position = self.file.stream_position();
        position.map_err(|source| SchemaError::Core(core_io("read", self.path, source)))
    }

    fn record(&mut self, last: Option<&[u8]>) -> Result<(Vec<u8>, Vec<u8>), SchemaError> {
        if self.u64()? != 2 {
            return Err(self.wrong("a record has not two parts"));
        }
        let key = self.bytes(MAX_KEY_LEN)?;
        let value = self.bytes(MAX_VALUE_LEN)?;
        if last.is_some_and(|last| last >= key.as_slice()) {
            return Err(self.wrong("keys are out of order"));
        }
        Ok((key, value))
    }

    fn u64(&mut self) -> Result<u64, SchemaError> {
        let mut bytes = [0; 8];
        let read = self.file.read_exact(&mut bytes);
        read.map_err(|e| self.unreadable(e))?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn bytes(&mut self, max: u64) -> Result<Vec<u8>, SchemaError> {
        let len = self.u64()?;
        if len > max {
            return Err(self.wrong(&format!("a length of {len}")));
        }
        let mut bytes = Vec::new();
        let read = (&mut self.file).take(len).read_to_end(&mut bytes);
        read.map_err(|e| self.unreadable(e))?;
        if u64::try_from(bytes.len()) != Ok(len) {
            return Err(self.wrong("it ends within a record"));
        }
        Ok(bytes)
    }

    fn unreadable(&self, error: io::Error) -> SchemaError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.wrong("it ends within a record"),
            _ => SchemaError::Core(core_io("read", self.path, error)),
        }
    }

    fn wrong(&self, what: &str) -> SchemaError {
        SchemaError::NoOldBackup {
            path: self.path.to_owned(),
            source: what.into(),
        }
    }
}
