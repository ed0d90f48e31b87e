//! Runs a test under many schedules of its threads: random ones, and those of probabilistic concurrency testing (PCT).
//! Only for `cargo xtask shuttle`, which sets the variables.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, thread};

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, Runner};

/// How many schedules of each kind.
const ITERATIONS: usize = 2000;
/// How long each kind may take, in seconds.
const SECONDS: usize = 120;
/// Preemptions of PCT that a fault is looked for with.
const DEPTH: usize = 3;
/// Of each thread. A commit is encoded, hashed and compressed on it.
const STACK: usize = 1 << 20;

/// Runs `test` under the schedules, each in an execution of its own; one that fails is written to a file.
///
/// # Panics
///
/// Where `test` does, and where its threads wait for each other.
pub fn check(test: impl Fn() + Send + Sync + 'static) {
    let test: Arc<dyn Fn() + Send + Sync> = Arc::new(test);
    if let Some(schedule) = env::var_os("NONOS_SHUTTLE_REPLAY") {
        if let Ok(scheduler) = ReplayScheduler::new_from_file(PathBuf::from(schedule)) {
            run("replay", scheduler, &test);
        }
        return;
    }
    let iterations = number("NONOS_SHUTTLE_ITERATIONS", ITERATIONS);
    run("random", RandomScheduler::new(iterations), &test);
    run("PCT", PctScheduler::new(DEPTH, iterations), &test);
}

fn run(
    kind: &'static str,
    scheduler: impl Scheduler + 'static,
    test: &Arc<dyn Fn() + Send + Sync>,
) {
    let mut config = Config::new();
    config.stack_size = STACK;
    let seconds = number("NONOS_SHUTTLE_SECONDS", SECONDS);
    config.max_time = u64::try_from(seconds).ok().map(Duration::from_secs);
    if let Some(directory) = env::var_os("NONOS_SHUTTLE_FAILURES") {
        config.failure_persistence = FailurePersistence::File(Some(directory.into()));
    }
    let count = Count {
        kind,
        begun: Arc::default(),
    };
    let (test, begun) = (Arc::clone(test), Arc::clone(&count.begun));
    Runner::new(scheduler, config).run(move || {
        begun.fetch_add(1, Ordering::Relaxed);
        test();
    });
}

/// Says how many schedules there were, or which one failed.
struct Count {
    kind: &'static str,
    begun: Arc<AtomicUsize>,
}

impl Drop for Count {
    #[expect(clippy::print_stderr, reason = "a test's figures, for whoever runs it")]
    fn drop(&mut self) {
        let thread = thread::current();
        let begun = self.begun.load(Ordering::Relaxed);
        let (name, kind) = (thread.name().unwrap_or_default(), self.kind);
        if thread::panicking() {
            eprintln!("{name}: {kind}: schedule {begun} FAILED");
        } else {
            eprintln!("{name}: {kind}: {begun} schedules");
        }
    }
}

fn number(variable: &str, otherwise: usize) -> usize {
    let given = env::var(variable).ok();
    given
        .and_then(|given| given.parse().ok())
        .unwrap_or(otherwise)
}
