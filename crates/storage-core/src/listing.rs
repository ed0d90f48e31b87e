//! All records of a tree at once: what is many is decoded by a thread beside the one that reads, as either takes about
//! half of the time.

use std::mem;
use std::panic;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::error::CoreError;
use crate::tree::TreeId;
use crate::view::{KeyRange, Order, Read};

/// Records that the reading thread decodes itself, at first: to start another one takes as long.
const FEW: usize = 512;
/// Bytes that are handed over together, and how often before the reading thread waits.
const CHUNK: usize = 32 * 1024;
const WAITING: usize = 4;

/// The records of a range as `decode` makes them, in the order of their keys.
pub(crate) fn collect<T: Send>(
    from: &dyn Read,
    tree: TreeId,
    range: &KeyRange,
    decode: impl Fn(&[u8], &[u8]) -> Result<T, CoreError> + Sync,
) -> Result<Vec<T>, CoreError> {
    let found = Mutex::new(Vec::new());
    let decode_all = |chunk: &Chunk| {
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        chunk.entries().try_for_each(|(key, frame)| {
            found.push(decode(key, frame)?);
            Ok::<_, CoreError>(())
        })
    };
    thread::scope(|scope| {
        let beside = || {
            let (sender, chunks) = sync_channel::<Chunk>(WAITING);
            let thread = thread::Builder::new().name("nonos-decode".into());
            let decoding = move || chunks.iter().try_for_each(|chunk| decode_all(&chunk));
            let thread = thread.spawn_scoped(scope, decoding).ok()?;
            Some((sender, thread))
        };
        let mut chunk = Chunk::default();
        let mut helper = None;
        let mut few = 0;
        let read = from.scan(tree, range, Order::Ascending, &mut |key, frame| {
            if few < FEW {
                few += 1;
                let record = decode(key, frame)?;
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.push(record);
                return Ok(true);
            }
            chunk.add(key, frame);
            if chunk.bytes.len() < CHUNK {
                return Ok(true);
            }
            let full = mem::take(&mut chunk);
            match helper.get_or_insert_with(beside) {
                // Nobody takes it: one of the records before does not decode.
                Some((sender, _)) => Ok(SyncSender::send(sender, full).is_ok()),
                None => decode_all(&full).map(|()| true),
            }
        });
        if let Some(Some((sender, thread))) = helper {
            drop(sender);
            let decoded = thread.join();
            decoded.unwrap_or_else(|panicked| panic::resume_unwind(panicked))?;
        }
        // A record that does not decode is told before what reading met behind it.
        decode_all(&chunk)?;
        read
    })?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Entries as they were read, one behind the other.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// Of key and value.
    lens: Vec<(usize, usize)>,
}

impl Chunk {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.lens.push((key.len(), value.len()));
    }

    fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.lens.iter().map(move |&(key, value)| {
            let (key, behind) = rest.split_at(key);
            let (value, behind) = behind.split_at(value);
            rest = behind;
            (key, value)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;

    use super::*;
    use crate::view::Visit;

    const EVERYTHING: KeyRange = (Bound::Unbounded, Bound::Unbounded);

    fn value_of(number: u32) -> Vec<u8> {
        [number.to_le_bytes(); 25].concat()
    }

    /// So many records of 100 bytes; reading fails behind the last of them if that is asked for.
    #[derive(Debug)]
    struct Records {
        count: u32,
        fails: bool,
    }

    impl Read for Records {
        fn get(&self, _: TreeId, _: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
            Ok(None)
        }

        fn scan(
            &self,
            _: TreeId,
            _: &KeyRange,
            _: Order,
            visit: Visit<'_>,
        ) -> Result<(), CoreError> {
            for number in 0..self.count {
                if !visit(&number.to_be_bytes(), &value_of(number))? {
                    return Ok(());
                }
            }
            if self.fails {
                return Err(CoreError::Closed);
            }
            Ok(())
        }
    }

    /// Counts around the bounds: what the reading thread decodes, one piece more or less, many pieces.
    fn counts() -> Vec<u32> {
        let few = u32::try_from(FEW).unwrap_or_default();
        let piece = u32::try_from(CHUNK / 104 + 1).unwrap_or_default();
        let pieces = [0, 1, 2, 50].map(|pieces| few + pieces * piece);
        let around = |count: u32| [count.saturating_sub(1), count, count + 1];
        [0].into_iter().chain(pieces).flat_map(around).collect()
    }

    /// The numbers in the keys, where the values are theirs.
    fn list(records: &Records, bad: &[u32]) -> Result<Vec<u32>, CoreError> {
        collect(records, TreeId::Peers, &EVERYTHING, |key, value| {
            if bad.iter().any(|bad| bad.to_be_bytes() == *key) {
                return Err(CoreError::corrupt(TreeId::Peers, key, Bad));
            }
            let number = key.try_into().map_or(u32::MAX, u32::from_be_bytes);
            assert!(value == value_of(number), "{number}");
            Ok(number)
        })
    }

    #[derive(Debug, thiserror::Error)]
    #[error("bad")]
    struct Bad;

    #[test]
    fn all_records_come_in_order() -> Result<(), CoreError> {
        for count in counts() {
            let records = Records {
                count,
                fails: false,
            };
            assert!(list(&records, &[])?.into_iter().eq(0..count), "{count}");
        }
        Ok(())
    }

    #[test]
    fn the_first_record_that_does_not_decode_is_the_error() {
        for count in counts() {
            let records = Records { count, fails: true };
            for bad in [0, count / 3, count / 2, count.saturating_sub(1)] {
                let found = list(&records, &[count.saturating_sub(1), bad]);
                let is_named = matches!(&found,
                    Err(CoreError::Corrupt { key_hex, .. }) if *key_hex == format!("{bad:08x}"));
                let is_right = if count == 0 {
                    matches!(found, Err(CoreError::Closed))
                } else {
                    is_named
                };
                assert!(is_right, "{bad} of {count}");
            }
            assert!(
                matches!(list(&records, &[]), Err(CoreError::Closed)),
                "{count}"
            );
        }
    }
}
