//! The progress of long work on standard error: a bar on a terminal, or an event a line. An interrupt
//! cancels it between two commits.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use nonos_storage::{OpenOptions, Progress, StorageConfig};
use serde::Serialize;

use crate::args::{Args, Shown};
use crate::daemon::shutdown::Stops;
use crate::error::CliError;
use crate::exit;

#[derive(Debug, Serialize)]
struct Event<'a> {
    #[serde(rename = "event")]
    kind: &'static str,
    op: &'a str,
    step: Option<String>,
    tree: Option<&'a str>,
    done: u64,
    total: u64,
    bytes: u64,
    rate_per_s: u64,
    eta_s: Option<u64>,
}

/// How to open a storage with what the command line says of it.
pub(crate) fn opening(args: &Args, config: StorageConfig) -> OpenOptions {
    let options = OpenOptions::new(config).lock_timeout(args.lock_timeout);
    match shown(args) {
        Some(show) => options.on_progress(move |progress| {
            show(progress);
            ControlFlow::Continue(())
        }),
        None => options,
    }
}

/// The same, for the daemon: `watch` is told as well, and ends the opening by breaking off.
pub(crate) fn watched(
    args: &Args,
    config: StorageConfig,
    watch: impl Fn(&Progress) -> ControlFlow<()> + Send + Sync + 'static,
) -> OpenOptions {
    let show = shown(args);
    let options = OpenOptions::new(config).lock_timeout(args.lock_timeout);
    options.on_progress(move |progress| {
        if let Some(show) = &show {
            show(progress);
        }
        watch(progress)
    })
}

/// The same; the first SIGINT or SIGTERM cancels the work from now on, for as long as the program runs, and the second ends
/// the program at once, as what waits for another machine does not look.
pub(crate) fn cancellable(args: &Args, config: StorageConfig) -> Result<OpenOptions, CliError> {
    let options = OpenOptions::new(config).lock_timeout(args.lock_timeout);
    let cancelled = cancelled_by_signals(args)?;
    let show = shown(args);
    Ok(options.on_progress(move |progress| {
        if let Some(show) = &show {
            show(progress);
        }
        if cancelled.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }))
}

/// What signals cancel, once one asked for it.
static CANCELLED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

fn cancelled_by_signals(args: &Args) -> Result<Arc<AtomicBool>, CliError> {
    if let Some(cancelled) = CANCELLED.get() {
        return Ok(Arc::clone(cancelled));
    }
    let setup = |source| CliError::Setup {
        what: "signal handling",
        source,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(setup)?;
    let mut stops = runtime.block_on(async { Stops::listen() })?;
    let cancelled = Arc::new(AtomicBool::new(false));
    let is_told = !args.quiet && !matches!(args.progress, Shown::Json);
    let flag = Arc::clone(&cancelled);
    let waiting = std::thread::Builder::new().name("signals".into());
    let thread = waiting.spawn(move || {
        let signal = runtime.block_on(stops.next());
        flag.store(true, Ordering::Relaxed);
        if is_told {
            let line = format!("{signal}: ending after the current step; once more ends at once\n");
            // There is nobody to tell that standard error does not take it.
            let _ = io::stderr().write_all(line.as_bytes());
        }
        runtime.block_on(stops.next());
        process::exit(exit::INTERRUPTED.into());
    });
    thread.map_err(setup)?;
    Ok(Arc::clone(CANCELLED.get_or_init(|| cancelled)))
}

type Show = Box<dyn Fn(&Progress) + Send + Sync>;

fn shown(args: &Args) -> Option<Show> {
    match args.progress {
        Shown::Json => Some(Box::new(event)),
        Shown::Auto if io::stderr().is_terminal() && !args.quiet => Some(bar()),
        Shown::Auto | Shown::None => None,
    }
}

fn event(progress: &Progress) {
    let event = Event {
        kind: "progress",
        op: progress.operation,
        step: progress.step.map(|(from, to)| format!("{from}->{to}")),
        tree: progress.tree,
        done: progress.done,
        total: progress.total,
        bytes: progress.bytes,
        rate_per_s: progress.rate_per_s(),
        eta_s: progress.remaining().map(|left| left.as_secs()),
    };
    let line = serde_json::to_string(&event).unwrap_or_default() + "\n";
    // There is nobody to tell that standard error does not take it.
    let _ = io::stderr().write_all(line.as_bytes());
}

fn bar() -> Show {
    let bar: Mutex<Option<(&'static str, ProgressBar)>> = Mutex::new(None);
    Box::new(move |progress| {
        let mut current = bar.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |(operation, _): &(&str, ProgressBar)| *operation == progress.operation;
        if !current.as_ref().is_some_and(is_same) {
            if let Some((_, done)) = current.take() {
                done.finish_and_clear();
            }
            *current = Some((progress.operation, new_bar(progress)));
        }
        if let Some((_, bar)) = &*current {
            bar.set_length(progress.total.max(progress.done));
            bar.set_position(progress.done);
            bar.set_message(progress.tree.unwrap_or_default());
        }
    })
}

fn new_bar(progress: &Progress) -> ProgressBar {
    let bar = ProgressBar::new(progress.total);
    let template = if progress.total > 0 {
        "{prefix} {wide_bar} {human_pos} of {human_len}, {rate}, {eta} left {msg}"
    } else {
        "{prefix} {spinner} {human_pos} {msg}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        let rate = |state: &ProgressState, text: &mut dyn fmt::Write| {
            let _written = write!(text, "{:.0}/s", state.per_sec());
        };
        bar.set_style(style.with_key("rate", rate));
    }
    let step = progress.step.map(|(from, to)| format!(" {from} to {to}"));
    bar.set_prefix(format!(
        "{}{}",
        progress.operation,
        step.unwrap_or_default()
    ));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Shows how far changing the keys is, to a program; for a person it is too short.
#[cfg(feature = "encrypted-storage")]
pub(crate) fn rekeying(args: &Args) -> impl Fn(nonos_storage::RekeyProgress) + use<> {
    let is_json = args.progress == Shown::Json;
    move |progress| {
        if is_json {
            let (done, total) = (progress.done, progress.total);
            let line = format!(
                "{{\"event\":\"progress\",\"op\":\"rekey\",\"done\":{done},\"total\":{total}}}\n"
            );
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }
}
