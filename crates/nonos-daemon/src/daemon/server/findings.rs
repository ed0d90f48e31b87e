//! What somebody has to do something about, with the command that does it.

use nonos_storage::NodeStorage;

use super::status::Open;
use crate::daemon::node::Done;
use crate::error::CliError;
use crate::output::{Event, Finding};

/// Less free space than this is told, in bytes.
const LOW_SPACE: u64 = 256 * 1024 * 1024;
/// Backups are old after so many seconds: a week, or two turns of the daemon's.
const OLD_BACKUP: u64 = 7 * A_DAY;
const A_DAY: u64 = 24 * 3600;

pub(super) fn of(
    storage: &NodeStorage,
    open: &Open,
    done: &Done,
) -> Result<Vec<Finding>, CliError> {
    let mut found = Vec::new();
    database(storage, open, done, &mut found)?;
    backups(open, done, &mut found);
    lateness(storage, open, done, &mut found)?;
    found.extend(done.findings.iter().cloned());
    Ok(found)
}

fn database(
    storage: &NodeStorage,
    open: &Open,
    done: &Done,
    found: &mut Vec<Finding>,
) -> Result<(), CliError> {
    if let Some(reason) = &open.reason {
        let fix = "restart the daemon: opening recovers";
        found.push(if open.health == "poisoned" {
            Finding::error("HEALTH", reason.clone(), fix)
        } else {
            Finding::warning("HEALTH", reason.clone(), fix)
        });
    }
    let damage = done.damage.iter();
    found
        .extend(damage.map(|what| Finding::warning("DAMAGE", what.clone(), "nonos verify --deep")));
    found.extend(low_space(open.free_bytes));
    secrets(storage, found)?;
    if open.scrub_errors > 0 && done.findings.is_empty() {
        let detail = format!("the last scrub found {} errors", open.scrub_errors);
        found.push(Finding::error("SCRUB", detail, "nonos verify --deep"));
    }
    Ok(())
}

/// Whether there is little room left.
pub(crate) fn low_space(free_bytes: u64) -> Option<Finding> {
    (free_bytes < LOW_SPACE).then(|| {
        Finding::error(
            "DISK_LOW",
            format!("{free_bytes} bytes are free where the database is"),
            "free disk space, or `nonos prune --tree metrics --older-than 90d --compact`",
        )
    })
}

/// Whether secrets lie open somewhere.
pub(crate) fn secrets(storage: &NodeStorage, found: &mut Vec<Finding>) -> Result<(), CliError> {
    let plain = storage.plain_secrets()?;
    if plain > 0 {
        found.push(Finding::warning(
            "PLAIN_SECRETS",
            format!("{plain} secrets are not sealed"),
            "give the node its key file: the next start seals them",
        ));
    }
    #[cfg(feature = "encrypted-storage")]
    if storage.secrets_status()?.purge_needed {
        let detail = "files may hold what was not sealed, or was sealed anew since".to_owned();
        let fix = "nonos compact --purge";
        found.push(Finding::warning("PURGE_NEEDED", detail, fix));
    }
    Ok(())
}

fn backups(open: &Open, done: &Done, found: &mut Vec<Finding>) {
    let create = "nonos backup create";
    let old = match done.periods.backup {
        0 => OLD_BACKUP,
        every => every.saturating_mul(2).max(600),
    };
    match &open.backup {
        None => {
            let detail = "no backup is known".to_owned();
            found.push(Finding::warning("BACKUP_MISSING", detail, create));
        }
        Some(event) if event.age_secs > old && open.backup_commit < Some(open.last_commit) => {
            let detail = format!("the newest backup is of {}", event.at);
            found.push(Finding::warning("BACKUP_OLD", detail, create));
        }
        Some(_) => {}
    }
    if let Some(reason) = &done.backup_failed {
        found.push(Finding::error("BACKUP_FAILED", reason.clone(), create));
    }
    if let Some(reason) = &done.drill_failed {
        let fix = "nonos backup drill";
        found.push(Finding::error("DRILL_FAILED", reason.clone(), fix));
    }
}

/// What was not done for two periods and a day.
fn lateness(
    storage: &NodeStorage,
    open: &Open,
    done: &Done,
    found: &mut Vec<Finding>,
) -> Result<(), CliError> {
    let made = Event::new(storage.schema_info()?.created_at).age_secs;
    let is_late = |period: u64, last: Option<&Event>| {
        let age = last.map_or(made, |event| event.age_secs);
        period > 0 && age > period.saturating_mul(2).saturating_add(A_DAY)
    };
    let since = |last: Option<&Event>| match last {
        Some(event) => format!("since {}", event.at),
        None => "so far".to_owned(),
    };
    let (drill, scrub) = (open.drill.as_ref(), open.scrub.as_ref());
    if is_late(done.periods.drill, drill) {
        let detail = format!("no backup was restored and verified {}", since(drill));
        found.push(Finding::warning("DRILL_OLD", detail, "nonos backup drill"));
    }
    if is_late(done.periods.scrub, scrub) {
        let detail = format!("the records were not all read {}", since(scrub));
        found.push(Finding::warning("SCRUB_OLD", detail, "nonos verify --deep"));
    }
    Ok(())
}
