//! What runs beside a change of keys, and what a change leaves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crate::TestResult;
use crate::sealed_disk::{full, on};
use crate::secrets_rekey::sealed_to_1;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

/// Both wait for nobody: neither an export that opens secrets, nor a change of keys.
#[test]
fn exports_and_changes_of_keys_do_not_wait_for_each_other_for_ever() -> TestResult {
    let disk = sealed_to_1()?;
    let storage = Arc::new(disk.open()?);
    storage.set_encryption_keys(full(1))?;
    let done = Arc::new(AtomicBool::new(false));
    let (ended, end) = mpsc::channel();
    let file = disk.directory.root().join("old.backup");
    let exports = {
        let (storage, done, ended) = (Arc::clone(&storage), Arc::clone(&done), ended.clone());
        thread::spawn(move || {
            let mut exported = Ok(());
            while exported.is_ok() && !done.load(Ordering::Relaxed) {
                exported = storage.export_first_implementation(&file).map(drop);
            }
            ended.send(()).ok();
            exported
        })
    };
    let changes = thread::spawn(move || {
        let changed = (2..10).try_for_each(|keys| storage.rekey(full(keys), &mut on).map(drop));
        done.store(true, Ordering::Relaxed);
        ended.send(()).ok();
        changed
    });
    for _ in 0..2 {
        end.recv_timeout(LONG)
            .map_err(|_timeout| "they wait for each other")?;
    }
    for thread in [exports, changes] {
        thread.join().map_err(|_panic| "a thread panicked")??;
    }
    Ok(())
}
