//! What signals ask for: to stop, and to read the configuration again.

use tokio::signal::unix::{Signal, SignalKind, signal as listen};

use crate::error::CliError;

/// SIGTERM and SIGINT, which end nothing by themselves from now on.
#[derive(Debug)]
pub(crate) struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

impl Stops {
    pub(crate) fn listen() -> Result<Self, CliError> {
        Ok(Self {
            terminate: listener(SignalKind::terminate())?,
            interrupt: listener(SignalKind::interrupt())?,
        })
    }

    /// The name of the next one.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Listens from now on for SIGHUP, which systemd and operators send to have the configuration read again.
pub(crate) fn hangups() -> Result<Signal, CliError> {
    listener(SignalKind::hangup())
}

fn listener(kind: SignalKind) -> Result<Signal, CliError> {
    listen(kind).map_err(|source| CliError::Setup {
        what: "signal handling",
        source,
    })
}
