//! `nonos wipe`: the data of this node removed; its identity and its secrets only where they are named.

use std::path::PathBuf;

use nonos_daemon::settings::Settings;
use nonos_storage::{DATA_TREES, NodeStorage, TreeId};
use serde::Serialize;

use crate::args::{Args, DryRun};
use crate::cmd;
use crate::cmd::migrate::confirm;
use crate::error::CliError;
use crate::output::{Report, push_line};
use crate::places::Places;
use crate::progress;

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Wiped {
    database: PathBuf,
    dry_run: bool,
    trees: Vec<Tree>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Tree {
    name: &'static str,
    records: u64,
}

pub(crate) fn wipe(
    args: &Args,
    trees: &[TreeId],
    including_identity: bool,
    look: DryRun,
) -> Result<(), CliError> {
    let report = Report::start("nonos.wipe/1", args.output);
    let judge = |wiped: &Wiped| look.judge(wiped.trees.iter().any(|tree| tree.records > 0));
    let wiped = work(args, trees, including_identity, look.dry_run);
    report.judged(wiped, judge, table)
}

fn work(
    args: &Args,
    named: &[TreeId],
    including_identity: bool,
    dry_run: bool,
) -> Result<Wiped, CliError> {
    let mut trees = if named.is_empty() {
        DATA_TREES.to_vec()
    } else {
        named.to_vec()
    };
    if including_identity {
        trees.push(TreeId::Identity);
    }
    let places = Places::of(args)?;
    let settings = places.load()?;
    let view = cmd::view(&settings)?;
    let counted = view.tree_sizes()?.by_tree();
    view.close()?;
    let mut wiped = Wiped {
        database: settings.storage.path.clone(),
        dry_run,
        trees: of_trees(&trees, |tree| {
            let found = counted.iter().find(|(of, _)| *of == tree);
            found.map_or(0, |(_, entries)| {
                u64::try_from(*entries).unwrap_or(u64::MAX)
            })
        }),
    };
    if dry_run {
        return Ok(wiped);
    }
    let listed: Vec<String> = wiped
        .trees
        .iter()
        .map(|tree| format!("{} of {}", tree.records, tree.name))
        .collect();
    let what = format!("removing all records, {}, for ever", listed.join(", "));
    confirm(args, &what)?;
    let writer = cmd::writer(args, &places.data_dir, || {
        cmd::alone(args, &places.data_dir, &settings.storage.path)?;
        open(args, &settings, &trees)
    })?;
    let removed = writer.wipe(&trees)?;
    writer.close()?;
    wiped.trees = of_trees(&trees, |tree| {
        let found = removed.iter().find(|(of, _)| *of == tree);
        found.map_or(0, |(_, records)| *records)
    });
    Ok(wiped)
}

fn of_trees(trees: &[TreeId], records: impl Fn(TreeId) -> u64) -> Vec<Tree> {
    let wiped = TreeId::ALL.into_iter().filter(|tree| trees.contains(tree));
    let of = |tree: TreeId| Tree {
        name: tree.name(),
        records: records(tree),
    };
    wiped.map(of).collect()
}

/// The database, if no daemon has it, with the keys where sealed records go.
fn open(args: &Args, settings: &Settings, trees: &[TreeId]) -> Result<NodeStorage, CliError> {
    let opening = progress::cancellable(args, settings.storage.clone())?;
    #[cfg(feature = "encrypted-storage")]
    let opening = crate::keys::guarded(opening, settings);
    let storage = opening.migrate(false).open()?;
    #[cfg(feature = "encrypted-storage")]
    if (trees.contains(&TreeId::Secrets) || trees.contains(&TreeId::Identity))
        && storage.secrets_status()?.active.is_some()
    {
        crate::keys::unlock(args, settings, &storage)?;
    }
    #[cfg(not(feature = "encrypted-storage"))]
    let _ = trees;
    Ok(storage)
}

fn table(wiped: &Wiped) -> String {
    let (verb, hint) = if wiped.dry_run {
        ("would be removed", "")
    } else {
        (
            "are removed",
            "\ntheir bytes are in files of the database until `nonos compact --purge`",
        )
    };
    let mut text = format!("these {verb} from {}", wiped.database.display());
    for tree in &wiped.trees {
        push_line(&mut text, format_args!("{:<10}{}", tree.name, tree.records));
    }
    text + hint
}
