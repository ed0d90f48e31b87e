//! Moves content to an object store and back.
//!
//! # Invariants
//!
//! - What arrived is not sent, or fetched, again within one operation: a part is tried by itself, and a
//!   stream that breaks goes on where it was.
//! - Memory holds the parts in flight and no more, whatever the object's size.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use futures_util::{StreamExt, TryFutureExt, stream};
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, MultipartId, ObjectMeta, ObjectStoreExt, PutPayload};

use super::provider::Store;
use super::retry::{Budget, Fault, Limits};
use super::source::Source;

/// The parts of one object, by the protocol of S3.
const MAX_PARTS: u64 = 10_000;

/// What is written in one piece is shorter, in bytes.
const LONGEST_NOTE: usize = 64 * 1024;

/// A bucket, and what its operations may take.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) store: Arc<dyn Store>,
    pub(super) limits: Limits,
}

impl Bucket {
    /// Puts a file in the place of what is there, and reads it back.
    pub(super) async fn upload(&self, at: &Path, source: &Source) -> Result<(), Fault> {
        let mut budget = Budget::new(&self.limits);
        budget.grant(source.size.saturating_mul(2));
        let before = self.tag(at, &budget).await?;
        let parts = if source.size > self.limits.part_bytes {
            Some(self.send_parts(at, source, &budget).await?)
        } else {
            None
        };
        let placed = match &parts {
            Some((id, parts)) => self.complete(at, id, parts, &budget).await,
            None => self.put(at, source, &budget).await,
        };
        let arrived = self.has(at, source, &budget).await;
        if placed.is_err()
            && let Some((id, _)) = &parts
        {
            self.abort(at, id).await;
        }
        match (placed, arrived) {
            // An answer that was lost on the way is no failure.
            (_, Ok(true)) => Ok(()),
            (Ok(()), arrived) => {
                self.discard(at).await;
                Err(arrived.err().unwrap_or(Fault::Differs))
            }
            (Err(fault), _) => {
                // It may have been replaced all the same, by what is not whole.
                let budget = Budget::new(&self.limits);
                if self.tag(at, &budget).await.is_ok_and(|tag| tag != before) {
                    self.discard(at).await;
                }
                Err(fault)
            }
        }
    }

    /// Sends all parts of a file; after a failure the store is told to drop them.
    async fn send_parts(
        &self,
        at: &Path,
        source: &Source,
        budget: &Budget,
    ) -> Result<(MultipartId, Vec<PartId>), Fault> {
        let part_bytes = self.limits.part_bytes.max(source.size.div_ceil(MAX_PARTS));
        let id = budget
            .persist(0, || async { Ok(self.store.create_multipart(at).await?) })
            .await?;
        let failed = AtomicBool::new(false);
        let parts = (0..source.size.div_ceil(part_bytes)).map(|number| {
            let offset = number * part_bytes;
            let len = part_bytes.min(source.size - offset);
            let sent = self.send_part(at, source, (&id, number, offset, len), (budget, &failed));
            sent.inspect_err(|_| failed.store(true, Ordering::Relaxed))
        });
        let sent = stream::iter(parts).buffered(self.limits.parts_at_once);
        // A request that is dropped can still bring its part after the store dropped the others, so
        // those in flight are waited for.
        let sent: Vec<Result<PartId, Fault>> = sent.collect().await;
        let (mut parts, mut faults) = (Vec::new(), Vec::new());
        for part in sent {
            match part {
                Ok(part) => parts.push(part),
                Err(fault) => faults.push(fault),
            }
        }
        match faults
            .into_iter()
            .find(|fault| !matches!(fault, Fault::Abandoned))
        {
            None => Ok((id, parts)),
            Some(fault) => {
                self.abort(at, &id).await;
                Err(fault)
            }
        }
    }

    async fn send_part(
        &self,
        at: &Path,
        source: &Source,
        (id, number, offset, len): (&MultipartId, u64, u64, u64),
        (budget, failed): (&Budget, &AtomicBool),
    ) -> Result<PartId, Fault> {
        let number = usize::try_from(number).map_err(io::Error::other)?;
        let sent = budget.persist(len, || async {
            if failed.load(Ordering::Relaxed) {
                return Err(Fault::Abandoned);
            }
            let payload = PutPayload::from(source.read(offset, len).await?);
            Ok(self.store.put_part(at, id, number, payload).await?)
        });
        sent.await
    }

