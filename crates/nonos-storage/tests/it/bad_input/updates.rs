//! Updates whose closure does what it must not.

use std::panic::{self, AssertUnwindSafe, catch_unwind};

use nonos_storage::{ConfigError, EpochNumber, ErrorCode, NodeId, NodeStorage, NonosError};
use serde::{Serialize, Serializer};

use super::{Call, write_everything};
use crate::TestResult;
use crate::contents::{Contents, claim, code, peer, populate};
use crate::on_disk::{OnDisk, in_both_modes};
use crate::watched::Watched as _;

/// A value whose serialization panics.
pub(super) struct Panicking;

impl Serialize for Panicking {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic::resume_unwind(Box::new("serialize"))
    }
}

/// A value that writes to the database while it is written.
pub(super) struct Writing<'a>(pub(super) &'a NodeStorage);

impl Serialize for Writing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let nested = code(self.0.store_peer("nested", &peer("nested")));
        assert_eq!(nested, Ok(ErrorCode::InvalidArgument));
        serializer.serialize_u8(1)
    }
}

/// A sequence in a sequence in a sequence, and so on.
pub(super) struct Nested(pub(super) usize);

impl Serialize for Nested {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => serializer.serialize_unit(),
            depth => serializer.collect_seq([Self(depth - 1)]),
        }
    }
}

/// The error that a closure returns of its own.
fn own_error() -> NonosError {
    NonosError::Config(ConfigError::FlushEveryZero)
}

#[test]
fn an_update_that_fails_or_panics_writes_nothing_and_later_ones_work() -> TestResult {
    let disk = OnDisk::new()?;
    for (mode, storage) in [
        ("memory", NodeStorage::in_memory()?),
        ("disk", disk.open()?),
    ] {
        populate(&storage)?;
        let before = Contents::of(&storage)?;
        for durable in [false, true] {
            let failed = storage.update(durable, |update| {
                write_everything(update)?;
                Err::<(), _>(own_error())
            });
            match failed {
                Err(NonosError::Config(ConfigError::FlushEveryZero)) => {}
                other => panic!("{mode}: {other:?} is not the closure's error"),
            }
            assert_eq!(Contents::of(&storage)?, before, "{mode}: Err");
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                storage.update(durable, |update| {
                    write_everything(update)?;
                    panic::resume_unwind(Box::new("in the closure"));
                    #[expect(unreachable_code, reason = "gives the closure its type")]
                    Ok(())
                })
            }));
            let said = panicked
                .err()
                .and_then(|panic| panic.downcast::<&str>().ok());
            assert_eq!(said.as_deref(), Some(&"in the closure"), "{mode}");
            assert_eq!(Contents::of(&storage)?, before, "{mode}: panic");
        }
        let ((), first) = storage.update(true, write_everything)?;
        let ((), second) = storage.update(false, |update| {
            update.store_peer("epsilon", &peer("epsilon"))
        })?;
        assert_eq!(second, first + 1, "{mode}: no number is lost to a failure");
        storage.store_claim(EpochNumber(9), &claim(9))?;
        let after = Contents::of(&storage)?;
        assert_eq!(after.node_id, Some(NodeId([8; 32])), "{mode}");
        let ids: Vec<&str> = after.peers.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["beta", "delta", "epsilon", "gamma"], "{mode}");
        assert_eq!(after.sizes.config, 1, "{mode}");
        if mode == "disk" {
            let storage = disk.reopen(storage)?;
            assert_eq!(Contents::of(&storage)?, after, "after reopening");
        }
    }
    Ok(())
}

