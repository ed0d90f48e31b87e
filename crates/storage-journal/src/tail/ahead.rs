//! Reading values that lie behind one another: samples do, records by random keys do not.

use std::io;
use std::sync::Arc;

use crate::bytes::len_u64;
use crate::disk::DiskFile;

/// How much is read at once where the next value is likely to be the next one in the file.
const CHUNK: usize = 64 * 1024;
/// Values with so few bytes between them lie behind one another: the frame of a commit of one record has about 40.
const NEAR: u64 = 256;

/// A part of a file that was read before it was asked for. What is in it does not change: values are behind the
/// end of no finished commit.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    file: Option<Arc<dyn DiskFile>>,
    start: u64,
    bytes: Vec<u8>,
    /// Where the value ended that was read last.
    end: u64,
}

impl Ahead {
    /// `len` bytes of a file.
    pub(super) fn read(
        &mut self,
        file: &Arc<dyn DiskFile>,
        offset: u64,
        len: usize,
    ) -> io::Result<Vec<u8>> {
        let is_same = self.file.as_ref().is_some_and(|of| Arc::ptr_eq(of, file));
        let is_near = is_same && offset.checked_sub(self.end).is_some_and(|gap| gap <= NEAR);
        if !is_same {
            self.bytes.clear();
            self.file = Some(Arc::clone(file));
        }
        self.end = offset.saturating_add(len_u64(len));
        if let Some(value) = self.held(offset, len) {
            return Ok(value.to_vec());
        }
        if !is_near || len > CHUNK {
            let mut value = vec![0; len];
            return match file.read_at(offset, &mut value)? {
                read if read == len => Ok(value),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        self.bytes.resize(CHUNK, 0);
        let read = file.read_at(offset, &mut self.bytes);
        self.bytes.truncate(*read.as_ref().unwrap_or(&0));
        self.start = offset;
        read?;
        let value = self.held(offset, len).map(<[u8]>::to_vec);
        value.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn held(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.bytes.get(from..from.checked_add(len)?)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::disk::{Disk, SimulatedDisk};

    /// No two values that are read have the same bytes, wherever they lie.
    fn file(len: usize) -> io::Result<(Arc<dyn DiskFile>, Vec<u8>)> {
        let bytes: Vec<u8> = (0..len_u64(len)).flat_map(u64::to_le_bytes).collect();
        let file = SimulatedDisk::default().create(Path::new("/values"))?;
        file.write_at(0, &bytes)?;
        Ok((file, bytes))
    }

    proptest! {
        /// In a row, apart, backwards, across the pieces and behind the end, in either of two files.
        #[test]
        fn values_are_read_as_they_lie(
            steps in prop::collection::vec(
                (0..8u8, 0..400u64, prop_oneof![9 => 0..2_000usize, 1 => 60_000..70_000usize]),
                1..200,
            )
        ) {
            let files = [file(40_000)?, file(30_000)?];
            let mut ahead = Ahead::default();
            let (mut which, mut at) = (0, 0_u64);
            for (kind, gap, len) in steps {
                match kind {
                    0 => which = 1 - which,
                    1 => at = at.saturating_sub(gap * 300),
                    2 => at += gap * 100,
                    _ => at += gap,
                }
                let (file, bytes) = &files[which];
                let from = usize::try_from(at).unwrap_or(usize::MAX);
                // Nothing is there wherever it is asked for.
                let there = bytes.get(from..from + len).or((len == 0).then_some(&[]));
                match (ahead.read(file, at, len), there) {
                    (Ok(read), Some(there)) => prop_assert!(read == there, "{} at {}", len, at),
                    (Err(e), None) => prop_assert_eq!(e.kind(), io::ErrorKind::UnexpectedEof),
                    (Ok(read), None) => prop_assert!(false, "{} bytes from behind the end", read.len()),
                    (Err(e), Some(_)) => prop_assert!(false, "{}", e),
                }
                at += len_u64(len);
                if at > 400_000 {
                    at = 0;
                }
            }
        }
    }
}
