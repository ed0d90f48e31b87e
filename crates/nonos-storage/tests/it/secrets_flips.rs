//! Every bit of what proves the secrets, and of a secret, flipped: an error, never another value.
//!
//! Somebody who writes the database below the facade, and a handle for reading beside, which follows: so
//! each of some thousand changes is seen without opening the database again.

use nonos_storage::{NodeStorage, TreeId};
use storage_core::{Db, Durability, Encoding, open_frame, seal_frame};
use storage_testkit::dump;

use crate::TestResult;
use crate::on_disk::OnDisk;
use crate::sealed_disk::{Fallible, HEAD, KEYRING, MANIFEST, NODE, full, outcome, writer};
use crate::watched::Watched as _;

/// A place, and what is there.
#[derive(Clone, Debug)]
struct Place {
    tree: TreeId,
    key: Vec<u8>,
    encoding: Encoding,
    version: u8,
    body: Vec<u8>,
}

impl Place {
    fn find(db: &Db, tree: TreeId, key: &[u8]) -> Fallible<Self> {
        let entries = dump(db)?.into_iter();
        let mut found = entries.filter(|(at, found, _)| (*at, found.as_slice()) == (tree, key));
        let (_, _, frame) = found.next().ok_or("nothing is there")?;
        let frame = open_frame(tree, key, &frame)?;
        Ok(Self {
            tree,
            key: key.to_vec(),
            encoding: frame.encoding,
            version: frame.record_version,
            body: frame.body,
        })
    }

    fn put(&self, db: &Db, body: &[u8]) -> TestResult {
        let (tree, key) = (self.tree, &self.key);
        db.update(Durability::Buffered, |_, commit| {
            let frame = seal_frame(tree, key, self.encoding, self.version, body, false)?;
            commit.put(tree, key.clone(), frame);
            Ok::<_, storage_core::CoreError>(())
        })?;
        Ok(())
    }
}

/// The stored bodies with one bit flipped, and cut short.
fn flips(body: &[u8]) -> impl Iterator<Item = (String, Vec<u8>)> + '_ {
    let flipped = (0..body.len() * 8).map(|bit| {
        let mut flipped = body.to_vec();
        if let Some(byte) = flipped.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        (format!("bit {bit}"), flipped)
    });
    let cut = (0..body.len()).map(|len| {
        let cut = body.split_at(len).0.to_vec();
        (format!("cut to {len}"), cut)
    });
    flipped.chain(cut)
}

#[test]
fn every_flipped_bit_of_what_proves_the_secrets_and_of_one_is_an_error() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.keep_secret("a", b"the right value")?;
    storage.keep_secret("b", b"another value")?;
    storage.keep_identity(&NODE, b"the key of the node")?;
    storage.close()?;
    let db = disk.directory.open_core()?;
    let mut places = Vec::new();
    for key in [KEYRING, MANIFEST, HEAD] {
        places.push(Place::find(&db, TreeId::Schema, key)?);
    }
    places.push(Place::find(&db, TreeId::Secrets, b"a")?);
    places.push(Place::find(&db, TreeId::Identity, b"encrypted_key")?);
    let view = NodeStorage::open_readonly(disk.config.clone())?;
    // One that had its keys before; and one that is asked again each time.
    let before = NodeStorage::open_readonly(disk.config.clone())?;
    before.set_encryption_keys(full(1))?;
    let mut accepted = Vec::new();
    let mut trials = 0_u32;
    for place in &places {
        let name = String::from_utf8_lossy(&place.key);
        for (case, body) in flips(&place.body) {
            place.put(&db, &body)?;
            view.refresh()?;
            // Every third time without the secret key: it must not matter.
            let keys = if trials.is_multiple_of(3) {
                writer(1)
            } else {
                full(1)
            };
            let set = outcome(&view.set_encryption_keys(keys));
            if set == "ok" || outcome(&view.load_secret("a")) == "ok" {
                accepted.push(format!("{name}, {case}: set"));
            }
            trials += 1;
            // What is loaded does not depend on the manifest and the head.
            if ![MANIFEST, HEAD].contains(&place.key.as_slice()) {
                before.refresh()?;
                let loads = [
                    (
                        TreeId::Secrets,
                        before.load_secret("a"),
                        &b"the right value"[..],
                    ),
                    (
                        TreeId::Identity,
                        before.load_encrypted_key(),
                        b"the key of the node",
                    ),
                ];
                for (tree, loaded, value) in loads {
                    match loaded {
                        // The other record is whole.
                        Ok(Some(found)) if found == value => {
                            if place.tree == TreeId::Schema || place.tree == tree {
                                accepted.push(format!("{name}, {case}: loaded"));
                            }
                        }
                        Ok(found) => accepted.push(format!("{name}, {case}: loaded {found:?}")),
                        Err(_) => {}
                    }
                }
            }
            if trials.is_multiple_of(250) {
                // A short journal is read again sooner.
                db.purge()?;
            }
        }
        place.put(&db, &place.body)?;
        view.refresh()?;
        view.set_encryption_keys(full(1))?;
    }
    assert!(
        accepted.is_empty(),
        "{} of {trials}: {accepted:#?}",
        accepted.len()
    );
    assert!(trials > 4000, "{trials} trials");
    Ok(())
}

/// The same for the handle that writes, which opens the database anew: some bits of each.
#[test]
fn some_flipped_bits_are_errors_to_a_handle_that_writes() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.keep_secret("a", b"the right value")?;
    storage.close()?;
    for (tree, key) in [
        (TreeId::Schema, KEYRING),
        (TreeId::Schema, MANIFEST),
        (TreeId::Schema, HEAD),
        (TreeId::Secrets, b"a"),
    ] {
        let db = disk.directory.open_core()?;
        let place = Place::find(&db, tree, key)?;
        db.shutdown()?;
        drop(db);
        let name = String::from_utf8_lossy(key).into_owned();
        for (case, body) in flips(&place.body).step_by(211) {
            let db = disk.directory.open_core()?;
            place.put(&db, &body)?;
            db.shutdown()?;
            drop(db);
            // Also with a head that does not parse: other records have nothing to do with it.
            let storage = disk.open()?;
            let mut set = outcome(&storage.set_encryption_keys(full(1)));
            assert_ne!(set, "ok", "{name}, {case}");
            if set == "CORRUPT" {
                // Nobody knows whether the keys are right.
                set = "KeyRequired".to_owned();
            }
            assert_eq!(outcome(&storage.load_secret("a")), set, "{name}, {case}");
            assert_eq!(
                outcome(&storage.keep_secret("a", b"x")),
                set,
                "{name}, {case}"
            );
            storage.close()?;
        }
        let db = disk.directory.open_core()?;
        place.put(&db, &place.body)?;
        db.shutdown()?;
        drop(db);
        // Refusals were audited, so the head is not the one that is put back: only its own case ends here.
        if key == HEAD {
            continue;
        }
        let storage = disk.open()?;
        storage.set_encryption_keys(full(1))?;
        assert_eq!(
            storage.load_secret("a")?.as_deref(),
            Some(&b"the right value"[..]),
            "{name}"
        );
        storage.close()?;
    }
    Ok(())
}
