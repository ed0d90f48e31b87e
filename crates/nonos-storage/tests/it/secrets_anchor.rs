//! The anchor outside of the database: the whole of it, put back to an older state, is found out.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nonos_storage::{CryptoError, NodeStorage, NonosError, NonosResult, OpenOptions};
use storage_testkit::damage::copy;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::TestResult;
use crate::on_disk::OnDisk;
use crate::sealed_disk::{Fallible, NODE, cancel_after, full, on, outcome, writer};
use crate::watched::Watched as _;

/// A database with an anchor beside it, outside of the directory that is put back.
struct Anchored {
    disk: OnDisk,
    outside: OnDisk,
}

impl Anchored {
    fn new() -> Fallible<Self> {
        Ok(Self {
            disk: OnDisk::new()?,
            outside: OnDisk::new()?,
        })
    }

    fn anchor(&self) -> PathBuf {
        self.outside.directory.root().join("anchor")
    }

    fn open(&self) -> NonosResult<NodeStorage> {
        let options = OpenOptions::new(self.disk.config.clone());
        options.anchor(self.anchor()).open()
    }

    /// The counter that the anchor has; `None` if there is no anchor.
    fn counter(&self) -> Fallible<Option<u64>> {
        if !self.anchor().exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(self.anchor())?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("counter = "));
        Ok(Some(line.ok_or("no counter")?.parse()?))
    }

    fn keep(&self) -> Fallible<OnDisk> {
        let kept = OnDisk::new()?;
        copy(self.disk.directory.root(), kept.directory.root())?;
        Ok(kept)
    }

    fn put_back(&self, kept: &OnDisk) -> TestResult {
        for name in ["data.sled", "data.sled.journal"] {
            fs::remove_dir_all(self.disk.directory.root().join(name))?;
        }
        Ok(copy(kept.directory.root(), self.disk.directory.root())?)
    }
}

type Change<'a> = (&'a str, &'a dyn Fn(&NodeStorage) -> NonosResult<()>);

#[test]
fn the_anchor_follows_every_change_of_a_secret() -> TestResult {
    let anchored = Anchored::new()?;
    let storage = anchored.open()?;
    storage.keep_secret("plain", b"x")?;
    assert_eq!(anchored.counter()?, None, "nothing is sealed yet");
    let changes: [Change<'_>; 8] = [
        ("enrol", &|s| s.set_encryption_keys(full(1)).map(drop)),
        ("store", &|s| s.keep_secret("a", b"1")),
        ("overwrite", &|s| s.keep_secret("a", b"2")),
        ("identity", &|s| s.keep_identity(&NODE, b"key")),
        ("update", &|s| {
            s.update(true, |u| u.store_identity(&NODE, b"other"))
                .map(drop)
        }),
        ("delete", &|s| s.delete_secret("a").map(drop)),
        ("rekey", &|s| s.rekey(full(2), &mut on).map(drop)),
        ("store under other keys", &|s| s.keep_secret("b", b"3")),
    ];
    let mut last = 0;
    for (case, change) in changes {
        change(&storage)?;
        let counter = storage.secrets_status()?.counter;
        assert!(counter > last, "{case}: {counter} after {last}");
        assert_eq!(anchored.counter()?, Some(counter), "{case}");
        last = counter;
    }
    // What changes nothing writes nothing.
    assert!(!storage.delete_secret("none")?);
    storage.store_config("a", &1)?;
    assert_eq!(anchored.counter()?, Some(last));
    storage.close()?;
    let storage = anchored.open()?;
    storage.set_encryption_keys(full(2))?;
    assert_eq!(anchored.counter()?, Some(last));
    Ok(())
}

#[test]
fn a_database_that_was_put_back_is_refused_until_that_is_accepted() -> TestResult {
    let anchored = Anchored::new()?;
    let storage = anchored.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.keep_secret("a", b"older")?;
    storage.close()?;
    let kept = anchored.keep()?;
    let then = anchored.counter()?.ok_or("no anchor")?;
    let storage = anchored.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.keep_secret("a", b"newer")?;
    storage.keep_secret("b", b"new")?;
    storage.close()?;
    let now = anchored.counter()?.ok_or("no anchor")?;
    anchored.put_back(&kept)?;
    for keys in [full(1), writer(1)] {
        let storage = anchored.open()?;
        match storage.set_encryption_keys(keys) {
            Err(NonosError::Encryption(CryptoError::RolledBack { database, anchor })) => {
                assert_eq!((database, anchor), (then, now));
            }
            other => return Err(format!("{other:?}").into()),
        }
        assert_eq!(outcome(&storage.load_secret("a")), "RolledBack");
        assert_eq!(outcome(&storage.keep_secret("a", b"x")), "RolledBack");
        assert_eq!(outcome(&storage.delete_secret("a")), "RolledBack");
        // Nothing of that moves the anchor.
        storage.store_config("a", &1)?;
        assert_eq!(anchored.counter()?, Some(now));
        storage.close()?;
    }
    // Without the anchor nobody can tell.
    let storage = anchored.disk.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.close()?;

    let storage = anchored.open()?;
    assert_eq!(outcome(&storage.set_encryption_keys(full(1))), "RolledBack");
    storage.accept_rollback()?;
    assert_eq!(anchored.counter()?, Some(then));
    storage.set_encryption_keys(full(1))?;
    assert_eq!(storage.load_secret("a")?.as_deref(), Some(&b"older"[..]));
    let log = storage.load_audit_log(usize::MAX)?;
    assert!(
        log.iter().any(|entry| entry.operation == "accept_rollback"),
        "{log:?}"
    );
    storage.keep_secret("a", b"newest")?;
    storage.close()?;
    let storage = anchored.open()?;
    storage.set_encryption_keys(full(1))?;
    assert_eq!(storage.load_secret("a")?.as_deref(), Some(&b"newest"[..]));
    assert_eq!(storage.verify_audit_log(None)?.faults, 0);
    Ok(())
}

