//! What systemd is told, where it started the daemon: that it is ready, that it stops, and that opening goes on.

use nonos_storage::Progress;
use sd_notify::NotifyState;

/// How much longer opening may take whenever it is told that it goes on.
const MORE_USEC: u32 = 60_000_000;

pub(super) fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}

pub(crate) fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("working")]);
}

pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

pub(crate) fn opening(progress: &Progress) {
    let status = format!(
        "{}: {} of {}",
        progress.operation, progress.done, progress.total
    );
    tell(&[
        NotifyState::ExtendTimeoutUsec(MORE_USEC),
        NotifyState::Status(&status),
    ]);
}
