//! Which backups are kept: a full one with everything that goes on from it, or none of it.

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;

use super::find::{is_superseded, same_place};
use super::{Backup, CatalogError, Kind, Listing, chain, list, list_in, note};
use crate::target::Target;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// How many full backups of each history of each database are kept, with their increments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "both numbers are all there is")]
pub struct Keep {
    /// The newest so many; the newest one is always kept.
    pub last: usize,
    /// The newest of each of the last so many days that have one, by UTC.
    pub daily: usize,
}

/// Removes the backups of a database that are not kept, and returns them; with `is_dry` says only what that
/// would be. Where the target has backups of several databases, `store_id` says of which. Of each history the
/// newest backup that was verified is kept in any case, and one that is being made is not touched. Where a note
/// cannot be read, increments that nothing listed leads to are kept.
///
/// # Errors
///
/// [`CatalogError::Several`]: nothing was removed. [`CatalogError::Target`]: some of it may be removed;
/// calling again goes on.
pub fn prune(
    target: &dyn Target,
    store_id: Option<[u8; 16]>,
    keep: Keep,
    is_dry: bool,
) -> Result<Vec<Backup>, CatalogError> {
    let Listing {
        backups,
        unreadable,
    } = list(target)?.of_store(store_id)?;
    let Some(store_id) = backups.first().map(|b| b.store_id) else {
        return Ok(Vec::new());
    };
    // A copy of a node has the same store id, and its backups are not those of the node.
    let histories: BTreeSet<_> = backups.iter().map(|b| b.history).collect();
    let mut kept = BTreeSet::new();
    for history in histories {
        let of_history = |b: &&Backup| b.history == history;
        let of_history: Vec<&Backup> = backups.iter().filter(of_history).collect();
        let chain_of = |full: &Backup| chain(&backups, full, None).last().map(|b| b.commit);
        let is_verified = |full: &Backup| {
            // Whoever verified an increment read everything below it.
            let chain = chain(&backups, full, None);
            chain.iter().any(|b| b.verified_at.is_some())
        };
        let mut fulls = kept_of(&of_history, keep, &is_verified);
        // Beside a newer full backup an older one may lead farther.
        let all = of_history.iter().copied().filter(|b| b.kind == Kind::Full);
        fulls.extend(all.max_by_key(|full| (chain_of(full), full.commit)));
        for full in fulls {
            kept.extend(chain(&backups, full, None).iter().map(|b| b.name()));
        }
        let is_here = |name: &str| {
            let file = name.strip_suffix(note::ENDING).unwrap_or(name);
            of_history.iter().any(|b| same_place(file, b)) && !is_superseded(file, &backups)
        };
        if let Some(name) = unreadable.iter().find(|name| is_here(name)) {
            // What hangs on nothing that lists may hang on what that one speaks of.
            tracing::warn!(
                name,
                "a note cannot be read: what may go on from it is kept"
            );
            let fulls = of_history.iter().filter(|b| b.kind == Kind::Full);
            let reached = fulls.flat_map(|full| chain(&backups, full, None));
            let reached: BTreeSet<_> = reached.map(Backup::name).collect();
            let names = of_history.iter().map(|b| b.name());
            kept.extend(names.filter(|name| !reached.contains(name)));
        }
    }
    let (_, removed): (Vec<Backup>, Vec<Backup>) = backups
        .iter()
        .cloned()
        .partition(|b| kept.contains(&b.name()));
    if is_dry {
        return Ok(removed);
    }
    // What lists goes first, newest first: interrupted, what is left still lists as what it is.
    for backup in removed.iter().rev() {
        target.remove(&backup.note_name())?;
        target.remove(&backup.name())?;
    }
    remove_leftovers(
        target,
        &format!("{}/", HEXLOWER.encode(&store_id)),
        &backups,
    )?;
    Ok(removed)
}

/// The full backups of one history that are kept, of its backups from the oldest on.
fn kept_of<'a>(
    backups: &[&'a Backup],
    keep: Keep,
    is_verified: &dyn Fn(&Backup) -> bool,
) -> Vec<&'a Backup> {
    let newest_first = || {
        let fulls = backups.iter().rev().copied();
        fulls.filter(|b| b.kind == Kind::Full)
    };
    let mut kept: Vec<&Backup> = newest_first().take(keep.last.max(1)).collect();
    let mut days = BTreeSet::new();
    for full in newest_first() {
        // Commits have the time of a clock that was ahead until that time comes.
        let at_ms = full.last_at_ms.min(full.created_at.saturating_mul(1000));
        let day = at_ms.div_euclid(DAY_MS);
        if days.len() < keep.daily && days.insert(day) {
            kept.push(full);
        }
    }
    kept.extend(newest_first().find(|b| is_verified(b)));
    kept
}

/// Removes files without a note that can be read which lie before two full ones of these backups: nobody is making them
/// any more.
fn remove_leftovers(
    target: &dyn Target,
    prefix: &str,
    backups: &[Backup],
) -> Result<(), CatalogError> {
    let names: BTreeSet<String> = target.list(prefix)?.into_iter().collect();
    let listing = list_in(target, prefix)?;
    let notes: BTreeSet<_> = listing.backups.iter().map(Backup::note_name).collect();
    for name in &names {
        let file = name.strip_suffix(note::ENDING).unwrap_or(name);
        let note = format!("{file}{}", note::ENDING);
        let is_listed = notes.contains(&note);
        if !is_listed && is_superseded(file, backups) {
            target.remove(name)?;
        }
    }
    Ok(())
}