#[test]
fn an_error_that_the_closure_handles_leaves_the_rest_of_its_commit() -> TestResult {
    in_both_modes(|storage, mode| {
        populate(storage)?;
        let audited = storage.tree_sizes()?.audit_log;
        storage.update(true, |update| {
            update.store_config("kept", &1)?;
            let refused = update.store_claim(EpochNumber(3), &claim(4));
            assert_eq!(code(refused), Ok(ErrorCode::InvalidArgument), "{mode}");
            let refused = update
                .store_peers_batch(&[("x".to_owned(), peer("x")), ("y".to_owned(), peer("z"))]);
            assert_eq!(code(refused), Ok(ErrorCode::InvalidArgument), "{mode}");
            let refused = update.store_identity(&NodeId([9; 32]), &vec![0; 2 << 20]);
            assert_eq!(code(refused), Ok(ErrorCode::InvalidArgument), "{mode}");
            Ok(())
        })?;
        assert_eq!(storage.load_config("kept")?, Some(1), "{mode}");
        assert_eq!(storage.load_peer("x")?, None, "{mode}");
        assert_eq!(storage.load_node_id()?, Some(NodeId([7; 32])), "{mode}");
        assert_eq!(storage.load_claim(EpochNumber(3))?, None, "{mode}");
        assert_eq!(storage.tree_sizes()?.audit_log, audited, "{mode}");
        Ok(())
    })
}

#[test]
fn a_write_inside_the_closure_of_update_is_refused_and_does_not_hang() -> TestResult {
    in_both_modes(|storage, mode| {
        populate(storage)?;
        let nested: [(&str, Call); 9] = [
            ("update", |s| s.update(false, |_| Ok(())).map(drop)),
            ("durable update", |s| {
                s.update(true, write_everything).map(drop)
            }),
            ("store_peer", |s| s.store_peer("n", &peer("n"))),
            ("store_peers_batch", |s| {
                let batch = [("n".to_owned(), peer("n"))];
                s.store_peers_batch(&batch).map(drop)
            }),
            ("store_claim", |s| s.store_claim(EpochNumber(5), &claim(5))),
            ("delete_config", |s| s.delete_config("name").map(drop)),
            ("store_secret", |s| s.keep_secret("n", b"n")),
            ("prune_metrics", |s| s.prune_metrics(100).map(drop)),
            ("shutdown", NodeStorage::shutdown),
        ];
        for (method, write) in nested {
            let before = Contents::of(storage)?;
            let ((), _) = storage.update(false, |_| {
                assert_eq!(
                    code(write(storage)),
                    Ok(ErrorCode::InvalidArgument),
                    "{method}, {mode}"
                );
                Ok(())
            })?;
            assert_eq!(Contents::of(storage)?, before, "{method}, {mode}");
            let case = format!("{method} with its error returned, {mode}");
            refused_nested(storage, &case, write)?;
        }
        Ok(())
    })
}

fn refused_nested(storage: &NodeStorage, case: &str, write: Call) -> TestResult {
    let before = Contents::of(storage)?;
    let outer = storage.update(false, |update| {
        update.store_peer("outer", &peer("outer"))?;
        write(storage)
    });
    assert_eq!(code(outer), Ok(ErrorCode::InvalidArgument), "{case}");
    assert_eq!(Contents::of(storage)?, before, "{case}");
    storage.store_peer("alpha", &peer("alpha"))?;
    Ok(())
}

#[test]
fn reading_and_flushing_and_another_database_work_inside_the_closure_of_update() -> TestResult {
    in_both_modes(|storage, mode| {
        populate(storage)?;
        let other = NodeStorage::in_memory()?;
        storage.update(true, |update| {
            update.store_peer("new", &peer("new"))?;
            assert_eq!(storage.load_peer("new")?, None, "{mode}: not applied yet");
            assert_eq!(update.load_peer("new")?, Some(peer("new")), "{mode}");
            assert_eq!(storage.list_peers()?.len(), 2, "{mode}");
            assert_eq!(storage.count_peers()?, 2, "{mode}");
            storage.flush()?;
            other.update(false, |within| {
                within.store_peer("theirs", &peer("theirs"))?;
                let back = code(storage.store_peer("back", &peer("back")));
                assert_eq!(back, Ok(ErrorCode::InvalidArgument), "{mode}");
                Ok(())
            })?;
            other.store_peer("theirs too", &peer("theirs too"))
        })?;
        assert_eq!(storage.load_peer("new")?, Some(peer("new")), "{mode}");
        assert_eq!(other.count_peers()?, 2, "{mode}");
        Ok(())
    })
}
