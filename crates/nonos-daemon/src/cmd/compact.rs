//! `nonos compact`: the index made anew; with `--purge`, everything of the past removed from the files.

use std::path::PathBuf;

use nonos_storage::{CompactionReport, NodeStorage};
use serde::Serialize;

use crate::admin::Writer;
use crate::args::{Args, DryRun};
use crate::cmd;
use crate::cmd::migrate::confirm;
use crate::error::CliError;
use crate::output::{Finding, Report, mib};
use crate::places::Places;
use crate::progress;

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Compacted {
    database: PathBuf,
    dry_run: bool,
    purged: bool,
    size_before_bytes: u64,
    size_after_bytes: Option<u64>,
    index_before_bytes: Option<u64>,
    index_after_bytes: Option<u64>,
    /// What that returns at least; of a dry run.
    reclaimable_bytes: Option<u64>,
    entries: u64,
    duration_ms: Option<u64>,
    #[serde(skip)]
    is_due: bool,
    /// What opening found damaged: closing forgets it.
    #[serde(skip)]
    damage: Vec<String>,
}

pub(crate) fn compact(args: &Args, purge: bool, look: DryRun) -> Result<(), CliError> {
    let report = Report::start("nonos.compact/1", args.output);
    let done = if look.dry_run {
        foresee(args, purge)
    } else {
        work(args, purge)
    };
    let judge = |done: &Compacted| {
        let (error, mut findings) = look.judge(done.is_due);
        let damage = done.damage.iter().cloned();
        findings.extend(damage.map(|what| Finding::warning("DAMAGE", what, "nonos verify --deep")));
        (error, findings)
    };
    report.judged(done, judge, table)
}

fn foresee(args: &Args, purge: bool) -> Result<Compacted, CliError> {
    let settings = Places::of(args)?.load()?;
    let storage = cmd::view(&settings)?;
    #[cfg(feature = "encrypted-storage")]
    let is_unclean = storage.secrets_status()?.purge_needed;
    #[cfg(not(feature = "encrypted-storage"))]
    let is_unclean = false;
    let percent = settings.maintenance.compact_above_percent;
    let space = storage.space()?;
    Ok(Compacted {
        reclaimable_bytes: Some(space.reclaimable_bytes),
        damage: Vec::new(),
        is_due: (purge && is_unclean) || storage.is_worth_compacting(percent)?,
        database: storage.data_path().to_owned(),
        dry_run: true,
        purged: purge,
        size_before_bytes: storage.size_on_disk()?,
        size_after_bytes: None,
        index_before_bytes: None,
        index_after_bytes: None,
        entries: entries(&storage)?,
        duration_ms: None,
    })
}

fn entries(storage: &NodeStorage) -> Result<u64, CliError> {
    let entries = storage.tree_sizes()?.total();
    Ok(u64::try_from(entries).unwrap_or(u64::MAX))
}

fn work(args: &Args, purge: bool) -> Result<Compacted, CliError> {
    let places = Places::of(args)?;
    let settings = places.load()?;
    let config = settings.storage.clone();
    if crate::cmd::schema::version(&config)?.is_none() {
        return Err(CliError::NoDatabase { path: config.path });
    }
    if purge {
        confirm(
            args,
            "purging: older checkpoints, and damaged indexes that were moved aside, are destroyed",
        )?;
    }
    let own = config.clone();
    let writer = cmd::writer(args, &places.data_dir, || {
        cmd::alone(args, &places.data_dir, &own.path)?;
        Ok(progress::cancellable(args, own)?.migrate(false).open()?)
    })?;
    let damage = match &writer {
        Writer::Own(storage) => storage.opening_report().damage.clone(),
        Writer::Daemon(_) => Vec::new(),
    };
    let size = |writer: &Writer| match writer {
        Writer::Own(storage) => Ok::<_, CliError>(storage.size_on_disk()?),
        Writer::Daemon(_) => Ok(cmd::view(&settings)?.size_on_disk()?),
    };
    let size_before_bytes = size(&writer)?;
    let entries = entries(&cmd::view(&settings)?)?;
    let done: CompactionReport = writer.compact(purge)?;
    let compacted = Compacted {
        database: config.path.clone(),
        dry_run: false,
        reclaimable_bytes: None,
        is_due: false,
        damage,
        purged: purge,
        size_before_bytes,
        size_after_bytes: Some(size(&writer)?),
        index_before_bytes: Some(done.bytes_before),
        index_after_bytes: Some(done.bytes_after),
        entries,
        duration_ms: Some(done.duration_ms),
    };
    writer.close()?;
    Ok(compacted)
}

fn table(done: &Compacted) -> String {
    let before = mib(done.size_before_bytes);
    match (done.size_after_bytes, done.purged) {
        (None, purged) => {
            let past = if purged {
                " and everything of the past be overwritten and removed"
            } else {
                ""
            };
            format!(
                "the index would be made anew{past}\nbefore  {before}, {} records; {} reclaimable",
                done.entries,
                mib(done.reclaimable_bytes.unwrap_or(0)),
            )
        }
        (Some(after), purged) => {
            let purged = if purged {
                "\nwhat was deleted or replaced before is in no file of the database; copies elsewhere, \
                 snapshots and flash devices may have it"
            } else {
                ""
            };
            format!(
                "before  {before}\nafter   {}, {} records{purged}",
                mib(after),
                done.entries
            )
        }
    }
}
