//! Reading a checkpoint whole. One thread reads and hashes, one beside it looks at the blocks, where there are many:
//! what it does not take, the reading one looks at itself.

use std::ops::Range;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use blake2::Digest;

use super::{Blake2b256, Checkpoint, TRAILER_LEN, Threads, block};
use crate::bytes::len_u64;
use crate::digest::{Digests, MAX_TREES, TreeDigest};
use crate::error::JournalError;

/// Bytes that are read at a time of what is no block.
const PIECE_LEN: usize = 256 * 1024;
/// Blocks that are looked at by the reading thread, at first: to start another one takes as long.
const FEW: usize = 4;
/// Blocks that wait for the other thread, at most, and how long each of them may be.
const WAITING: usize = 4;
const SHORT: usize = 1024 * 1024;

/// What was seen in blocks.
struct Seen {
    digests: Digests,
    /// The first one that is not right, and what is wrong with it.
    wrong: Option<(usize, &'static str)>,
}

impl Seen {
    fn add(&mut self, number: usize, found: Result<(u8, TreeDigest), &'static str>) {
        let wrong = match found {
            Ok((tree, found)) => match self.digests.of_mut(tree) {
                Some(digest) => {
                    *digest = digest.with(found);
                    return;
                }
                None => "block",
            },
            Err(wrong) => wrong,
        };
        if self.wrong.is_none_or(|(before, _)| number < before) {
            self.wrong = Some((number, wrong));
        }
    }
}

impl Checkpoint {
    /// Reads the whole file: every block, the counts and digests, and the hash of it all.
    ///
    /// # Errors
    ///
    /// [`JournalError::Checkpoint`] names the first part that is damaged; [`JournalError::Io`].
    pub fn verify(&self) -> Result<(), JournalError> {
        self.verify_with(Threads::Two, &mut || Ok(()))
    }

    /// [`verify`](Self::verify); `pulse` is called many times a second, and ends it by an error.
    pub(super) fn verify_with<E: From<JournalError>>(
        &self,
        threads: Threads,
        pulse: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let hash_offset = self.size - len_u64(TRAILER_LEN) + 16;
        let places = &self.index.places;
        let blocks = places
            .first()
            .map_or(self.index_offset, |first| first.offset);
        let seen = Mutex::new(Seen {
            digests: Digests::empty(MAX_TREES),
            wrong: None,
        });
        let look = |number: usize, bytes: &[u8]| {
            let found = self.look_at(number, bytes);
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.add(number, found);
        };
        let mut hasher = Blake2b256::new();
        thread::scope(|scope| {
            let beside = || {
                let (sender, waiting) = sync_channel::<(usize, Vec<u8>)>(WAITING);
                let looking = move || {
                    for (number, bytes) in waiting {
                        look(number, &bytes);
                    }
                };
                let thread = thread::Builder::new().name("nonos-verify".into());
                thread.spawn_scoped(scope, looking).ok()?;
                Some(sender)
            };
            let mut helper = None;
            self.hash(0..blocks, &mut hasher, pulse)?;
            for number in 0..places.len() {
                pulse()?;
                let bytes = self.stored(number)?;
                hasher.update(&bytes);
                let sender = (threads == Threads::Two && number >= FEW)
                    .then(|| helper.get_or_insert_with(beside).as_ref());
                let sender = sender.flatten().filter(|_| bytes.len() <= SHORT);
                if let Some((number, bytes)) = left(sender, (number, bytes)) {
                    look(number, &bytes);
                }
            }
            self.hash(self.index_offset..hash_offset, &mut hasher, pulse)
        })?;
        let mut stated = [0; 32];
        self.read_exact(hash_offset, &mut stated)?;
        if hasher.finalize().as_slice() != stated {
            return Err(self.damaged("hash").into());
        }
        let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, wrong)) = seen.wrong {
            return Err(self.damaged(wrong).into());
        }
        if seen.digests != self.index.digests {
            return Err(self.damaged("digests").into());
        }
        Ok(())
    }

    /// Hashes what is no block.
    fn hash<E: From<JournalError>>(
        &self,
        range: Range<u64>,
        hasher: &mut Blake2b256,
        pulse: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut offset = range.start;
        while offset < range.end {
            pulse()?;
            let left = usize::try_from(range.end - offset).unwrap_or(usize::MAX);
            let mut piece = vec![0; left.min(PIECE_LEN)];
            self.read_exact(offset, &mut piece)?;
            hasher.update(&piece);
            offset += len_u64(piece.len());
        }
        Ok(())
    }

    /// The digest of a block that is what the index says, in order by itself and before the next one; or what is wrong.
    fn look_at(&self, number: usize, bytes: &[u8]) -> Result<(u8, TreeDigest), &'static str> {
        let place = self.index.places.get(number).ok_or("index")?;
        let plain = block::open(bytes).ok_or("block")?;
        let entries = plain.entries().ok_or("block")?;
        if !self.is_block(number, plain.tree, entries.first().map(|(key, _)| *key)) {
            return Err("block");
        }
        let next = self.index.places.get(number + 1);
        let last = entries.last().map(|(key, _)| *key);
        let is_before =
            next.is_none_or(|next| (place.tree, last) < (next.tree, Some(&next.first_key)));
        if !is_before || !entries.is_sorted_by(|(key, _), (next, _)| key < next) {
            return Err("order");
        }
        let mut digest = TreeDigest::default();
        for (key, value) in entries {
            digest.add(key, value);
        }
        Ok((plain.tree, digest))
    }
}

/// What is left to be looked at here of a block that may go to another thread.
fn left<T>(sender: Option<&SyncSender<T>>, block: T) -> Option<T> {
    match sender {
        Some(sender) => sender.try_send(block).err().map(|error| match error {
            TrySendError::Full(block) | TrySendError::Disconnected(block) => block,
        }),
        None => Some(block),
    }
}
