//! A chain of several steps, which this release does not have yet: 1 to 2, 2 to 3, 3 to 4.

use std::ops::ControlFlow;
use std::sync::Arc;

use storage_core::history::SimulatedDisk;
use storage_core::{Encoding, ErrorCode, Observer, TreeId, open_frame, seal_frame};
use storage_journal::disk::Crash;
use storage_schema::{Chain, Conversion, MigrateOptions, Step, Stored};
use storage_testkit::first_home::home;

use crate::TestResult;
use crate::old::{State, dump, expect_chained, how, open};

/// Secrets say which versions they came through.
#[derive(Debug)]
struct Noting(u32);

impl Step for Noting {
    fn starts_at(&self) -> u32 {
        self.0
    }

    fn ends_at(&self) -> u32 {
        self.0 + 1
    }

    fn trees(&self) -> &[TreeId] {
        &[TreeId::Secrets, TreeId::Claims]
    }

    fn convert(&self, record: Stored<'_>, _compress: bool) -> Conversion {
        let Stored {
            tree, key, value, ..
        } = record;
        let Ok(frame) = open_frame(tree, key, value) else {
            return Conversion::Quarantine("no frame".to_owned());
        };
        if tree == TreeId::Claims {
            return if self.0 == 3 {
                Conversion::Delete
            } else {
                Conversion::Keep
            };
        }
        let mut body = frame.body;
        body.extend(format!(", {} to {}", self.0, self.0 + 1).bytes());
        match seal_frame(tree, key, Encoding::Raw, 2, &body, false) {
            Ok(value) => Conversion::Put(value),
            Err(error) => Conversion::Quarantine(error.to_string()),
        }
    }

    fn check(&self, record: Stored<'_>) -> Result<(), String> {
        let frame = open_frame(record.tree, record.key, record.value);
        let frame = frame.map_err(|error| error.to_string())?;
        let noted = format!(", {} to {}", self.0, self.0 + 1);
        let is_noted = frame.body.ends_with(noted.as_bytes());
        if record.tree == TreeId::Secrets && !is_noted {
            return Err("it is not noted".to_owned());
        }
        Ok(())
    }
}

/// The chain of this release with two steps more.
fn longer() -> MigrateOptions {
    let mut how = how();
    how.chain = how.chain.and(Arc::new(Noting(2))).and(Arc::new(Noting(3)));
    how.batch_records = 1;
    how
}

fn secret(state: &State) -> String {
    let key = (TreeId::Secrets, b"wallet".to_vec());
    let frame = open_frame(TreeId::Secrets, &key.1, &state[&key]).expect("a frame");
    String::from_utf8(frame.body).expect("text")
}

#[test]
fn several_steps_are_taken_in_order_and_recorded() -> TestResult {
    let (disk, home) = (SimulatedDisk::default(), home(3));
    let opened = open(&disk, &home, Some(&longer()))?;
    let state = dump(&opened.db.view())?;
    assert_eq!(secret(&state), "of an old wallet, 2 to 3, 3 to 4");
    assert!(
        !state.keys().any(|(tree, _)| *tree == TreeId::Claims),
        "claims are deleted by 3 to 4"
    );
    let steps: Vec<_> = opened
        .climbed
        .iter()
        .map(|c| (c.from_version, c.to_version))
        .collect();
    assert_eq!(steps, [(1, 2), (2, 3), (3, 4)]);
    let history = opened.info.migrations_applied.iter();
    assert!(history.map(|r| (r.from_version, r.to_version)).eq(steps));
    assert_eq!(opened.info.version, 4);
    opened.db.shutdown()?;
    drop(opened);
    // A program that knows schema 2 only is kept out, before the index is opened.
    let refused = open(&disk, &home, Some(&how())).expect_err("it is newer");
    assert_eq!(refused.code(), ErrorCode::SchemaTooNew);
    let again = open(&disk, &home, Some(&longer()))?;
    assert!(again.climbed.is_empty());
    assert_eq!(dump(&again.db.view())?, state);
    Ok(())
}

#[test]
fn it_goes_on_between_and_within_steps() -> TestResult {
    let expected = dump(
        &open(&SimulatedDisk::default(), &home(3), Some(&longer()))?
            .db
            .view(),
    )?;
    let disk = SimulatedDisk::default();
    let home = home(3).watching(&disk);
    open(&disk, &home, Some(&longer()))?;
    for prefix in (0..disk.trace_len()).step_by(3) {
        let index = home.at(prefix).crash(|number| number % 2 == 0);
        let disk = disk.crash(prefix, Crash::Drop);
        let opened = open(&disk, &index, Some(&longer())).map_err(|e| format!("{prefix}: {e}"))?;
        assert_eq!(dump(&opened.db.view())?, expected, "after {prefix}");
        expect_chained(&opened.db, &format!("after {prefix}"))?;
        assert_eq!(opened.info.version, 4, "after {prefix}");
    }
    Ok(())
}

#[test]
fn an_unknown_version_has_no_step() {
    let (disk, home) = (SimulatedDisk::default(), home(1));
    let mut how = how();
    how.chain = Chain::new(vec![Arc::new(Noting(2))]);
    let error = open(&disk, &home, Some(&how)).expect_err("there is no step from 1");
    assert_eq!(error.code(), ErrorCode::SchemaMismatch, "{error}");
}

#[test]
fn progress_is_told_of_each_step_and_tree() -> TestResult {
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut how = longer();
    let listening = Arc::clone(&told);
    how.observer = Observer::new(move |progress| {
        let mut told = listening.lock().expect("one thread");
        told.push((
            progress.operation,
            progress.step,
            progress.tree,
            progress.done,
            progress.total,
        ));
        ControlFlow::Continue(())
    });
    open(&SimulatedDisk::default(), &home(20), Some(&how))?;
    let told = told.lock().expect("one thread");
    let migrating = told
        .iter()
        .filter(|(operation, ..)| *operation == "migrate");
    let last = migrating.clone().next_back().ok_or("nothing was told")?;
    assert_eq!((last.1, last.3), (Some((3, 4)), last.4));
    assert!(
        migrating
            .clone()
            .any(|(_, step, tree, ..)| (*step, *tree) == (Some((1, 2)), Some("peers")))
    );
    Ok(())
}
