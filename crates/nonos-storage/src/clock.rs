//! The one wall clock. Everything below the facade takes the time as an argument.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

thread_local! {
    /// What this thread's clock says, since the start of 1970, where a test set it.
    static SET: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// Sets the clock of this thread to so many milliseconds since 1970, for a test whose clock is not the machine's.
pub fn set_clock(ms: u64) {
    SET.set(Some(Duration::from_millis(ms)));
}

/// Unix seconds. A clock before 1970 counts as 1970.
pub(crate) fn now() -> i64 {
    i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX)
}

/// Unix milliseconds. A clock before 1970 counts as 1970.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(since_1970().as_millis()).unwrap_or(i64::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the place that reads the clock"
)]
fn since_1970() -> Duration {
    if let Some(set) = SET.get() {
        return set;
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or(Duration::ZERO)
}
