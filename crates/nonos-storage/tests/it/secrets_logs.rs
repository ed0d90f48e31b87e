//! What a reader of logs and of error texts learns of secrets: nothing.
//!
//! A process of its own, so that everything is heard: every thread, every level of ours, and the engine,
//! which logs in another way. It does whatever can be done with secrets, and whatever fails.

use std::fmt::{Debug, Write as _};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use nonos_storage::{EncryptionKeys, NodeStorage, NonosResult, OpenOptions, StorageConfig, TreeId};
use storage_core::{CoreError, Db, DbOptions, Durability, Encoding};
use storage_testkit::logs::{SHORTEST, spellings};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::TestResult;
use crate::canaries::Canaries;
use crate::child::{Running, say};
use crate::on_disk::OnDisk;
use crate::sealed_disk::{Fallible, NODE, body, on, put, put_sealed};

pub(crate) const PART: &str = "secrets-logged";

/// Lengths that are no other number.
const LENGTHS: [usize; 3] = [7919, 24_593, 40_961];

/// Everything that was said, in any way.
static HEARD: Mutex<String> = Mutex::new(String::new());
static EVENTS: AtomicU64 = AtomicU64::new(0);

fn hear(text: &str) {
    let mut heard = HEARD.lock().unwrap_or_else(PoisonError::into_inner);
    heard.push_str(text);
    heard.push('\n');
}

struct Listener;

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _written = write!(self.0, " {field}={value:?}");
    }
}

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields(span.metadata().name().to_owned());
        span.record(&mut fields);
        hear(&fields.0);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut fields = Fields(String::new());
        values.record(&mut fields);
        hear(&fields.0);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(event.metadata().target().to_owned());
        event.record(&mut fields);
        hear(&fields.0);
        EVENTS.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl log::Log for Listener {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        hear(&format!("{}: {}", record.target(), record.args()));
        EVENTS.fetch_add(1, Ordering::Relaxed);
    }

    fn flush(&self) {}
}

/// Whatever a result says, with the causes of an error.
fn note<T: Debug>(result: NonosResult<T>) {
    match result {
        Ok(value) => hear(&format!("{value:?}")),
        Err(error) => hear(&format!(
            "{error:?} {error:#?} {}",
            crate::contents::chain(&error)
        )),
    }
}

/// What is looked for: a log may cut what it shows.
fn sought_of(secret: &[u8]) -> &[u8] {
    secret
        .split_at_checked(SHORTEST)
        .map_or(secret, |(start, _)| start)
}

/// A secret of this length that begins with the canary of this number.
fn secret(canaries: Canaries, number: u64, len: usize) -> Vec<u8> {
    let mut secret = canaries.get(number);
    secret.resize(len, b'x');
    secret
}

/// Numbers of the secret keys, and of what is stored.
const KEYS: [u64; 3] = [100, 101, 102];
const SECRETS: std::ops::Range<u64> = 0..30;

fn keys(canaries: Canaries, at: usize) -> Fallible<EncryptionKeys> {
    let number = KEYS.get(at).ok_or("no such keys")?;
    Ok(EncryptionKeys::from_secret(&canaries.get(*number))?)
}

