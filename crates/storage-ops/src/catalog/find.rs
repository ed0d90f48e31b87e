//! The backup that is wanted, found among those of a target.

use super::{Backup, CatalogError, Kind, Listing, chain, chain_to, note};

const BASE_MISSING: &str = "one that it goes on from is missing";

/// Which state is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wanted {
    /// The newest there is.
    Newest,
    /// That of the last commit at this time or before, in Unix milliseconds.
    At(i64),
    /// That of the backup of this name.
    Named(String),
}

/// The backups that a wanted state is in: a full one, and increments in order.
pub(crate) fn find<'a>(
    listing: &'a Listing,
    wanted: &Wanted,
) -> Result<Vec<&'a Backup>, CatalogError> {
    let fulls = listing.backups.iter().filter(|b| b.kind == Kind::Full);
    let found = match wanted {
        Wanted::Newest => {
            let chains = fulls.map(|full| chain(&listing.backups, full, None));
            chains.max_by_key(|chain| chain.last().map(|b| (b.last_at_ms, b.created_at)))
        }
        Wanted::At(time_ms) => {
            let enough = |b: &Backup| b.last_at_ms > *time_ms;
            let early = fulls.filter(|b| b.last_at_ms <= *time_ms);
            let chains = early.map(|full| chain(&listing.backups, full, Some(&enough)));
            // An older full backup may lead closer to the time than a newer one does.
            chains.max_by_key(|chain| {
                let ends = chain.last().map(|b| b.last_at_ms.min(*time_ms));
                (ends, chain.first().map(|full| full.last_at_ms))
            })
        }
        Wanted::Named(name) => {
            let named = listing.backups.iter().find(|b| b.name() == *name);
            let chain = named.map(|named| (named, chain_to(&listing.backups, named)));
            if let Some((named, None)) = chain {
                return Err(CatalogError::invalid(named, BASE_MISSING));
            }
            chain.and_then(|(_, chain)| chain)
        }
    };
    if let (Some(chain), Wanted::Newest | Wanted::At(_)) = (&found, wanted)
        && let Some(last) = chain.last()
    {
        // What it speaks of may be what is wanted: an older state is not given in its place.
        let mut unreadable = listing.unreadable.iter();
        if let Some(name) = unreadable.find(|name| may_be_newest(name, last, &listing.backups)) {
            let (name, what) = (name.clone(), "its note cannot be read".to_owned());
            return Err(CatalogError::Invalid { name, what });
        }
        let is_newer = |b: &&Backup| {
            let is_behind = b.is_of_history(last) && b.commit > last.commit;
            b.store_id == last.store_id && (is_behind || b.last_at_ms > last.last_at_ms)
        };
        let increments = listing.backups.iter().filter(|b| b.kind == Kind::Increment);
        let mut newer = increments.filter(is_newer);
        let without_base = |b: &&Backup| chain_to(&listing.backups, b).is_none();
        // Its first commits may be of the time that is wanted.
        let is_wanted = match wanted {
            Wanted::At(time_ms) => last.last_at_ms < *time_ms,
            _ => true,
        };
        if is_wanted && let Some(newer) = newer.find(without_base) {
            return Err(CatalogError::invalid(newer, BASE_MISSING));
        }
    }
    found.ok_or_else(|| CatalogError::NoSuch {
        sought: match wanted {
            Wanted::Newest => "none is whole".to_owned(),
            Wanted::At(_) => "none is as old as that".to_owned(),
            Wanted::Named(name) => name.clone(),
        },
    })
}

/// Whether a file lies where the backups of this one's history do.
pub(super) fn same_place(file: &str, backup: &Backup) -> bool {
    let directory = |name: &str| name.rsplit_once('/').map(|(of, _)| of.to_owned());
    directory(file) == directory(&backup.name())
}

/// Whether a note that cannot be read may speak of a newer state of the database than `last` is: of its history, or of
/// one of which nothing else is there.
fn may_be_newest(note: &str, last: &Backup, backups: &[Backup]) -> bool {
    let file = note.strip_suffix(note::ENDING).unwrap_or(note);
    let store = |name: &str| name.split_once('/').map(|(of, _)| of.to_owned());
    if !note::is_of_backup(file) || store(file) != store(&last.name()) {
        return false;
    }
    let mut fulls = backups.iter().filter(|b| b.kind == Kind::Full);
    let is_alone = !fulls.any(|full| same_place(file, full));
    is_alone || same_place(file, last) && !is_superseded(file, backups)
}

/// Whether a file lies before two full backups of its history, which list: nobody makes it any more, or needs it.
pub(super) fn is_superseded(file: &str, backups: &[Backup]) -> bool {
    // Names begin with a commit, of twenty digits.
    let commit = file
        .rsplit_once('/')
        .and_then(|(_, name)| name.split_once('-'));
    let commit = commit.map_or("", |(commit, _)| commit);
    let is_number = commit.len() == 20 && commit.bytes().all(|b| b.is_ascii_digit());
    let fulls = backups.iter().filter(|b| b.kind == Kind::Full);
    let is_newer = |b: &&Backup| *commit < *format!("{:020}", b.commit) && same_place(file, b);
    is_number && note::is_of_backup(file) && fulls.filter(is_newer).count() >= 2
}

/// The newest backup that can be restored.
///
/// # Errors
///
/// [`CatalogError::NoSuch`].
pub fn newest(listing: &Listing) -> Result<Backup, CatalogError> {
    let chain = find(listing, &Wanted::Newest)?;
    let last = chain.last().copied().cloned();
    last.ok_or_else(|| CatalogError::NoSuch {
        sought: "none is whole".to_owned(),
    })
}