/// Two histories of as many changes: the number alone does not tell them apart.
#[test]
fn another_history_of_the_same_length_is_refused() -> TestResult {
    let anchored = Anchored::new()?;
    let storage = anchored.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.close()?;
    let kept = anchored.keep()?;
    let other = kept.open()?;
    other.set_encryption_keys(full(1))?;
    other.keep_secret("a", b"of the other")?;
    other.close()?;
    let storage = anchored.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.keep_secret("a", b"of this one")?;
    storage.close()?;
    anchored.put_back(&kept)?;
    let storage = anchored.open()?;
    assert_eq!(outcome(&storage.set_encryption_keys(full(1))), "RolledBack");
    Ok(())
}

/// Somebody has removed everything: the keys would begin a new store.
#[test]
fn an_empty_database_in_the_place_of_a_sealed_one_is_refused() -> TestResult {
    let anchored = Anchored::new()?;
    let fresh = anchored.disk.open()?;
    fresh.close()?;
    let kept = anchored.keep()?;
    let storage = anchored.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.keep_secret("a", b"1")?;
    storage.close()?;
    anchored.put_back(&kept)?;
    let storage = anchored.open()?;
    assert_eq!(outcome(&storage.set_encryption_keys(full(1))), "RolledBack");
    assert_eq!(outcome(&storage.keep_secret("a", b"1")), "RolledBack");
    storage.accept_rollback()?;
    storage.set_encryption_keys(full(1))?;
    assert_eq!(storage.load_secret("a")?, None);
    Ok(())
}

#[test]
fn an_anchor_that_does_not_parse_is_an_error_and_stays() -> TestResult {
    let anchored = Anchored::new()?;
    let storage = anchored.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.keep_secret("a", b"1")?;
    storage.close()?;
    let whole = fs::read_to_string(anchored.anchor())?;
    let mut cases: Vec<String> = (0..whole.len())
        .step_by(7)
        .map(|end| whole[..end].to_owned())
        .collect();
    cases.push(whole.replace("counter = ", "counter = -"));
    cases.push(whole.replace("nsec-anchor 1", "nsec-anchor 2"));
    cases.push(format!("{whole}more\n"));
    for text in cases {
        fs::write(anchored.anchor(), &text)?;
        let storage = anchored.open()?;
        let said = outcome(&storage.set_encryption_keys(full(1)));
        assert!(
            ["Malformed", "RolledBack"].contains(&said.as_str()),
            "{text:?}: {said}"
        );
        assert_eq!(outcome(&storage.load_secret("a")), said, "{text:?}");
        storage.close()?;
        assert_eq!(fs::read_to_string(anchored.anchor())?, text);
    }
    fs::write(anchored.anchor(), &whole)?;
    anchored.open()?.set_encryption_keys(full(1))?;
    Ok(())
}

#[test]
fn the_anchor_follows_a_change_of_keys_that_was_cancelled() -> TestResult {
    let anchored = Anchored::new()?;
    let storage = anchored.open()?;
    storage.set_encryption_keys(full(1))?;
    for number in 0..200 {
        storage.keep_secret(&format!("s{number}"), b"x")?;
    }
    for batches in [0, 1] {
        let before = anchored.counter()?;
        let cancelled = match batches {
            0 => storage.rekey(full(2), &mut cancel_after(0)),
            _ => storage.resume_rekey(full(1), &mut cancel_after(0)),
        };
        assert_eq!(outcome(&cancelled), "CANCELLED");
        let counter = storage.secrets_status()?.counter;
        assert!(Some(counter) > before, "{counter} after {before:?}");
        assert_eq!(
            anchored.counter()?,
            Some(counter),
            "after {batches} batches"
        );
    }
    Ok(())
}