fn edit<R>(
    config: &StorageConfig,
    f: impl FnOnce(&storage_core::View<'_>, &mut storage_core::Commit) -> Result<R, CoreError>,
) -> Fallible<R> {
    let options = DbOptions::new(config.path.clone(), 2, || 0);
    let db = Db::open(&options, &|_| Ok(storage_testkit::LAYOUT))?;
    let (result, _) = db.update(Durability::Durable, f)?;
    db.shutdown()?;
    Ok(result)
}

/// What succeeds.
fn work(canaries: Canaries, config: &StorageConfig) -> TestResult {
    let anchor = config.path.with_extension("anchor");
    let open = || OpenOptions::new(config.clone()).anchor(&anchor).open();
    let storage = open()?;
    let [first, second, third] = LENGTHS;
    for (number, len) in [(0, 32), (1, first), (2, second)] {
        note(storage.store_secret(&format!("plain-{number}"), &secret(canaries, number, len)));
    }
    note(storage.update(true, |update| {
        update.store_identity(&NODE, &canaries.get(3))?;
        hear(&format!("{update:?} {update:#?}"));
        Ok(())
    }));
    hear(&format!("{storage:?} {storage:#?}"));
    let keys = |at| keys(canaries, at);
    note(storage.set_encryption_keys(keys(0)?));
    hear(&format!("{storage:?} {storage:#?} {:?}", keys(0)?));
    for number in 4..10 {
        let secret = secret(canaries, number, if number % 2 == 0 { third } else { 32 });
        note(storage.store_secret(&format!("sealed-{}", number % 4), &secret));
    }
    note(storage.store_secret(
        "text",
        canaries.get(11).escape_ascii().to_string().as_bytes(),
    ));
    note(storage.update(true, |update| {
        update.store_identity(&NODE, &canaries.get(10))
    }));
    let loaded = storage.load_secret("plain-1")?.map(|secret| secret.len());
    assert_eq!(loaded, Some(first));
    storage.load_encrypted_key()?;
    note(storage.delete_secret("sealed-1"));
    note(storage.set_encryption_keys(EncryptionKeys::public_only(&keys(0)?.public_key())?));
    note(storage.store_secret("dropped", &canaries.get(12)));
    note(storage.set_encryption_keys(keys(0)?));
    note(storage.adopt_secret("dropped"));
    note(storage.rekey(keys(1)?, &mut |_| ControlFlow::Break(())));
    hear(&format!("{storage:?}"));
    note(storage.close());
    let storage = open()?;
    note(storage.set_encryption_keys(keys(1)?));
    note(storage.set_previous_keys(keys(0)?));
    note(storage.resume_rekey(keys(0)?, &mut on));
    hear(&format!("{storage:?} {:?}", storage.secrets_status()?));
    note(storage.compact());
    note(storage.purge());
    note(storage.verify_audit_log(None));
    note(storage.load_audit_log(usize::MAX));
    let backup = config.path.with_extension("backup");
    note(storage.export_backup(&backup));
    note(NodeStorage::verify_backup(&backup));
    let view = NodeStorage::open_readonly(config.clone())?;
    note(view.set_encryption_keys(keys(1)?));
    view.load_secret("plain-1")?;
    hear(&format!("{view:?} {:?}", view.storage_metrics()));
    note(storage.close());
    let in_memory = NodeStorage::in_memory()?;
    note(in_memory.store_secret("plain", &canaries.get(13)));
    hear(&format!("{in_memory:?} {in_memory:#?}"));
    // An opening that has something to mend.
    std::fs::remove_dir_all(&config.path)?;
    note(open().and_then(NodeStorage::close));
    Ok(())
}

/// What fails.
fn fail(canaries: Canaries, config: &StorageConfig) -> TestResult {
    let keys = |at| keys(canaries, at);
    let storage = NodeStorage::open(config.clone())?;
    let value = secret(canaries, 20, 40);
    note(storage.store_secret("a", &value));
    note(storage.load_secret("plain-1").map(drop));
    note(storage.set_encryption_keys(keys(2)?));
    hear(&format!("{storage:?}"));
    note(storage.store_secret("a", &value));
    note(storage.set_encryption_keys(keys(1)?));
    note(storage.store_secret("", &value));
    note(storage.store_secret(&"long".repeat(1000), &value));
    note(storage.rekey(keys(1)?, &mut on));
    note(storage.resume_rekey(keys(0)?, &mut on));
    note(storage.set_encryption_keys(keys(1)?.to_writer()?));
    note(storage.load_secret("plain-1").map(drop));
    note(storage.rekey(keys(2)?, &mut on));
    note(storage.close());

    let record = edit(config, |view, commit| {
        let record = body(view, TreeId::Secrets, b"plain-1")?;
        put(
            commit,
            TreeId::Secrets,
            b"planted",
            Encoding::Raw,
            &canaries.get(21),
        )?;
        Ok(record)
    })?;
    let storage = NodeStorage::open(config.clone())?;
    note(storage.set_encryption_keys(keys(1)?));
    note(storage.load_secret("planted").map(drop));
    note(storage.rekey(keys(2)?, &mut on));
    note(storage.close());
    edit(config, |_, commit| put_sealed(commit, "moved", &record))?;
    let storage = NodeStorage::open(config.clone())?;
    note(storage.set_encryption_keys(keys(1)?));
    note(storage.repair_keyring(keys(1)?));
    note(storage.close());
    edit(config, |view, commit| {
        commit.remove(view, TreeId::Secrets, b"moved".to_vec())?;
        commit.remove(view, TreeId::Secrets, b"planted".to_vec())?;
        commit.remove(view, TreeId::Schema, b"__keyring__".to_vec())
    })?;
    let storage = NodeStorage::open(config.clone())?;
    note(storage.store_secret("a", &value));
    note(storage.set_encryption_keys(keys(1)?));
    note(storage.repair_keyring(keys(2)?));
    note(storage.repair_keyring(keys(1)?));
    note(storage.shutdown());
    note(storage.store_secret("a", &value));
    hear(&format!("{storage:?}"));
    Ok(())
}

/// Does all of it and says what was heard of secrets.
pub(crate) fn play(config: &StorageConfig) -> TestResult {
    tracing::subscriber::set_global_default(Listener)?;
    log::set_logger(&Listener).map_err(|error| error.to_string())?;
    // At its trace level the engine writes the pages themselves: what is in them is sealed, or plain.
    log::set_max_level(log::LevelFilter::Debug);
    let canaries = Canaries::new();
    work(canaries, config)?;
    fail(canaries, config)?;
    let heard = HEARD.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut leaks = Vec::new();
    let sought = SECRETS
        .chain(KEYS)
        .map(|number| (number, canaries.get(number)));
    for (number, bytes) in sought {
        for spelling in spellings(sought_of(&bytes)) {
            leaks.extend(
                heard
                    .lines()
                    .filter(|line| line.contains(&spelling))
                    .map(|line| {
                        format!("canary {number} as {spelling:?}: {}", line.escape_debug())
                    }),
            );
        }
    }
    for line in heard.lines() {
        let mut numbers = line.split(|c: char| !c.is_ascii_digit());
        let is_length = |number: &str| LENGTHS.iter().any(|len| len.to_string() == number);
        if numbers.any(is_length) {
            leaks.push(format!("a length: {}", line.escape_debug()));
        }
    }
    // The same look, where there is something to see.
    let spelled = spellings(sought_of(&canaries.get(0)));
    let control = format!("{:?}", canaries.get(0));
    assert!(
        spelled
            .iter()
            .filter(|spelling| control.contains(*spelling))
            .count()
            == 1
    );
    for leak in leaks.iter().take(20) {
        let (start, _) = leak.split_at(leak.floor_char_boundary(600));
        say(&format!("leak: {start}"))?;
    }
    say(&format!(
        "{} leaks, {} events",
        leaks.len(),
        EVENTS.load(Ordering::Relaxed)
    ))?;
    Ok(())
}

#[test]
fn no_log_and_no_error_says_anything_of_a_secret() -> TestResult {
    let disk = OnDisk::new()?;
    let mut child = Running::start(PART, &disk.config.path)?;
    let mut said = Vec::new();
    let last = loop {
        let line = child.hear()?;
        if line.ends_with("events") {
            break line;
        }
        said.push(line);
    };
    assert!(last.starts_with("0 leaks, "), "{last}: {said:#?}");
    let events = last.split(' ').nth(2).ok_or("no number")?;
    assert!(events.parse::<u32>()? > 10, "{last}: nothing was heard");
    Ok(())
}
