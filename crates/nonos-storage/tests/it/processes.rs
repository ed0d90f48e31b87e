//! Other processes: one that holds the database, one that was killed, one without permission, one
//! with another home.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;

use nonos_storage::{EpochNumber, ErrorCode, NodeStorage, holder};

use crate::TestResult;
use crate::child::{Running, command};
use crate::contents::{claim, code, peer};
use crate::on_disk::OnDisk;

/// A user who owns nothing.
const NOBODY: u32 = 65534;

#[test]
fn a_second_process_is_told_who_holds_the_database() -> TestResult {
    let disk = OnDisk::new()?;
    let mut child = Running::start("hold", &disk.config.path)?;
    assert_eq!(child.hear()?, "holding");
    let refused = disk.open();
    let text = refused.as_ref().map_err(ToString::to_string);
    let text = text.err().unwrap_or_default();
    let busy = "Failed to open database: Resource busy";
    assert!(text.starts_with(busy), "{text}");
    assert!(text.contains(&format!("pid {}", child.pid())), "{text}");
    assert!(text.contains("plays_its_part"), "the command: {text}");
    assert_eq!(code(refused), Ok(ErrorCode::Locked));
    let told = holder(&disk.config.path)?.and_then(|holder| holder.pid());
    assert_eq!(told, Some(child.pid()));
    child.kill()?;
    assert_eq!(holder(&disk.config.path)?, None);
    Ok(())
}

#[test]
fn this_process_holds_the_database_against_others() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.store_peer("a", &peer("a"))?;
    let mut child = Running::start("open", &disk.config.path)?;
    let said = child.hear()?;
    assert!(said.starts_with("LOCKED "), "{said}");
    assert!(
        said.contains(&format!("pid {}", std::process::id())),
        "{said}"
    );
    storage.store_peer("b", &peer("b"))?;
    let storage = disk.reopen(storage)?;
    assert_eq!(storage.count_peers()?, 2);
    storage.close()?;
    let mut child = Running::start("open", &disk.config.path)?;
    let said = child.hear()?;
    assert!(said.starts_with("OK "), "{said}");
    Ok(())
}

#[test]
fn a_database_opens_right_after_its_holder_was_killed() -> TestResult {
    let disk = OnDisk::new()?;
    let mut child = Running::start("hold", &disk.config.path)?;
    assert_eq!(child.hear()?, "holding");
    child.kill()?;
    let storage = disk.open()?;
    assert_eq!(storage.load_claim(EpochNumber(1))?, Some(claim(1)));
    assert_eq!(storage.load_peer("a")?, Some(peer("a")));
    assert_eq!(storage.load_audit_log(usize::MAX)?.len(), 1);
    storage.store_claim(EpochNumber(2), &claim(2))?;
    let storage = disk.reopen(storage)?;
    assert_eq!(storage.tree_sizes()?.claims, 2);
    Ok(())
}

#[test]
fn what_was_durable_when_a_writer_was_killed_is_there() -> TestResult {
    let disk = OnDisk::new()?;
    let mut child = Running::start("claim", &disk.config.path)?;
    let mut durable: u64 = 0;
    while durable < 25 {
        durable = child.hear()?.parse()?;
    }
    if let Some(last) = child.kill()?.last() {
        durable = last.parse()?;
    }
    let storage = disk.open()?;
    for epoch in 1..=durable {
        let found = storage.load_claim(EpochNumber(epoch))?;
        assert_eq!(found, Some(claim(epoch)), "{epoch} of {durable}");
    }
    let sizes = storage.tree_sizes()?;
    assert_eq!(sizes.claims, sizes.audit_log, "a claim and its entry");
    Ok(())
}

#[test]
fn a_directory_without_permission_is_refused_and_unchanged() -> TestResult {
    let disk = OnDisk::new()?;
    disk.open()?.close()?;
    let root = disk.directory.root();
    let forbidden = root.join("forbidden");
    fs::create_dir(&forbidden)?;
    let as_root = fs::metadata(&forbidden)?.uid() == 0;
    fs::set_permissions(root, Permissions::from_mode(0o755))?;
    fs::set_permissions(&forbidden, Permissions::from_mode(0o555))?;
    // Root may do anything, so another user runs a copy of this program.
    let exe = root.join("it");
    fs::copy(env::current_exe()?, &exe)?;
    fs::set_permissions(&exe, Permissions::from_mode(0o755))?;
    let before = disk.directory.files()?;

    let mut cases = vec![
        ("a directory without w", forbidden.join("data.sled")),
        ("missing directories in it", forbidden.join("a/b/data.sled")),
    ];
    if as_root {
        cases.push(("the database of another user", disk.config.path.clone()));
    }
    for (case, path) in cases {
        let mut open = command(&exe, "open", &path);
        if as_root {
            open.uid(NOBODY).gid(NOBODY);
        }
        let mut child = match Running::spawn(&mut open) {
            Ok(child) => child,
            Err(e) => {
                eprintln!("skipped: no process of another user can be started here: {e}");
                return Ok(());
            }
        };
        let said = child.hear()?;
        assert!(said.starts_with("IO "), "{case}: {said}");
        assert!(said.contains("ermission denied"), "{case}: {said}");
        assert!(!said.contains("no remedy"), "{case}: {said}");
        let named = root.to_string_lossy();
        assert!(said.contains(&*named), "{case}: names the path: {said}");
        assert_eq!(disk.directory.files()?, before, "{case}");
    }
    Ok(())
}

#[test]
fn a_tilde_is_the_home_directory() -> TestResult {
    let disk = OnDisk::new()?;
    let home = disk.directory.root().join("home");
    fs::create_dir(&home)?;
    let path = Path::new("~/.nonos/data.sled");
    let mut open = command(&env::current_exe()?, "hold", path);
    open.env("HOME", &home).current_dir(disk.directory.root());
    let mut child = Running::spawn(&mut open)?;
    assert_eq!(child.hear()?, "holding");
    child.kill()?;
    assert!(!disk.directory.root().join("~").exists());
    let storage = NodeStorage::open(disk.config_at(home.join(".nonos/data.sled")))?;
    assert_eq!(storage.load_peer("a")?, Some(peer("a")));
    Ok(())
}

#[test]
fn the_default_path_is_relative_to_the_working_directory() -> TestResult {
    let disk = OnDisk::new()?;
    let mut open = command(&env::current_exe()?, "default", Path::new("unused"));
    let mut child = Running::spawn(open.current_dir(disk.directory.root()))?;
    assert_eq!(child.hear()?, "OK data.sled");
    let storage = disk.open()?;
    assert_eq!(storage.load_peer("a")?, Some(peer("a")));
    Ok(())
}
