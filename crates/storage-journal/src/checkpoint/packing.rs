//! Blocks of a checkpoint made ready to be written: by a thread beside the one that has the records, as either takes about
//! half of the time. Every call of the disk stays with that one, in an order that is always the same.

use std::collections::VecDeque;
use std::panic;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::{Threads, block};

/// Blocks that are packed at once, at first: to start a thread takes as long.
const FEW: usize = 4;
/// How many blocks the one that is to be written is behind the one that was filled last.
const BEHIND: usize = 4;
/// Bytes in those that wait, at most, but for one that is longer: a block has a record of any length whole.
const MOST: usize = 1024 * 1024;

/// A block as it is stored, and what the index says of it.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) tree: u8,
    pub(super) first_key: Vec<u8>,
    pub(super) bytes: Vec<u8>,
}

/// Packs blocks, in their order.
pub(super) struct Packer {
    threads: Threads,
    pushed: usize,
    /// The one that was packed here.
    here: Option<Packed>,
    helper: Option<Helper>,
}

struct Helper {
    blocks: SyncSender<block::Builder>,
    packed: Receiver<Packed>,
    /// How long the blocks are that were given to it and not taken from it.
    waiting: VecDeque<usize>,
    thread: JoinHandle<()>,
}

impl Packer {
    pub(super) fn new(threads: Threads) -> Self {
        Self {
            threads,
            pushed: 0,
            here: None,
            helper: None,
        }
    }

    /// Takes a block, before which [`ready`](Self::ready) was asked until there was none.
    pub(super) fn push(&mut self, block: block::Builder) {
        if self.threads == Threads::Two && self.pushed == FEW {
            self.helper = Helper::start();
        }
        self.pushed += 1;
        match &mut self.helper {
            Some(helper) => helper.push(block),
            None => self.here = Some(pack(block)),
        }
    }

    /// A block that is to be written now: one of those that were pushed longest ago.
    pub(super) fn ready(&mut self) -> Option<Packed> {
        let helper = self.helper.as_mut().filter(|helper| helper.is_full());
        self.here.take().or_else(|| helper?.pop())
    }

    /// The next block, once all are pushed.
    pub(super) fn rest(&mut self) -> Option<Packed> {
        self.here.take().or_else(|| self.helper.as_mut()?.pop())
    }
}

/// Also where nobody takes what is packed any more: no thread is left behind.
impl Drop for Packer {
    fn drop(&mut self) {
        if let Some(helper) = self.helper.take() {
            drop((helper.blocks, helper.packed));
            let joined = helper.thread.join();
            if let Err(panicked) = joined
                && !thread::panicking()
            {
                panic::resume_unwind(panicked);
            }
        }
    }
}

impl Helper {
    /// `None` where there can be no thread.
    fn start() -> Option<Self> {
        let (blocks, to_pack) = sync_channel(BEHIND + 1);
        let (done, packed) = sync_channel(BEHIND + 1);
        let pack_all = move || {
            for block in to_pack {
                if done.send(pack(block)).is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("nonos-pack".into());
        Some(Self {
            blocks,
            packed,
            waiting: VecDeque::new(),
            thread: thread.spawn(pack_all).ok()?,
        })
    }

    fn push(&mut self, block: block::Builder) {
        self.waiting.push_back(block.len());
        // It takes none only where it panicked, which is met at the end.
        let _taken = self.blocks.send(block);
    }

    fn is_full(&self) -> bool {
        self.waiting.len() > BEHIND || self.waiting.iter().sum::<usize>() > MOST
    }

    fn pop(&mut self) -> Option<Packed> {
        self.waiting.pop_front()?;
        self.packed.recv().ok()
    }
}

fn pack(block: block::Builder) -> Packed {
    let tree = block.tree();
    let (bytes, first_key) = block.finish();
    Packed {
        tree,
        first_key,
        bytes,
    }
}
