//! What is measured, and beside whom: the one list that the harness, `cargo xtask bench` and the test of
//! `docs/PERFORMANCE.md` share.

/// The engines, in the order of the columns.
pub(crate) const ENGINES: [&str; 7] = [
    "nonos", "sled", "redb", "fjall", "lmdb", "sqlite", "rocksdb",
];

/// The workloads, in the order in which they run on one directory.
pub(crate) const WORKLOADS: [&str; 12] = [
    "load",
    "open",
    "read",
    "update",
    "durable",
    "mixed",
    "upkeep",
    "crash",
    "compact",
    "burst",
    "growth",
    "migration",
];

/// How many records the databases of `growth` have, and how rows call them.
pub(crate) const GROWTH: [(&str, usize); 3] =
    [("10 k", 10_000), ("100 k", 100_000), ("1 M", 1_000_000)];

/// What runs beside the reads and writes of `mixed`.
pub(crate) const BESIDE: [&str; 4] = ["alone", "checkpoints", "backups", "compactions"];

/// What `mixed` does, nine to one.
pub(crate) const OPERATIONS: [&str; 2] = ["read", "update"];

/// In tenths of a percent.
pub(crate) const PERCENTILES: [(&str, usize); 3] = [("p50", 500), ("p99", 990), ("p99.9", 999)];

/// The engine whose durable commits are none (its `flush` calls `sync_file_range`), and the rows in which it
/// therefore does not compete.
pub(crate) const NOT_DURABLE: (&str, [&str; 2]) = ("sled", ["durable_1", "durable_8"]);

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    Millis,
    Micros,
    Mebibytes,
    Records,
}

impl Unit {
    /// Whether the larger number is the better one.
    pub(crate) fn is_rate(self) -> bool {
        self == Self::PerSecond
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "records/s",
            Self::Millis => "ms",
            Self::Micros => "µs",
            Self::Mebibytes => "MiB",
            Self::Records => "records",
        }
    }
}

/// A line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What a workload calls it when it tells its value.
    pub(crate) id: String,
    pub(crate) section: &'static str,
    pub(crate) title: String,
    pub(crate) unit: Unit,
}

/// Those with names of their own: workload's name, title, unit.
const WRITES: [(&str, &str, Unit); 6] = [
    (
        "batches",
        "batches of 1,000 peers, durable at the end",
        Unit::PerSecond,
    ),
    ("metrics", "metrics one by one, buffered", Unit::PerSecond),
    (
        "metrics_behind",
        "the same, right behind batches of peers",
        Unit::PerSecond,
    ),
    ("update", "update of one peer, buffered", Unit::PerSecond),
    (
        "durable_1",
        "update of one peer, durable, 1 thread",
        Unit::PerSecond,
    ),
    (
        "durable_8",
        "update of one peer, durable, 8 threads",
        Unit::PerSecond,
    ),
];
const READS: [(&str, &str, Unit); 6] = [
    ("hot", "point read, 1,000 hot peers", Unit::PerSecond),
    ("any", "point read, any peer", Unit::PerSecond),
    (
        "range_newest",
        "range of the newest 1,000 metrics",
        Unit::PerSecond,
    ),
    (
        "range_any",
        "range of 1,000 metrics anywhere",
        Unit::PerSecond,
    ),
    ("newest_100", "newest 100 metrics", Unit::PerSecond),
    ("scan", "scan of all peers", Unit::PerSecond),
];
const UPKEEP: [(&str, &str, Unit); 8] = [
    (
        "open_clean",
        "open, closed well, to the first read",
        Unit::Millis,
    ),
    (
        "open_crash",
        "open, after `kill -9`, to the first read",
        Unit::Millis,
    ),
    (
        "lost",
        "of 20,000 buffered records, lost by `kill -9`",
        Unit::Records,
    ),
    ("close", "close, after the buffered updates", Unit::Millis),
    ("backup", "backup to a file, synced", Unit::Millis),
    ("verify", "verify", Unit::Millis),
    ("compaction", "compaction", Unit::Millis),
    (
        "migration",
        "migration of the peers of schema 1",
        Unit::PerSecond,
    ),
];
const DISK: [(&str, &str, Unit); 2] = [
    ("disk", "after loading and closing", Unit::Mebibytes),
    (
        "disk_compacted",
        "after compaction and closing",
        Unit::Mebibytes,
    ),
];
const GROWING: [(&str, &str, Unit); 4] = [
    ("rate", "loading, durable at the end", Unit::PerSecond),
    ("peak", "resident at most", Unit::Mebibytes),
    (
        "after",
        "resident after loading and reading",
        Unit::Mebibytes,
    ),
    ("open", "open, closed well", Unit::Millis),
];

/// All lines, in order.
pub(crate) fn rows() -> Vec<Row> {
    let growth = GROWTH.iter().flat_map(|(name, _)| {
        GROWING.map(|(what, title, unit)| {
            let (id, title) = (growth_id(what, name), format!("{title}, {name} records"));
            row("Growth, peers in batches of 1,000", id, title, unit)
        })
    });
    fixed("Writes", &WRITES)
        .chain(fixed("Reads", &READS))
        .chain(fixed("Opening, closing, upkeep", &UPKEEP))
        .chain(fixed("Disk", &DISK))
        .chain(growth)
        .chain(latencies())
        .collect()
}

fn latencies() -> impl Iterator<Item = Row> {
    let section = "Latency of each, 9 reads of any peer to 1 buffered update";
    let pairs = BESIDE
        .iter()
        .flat_map(|beside| OPERATIONS.map(|operation| (*beside, operation)));
    pairs.flat_map(move |(beside, operation)| {
        PERCENTILES.map(|(percentile, _)| {
            let id = latency_id(beside, operation, percentile);
            let title = match beside {
                "alone" => format!("{operation} alone, {percentile}"),
                other => format!("{operation} beside {other}, {percentile}"),
            };
            row(section, id, title, Unit::Micros)
        })
    })
}

pub(crate) fn growth_id(what: &str, size: &str) -> String {
    format!("growth_{what}_{}", size.replace(' ', ""))
}

pub(crate) fn latency_id(beside: &str, operation: &str, percentile: &str) -> String {
    format!("mixed_{beside}_{operation}_{percentile}")
}

fn fixed(section: &'static str, rows: &'static [(&str, &str, Unit)]) -> impl Iterator<Item = Row> {
    rows.iter()
        .map(move |(id, title, unit)| row(section, (*id).to_owned(), (*title).to_owned(), *unit))
}

fn row(section: &'static str, id: String, title: String, unit: Unit) -> Row {
    Row {
        id,
        section,
        title,
        unit,
    }
}
