//! `nonos hash`: what tells whether two databases hold the same.

use data_encoding::HEXLOWER;
use nonos_storage::TreeId;
use serde::Serialize;

use crate::args::Args;
use crate::cmd;
use crate::error::CliError;
use crate::output::{Report, push_line};
use crate::places::Places;

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Hashes {
    /// Of all trees, or the one that was named.
    blake2b_256: String,
    trees: Vec<TreeHash>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct TreeHash {
    name: &'static str,
    blake2b_256: String,
}

pub(crate) fn hash(args: &Args, tree: Option<TreeId>) -> Result<(), CliError> {
    let report = Report::start("nonos.hash/1", args.output);
    report.finish(hashes(args, tree), |found| {
        let mut text = found.blake2b_256.clone();
        for tree in found.trees.iter().filter(|_| found.trees.len() > 1) {
            push_line(
                &mut text,
                format_args!("{} {}", tree.blake2b_256, tree.name),
            );
        }
        text
    })
}

fn hashes(args: &Args, tree: Option<TreeId>) -> Result<Hashes, CliError> {
    let storage = cmd::view(&Places::of(args)?.load()?)?;
    // The tree `schema` is about the database, not the node: a restored one notes there where it comes from.
    let trees: Vec<TreeId> = match tree {
        Some(tree) => vec![tree],
        None => TreeId::ALL
            .into_iter()
            .filter(|tree| *tree != TreeId::Schema)
            .collect(),
    };
    let of = |trees: &[TreeId]| Ok::<_, CliError>(HEXLOWER.encode(&storage.content_hash(trees)?));
    let hashed = trees.iter().map(|tree| {
        Ok::<_, CliError>(TreeHash {
            name: tree.name(),
            blake2b_256: of(&[*tree])?,
        })
    });
    Ok(Hashes {
        blake2b_256: of(&trees)?,
        trees: hashed.collect::<Result<_, _>>()?,
    })
}
