//! Why a verb failed.

use std::io;
use std::path::PathBuf;

use nonos_storage::{ConfigError, ErrorCode, NonosError};

use crate::settings::SettingsError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Storage(NonosError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("there is no database at {}", path.display())]
    NoDatabase { path: PathBuf },
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot set up {what}")]
    Setup {
        what: &'static str,
        source: io::Error,
    },
    #[error("{what} was not confirmed")]
    NotConfirmed { what: String },
    /// Of a dry run with `--exit-code`: its result was written.
    #[error("there is something to do")]
    WorkToDo,
    #[error("this host cannot be sampled")]
    Host { source: sysinfo::Error },
    #[error("the daemon's task ended early")]
    Task { source: tokio::task::JoinError },
    #[error("cannot write the result")]
    Output { source: io::Error },
    /// The error was already written to standard output, as the result of a `-o json`.
    #[error("{source}")]
    Reported { source: Box<CliError> },
}

impl From<NonosError> for CliError {
    fn from(error: NonosError) -> Self {
        match error {
            NonosError::Config(ConfigError::NoHome { path }) => {
                SettingsError::NoHome { path }.into()
            }
            error => Self::Storage(error),
        }
    }
}

impl CliError {
    /// The stable name of what happened.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Storage(NonosError::Storage(error)) => error.code().name(),
            Self::Storage(NonosError::Config(_)) | Self::Settings(_) => "CONFIG",
            Self::Storage(_) => "ENCRYPTION",
            Self::NoDatabase { .. } => ErrorCode::NotFound.name(),
            Self::Io { .. } | Self::Setup { .. } | Self::Output { .. } => ErrorCode::Io.name(),
            Self::Task { .. } | Self::Host { .. } => "UNEXPECTED",
            Self::NotConfirmed { .. } => "NOT_CONFIRMED",
            Self::WorkToDo => "WORK_TO_DO",
            Self::Reported { source } => source.code(),
        }
    }

    /// What the operator can do about it.
    pub(crate) fn remedy(&self) -> Option<&str> {
        match self {
            Self::Storage(NonosError::Storage(error)) => error.remedy(),
            Self::Settings(error) => error.remedy(),
            Self::NoDatabase { .. } => {
                Some("run `nonos init`, or name the node's directory with --data-dir")
            }
            Self::Reported { source } => source.remedy(),
            Self::NotConfirmed { .. } => Some("answer yes, or give --yes"),
            _ => None,
        }
    }
}
