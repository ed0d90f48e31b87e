//! Ends the daemon once its database takes no writes: opening it again recovers.

use std::sync::Arc;
use std::time::Duration;

use nonos_storage::{Health, NodeStorage};
use tokio::time::sleep;

use crate::error::CliError;

/// How often it is looked at: who asks `/readyz` meanwhile hears of it.
const EVERY: Duration = Duration::from_secs(1);
/// So long an index that failed may be made anew in the background.
const REBUILDING: Duration = Duration::from_mins(5);

/// Waits until there are no writes any more, and returns why.
pub(crate) async fn until_it_fails(storage: Arc<NodeStorage>) -> CliError {
    let mut refusing = Duration::ZERO;
    loop {
        sleep(EVERY).await;
        if storage.accepts_writes() {
            refusing = Duration::ZERO;
            continue;
        }
        refusing += EVERY;
        let is_for_good = matches!(storage.health(), Health::Poisoned { .. });
        if is_for_good || refusing > REBUILDING {
            let reason = match storage.health() {
                Health::Poisoned { reason } | Health::Degraded { reason } => reason,
                _ => String::new(),
            };
            return CliError::NoWrites { reason };
        }
    }
}
