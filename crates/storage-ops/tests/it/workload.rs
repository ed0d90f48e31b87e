//! A database with a clock of the test's own, its contents, and targets that fail.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use storage_core::{
    CoreError, Db, DbOptions, Durability, Encoding, Order, Read, TreeId, seal_frame,
};
use storage_ops::{Target, TargetError};
use storage_testkit::LAYOUT;
pub(crate) use storage_testkit::Random;

pub(crate) type TestResult<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Unix milliseconds, for every database of this process that is opened here.
static NOW_MS: AtomicI64 = AtomicI64::new(1_770_000_000_000);

pub(crate) fn now_ms() -> i64 {
    NOW_MS.load(Ordering::Relaxed)
}

pub(crate) fn now() -> i64 {
    now_ms().div_euclid(1000)
}

pub(crate) fn pass(seconds: u64) {
    let seconds = i64::try_from(seconds).expect("few seconds");
    NOW_MS.fetch_add(seconds * 1000, Ordering::Relaxed);
}

pub(crate) fn options(path: &Path) -> DbOptions {
    DbOptions::new(path.to_owned(), 2, now_ms)
}

pub(crate) fn open(path: &Path) -> Result<Db, CoreError> {
    Db::open(&options(path), &|_| Ok(LAYOUT))
}

/// Everything but what the database notes of itself.
pub(crate) type State = BTreeMap<(TreeId, Vec<u8>), Vec<u8>>;

pub(crate) fn contents(db: &Db) -> Result<State, CoreError> {
    let mut state = State::new();
    for tree in TreeId::ALL
        .into_iter()
        .filter(|tree| *tree != TreeId::Schema)
    {
        db.view().scan(
            tree,
            &(Bound::Unbounded, Bound::Unbounded),
            Order::Ascending,
            &mut |key, value| {
                state.insert((tree, key.to_vec()), value.to_vec());
                Ok(true)
            },
        )?;
    }
    Ok(state)
}

/// One commit of random changes in two trees.
pub(crate) fn change(db: &Db, random: &mut Random) -> Result<u64, CoreError> {
    let durability = if random.below(3) == 0 {
        Durability::Durable
    } else {
        Durability::Buffered
    };
    let ((), number) = db.update(durability, |_, commit| {
        for _ in 0..=random.below(3) {
            let tree = [TreeId::Peers, TreeId::Config][usize::from(random.below(2) == 0)];
            let key = format!("key-{}", random.below(20)).into_bytes();
            if random.below(4) == 0 {
                commit.delete(tree, key);
                continue;
            }
            let len = usize::try_from(random.below(200)).expect("a small number");
            let body = vec![u8::try_from(random.below(256)).expect("a byte"); len];
            let frame = seal_frame(tree, &key, Encoding::Raw, 2, &body, false)?;
            commit.put(tree, key, frame);
        }
        Ok::<_, CoreError>(())
    })?;
    Ok(number)
}

/// A target whose calls fail from one on, before or after they did what they are asked.
#[derive(Debug)]
pub(crate) struct Failing<'t> {
    pub(crate) target: &'t dyn Target,
    calls: AtomicU64,
    from: u64,
    is_done_first: bool,
}

impl<'t> Failing<'t> {
    pub(crate) fn new(target: &'t dyn Target, from: u64, is_done_first: bool) -> Self {
        Self {
            target,
            calls: AtomicU64::new(0),
            from,
            is_done_first,
        }
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn call<R>(&self, f: impl FnOnce() -> Result<R, TargetError>) -> Result<R, TargetError> {
        let fails = self.calls.fetch_add(1, Ordering::Relaxed) >= self.from;
        if fails && !self.is_done_first {
            return Err(TargetError::failed("reach", "", "no network"));
        }
        let done = f();
        if fails {
            return Err(TargetError::failed("reach", "", "no answer"));
        }
        done
    }
}

impl Target for Failing<'_> {
    fn list(&self, prefix: &str) -> Result<Vec<String>, TargetError> {
        self.call(|| self.target.list(prefix))
    }

    fn upload(&self, name: &str, file: &Path, hash: &[u8; 32]) -> Result<(), TargetError> {
        self.call(|| self.target.upload(name, file, hash))
    }

    fn download(&self, name: &str, file: &Path) -> Result<(), TargetError> {
        self.call(|| self.target.download(name, file))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TargetError> {
        self.call(|| self.target.write(name, bytes))
    }

    fn read(&self, name: &str, max: usize) -> Result<Vec<u8>, TargetError> {
        self.call(|| self.target.read(name, max))
    }

    fn remove(&self, name: &str) -> Result<(), TargetError> {
        self.call(|| self.target.remove(name))
    }

    fn scratch(&self) -> Option<&Path> {
        self.target.scratch()
    }
}
