//! A status as text.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table};

use super::{Sample, Status, key_lines, newest, window};
use crate::output::{Event, mib, push_line};

/// How long ago something was, in its largest unit.
pub(super) fn ago(event: &Event) -> String {
    let (number, unit) = match event.age_secs {
        age @ 0..120 => (age, "s"),
        age @ 120..7_200 => (age / 60, "min"),
        age @ 7_200..172_800 => (age / 3600, "h"),
        age => (age / 86_400, "days"),
    };
    format!("{number} {unit} ago")
}

fn or_never(event: Option<&Event>) -> String {
    event.map_or_else(|| "never".to_owned(), ago)
}

pub(super) fn table(status: &Status) -> String {
    let schema = &status.schema;
    let mut text = format!("database    {}", status.database.display());
    let mut line = |name: &str, value: String| {
        push_line(&mut text, format_args!("{name:<12}{value}"));
    };
    line(
        "held by",
        status
            .held_by
            .clone()
            .unwrap_or_else(|| "nobody".to_owned()),
    );
    let pending = match (
        schema.migration_interrupted,
        schema.version < schema.supported,
    ) {
        (true, _) => ", a migration was interrupted",
        (false, true) => ", older than this program: a migration is pending",
        (false, false) => "",
    };
    line(
        "schema",
        format!("{}{pending}, created {}", schema.version, schema.created_at),
    );
    if let Some(disk) = &status.disk {
        line(
            "disk",
            format!(
                "{}: index {}, journal {}; {} live, {} reclaimable, {} free",
                mib(status.size_on_disk_bytes),
                mib(disk.index_bytes),
                mib(disk.journal_bytes),
                mib(disk.live_bytes),
                mib(disk.reclaimable_bytes),
                mib(disk.free_bytes),
            ),
        );
    }
    line("durability", window(status));
    if let Some(commit) = status.last_commit {
        let checkpoint = match &status.checkpoint {
            Some(of) => format!("checkpoint at {}, {}", of.commit, ago(&of.made)),
            None => "no checkpoint yet".to_owned(),
        };
        line("commit", format!("{commit}, {checkpoint}"));
    }
    line("backup", newest(&status.backups));
    if let Some(upkeep) = &status.upkeep {
        let mut scrub = or_never(upkeep.scrub.as_ref());
        if upkeep.scrub_errors > 0 {
            let _written = write!(
                scrub,
                ", {} errors: `nonos verify --deep`",
                upkeep.scrub_errors
            );
        }
        line("scrubbed", scrub);
        line("drilled", or_never(upkeep.drill.as_ref()));
    }
    let sample = match &status.newest_sample {
        Some(Sample { time, metrics }) => {
            let percent = |usage: Option<f32>| match usage {
                Some(usage) => format!("{usage:.1} %"),
                None => "unknown".to_owned(),
            };
            let (cpu, memory) = (percent(metrics.cpu_usage), percent(metrics.memory_usage));
            format!("{time}, CPU {cpu}, memory {memory}")
        }
        None => "none yet".to_owned(),
    };
    if !status.is_pending {
        line("sample", sample);
    }
    key_lines(status, &mut text);
    if !status.trees.is_empty() {
        push_line(&mut text, format_args!("\n{}", trees(status)));
    }
    text
}

pub(super) fn trees(status: &Status) -> Table {
    let mut trees = Table::new();
    trees.load_style(comfy_table::presets::NOTHING);
    trees.set_header(["TREE", "ENTRIES", "BYTES"]);
    for tree in &status.trees {
        let (entries, bytes) = (tree.entries.to_string(), tree.bytes.to_string());
        trees.add_row([tree.name.to_owned(), entries, bytes]);
    }
    for column in trees.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    trees
}
