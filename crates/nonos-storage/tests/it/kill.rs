//! Killed while writing: nothing that returned is lost, and commits are whole.

use crate::TestResult;
use crate::child::{Running, rounds};
use crate::contents::{sample, summary};
use crate::on_disk::OnDisk;

const KILLS: u64 = 300;

#[test]
fn nothing_that_returned_is_lost_by_kill_9() -> TestResult {
    let disk = OnDisk::new()?;
    for kill in 0..KILLS {
        let mut child = Running::start("mix", &disk.config.path)?;
        let mut last: u64 = 0;
        for _ in 0..=(kill * 37 % 23) {
            last = child.hear()?.parse()?;
        }
        for said in child.kill()? {
            last = said.parse()?;
        }
        let storage = disk.open()?;
        let report = storage.opening_report();
        assert!(report.damage.is_empty(), "kill {kill}: {report:?}");
        assert_eq!(report.healed_records, 0, "kill {kill}: {report:?}");
        let sizes = storage.tree_sizes()?;
        let rounds_found = u64::try_from(sizes.metrics)?;
        assert!(
            rounds_found > last,
            "kill {kill}: {last} returned, {rounds_found} rounds are there"
        );
        assert_eq!(
            sizes.epochs, sizes.metrics,
            "kill {kill}: a round is in part there"
        );
        let newest = rounds_found - 1;
        assert_eq!(
            storage.load_peer("last")?,
            Some(rounds(newest)),
            "kill {kill}"
        );
        let epochs = storage.load_epoch_range(
            nonos_storage::EpochNumber(0),
            nonos_storage::EpochNumber(u64::MAX),
        )?;
        assert!(
            epochs.into_iter().eq((0..rounds_found).map(summary)),
            "kill {kill}"
        );
        let metrics = storage.load_metrics_range(0, i64::MAX)?;
        assert!(
            metrics
                .into_iter()
                .map(|(_, m)| m)
                .eq((0..rounds_found).map(sample)),
            "kill {kill}"
        );
        assert_eq!(
            u64::try_from(sizes.claims)?,
            rounds_found.div_ceil(7),
            "kill {kill}"
        );
        assert_eq!(sizes.claims, sizes.audit_log, "kill {kill}");
        // Every fourth time it is closed, so that clean and unclean openings alternate.
        if kill % 4 == 0 {
            storage.close()?;
        } else {
            drop(storage);
        }
    }
    Ok(())
}
