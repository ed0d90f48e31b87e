//! What a database shows through the facade, and in which states it may be found.

use std::collections::BTreeMap;

use nonos_storage::{EpochNumber, NodeStorage};

use crate::sealed_disk::Fallible;

/// Each record as text, by its tree and key.
pub(crate) type State = BTreeMap<(&'static str, String), String>;

/// The key of an epoch, in the order of the numbers.
pub(crate) fn epoch_key(epoch: u64) -> String {
    format!("{epoch:020}")
}

/// Everything, read through the facade.
pub(crate) fn read(storage: &NodeStorage) -> Fallible<State> {
    let mut state = State::new();
    let mut put = |tree, key: String, value: String| {
        state.insert((tree, key), value);
    };
    if let Some(id) = storage.load_node_id()? {
        put("identity", "id".to_owned(), format!("{id:?}"));
    }
    if let Some(key) = storage.load_encrypted_key()? {
        put("identity", "key".to_owned(), format!("{key:?}"));
    }
    for (id, info) in storage.list_peers()? {
        put("peers", id, format!("{info:?}"));
    }
    for (time, sample) in storage.load_metrics_range(0, i64::MAX)? {
        put("metrics", format!("{time:020}"), format!("{sample:?}"));
    }
    for summary in storage.load_epoch_range(EpochNumber(0), EpochNumber(u64::MAX))? {
        put("epochs", epoch_key(summary.epoch), format!("{summary:?}"));
    }
    for (epoch, claim) in storage.load_claims()? {
        put("claims", epoch_key(epoch.0), format!("{claim:?}"));
    }
    for key in storage.list_config_keys()? {
        let value: Option<Vec<String>> = storage.load_config(&key)?;
        put("config", key, format!("{:?}", value.unwrap_or_default()));
    }
    for name in storage.list_secrets()? {
        let value = storage.load_secret(&name)?.unwrap_or_default();
        put("secrets", name, format!("{value:?}"));
    }
    let mut entries = storage.load_audit_log(usize::MAX)?;
    entries.reverse();
    if !entries.is_sorted_by(|a, b| a.timestamp < b.timestamp) {
        return Err(format!("times of the audit log do not increase: {entries:?}").into());
    }
    for (place, entry) in entries.into_iter().enumerate() {
        let done = format!("{} {}", entry.tree, entry.operation);
        put("audit_log", format!("{place:06}"), done);
    }
    Ok(state)
}

/// The audit entries, oldest first.
pub(crate) fn audited(state: &State) -> impl Iterator<Item = (&(&'static str, String), &String)> {
    state.iter().filter(|((tree, _), _)| *tree == "audit_log")
}

/// Notes what was done to a tree.
pub(crate) fn audit(state: &mut State, done: &str) {
    let place = audited(state).count();
    state.insert(("audit_log", format!("{place:06}")), done.to_owned());
}

/// A few of the records in which two states differ.
pub(crate) fn differences(expected: &State, found: &State) -> String {
    let keys = expected.keys().chain(found.keys());
    let mut differing: Vec<_> = keys
        .filter(|key| expected.get(*key) != found.get(*key))
        .collect();
    differing.sort();
    differing.dedup();
    let lines = differing.iter().take(8).map(|key| {
        let (expected, found) = (expected.get(*key), found.get(*key));
        format!("{key:?}: expected {expected:?}, found {found:?}")
    });
    let lines: Vec<String> = lines.collect();
    format!("{} records differ: {}", differing.len(), lines.join("; "))
}

/// Whether each record is as in one of the two states.
pub(crate) fn is_between(found: &State, one: &State, other: &State) -> bool {
    let keys = found.keys().chain(one.keys()).chain(other.keys());
    let as_in = |key, state: &State| found.get(key) == state.get(key);
    keys.into_iter()
        .all(|key| as_in(key, one) || as_in(key, other))
}

/// An operation that failed, or was cut off: what it had done is not known.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) after: State,
    /// Whether it was one commit.
    pub(crate) is_atomic: bool,
}

/// The states that a database went through, and how much of them has to be there.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// By the number of the last commit.
    states: BTreeMap<u64, State>,
    pub(crate) open: Option<Open>,
    /// The last commit that must survive a power cut.
    pub(crate) durable: u64,
    /// The last commit through which both copies are whole.
    pub(crate) marked: u64,
    /// Whether the first state is that of any number: the commits before it are not known.
    is_anywhere: bool,
}