    async fn complete(
        &self,
        at: &Path,
        id: &MultipartId,
        parts: &[PartId],
        budget: &Budget,
    ) -> Result<(), Fault> {
        // S3 may take minutes to answer for an object of many parts.
        let bytes = 64 << 20;
        let completed = budget.persist(bytes, || async {
            let parts = parts.to_vec();
            Ok(self.store.complete_multipart(at, id, parts).await?)
        });
        completed.await.map(drop)
    }

    async fn put(&self, at: &Path, source: &Source, budget: &Budget) -> Result<(), Fault> {
        let put = budget.persist(source.size, || async {
            let payload = PutPayload::from(source.read(0, source.size).await?);
            Ok(self.store.put(at, payload).await?)
        });
        put.await.map(drop)
    }

    /// Puts a few bytes in the place of what is there, and reads them back. What is read then may be what another
    /// program put there meanwhile, or what was there before: it is put once more, and then what was there is put back.
    pub(super) async fn write(&self, at: &Path, bytes: Vec<u8>) -> Result<(), Fault> {
        let before = self.read(at, LONGEST_NOTE).await;
        let put = self.put_and_read(at, &bytes).await;
        if !matches!(put, Err(Fault::Differs)) {
            return put;
        }
        let again = self.put_and_read(at, &bytes).await;
        if matches!(again, Err(Fault::Differs)) {
            match before {
                Ok(before) if before.len() < LONGEST_NOTE => {
                    if let Err(fault) = self.put_and_read(at, &before).await {
                        tracing::warn!(%fault, object = %at, "what was there could not be put back");
                    }
                }
                Err(fault) if fault.is_missing() => self.discard(at).await,
                _ => {}
            }
        }
        again
    }

    async fn put_and_read(&self, at: &Path, bytes: &[u8]) -> Result<(), Fault> {
        let payload = PutPayload::from(bytes.to_vec());
        let budget = Budget::new(&self.limits);
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let put = budget.persist(len, || async {
            Ok(self.store.put(at, payload.clone()).await?)
        });
        let put = put.await.map(drop);
        match (put, self.read(at, bytes.len().saturating_add(1)).await) {
            (_, Ok(found)) if found == bytes => Ok(()),
            (Ok(()), Ok(_)) => Err(Fault::Differs),
            (Ok(()), Err(fault)) | (Err(fault), _) => Err(fault),
        }
    }

