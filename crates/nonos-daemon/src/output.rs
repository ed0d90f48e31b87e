//! Results to standard output, diagnostics to standard error.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::args::{Args, Color, Output};
use crate::cmd::migrate::confirm;
use crate::error::CliError;
use crate::exit;

/// What every JSON result has around its data.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Envelope<'a, T> {
    schema: &'a str,
    ok: bool,
    exit_code: u8,
    started_at: String,
    duration_ms: u128,
    data: Option<T>,
    findings: &'a [Finding],
}

/// Something that is not as it should be: why a verb failed, or what it found.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Finding {
    pub(crate) code: String,
    pub(crate) severity: &'static str,
    pub(crate) tree: Option<&'static str>,
    pub(crate) key_hex: Option<String>,
    pub(crate) detail: String,
    /// The command that helps, or what else does.
    pub(crate) fix: Option<String>,
}

impl Finding {
    pub(crate) fn error(code: &str, detail: String, fix: &str) -> Self {
        Self {
            code: code.to_owned(),
            severity: "error",
            tree: None,
            key_hex: None,
            detail,
            fix: Some(fix.to_owned()),
        }
    }

    pub(crate) fn warning(code: &str, detail: String, fix: &str) -> Self {
        Self {
            severity: "warning",
            ..Self::error(code, detail, fix)
        }
    }

    pub(crate) fn of(error: &CliError) -> Self {
        Self {
            code: error.code().to_owned(),
            severity: "error",
            tree: None,
            key_hex: None,
            detail: chain(error),
            fix: Some(error.remedy().to_owned()),
        }
    }
}

/// A verb's result on its way to standard output.
#[derive(Debug)]
pub(crate) struct Report {
    schema: &'static str,
    output: Output,
    started_at: String,
    started: Instant,
}

impl Report {
    /// Starts the clock of the verb whose JSON has this schema.
    pub(crate) fn start(schema: &'static str, output: Output) -> Self {
        Self {
            schema,
            output,
            started_at: rfc3339(OffsetDateTime::now_utc().unix_timestamp()),
            started: Instant::now(),
        }
    }

    /// Writes what the verb did, as asked for; for a person by `table`.
    pub(crate) fn finish<T: Serialize>(
        self,
        result: Result<T, CliError>,
        table: impl FnOnce(&T) -> String,
    ) -> Result<(), CliError> {
        self.judged(result, |_| (None, Vec::new()), table)
    }

    /// [`finish`](Self::finish) of what may be done and be no success all the same: `judge` says so, and what was
    /// found.
    pub(crate) fn judged<T: Serialize>(
        self,
        result: Result<T, CliError>,
        judge: impl FnOnce(&T) -> (Option<CliError>, Vec<Finding>),
        table: impl FnOnce(&T) -> String,
    ) -> Result<(), CliError> {
        let (data, error, mut findings) = match result {
            Ok(data) => {
                let (error, findings) = judge(&data);
                (Some(data), error, findings)
            }
            Err(error) => (None, Some(error), Vec::new()),
        };
        if self.output == Output::Table {
            if let Some(data) = &data {
                let text = table(data);
                if !text.is_empty() {
                    print(&text)?;
                }
            }
            return error.map_or(Ok(()), Err);
        }
        findings.extend(error.iter().filter(|_| data.is_none()).map(Finding::of));
        self.envelope(data, error.as_ref(), &findings)?;
        match error {
            None => Ok(()),
            Some(error) => {
                let source = Box::new(error);
                Err(CliError::Reported { source })
            }
        }
    }

    fn envelope<T: Serialize>(
        &self,
        data: Option<T>,
        error: Option<&CliError>,
        findings: &[Finding],
    ) -> Result<(), CliError> {
        let envelope = Envelope {
            schema: self.schema,
            ok: error.is_none(),
            exit_code: error.map_or(0, exit::code),
            started_at: self.started_at.clone(),
            duration_ms: self.started.elapsed().as_millis(),
            data,
            findings,
        };
        let text = match self.output {
            Output::Json => serde_json::to_string_pretty(&envelope),
            _ => serde_json::to_string(&envelope),
        };
        let text = text.map_err(|source| CliError::Output {
            source: source.into(),
        })?;
        print(&text)
    }
}

/// Tells the operator what happened, why, and what helps.
pub(crate) fn diagnose(error: &CliError, color: Color) {
    if matches!(error, CliError::Reported { .. }) {
        return;
    }
    let (error_word, help_word) = if color.is_on() {
        ("\x1b[1;31merror\x1b[0m", "\x1b[1;36mhelp\x1b[0m")
    } else {
        ("error", "help")
    };
    let mut text = format!("{error_word}: {}", chain(error));
    push_line(&mut text, format_args!("{help_word}: {}\n", error.remedy()));
    // There is nobody left to tell that standard error does not take it.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The error and its causes, without those that say the same.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Whether the reader of standard output has seen enough: what shows something again and again ends.
pub(crate) fn nobody_reads() -> bool {
    NOBODY_READS.load(Ordering::Relaxed)
}

static NOBODY_READS: AtomicBool = AtomicBool::new(false);

pub(crate) fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    match written {
        // The reader has seen enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
            NOBODY_READS.store(true, Ordering::Relaxed);
            Ok(())
        }
        written => written.map_err(|source| CliError::Output { source }),
    }
}

/// Unix seconds as RFC 3339 UTC; the number itself where there is no such date.
pub(crate) fn rfc3339(unix_seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(unix_seconds)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| unix_seconds.to_string())
}

/// Adds a line to a text.
pub(crate) fn push_line(text: &mut String, line: fmt::Arguments<'_>) {
    // A string takes everything.
    let _written = write!(text, "\n{line}");
}

/// Bytes as MiB with one decimal.
pub(crate) fn mib(bytes: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    let tenths = bytes % MIB * 10 / MIB;
    format!("{}.{tenths} MiB", bytes / MIB)
}

/// Unix milliseconds as RFC 3339 UTC.
pub(crate) fn rfc3339_ms(unix_ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| unix_ms.to_string())
}

/// Something that was done, and how long ago.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Event {
    pub(crate) at: String,
    pub(crate) age_secs: u64,
}

impl Event {
    pub(crate) fn new(at: i64) -> Self {
        Self {
            at: rfc3339(at),
            age_secs: u64::try_from(
                OffsetDateTime::now_utc()
                    .unix_timestamp()
                    .saturating_sub(at),
            )
            .unwrap_or(0),
        }
    }
}

/// Writes a file for its owner alone, whole or not at all; replacing one asks.
pub(crate) fn write_new_file(args: &Args, path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    if path.exists() {
        confirm(args, &format!("replacing {}", path.display()))?;
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    });
    written.map_err(|source| CliError::Io {
        action: "write",
        path: path.to_owned(),
        source,
    })
}
