//! A journal with a history, and the model of it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use storage_journal::checkpoint::Record;
use storage_journal::commit::{Change, encode};
use storage_journal::disk::{Disk, SimulatedDisk};
use storage_journal::{Journal, JournalError, Merged, Scan};

pub(crate) type TestResult = Result<(), Box<dyn std::error::Error>>;
pub(crate) type State = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

pub(crate) const STORE: [u8; 16] = *b"a store of tests";
pub(crate) const TREES: u8 = 3;

pub(crate) fn directory() -> &'static Path {
    Path::new("data.sled.journal")
}

/// splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// What happened, and what must be there after a crash at any point of it.
#[derive(Default)]
pub(crate) struct History {
    /// The state after each commit, by number.
    pub(crate) states: BTreeMap<u64, State>,
    /// Number of the last durable commit, by the length of the trace at which it was known.
    pub(crate) durable: BTreeMap<usize, u64>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self {
            states: BTreeMap::from([(0, State::new())]),
            durable: BTreeMap::from([(0, 0)]),
        }
    }

    pub(crate) fn last(&self) -> (u64, &State) {
        let (number, state) = self.states.last_key_value().expect("0 is always there");
        (*number, state)
    }

    pub(crate) fn durable_at(&self, prefix: usize) -> u64 {
        *self
            .durable
            .range(..=prefix)
            .next_back()
            .expect("0 is always there")
            .1
    }
}

/// One random commit; returns its number.
pub(crate) fn append(
    journal: &Journal,
    history: &mut History,
    random: &mut Random,
) -> Result<u64, JournalError> {
    let mut state = history.last().1.clone();
    let mut changes = Vec::new();
    for _ in 0..=random.below(4) {
        let tree = u8::try_from(random.below(TREES.into())).expect("a small number");
        let key = format!("key-{}", random.below(12)).into_bytes();
        let value = (random.below(4) > 0).then(|| {
            let byte = u8::try_from(random.below(256)).expect("a byte");
            vec![byte; usize::try_from(random.below(40)).expect("a small number")]
        });
        match &value {
            Some(value) => state.insert((tree, key.clone()), value.clone()),
            None => state.remove(&(tree, key.clone())),
        };
        changes.push((tree, key, value));
    }
    let body = encode(changes.iter().map(|(tree, key, value)| Change {
        tree: *tree,
        key,
        value: value.as_deref(),
    }));
    // Before the call: a crash within it may leave the commit.
    let number = journal.next_number();
    let now_ms = i64::try_from(number * 2000).expect("a small number");
    history.states.insert(number, state);
    assert_eq!(journal.append(now_ms, &body)?, number);
    Ok(number)
}

/// Random commits, syncs and checkpoints.
pub(crate) fn run(
    journal: &Journal,
    disk: &SimulatedDisk,
    history: &mut History,
    random: &mut Random,
    steps: usize,
) -> Result<(), JournalError> {
    for _ in 0..steps {
        let number = append(journal, history, random)?;
        match random.below(8) {
            0..3 => {
                journal.sync_through(number)?;
                history.durable.insert(disk.trace_len(), number);
            }
            3 if random.below(4) == 0 => {
                journal.checkpoint(2, 1_770_000_000, |_| Ok::<_, JournalError>(()))?;
                history.durable.insert(disk.trace_len(), number);
            }
            _ => {}
        }
    }
    Ok(())
}

pub(crate) fn create(disk: &SimulatedDisk) -> Result<Journal, JournalError> {
    let journal = Journal::create(Arc::new(disk.clone()), directory(), STORE, 1, 2)?;
    Ok(journal.with_segment_size(600))
}

pub(crate) fn scan(disk: &SimulatedDisk) -> Result<Scan, JournalError> {
    Scan::read(disk, directory(), u64::MAX)
}

/// The whole state, read in order; looked up as well.
pub(crate) fn contents(merged: &Merged) -> Result<State, JournalError> {
    let records: Vec<Record> = merged.records().collect::<Result<_, _>>()?;
    assert!(records.is_sorted_by(|a, b| (a.0, &a.1) < (b.0, &b.1)));
    for (tree, key, value) in &records {
        assert_eq!(merged.get(*tree, key)?.as_ref(), Some(value));
    }
    let mut visited = Vec::new();
    merged.visit(&mut |tree, key, value| {
        visited.push((tree, key.to_vec(), value.to_vec()));
        Ok::<_, JournalError>(())
    })?;
    assert_eq!(visited, records);
    assert_eq!(merged.get(0, b"absent")?, None);
    for tree in 0..TREES {
        let everything = (Bound::Unbounded, Bound::Unbounded);
        let mut back: Vec<_> = merged
            .entries(tree, everything, true)
            .collect::<Result<_, _>>()?;
        back.reverse();
        let here = records.iter().filter(|record| record.0 == tree);
        let here: Vec<_> = here
            .map(|(_, key, value)| (key.clone(), value.clone()))
            .collect();
        assert_eq!(back, here);
        for (start, end) in [
            (b"key-1", b"key-4"),
            (b"key-4", b"key-4"),
            (b"key-5", b"key-1"),
        ] {
            let range = (Bound::Excluded(&start[..]), Bound::Included(&end[..]));
            let found: Vec<_> = merged
                .entries(tree, range, false)
                .collect::<Result<_, _>>()?;
            let inside = |(key, _): &&(Vec<u8>, Vec<u8>)| **key > start[..] && **key <= end[..];
            let expected: Vec<_> = here.iter().filter(inside).cloned().collect();
            assert_eq!(found, expected);
        }
    }
    Ok(records
        .into_iter()
        .map(|(tree, key, value)| ((tree, key), value))
        .collect())
}

/// A disk with a history of several opens.
pub(crate) fn with_history(seed: u64) -> Result<(SimulatedDisk, History), JournalError> {
    let disk = SimulatedDisk::default();
    let (mut history, mut random) = (History::new(), Random(seed));
    run(&create(&disk)?, &disk, &mut history, &mut random, 40)?;
    for term in 2..4 {
        let found = scan(&disk)?;
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let journal = Journal::open(shared, &found, term, 2)?.with_segment_size(600);
        history.durable.insert(disk.trace_len(), found.last());
        run(&journal, &disk, &mut history, &mut random, 20)?;
    }
    Ok((disk, history))
}
