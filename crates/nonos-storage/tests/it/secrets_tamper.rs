//! Records that were exchanged, moved, put back, removed or planted by somebody who can write the
//! database and has no secret key.

use nonos_storage::TreeId;
use storage_core::{Commit, CoreError, Encoding, View};
use storage_testkit::damage::copy;

use crate::TestResult;
use crate::on_disk::OnDisk;
use crate::sealed_disk::{
    Fallible, KEYRING, MANIFEST, NODE, body, edit, full, on, outcome, public, put, put_sealed,
    record_of, writer,
};
use crate::watched::Watched as _;

/// A store of three secrets and the node's key, of which somebody kept a copy as it was before the
/// last changes.
pub(crate) struct Tampered {
    pub(crate) disk: OnDisk,
    older: OnDisk,
}

impl Tampered {
    pub(crate) fn new() -> Fallible<Self> {
        let disk = OnDisk::new()?;
        let storage = disk.open()?;
        storage.set_encryption_keys(full(1))?;
        storage.keep_secret("a", b"older a")?;
        storage.keep_secret("b", b"value b")?;
        storage.keep_secret("gone", b"deleted")?;
        storage.keep_identity(&NODE, b"key one")?;
        storage.close()?;
        let older = OnDisk::new()?;
        copy(disk.directory.root(), older.directory.root())?;
        let storage = disk.open()?;
        storage.set_encryption_keys(full(1))?;
        storage.keep_secret("a", b"newer a")?;
        storage.delete_secret("gone")?;
        storage.keep_secret("c", b"value c")?;
        storage.close()?;
        Ok(Self { disk, older })
    }

    /// A copy of it.
    pub(crate) fn copied(&self) -> Fallible<OnDisk> {
        let trial = OnDisk::new()?;
        copy(self.disk.directory.root(), trial.directory.root())?;
        Ok(trial)
    }
}

pub(crate) fn sealed(view: &View<'_>, name: &str) -> Result<Vec<u8>, CoreError> {
    body(view, TreeId::Secrets, name.as_bytes())
}

type Change<'a> = Box<dyn Fn(&View<'_>, &mut Commit) -> Result<(), CoreError> + 'a>;

/// What somebody kept.
struct Old {
    a: Vec<u8>,
    gone: Vec<u8>,
    manifest: Vec<u8>,
}

fn removed(
    view: &View<'_>,
    commit: &mut Commit,
    (tree, key): (TreeId, &[u8]),
) -> Result<(), CoreError> {
    commit.remove(view, tree, key.to_vec()).map(drop)
}

/// What is done to secrets: every one is missed.
fn changes_of_secrets(old: &Old) -> Vec<(&'static str, Change<'_>)> {
    let tree = TreeId::Secrets;
    vec![
        (
            "two exchanged",
            Box::new(|view, commit| {
                let (a, b) = (sealed(view, "a")?, sealed(view, "b")?);
                put_sealed(commit, "a", &b)?;
                put_sealed(commit, "b", &a)
            }),
        ),
        (
            "one renamed",
            Box::new(move |view, commit| {
                put_sealed(commit, "d", &sealed(view, "a")?)?;
                removed(view, commit, (tree, b"a"))
            }),
        ),
        (
            "one copied to another name",
            Box::new(|view, commit| put_sealed(commit, "d", &sealed(view, "a")?)),
        ),
        (
            "an older one put back",
            Box::new(|_, commit| put_sealed(commit, "a", &old.a)),
        ),
        (
            "a deleted one put back",
            Box::new(|_, commit| put_sealed(commit, "gone", &old.gone)),
        ),
        (
            "one removed",
            Box::new(move |view, commit| removed(view, commit, (tree, b"b"))),
        ),
        (
            "all removed",
            Box::new(move |view, commit| {
                let mut names = ["a", "b", "c"].iter();
                names.try_for_each(|name| removed(view, commit, (tree, name.as_bytes())))
            }),
        ),
        (
            "a plain one in place of one",
            Box::new(move |_, commit| put(commit, tree, b"a", Encoding::Raw, b"planted")),
        ),
    ]
}

