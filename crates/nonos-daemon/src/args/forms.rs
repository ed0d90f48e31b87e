//! In which form something is said.

use std::io::IsTerminal as _;

use clap::ValueEnum;

/// A form to export in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// The backup file of the first implementation
    FirstImplementation,
    /// A JSON object a line: tree, key, value; without secrets
    Ndjson,
    /// A table of one tree, with a header line
    Csv,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shown {
    /// A bar on a terminal, else nothing
    #[default]
    Auto,
    /// Nothing
    None,
    /// One JSON object a line
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For a person
    #[default]
    Table,
    /// One JSON object, indented
    Json,
    /// One JSON object on one line
    Ndjson,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    /// Whether standard error is coloured.
    pub(crate) fn is_on(self) -> bool {
        let is_wanted = || std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        match self {
            Self::Auto => std::io::stderr().is_terminal() && is_wanted(),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For a person
    #[default]
    Text,
    /// One JSON object a line
    Json,
}