/// A counter that no store comes to is somebody's who has written the file.
#[test]
fn repairing_believes_no_absurd_anchor_and_none_of_another_store() -> TestResult {
    for (from, to) in [
        ("counter = ", "counter = 18446744073709551615"),
        ("store-id = ", "store-id = 000102030405060708090a0b0c0d0e0f"),
    ] {
        let anchored = Anchored::new()?;
        let storage = anchored.open()?;
        storage.set_encryption_keys(full(1))?;
        storage.keep_secret("a", b"1")?;
        let before = storage.secrets_status()?.counter;
        storage.close()?;
        let text = fs::read_to_string(anchored.anchor())?;
        let text = text.replace(&format!("counter = {before}"), "counter = 1000000");
        let line = text.lines().find(|line| line.starts_with(from));
        let text = text.replace(line.ok_or("no such line")?, to);
        fs::write(anchored.anchor(), text)?;
        let storage = anchored.open()?;
        assert_eq!(outcome(&storage.set_encryption_keys(full(1))), "RolledBack");
        let counter = storage.repair_keyring(full(1))?.counter;
        assert_eq!(counter, before + 1, "{to}");
        assert_eq!(anchored.counter()?, Some(counter), "{to}");
        storage.keep_secret("a", b"2")?;
        assert_eq!(anchored.counter()?, Some(counter + 1), "{to}");
    }
    Ok(())
}

#[test]
fn a_rollback_is_accepted_only_where_an_anchor_can_be_written() -> TestResult {
    let anchored = Anchored::new()?;
    let storage = anchored.open()?;
    storage.set_encryption_keys(full(1))?;
    let options = OpenOptions::new(anchored.disk.config.clone());
    let view = options.anchor(anchored.anchor()).open_readonly()?;
    assert_eq!(outcome(&view.accept_rollback()), "READ_ONLY");
    let view = NodeStorage::open_readonly(anchored.disk.config.clone())?;
    assert_eq!(outcome(&view.accept_rollback()), "READ_ONLY");
    storage.close()?;
    let storage = anchored.disk.open()?;
    storage.set_encryption_keys(full(1))?;
    let entries = storage.load_audit_log(usize::MAX)?.len();
    assert_eq!(outcome(&storage.accept_rollback()), "NOT_FOUND");
    assert_eq!(storage.load_audit_log(usize::MAX)?.len(), entries);
    Ok(())
}

/// Who only reads a database that was put back notices it as well, also where that happens while it is open.
#[test]
fn a_view_of_a_database_that_was_put_back_is_refused() -> TestResult {
    let anchored = Anchored::new()?;
    let view = || {
        let options = OpenOptions::new(anchored.disk.config.clone());
        options.anchor(anchored.anchor()).open_readonly()
    };
    let storage = anchored.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.keep_secret("a", b"older")?;
    storage.close()?;
    let kept = anchored.keep()?;
    let storage = anchored.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.keep_secret("a", b"newer")?;
    // Beside a writer that goes on, it is not.
    let of_then = view()?;
    storage.keep_secret("a", b"newest")?;
    of_then.set_encryption_keys(full(1))?;
    assert_eq!(of_then.load_secret("a")?.as_deref(), Some(&b"newer"[..]));
    of_then.refresh()?;
    assert_eq!(of_then.load_secret("a")?.as_deref(), Some(&b"newest"[..]));
    storage.close()?;
    anchored.put_back(&kept)?;
    let rolled_back = view()?;
    assert_eq!(
        outcome(&rolled_back.set_encryption_keys(full(1))),
        "RolledBack"
    );
    assert_eq!(outcome(&rolled_back.load_secret("a")), "RolledBack");
    of_then.refresh()?;
    assert_eq!(outcome(&of_then.load_secret("a")), "RolledBack");
    Ok(())
}

/// Hears what is said of the anchor.
#[derive(Clone, Default)]
struct Listener(Arc<AtomicU32>);

impl Subscriber for Listener {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        about.is_event() && *about.level() == Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let is_of_it = event.metadata().fields().field("anchor").is_some();
        self.0.fetch_add(u32::from(is_of_it), Ordering::Relaxed);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn a_missing_anchor_of_a_sealed_store_is_said_once() -> TestResult {
    let anchored = Anchored::new()?;
    let said = |expected: u32, case: &str| -> TestResult {
        let listener = Listener::default();
        let storage = anchored.open()?;
        let set = || storage.set_encryption_keys(full(1));
        tracing::subscriber::with_default(listener.clone(), set)?;
        assert_eq!(listener.0.load(Ordering::Relaxed), expected, "{case}");
        Ok(storage.close()?)
    };
    said(0, "a new store")?;
    said(0, "the anchor is there")?;
    fs::remove_file(anchored.anchor())?;
    said(1, "it was removed")?;
    said(0, "it is there again")?;
    Ok(())
}