/// What is done to the node's identity and to what proves the secrets.
fn changes_beside_secrets(old: &Old) -> Vec<(&'static str, Change<'_>)> {
    let (tree, schema, key) = (TreeId::Identity, TreeId::Schema, b"encrypted_key");
    vec![
        (
            "a secret moved to the node's key",
            Box::new(move |view, commit| {
                put(commit, tree, key, Encoding::Sealed, &sealed(view, "a")?)
            }),
        ),
        (
            "the node's key copied to a secret",
            Box::new(move |view, commit| {
                put_sealed(commit, "encrypted_key", &body(view, tree, key)?)
            }),
        ),
        (
            "the node's id replaced",
            Box::new(move |_, commit| put(commit, tree, b"node_id", Encoding::Raw, &[8; 32])),
        ),
        (
            "the node's key removed",
            Box::new(move |view, commit| removed(view, commit, (tree, key))),
        ),
        (
            "the manifest put back",
            Box::new(move |_, commit| put(commit, schema, MANIFEST, Encoding::Raw, &old.manifest)),
        ),
        (
            "the manifest removed",
            Box::new(move |view, commit| removed(view, commit, (schema, MANIFEST))),
        ),
        (
            "a manifest without a proof",
            Box::new(move |view, commit| {
                let mut manifest = body(view, schema, MANIFEST)?;
                manifest.iter_mut().skip(16).for_each(|byte| *byte = 0);
                put(commit, schema, MANIFEST, Encoding::Raw, &manifest)
            }),
        ),
    ]
}

fn changes_of_the_keyring() -> Vec<(&'static str, Change<'static>)> {
    vec![
        (
            "the keyring removed",
            Box::new(|view, commit| removed(view, commit, (TreeId::Schema, KEYRING))),
        ),
        (
            "keyring and manifest removed",
            Box::new(|view, commit| {
                removed(view, commit, (TreeId::Schema, KEYRING))?;
                removed(view, commit, (TreeId::Schema, MANIFEST))
            }),
        ),
    ]
}

#[test]
fn whatever_was_changed_behind_the_keys_shuts_every_call_until_it_is_undone() -> TestResult {
    let tampered = Tampered::new()?;
    let (a, gone) = (
        record_of(&tampered.older, "a")?,
        record_of(&tampered.older, "gone")?,
    );
    let db = tampered.older.directory.open_core()?;
    let manifest = body(&db.view(), TreeId::Schema, MANIFEST)?;
    db.shutdown()?;
    let old = Old { a, gone, manifest };
    let missed = changes_of_secrets(&old)
        .into_iter()
        .chain(changes_beside_secrets(&old));
    let missed = missed.map(|(case, change)| (case, "ManifestMismatch", change));
    let ring = changes_of_the_keyring().into_iter();
    let ring = ring.map(|(case, change)| (case, "KeyringMissing", change));
    for (case, expected, change) in missed.chain(ring) {
        for keys in [full(1), writer(1)] {
            let trial = tampered.copied()?;
            edit(&trial, |view, commit| change(view, commit))?;
            let storage = trial.open()?;
            let access = keys.access();
            assert_eq!(
                outcome(&storage.set_encryption_keys(keys)),
                expected,
                "{case}, {access:?}"
            );
            for call in [
                outcome(&storage.load_secret("a")),
                outcome(&storage.load_secret("untouched")),
                outcome(&storage.load_encrypted_key()),
                outcome(&storage.keep_secret("new", b"x")),
                outcome(&storage.delete_secret("b")),
                outcome(&storage.keep_identity(&NODE, b"x")),
                outcome(&storage.rekey(full(2), &mut on)),
            ] {
                assert_eq!(call, expected, "{case}, {access:?}");
            }
            // Refused again, by a handle that was never asked.
            let again = trial.reopen(storage)?;
            assert_eq!(
                outcome(&again.set_encryption_keys(full(1))),
                expected,
                "{case}"
            );
            again.secrets_status()?;
        }
    }
    Ok(())
}

#[test]
fn the_same_change_undone_opens_again() -> TestResult {
    let tampered = Tampered::new()?;
    let record = record_of(&tampered.disk, "b")?;
    edit(&tampered.disk, |_, commit| {
        commit.delete(TreeId::Secrets, b"b".to_vec());
        Ok(())
    })?;
    let storage = tampered.disk.open()?;
    assert_eq!(
        outcome(&storage.set_encryption_keys(full(1))),
        "ManifestMismatch"
    );
    storage.close()?;
    edit(&tampered.disk, |_, commit| put_sealed(commit, "b", &record))?;
    let storage = tampered.disk.open()?;
    storage.set_encryption_keys(full(1))?;
    assert_eq!(storage.load_secret("b")?.as_deref(), Some(&b"value b"[..]));
    Ok(())
}