impl History {
    /// This state, after whatever number of commits.
    pub(crate) fn anywhere(state: State) -> Self {
        Self {
            is_anywhere: true,
            ..Self::from(0, state)
        }
    }

    /// The state after a commit, if it is known.
    pub(crate) fn state(&self, number: u64) -> Option<&State> {
        self.states.get(&number)
    }

    /// What was found is what everything goes on from.
    pub(crate) fn from(number: u64, state: State) -> Self {
        Self {
            states: BTreeMap::from([(number, state)]),
            open: None,
            durable: number,
            marked: number,
            is_anywhere: false,
        }
    }

    /// Whether there was nothing yet.
    pub(crate) fn is_new(&self) -> bool {
        self.is_anywhere && self.states.values().all(State::is_empty)
    }

    pub(crate) fn note(&mut self, number: u64, state: &State) {
        self.states.insert(number, state.clone());
    }

    /// Whether a database without damage to its journal may be found so.
    pub(crate) fn allows(&self, number: u64, found: &State) -> Result<(), String> {
        if number < self.durable {
            return Err(format!("commit {number}, and {} was durable", self.durable));
        }
        let known = if self.is_anywhere {
            self.states.values().next()
        } else {
            self.states.get(&number)
        };
        match known {
            Some(state) if state == found => return Ok(()),
            Some(state) if self.open.is_none() => {
                return Err(format!("at {number}: {}", differences(state, found)));
            }
            _ => {}
        }
        let below = self.states.range(..=number).next_back();
        let above = self.states.range(number..).find(|(at, _)| **at > number);
        let (Some((_, below)), above, open) = (below, above, &self.open) else {
            return Err(format!("at {number}, before everything that is known"));
        };
        let fits = match (above, open) {
            (Some((_, above)), _) => is_between(found, below, above),
            (None, Some(open)) if open.is_atomic => *found == open.after || found == below,
            (None, Some(open)) => {
                // What it audited is not foreseen.
                let most = audited(below).count().max(audited(&open.after).count());
                let mut found = found.clone();
                found.retain(|(tree, place), _| {
                    *tree != "audit_log" || *place < format!("{most:06}")
                });
                is_between(&found, below, &open.after)
            }
            (None, None) => false,
        };
        let from_below = || differences(below, found);
        fits.then_some(())
            .ok_or_else(|| format!("at {number}, from below: {}", from_below()))
    }

    /// Whether a database whose journal was damaged may be found so: each record as it was at some time
    /// since both copies were whole, and, if nothing is told, a state that was.
    pub(crate) fn explains(&self, found: &State, is_told: bool) -> Result<(), String> {
        let from = self.states.range(..=self.marked).next_back();
        let from = from.map_or(0, |(at, _)| *at);
        let later: Vec<&State> = self.states.range(from..).map(|(_, state)| state).collect();
        let later: Vec<&State> = later
            .into_iter()
            .chain(self.open.as_ref().map(|open| &open.after))
            .collect();
        if !is_told && later.contains(&found) {
            return Ok(());
        }
        let is_cut_off = later
            .windows(2)
            .any(|pair| matches!(pair, [one, other] if is_between(found, one, other)));
        // What it audited is not foreseen.
        let is_cut_off = is_cut_off
            || self.open.as_ref().is_some_and(|open| {
                let mut found = found.clone();
                let most = audited(&open.after).count();
                found.retain(|(tree, at), _| *tree != "audit_log" || *at < format!("{most:06}"));
                !open.is_atomic && found == open.after
            });
        if !is_told && !is_cut_off {
            let newest = later
                .last()
                .map_or_else(String::new, |state| differences(state, found));
            return Err(format!(
                "a state that never was, and nothing is told: {newest}"
            ));
        }
        // The log has lost entries: its places are other ones.
        let keys = later
            .iter()
            .flat_map(|state| state.keys())
            .chain(found.keys());
        let strange = keys
            .filter(|(tree, _)| *tree != "audit_log")
            .find(|key| !later.iter().any(|state| state.get(*key) == found.get(*key)));
        strange.map_or(Ok(()), |key| {
            Err(format!(
                "{key:?} is {:?}, which it never was",
                found.get(key)
            ))
        })
    }
}
