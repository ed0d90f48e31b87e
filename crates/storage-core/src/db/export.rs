//! Copies of the state, and of commits, in files: what backups are made of.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use storage_journal::checkpoint::{self, About, Put, Threads};
use storage_journal::digest::Digests;
use storage_journal::disk::RealDisk;
use storage_journal::extract::{self, After, Extract};
use storage_journal::{Exported, JournalError};

use super::inner::{self, Durable, ReadOnly};
use super::reserve::Reserve;
use super::{Db, recovery};
use crate::error::CoreError;
use crate::size;
use crate::sync::lock;

impl Db {
    /// Writes the state at the last commit to a checkpoint file, beside the writers. Everything in it is
    /// durable where it comes from. A database in memory is written as it is between two commits.
    ///
    /// # Errors
    ///
    /// [`CoreError::DiskFull`] if it would eat into the free-space reserve of the database's own disk,
    /// [`CoreError::Diverged`] if what a read-only view was reading was purged meanwhile, [`CoreError::Journal`],
    /// [`CoreError::Closed`]: no file is left, but for the whole one where only its name could not be made durable.
    pub fn export(&self, path: &Path) -> Result<Exported, CoreError> {
        let inner = &*self.inner;
        let _alone = inner.alone()?;
        let index = inner.index()?;
        let now_ms = (inner.clock)();
        let created_at = now_ms.div_euclid(1000);
        if let Some(durable @ Durable { journal, .. }) = &inner.durable {
            if is_on_the_same_disk(path, journal.directory()) {
                durable.room_for_checkpoint()?;
            }
            return inner::on_a_sound_base(journal, || {
                let mut meter = inner.meter("back up", inner.len());
                journal.export(path, inner.schema(), created_at, |records| {
                    meter.steps(records)
                })
            });
        }
        let mut meter = inner.meter("back up", inner.len());
        let about = |commit, store_id| About {
            store_id,
            term: 0,
            schema_version: inner.schema(),
            commit,
            created_at,
            program: concat!("nonos ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        if let Some(view) = &inner.merged {
            let state = view.index.state();
            if is_on_the_same_disk(path, &view.directory) {
                let reserve = Reserve::new(Arc::clone(&view.disk), view.directory.clone());
                reserve.room_for(size::of(&view.directory)?)?;
            }
            view.make_durable()?;
            let about = about(state.through(), state.store_id());
            let records = |put: Put<'_, CoreError>| {
                state.visit(&mut |tree, key, value| {
                    meter.step()?;
                    put(tree, key, value)
                })
            };
            // A purge overwrites files that this view goes on reading.
            let expected = lock(&inner.sequencer).digests.clone();
            let accept = |written: &Digests| {
                let same = written.are_same(&expected);
                same.then_some(()).ok_or(CoreError::Diverged)
            };
            let pulse = &mut || Ok(());
            let size = checkpoint::write_if(
                &RealDisk,
                path,
                &about,
                Threads::Two,
                records,
                accept,
                pulse,
            )?;
            return Ok(state.exported(size));
        }
        let turn = inner.take_turn()?;
        let commit = self.last_commit();
        let records = recovery::records(&*index).map(|record| meter.step().and(record));
        let size = checkpoint::write(&RealDisk, path, &about(commit, self.store_id()), records)?;
        drop(turn);
        Ok(Exported::without_journal(commit, now_ms, size))
    }

    /// Writes the commits behind `after`, up to the last one, to a file of their own, beside the writers. It
    /// ends early behind `most` bytes. `None` if there is none: then there is no file.
    ///
    /// # Errors
    ///
    /// [`CoreError::Journal`], with [`JournalError::Removed`] if the journal no longer holds them;
    /// [`CoreError::ReadOnly`] without a journal, [`CoreError::Closed`]. No file is left.
    pub fn extract(
        &self,
        after: After,
        path: &Path,
        most: u64,
    ) -> Result<Option<Extract>, CoreError> {
        let inner = &*self.inner;
        // No checkpoint removes what is read.
        let _alone = inner.alone()?;
        let _index = inner.index()?;
        if let Some(Durable { journal, .. }) = &inner.durable {
            return Ok(journal.extract(after, path, most)?);
        }
        let Some(view) = &inner.merged else {
            return Err(CoreError::ReadOnly);
        };
        let state = view.index.state();
        view.make_durable()?;
        let of_this = (state.store_id(), 0);
        let (disk, directory) = (&*view.disk, &view.directory);
        match extract::write(
            disk,
            directory,
            of_this,
            after,
            state.through(),
            (path, most),
        ) {
            // The writer removed it meanwhile.
            Err(JournalError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                let after = after.commit;
                Err(JournalError::Removed { after }.into())
            }
            written => Ok(written?),
        }
    }
}

/// Whether a new file takes of the space that a directory has. Where nobody can tell it does not.
fn is_on_the_same_disk(file: &Path, directory: &Path) -> bool {
    let parent = file.parent().filter(|path| !path.as_os_str().is_empty());
    let parent = fs::metadata(parent.unwrap_or(Path::new(".")));
    let (Ok(parent), Ok(directory)) = (parent, fs::metadata(directory)) else {
        return false;
    };
    parent.dev() == directory.dev()
}

impl ReadOnly {
    /// What is in a backup must not be lost where it comes from: the number would be given again.
    fn make_durable(&self) -> Result<(), CoreError> {
        Ok(extract::sync(&*self.disk, &self.directory)?)
    }
}