    /// What is there, at most `max` bytes of it.
    pub(super) async fn read(&self, at: &Path, max: usize) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        let read = self.stream(at, |piece| {
            let room = max.saturating_sub(bytes.len()).min(piece.len());
            bytes.extend_from_slice(piece.get(..room).unwrap_or_default());
            Ok(if bytes.len() == max {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        });
        read.await?;
        Ok(bytes)
    }

    /// Writes what is there to a file, which is not flushed.
    pub(super) async fn download(&self, at: &Path, file: &File) -> Result<(), Fault> {
        let mut offset = 0;
        let size = self
            .stream(at, |piece| {
                // The runtime is the target's own, and this goes to the page cache.
                file.write_all_at(piece, offset)?;
                offset += u64::try_from(piece.len()).map_err(io::Error::other)?;
                Ok(ControlFlow::Continue(()))
            })
            .await?;
        let taken = file.metadata()?.len();
        if taken == size {
            Ok(())
        } else {
            Err(Fault::Short { taken, size })
        }
    }

    /// Whether what is there is what was sent.
    async fn has(&self, at: &Path, source: &Source, budget: &Budget) -> Result<bool, Fault> {
        let mut hasher = Blake2b::<U32>::new();
        let size = self
            .stream_within(budget.clone(), at, |piece| {
                hasher.update(piece);
                Ok(ControlFlow::Continue(()))
            })
            .await?;
        Ok(size == source.size && hasher.finalize().as_slice() == source.hash)
    }

    /// Hands what is there to `take`, in order and once, until it breaks off; returns the whole size.
    async fn stream(
        &self,
        at: &Path,
        take: impl FnMut(&[u8]) -> io::Result<ControlFlow<()>> + Send,
    ) -> Result<u64, Fault> {
        self.stream_within(Budget::new(&self.limits), at, take)
            .await
    }

    async fn stream_within(
        &self,
        mut budget: Budget,
        at: &Path,
        mut take: impl FnMut(&[u8]) -> io::Result<ControlFlow<()>> + Send,
    ) -> Result<u64, Fault> {
        let (mut found, mut taken, mut failed) = (None, 0, 0);
        loop {
            let before = taken;
            let streamed = self.stream_once(&mut budget, at, &mut found, &mut taken, &mut take);
            let fault = match streamed.await {
                Ok(size) => return Ok(size),
                Err(fault) => fault,
            };
            failed = if taken > before { 1 } else { failed + 1 };
            budget.pause(failed, fault).await?;
        }
    }

    async fn stream_once(
        &self,
        budget: &mut Budget,
        at: &Path,
        found: &mut Option<ObjectMeta>,
        taken: &mut u64,
        take: &mut (impl FnMut(&[u8]) -> io::Result<ControlFlow<()>> + Send),
    ) -> Result<u64, Fault> {
        let mut options = GetOptions::default();
        if let Some(found) = found {
            options.range = (*taken > 0).then_some(GetRange::Offset(*taken));
            options.if_match.clone_from(&found.e_tag);
        }
        let got = budget.limit(0, self.store.get_opts(at, options)).await?;
        let got = match got {
            Err(object_store::Error::Precondition { .. }) => return Err(Fault::Replaced),
            got => got?,
        };
        let size = got.meta.size;
        match found {
            Some(found) if found.size != size || found.e_tag != got.meta.e_tag => {
                return Err(Fault::Replaced);
            }
            Some(_) => {}
            None => {
                budget.grant(size);
                *found = Some(got.meta.clone());
            }
        }
        let mut pieces = got.into_stream();
        while *taken < size {
            let Some(piece) = budget.limit(0, pieces.next()).await? else {
                return Err(Fault::Short {
                    taken: *taken,
                    size,
                });
            };
            let piece = piece?;
            let flow = take(&piece)?;
            *taken += u64::try_from(piece.len()).map_err(io::Error::other)?;
            if flow.is_break() {
                break;
            }
        }
        Ok(size)
    }

    /// What tells one content of a location from another; nothing where there is none.
    async fn tag(&self, at: &Path, budget: &Budget) -> Result<Option<ObjectTag>, Fault> {
        let asked = budget.persist(0, || async { Ok(self.store.head(at).await?) });
        match asked.await {
            Ok(meta) => Ok(Some((meta.e_tag, meta.version, meta.size))),
            Err(fault) if fault.is_missing() => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Everything below a directory of the bucket, as many pages as that has.
    pub(super) async fn list(&self, below: &Path) -> Result<Vec<Path>, Fault> {
        let budget = Budget::new(&self.limits);
        let (mut found, mut failed) = (Vec::<Path>::new(), 0);
        loop {
            let before = found.len();
            let fault = match self.list_after(&budget, below, &mut found).await {
                Ok(()) => return Ok(found),
                Err(fault) => fault,
            };
            failed = if found.len() > before { 1 } else { failed + 1 };
            budget.pause(failed, fault).await?;
        }
    }

    async fn list_after(
        &self,
        budget: &Budget,
        below: &Path,
        found: &mut Vec<Path>,
    ) -> Result<(), Fault> {
        let mut listed = match found.last() {
            Some(last) => self.store.list_with_offset(Some(below), last),
            None => self.store.list(Some(below)),
        };
        while let Some(object) = budget.limit(0, listed.next()).await? {
            found.push(object?.location);
        }
        Ok(())
    }

    pub(super) async fn remove(&self, at: &Path) -> Result<(), Fault> {
        let budget = Budget::new(&self.limits);
        let removed = budget.persist(0, || async { Ok(self.store.delete(at).await?) });
        match removed.await {
            Err(fault) if fault.is_missing() => Ok(()),
            removed => removed,
        }
    }

    /// Removes what must not stay; that it could not be is told beside the failure that led here.
    async fn discard(&self, at: &Path) {
        if let Err(fault) = self.remove(at).await {
            tracing::warn!(%fault, object = %at, "what is not whole could not be removed");
        }
    }

    async fn abort(&self, at: &Path, id: &MultipartId) {
        let budget = Budget::new(&self.limits);
        let aborted = budget.persist(0, || async {
            Ok(self.store.abort_multipart(at, id).await?)
        });
        match aborted.await {
            Err(fault) if !fault.is_missing() => {
                tracing::warn!(%fault, object = %at, "the parts of an upload could not be dropped");
            }
            _ => {}
        }
    }
}

/// Entity tag, version and size.
type ObjectTag = (Option<String>, Option<String>, u64);
