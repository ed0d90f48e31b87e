//! What signals ask for: to stop, and to read the configuration again.

use tokio::signal::unix::{Signal, SignalKind, signal as listen};

use crate::error::CliError;

/// Listens from now on; the future is ready at the first SIGTERM or SIGINT, with its name.
pub(crate) fn signal() -> Result<impl Future<Output = &'static str>, CliError> {
    let listen = |kind| {
        listen(kind).map_err(|source| CliError::Setup {
            what: "signal handling",
            source,
        })
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// Listens from now on for SIGHUP, which systemd and operators send to have the configuration read again.
pub(crate) fn hangups() -> Result<Signal, CliError> {
    listen(SignalKind::hangup()).map_err(|source| CliError::Setup {
        what: "signal handling",
        source,
    })
}
