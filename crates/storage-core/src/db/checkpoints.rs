//! Checkpoints that are asked for, and those kept beside the database.

use std::cell::RefCell;

use storage_journal::checkpoint::{Checkpoint, Record};
use storage_journal::digest::Digests;

use super::inner::Durable;
use super::{Db, recovery};
use crate::error::CoreError;

impl Db {
    /// Writes a checkpoint of what the index holds, while no commit is made. In difference to
    /// [`checkpoint`](Self::checkpoint), its memory does not grow with what was committed since the
    /// last one. Its counts and digests must be those of what was committed.
    ///
    /// # Errors
    ///
    /// [`CoreError::Journal`], errors of the index, [`CoreError::Diverged`] if the index is not what it
    /// must be: nothing changed.
    pub fn checkpoint_index(&self) -> Result<(), CoreError> {
        let index = self.inner.index()?;
        self.checkpoint_of(recovery::records(&*index))
    }

    /// [`checkpoint_index`](Self::checkpoint_index) of `records`, which the caller knows to be what the
    /// index holds, in the order of tree and key: where they come from is faster to read.
    ///
    /// # Errors
    ///
    /// As there; [`CoreError::Diverged`] if they are not what was committed.
    pub fn checkpoint_of(
        &self,
        records: impl Iterator<Item = Result<Record, CoreError>>,
    ) -> Result<(), CoreError> {
        let inner = &*self.inner;
        let Some(Durable { journal, .. }) = &inner.durable else {
            return Ok(());
        };
        let turn = inner.take_turn()?;
        // Until it is rebuilt it is not known what would have to be the same.
        if let Some(reason) = inner.index_failure() {
            return Err(CoreError::IndexFailed { reason });
        }
        let index = inner.index()?;
        let expected = match turn.sequence.settled(&*index) {
            Ok(expected) => expected,
            Err(error) => {
                let reason = recovery::chain(&error);
                let _between = inner.between_commits();
                inner.fall_back(&index, error)?;
                return Err(CoreError::IndexFailed { reason });
            }
        };
        let created_at = (inner.clock)().div_euclid(1000);
        let meter = RefCell::new(inner.meter("write a checkpoint", inner.len()));
        let records = records.map(|record| meter.borrow_mut().step().and(record));
        let accept = |digests: &Digests| {
            let same = digests.are_same(&expected);
            same.then_some(()).ok_or(CoreError::Diverged)
        };
        let pulse = &mut || meter.borrow_mut().steps(0);
        journal.checkpoint_of(inner.schema(), created_at, records, accept, pulse)?;
        Ok(())
    }

    /// Writes a checkpoint of the state now beside those of the journal, under a name of its own: it is
    /// kept until it is removed. Verified on return.
    ///
    /// # Errors
    ///
    /// As [`export`](Self::export), and [`CoreError::ReadOnly`] without a journal.
    pub fn keep_checkpoint(&self, name: &str) -> Result<(), CoreError> {
        let Some(Durable { journal, .. }) = &self.inner.durable else {
            return Err(CoreError::ReadOnly);
        };
        self.export(&journal.directory().join(name)).map(drop)
    }

    /// A checkpoint that was kept under this name.
    ///
    /// # Errors
    ///
    /// [`CoreError::Journal`] if it is damaged or not there, [`CoreError::ReadOnly`] without a journal.
    pub fn kept_checkpoint(&self, name: &str) -> Result<Checkpoint, CoreError> {
        let Some(Durable { journal, .. }) = &self.inner.durable else {
            return Err(CoreError::ReadOnly);
        };
        let path = journal.directory().join(name);
        let checkpoint = Checkpoint::open(&**journal.disk(), &path)?;
        checkpoint.verify()?;
        Ok(checkpoint)
    }

    /// Writes a checkpoint into the journal now.
    ///
    /// # Errors
    ///
    /// [`CoreError::Journal`]: nothing changed. [`CoreError::ReadOnly`], [`CoreError::Poisoned`],
    /// [`CoreError::Closed`].
    pub fn checkpoint(&self) -> Result<(), CoreError> {
        if self.inner.merged.is_some() {
            return Err(CoreError::ReadOnly);
        }
        self.inner.check_journal()?;
        self.inner.checkpoint().map(drop)
    }
}
