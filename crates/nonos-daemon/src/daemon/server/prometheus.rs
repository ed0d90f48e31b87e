//! The numbers of the node in the text format of Prometheus.

use std::fmt;

use nonos_storage::{Latencies, NodeStorage};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::status::{Open, Status};
use crate::output::{Event, Finding};

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What `/metrics` says.
pub(super) fn encode(status: &Status, storage: Option<&NodeStorage>) -> String {
    let mut numbers = Numbers::default();
    numbers.info(
        "nonos_build",
        "The version of the program",
        ("version", status.version),
    );
    numbers.gauge(
        "nonos_up_seconds",
        "Since the daemon started",
        status.uptime_secs,
    );
    let is_opening = u64::from(status.phase == "opening");
    numbers.gauge(
        "nonos_opening",
        "1 while the database is being opened or migrated",
        is_opening,
    );
    if let Some(open) = &status.open {
        numbers.open(open);
        numbers.late(&status.findings);
    }
    let findings = u64::try_from(status.findings.len()).unwrap_or(u64::MAX);
    numbers.gauge(
        "nonos_findings",
        "What somebody has to do something about",
        findings,
    );
    if let Some(storage) = storage {
        let activity = storage.activity();
        numbers.latencies(&[
            ("buffered", &activity.buffered),
            ("durable", &activity.durable),
        ]);
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(numbers));
    let mut text = String::new();
    // Writing to a string does not fail.
    let _encoded = text::encode(&mut text, &registry);
    text
}

#[derive(Debug)]
enum Number {
    Gauge(u64),
    Counter(u64),
    Info(&'static str, &'static str),
    Histogram(f64, Vec<(f64, u64)>),
}

/// A family: its name, what it tells, and each of its numbers with its label.
#[derive(Debug)]
struct Family(&'static str, &'static str, Vec<(Option<Label>, Number)>);

type Label = (&'static str, &'static str);

#[derive(Debug, Default)]
struct Numbers(Vec<Family>);

