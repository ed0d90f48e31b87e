//! All records of a tree at once: what is many is decoded by a thread beside the one that reads, as either takes about
//! half of the time.

use std::mem;
use std::panic;
use std::sync::Mutex;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use crate::error::CoreError;
use crate::sync::lock;
use crate::tree::TreeId;
use crate::view::{KeyRange, Order, Read};

/// Records that the reading thread decodes itself, at first: another one takes as long to begin.
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
        let mut found = lock(&found);
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
                lock(&found).push(decode(key, frame)?);
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
        read?;
        decode_all(&chunk)
    })?;
    Ok(found
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner))
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