/// Who has the public key can seal; what cannot be told from a forgery is not loaded.
#[test]
fn what_the_public_key_can_forge_is_never_loaded() -> TestResult {
    let tampered = Tampered::new()?;
    let donor = tampered.copied()?;
    let storage = donor.open()?;
    storage.set_encryption_keys(public(1))?;
    storage.keep_secret("new", b"forged")?;
    storage.close()?;
    let forged = record_of(&donor, "new")?;
    let foreign = {
        let other = OnDisk::new()?;
        let storage = other.open()?;
        storage.set_encryption_keys(full(9))?;
        storage.keep_secret("a", b"of other keys")?;
        storage.close()?;
        record_of(&other, "a")?
    };
    let mut retagged = forged.clone();
    (retagged[5], retagged[23]) = (1, 1);
    retagged.extend([0; 32]);

    // In place of a record that counts, it is missed.
    let cases = [
        ("a", &forged),
        ("a", &foreign),
        ("a", &retagged),
        ("b", &retagged),
    ];
    for (name, record) in cases {
        let trial = tampered.copied()?;
        edit(&trial, |_, commit| put_sealed(commit, name, record))?;
        let storage = trial.open()?;
        assert_eq!(
            outcome(&storage.set_encryption_keys(full(1))),
            "ManifestMismatch",
            "{name}"
        );
    }
    // Under a name that is unused, an anonymous one may be.
    let trial = tampered.copied()?;
    edit(&trial, |_, commit| {
        put_sealed(commit, "new", &forged)?;
        put_sealed(commit, "moved", &forged)
    })?;
    let storage = trial.open()?;
    storage.set_encryption_keys(full(1))?;
    assert_eq!(outcome(&storage.load_secret("new")), "Unauthenticated");
    assert_eq!(outcome(&storage.load_secret("moved")), "Unauthenticated");
    assert_eq!(outcome(&storage.adopt_secret("moved")), "Unopenable");
    assert_eq!(outcome(&storage.rekey(full(2), &mut on)), "Unopenable");
    assert!(
        !storage.secrets_status()?.is_rekeying,
        "refused before the first commit"
    );
    assert!(storage.delete_secret("moved")?);
    storage.adopt_secret("new")?;
    storage.rekey(full(2), &mut on)?;
    assert_eq!(storage.load_secret("new")?.as_deref(), Some(&b"forged"[..]));

    // A tagged one that nobody tagged, there, counts.
    let trial = tampered.copied()?;
    edit(&trial, |_, commit| put_sealed(commit, "new", &retagged))?;
    let storage = trial.open()?;
    assert_eq!(
        outcome(&storage.set_encryption_keys(full(1))),
        "ManifestMismatch"
    );
    Ok(())
}

/// A keyring that names the keys of somebody else: they are never sealed to, whatever it says.
#[test]
fn a_keyring_of_other_keys_is_not_believed() -> TestResult {
    let tampered = Tampered::new()?;
    let other = OnDisk::new()?;
    let storage = other.open()?;
    storage.set_encryption_keys(full(9))?;
    storage.close()?;
    let db = other.directory.open_core()?;
    let ring = body(&db.view(), TreeId::Schema, KEYRING)?;
    db.shutdown()?;
    let trial = tampered.copied()?;
    edit(&trial, |_, commit| {
        put(commit, TreeId::Schema, KEYRING, Encoding::Raw, &ring)
    })?;
    let storage = trial.open()?;
    assert_eq!(outcome(&storage.set_encryption_keys(full(1))), "WrongKey");
    assert_eq!(outcome(&storage.keep_secret("a", b"x")), "WrongKey");
    // Not even by who has them: it is of another store.
    assert_eq!(
        outcome(&storage.set_encryption_keys(full(9))),
        "Unauthenticated"
    );

    // One of the right keys, but of another store.
    let twin = OnDisk::new()?;
    let storage = twin.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.close()?;
    let db = twin.directory.open_core()?;
    let ring = body(&db.view(), TreeId::Schema, KEYRING)?;
    db.shutdown()?;
    let trial = tampered.copied()?;
    edit(&trial, |_, commit| {
        put(commit, TreeId::Schema, KEYRING, Encoding::Raw, &ring)
    })?;
    let storage = trial.open()?;
    assert_eq!(
        outcome(&storage.set_encryption_keys(full(1))),
        "Unauthenticated"
    );
    assert_eq!(outcome(&storage.load_secret("a")), "Unauthenticated");
    Ok(())
}