impl Numbers {
    fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.0
            .push(Family(name, help, vec![(None, Number::Gauge(value))]));
    }

    fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.0
            .push(Family(name, help, vec![(None, Number::Counter(value))]));
    }

    fn info(&mut self, name: &'static str, help: &'static str, (key, value): Label) {
        self.0
            .push(Family(name, help, vec![(None, Number::Info(key, value))]));
    }

    fn age(&mut self, name: &'static str, help: &'static str, event: Option<&Event>) {
        // One that never was has no age: a rule for what is absent is in packaging/alerts.yml.
        if let Some(event) = event {
            self.gauge(name, help, event.age_secs);
        }
    }

    fn open(&mut self, open: &Open) {
        let is = |health| u64::from(open.health == health);
        self.gauge(
            "nonos_poisoned",
            "1 if no write is taken until a restart",
            is("poisoned"),
        );
        self.gauge(
            "nonos_degraded",
            "1 if it works, but not as well as it should",
            is("degraded"),
        );
        self.gauge(
            "nonos_schema_version",
            "The version of the records",
            u64::from(open.schema_version),
        );
        self.gauge(
            "nonos_commit",
            "The number of the last commit",
            open.last_commit,
        );
        self.gauge(
            "nonos_unsynced_commits",
            "Commits that a power cut would lose now",
            open.unsynced_commits,
        );
        self.gauge(
            "nonos_disk_bytes",
            "What the database has on disk",
            open.size_on_disk_bytes,
        );
        self.gauge("nonos_index_bytes", "Of which the index", open.index_bytes);
        self.gauge(
            "nonos_journal_bytes",
            "Of which the journal with its checkpoints",
            open.journal_bytes,
        );
        self.gauge(
            "nonos_reclaimable_bytes",
            "What compacting returns at least",
            open.reclaimable_bytes,
        );
        self.gauge(
            "nonos_disk_free_bytes",
            "What is free where it is",
            open.free_bytes,
        );
        self.trees(open);
        self.counters(open);
        self.ages(open);
    }

    fn trees(&mut self, open: &Open) {
        let of_trees = |value: fn(&super::status::Tree) -> Number| {
            let numbers = open
                .trees
                .iter()
                .map(|tree| (Some(("tree", tree.name)), value(tree)));
            numbers.collect::<Vec<_>>()
        };
        let entries = of_trees(|tree| Number::Gauge(u64::try_from(tree.entries).unwrap_or(0)));
        self.0
            .push(Family("nonos_records", "Records of each tree", entries));
        let counted = open.trees.iter().filter(|tree| tree.bytes.is_some());
        let bytes = counted.map(|tree| {
            let bytes = Number::Gauge(tree.bytes.unwrap_or_default());
            (Some(("tree", tree.name)), bytes)
        });
        let help = "Bytes of keys and stored values of each tree, counted now and then";
        self.0
            .push(Family("nonos_tree_bytes", help, bytes.collect()));
        let reads = of_trees(|tree| Number::Counter(tree.reads));
        self.0
            .push(Family("nonos_tree_reads", "Records read", reads));
        let writes = of_trees(|tree| Number::Counter(tree.writes));
        self.0
            .push(Family("nonos_tree_writes", "Records written", writes));
        let deletes = of_trees(|tree| Number::Counter(tree.deletes));
        self.0
            .push(Family("nonos_tree_deletes", "Records removed", deletes));
    }

    fn counters(&mut self, open: &Open) {
        let of = &open.counters;
        self.counter(
            "nonos_read_bytes",
            "Bytes read from the index",
            of.read_bytes,
        );
        self.counter(
            "nonos_write_bytes",
            "Bytes of keys and values written",
            of.write_bytes,
        );
        self.counter(
            "nonos_syncs",
            "Times that the journal was made durable",
            of.flushes,
        );
        self.counter("nonos_errors", "Operations that failed", of.errors);
        self.counter(
            "nonos_cache_hits",
            "Reads that the cache answered",
            of.cache_hits,
        );
        self.counter(
            "nonos_cache_misses",
            "Reads that it did not",
            of.cache_misses,
        );
    }

    fn ages(&mut self, open: &Open) {
        self.gauge(
            "nonos_scrub_errors",
            "Errors that the last scrub found",
            open.scrub_errors,
        );
        for (name, help, event) in [
            (
                "nonos_backup_age_seconds",
                "Since the newest backup was made",
                &open.backup,
            ),
            (
                "nonos_backup_verified_age_seconds",
                "Since the newest backup was read whole",
                &open.verified_backup,
            ),
            (
                "nonos_drill_age_seconds",
                "Since a backup was restored and verified",
                &open.drill,
            ),
            (
                "nonos_scrub_age_seconds",
                "Since every record was read and compared",
                &open.scrub,
            ),
            (
                "nonos_checkpoint_age_seconds",
                "Since the journal's newest checkpoint",
                &open.checkpoint,
            ),
            (
                "nonos_compaction_age_seconds",
                "Since the index was made anew",
                &open.compaction,
            ),
        ] {
            self.age(name, help, event.as_ref());
        }
    }

    /// What was not done for too long, as the status page says it.
    fn late(&mut self, found: &[Finding]) {
        const LATE: [(&str, &[&str]); 3] = [
            ("backup", &["BACKUP_OLD", "BACKUP_MISSING"]),
            ("drill", &["DRILL_OLD"]),
            ("scrub", &["SCRUB_OLD"]),
        ];
        let late = LATE.map(|(what, codes)| {
            let is_late = found.iter().any(|of| codes.contains(&of.code.as_str()));
            (Some(("what", what)), Number::Gauge(is_late.into()))
        });
        let help = "Whether it was not done for longer than its period allows";
        self.0.push(Family("nonos_late", help, late.into()));
    }

    fn latencies(&mut self, of: &[(&'static str, &Latencies)]) {
        let numbers = of.iter().map(|(class, latencies)| {
            let number = Number::Histogram(latencies.total().as_secs_f64(), latencies.buckets());
            (Some(("class", *class)), number)
        });
        let help = "From the call of a write to its return";
        self.0
            .push(Family("nonos_commit_seconds", help, numbers.collect()));
    }
}

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for Family(name, help, numbers) in &self.0 {
            let Some((_, first)) = numbers.first() else {
                continue;
            };
            let kind = match first {
                Number::Gauge(_) => MetricType::Gauge,
                Number::Counter(_) => MetricType::Counter,
                Number::Info(..) => MetricType::Info,
                Number::Histogram(..) => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            for (label, number) in numbers {
                let labels: Vec<Label> = label.iter().copied().collect();
                let mut of_label = metric.encode_family(&labels)?;
                match number {
                    Number::Gauge(value) => {
                        let value = i64::try_from(*value).unwrap_or(i64::MAX);
                        ConstGauge::new(value).encode(of_label)?;
                    }
                    Number::Counter(value) => ConstCounter::new(*value).encode(of_label)?,
                    Number::Info(key, value) => of_label.encode_info(&vec![(*key, *value)])?,
                    Number::Histogram(sum, buckets) => {
                        let count = buckets.iter().map(|(_, count)| count).sum();
                        of_label.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)?;
                    }
                }
            }
        }
        Ok(())
    }
}
