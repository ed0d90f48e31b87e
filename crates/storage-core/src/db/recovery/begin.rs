//! A database that is not there yet: created, or adopted from the first implementation.

use std::sync::Arc;

use storage_journal::checkpoint::{self, About};
use storage_journal::disk::make_directory;
use storage_journal::{Journal, Scan};

use super::{Accept, Place, Recovered, random, records};
use crate::error::CoreError;
use crate::index::{Index, IndexReader, Witness};
use crate::progress::Meter;
use crate::report::OpeningReport;

impl Place<'_> {
    /// A new database.
    pub(super) fn create(&self) -> Result<Recovered, CoreError> {
        let sibling = match self.home.sibling()? {
            None => Scan::trace(&**self.disk, self.directory)?,
            sibling => sibling,
        };
        if let Some(path) = sibling {
            return Err(CoreError::Sibling { path });
        }
        let (store_id, term) = (random()?, u64::from_le_bytes(random()?));
        let disk = Arc::clone(self.disk);
        let schema_version = self.schema_version;
        let journal = Journal::create(disk, self.directory, store_id, term, schema_version)?;
        let (index, digests) = self.build(&journal, None, 0)?;
        let report = OpeningReport {
            clean: true,
            ..OpeningReport::default()
        };
        Ok(Recovered {
            index,
            journal,
            digests,
            report,
            schema_version,
        })
    }

    /// Makes a journal for an index that has none, from a copy: opening it may change it. Notes it, if it had one.
    pub(super) fn adopt(&self, accept: Accept<'_>) -> Result<(), CoreError> {
        let copy = self.home.open_copy()?;
        let adopted = accept(&IndexReader(&*copy)).and_then(|layout| {
            let witness = copy.witness()?;
            let store_id = match witness {
                Some(witness) => witness.store_id,
                None => random()?,
            };
            let commit = witness.map_or(0, |witness| witness.durable_through).max(1);
            if let Some(Witness { durable_through, .. }) = witness {
                let gone = format!(
                    "the journal was gone and is made anew from the index, which has everything through commit \
                     {durable_through}: what came after it may be lost"
                );
                tracing::error!("{gone}");
                // Before there is a journal again, which would look as if nothing had been.
                self.make_directory()?;
                Journal::note_damage(&**self.disk, self.directory, &[gone])?;
            }
            let schema = layout.schema_version;
            self.write_base(&*copy, store_id, schema, commit).map(drop)
        });
        drop(copy);
        self.home.remove_leftovers()?;
        adopted
    }

    pub(super) fn make_directory(&self) -> Result<(), CoreError> {
        let made = make_directory(&**self.disk, self.directory);
        made.map_err(|e| CoreError::io("create", self.directory, e))
    }

    /// Publishes what an index holds as the checkpoint at `commit`; returns its length in bytes.
    pub(super) fn write_base(
        &self,
        index: &dyn Index,
        store_id: [u8; 16],
        schema_version: u32,
        commit: u64,
    ) -> Result<u64, CoreError> {
        self.make_directory()?;
        let about = About {
            store_id,
            term: u64::from_le_bytes(random()?),
            schema_version,
            commit,
            created_at: self.now_ms.div_euclid(1000),
            program: concat!("nonos ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let path = self.directory.join(checkpoint::name(commit));
        let mut meter = Meter::start("write a checkpoint", 0, self.observer);
        let records = records(index).map(|record| meter.step().and(record));
        checkpoint::write(&**self.disk, &path, &about, records)
    }
}
