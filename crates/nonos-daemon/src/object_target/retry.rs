//! Which failures are tried again, how often, and for how long.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// What an operation on an object store may take: `Limits::default()`, of which fields are then set.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// The bytes of a part; what is not larger goes in one request. By default 8 MiB; at least 5 MiB, which S3
    /// demands and nothing here checks.
    pub part_bytes: u64,
    /// How many parts are sent at once, at least 1, by default 3. Memory is this times `part_bytes`.
    pub parts_at_once: usize,
    /// How often a request is tried that brings nothing forward; by default 6 times.
    pub attempts: u32,
    /// The pause before the second attempt; each later one is twice as long.
    pub pause: Duration,
    /// The longest pause.
    pub max_pause: Duration,
    /// How long a request may take, or be silent, beside the time for its bytes at the slowest rate.
    pub request: Duration,
    /// How long an operation may take, likewise; by default 15 minutes.
    pub operation: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            part_bytes: 8 << 20,
            parts_at_once: 3,
            attempts: 6,
            pause: Duration::from_millis(200),
            max_pause: Duration::from_secs(15),
            request: Duration::from_secs(30),
            operation: Duration::from_mins(15),
        }
    }
}

/// A link slower than this is taken for one that is broken.
const SLOWEST_BYTES_PER_SEC: u64 = 64 << 10;

fn time_for(bytes: u64) -> Duration {
    Duration::from_secs(bytes / SLOWEST_BYTES_PER_SEC)
}

/// Why an object store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Store(#[from] object_store::Error),
    #[error("the object store did not answer in time")]
    Late,
    #[error("the object ended after {taken} of {size} bytes")]
    Short { taken: u64, size: u64 },
    #[error("the object was replaced while it was read")]
    Replaced,
    #[error("what arrived is not what was sent")]
    Differs,
    #[error(transparent)]
    File(#[from] io::Error),
    #[error("another part of the upload failed")]
    Abandoned,
    #[error("the thread that talks to the object store ended")]
    Ended,
}

impl Fault {
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Store(object_store::Error::NotFound { .. }))
    }

    /// Whether the same request can succeed later. The client does not tell a connection that broke
    /// from a refusal without a name of its own, so that one is tried again in vain.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Store(error) => matches!(error, object_store::Error::Generic { .. }),
            Self::Late | Self::Short { .. } => true,
            Self::Replaced | Self::Differs | Self::File(_) | Self::Abandoned | Self::Ended => false,
        }
    }
}

/// The time that an operation has left.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    limits: Limits,
    ends: Instant,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            ends: Instant::now() + limits.operation,
        }
    }

    /// More time, for an operation that turned out to move this much.
    pub(super) fn grant(&mut self, bytes: u64) {
        self.ends += time_for(bytes);
    }

    /// Limits one request, or the wait for the next piece of an answer.
    pub(super) async fn limit<T>(
        &self,
        bytes: u64,
        request: impl Future<Output = T>,
    ) -> Result<T, Fault> {
        let ends = Instant::now() + self.limits.request + time_for(bytes);
        timeout_at(ends.min(self.ends), request)
            .await
            .map_err(|_elapsed| Fault::Late)
    }

    /// Waits before the next attempt, after this many failed.
    ///
    /// # Errors
    ///
    /// The fault, if there is no further attempt.
    pub(super) async fn pause(&self, failed: u32, fault: Fault) -> Result<(), Fault> {
        let doubled = 2_u32.saturating_pow(failed.saturating_sub(1));
        let pause = self.limits.pause.saturating_mul(doubled);
        let pause = pause.min(self.limits.max_pause);
        if !fault.may_pass()
            || failed >= self.limits.attempts
            || Instant::now() + pause >= self.ends
        {
            return Err(fault);
        }
        tracing::info!(%fault, ?pause, "a request to the object store failed and is tried again");
        sleep(pause).await;
        Ok(())
    }

    /// Tries a request that moves this many bytes until it succeeds or cannot.
    pub(super) async fn persist<T, R>(
        &self,
        bytes: u64,
        mut request: impl FnMut() -> R,
    ) -> Result<T, Fault>
    where
        R: Future<Output = Result<T, Fault>>,
    {
        let mut failed = 0;
        loop {
            let fault = match self.limit(bytes, request()).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(fault)) | Err(fault) => fault,
            };
            failed += 1;
            self.pause(failed, fault).await?;
        }
    }
}
