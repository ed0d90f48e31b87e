//! The medians as tables, with what each is beside the library.

use std::fmt::Write;

use crate::arguments::Arguments;
use crate::codec::encode;
use crate::error::Result;
use crate::harness::Measured;
use crate::records::{peer, sample};
use crate::rows::{NOT_DURABLE, Row, Unit, rows};
use crate::{engine, machine};

/// The engine that the others are compared with.
const OURS: &str = "nonos";

/// When, where and of what.
pub(crate) fn heading(arguments: &Arguments) -> Result<String> {
    let scale = arguments.scale();
    let directory = arguments
        .directory
        .clone()
        .unwrap_or_else(std::env::temp_dir);
    let versions = arguments.engines.iter().map(|name| {
        let version = engine::version(name).unwrap_or_default();
        format!("{name} {version}")
    });
    let mut text = format!(
        "{}, {}.\n",
        machine::processor()?,
        machine::file_system(&directory)?
    );
    let _ = writeln!(
        text,
        "{} peers of {} bytes and {} samples of {} bytes, keys included, as postcard writes them; medians of {}.",
        scale.peers,
        size(scale.peers, |number| Ok(
            peer(number, 0).0.len() + encode(&peer(number, 0).1)?.len()
        ))?,
        scale.metrics,
        size(scale.metrics, |number| Ok(
            8 + encode(&sample(number).1)?.len()
        ))?,
        match arguments.rounds {
            1 => "one round: hints".to_owned(),
            rounds => format!("{rounds} rounds"),
        },
    );
    let _ = writeln!(text, "{}.", versions.collect::<Vec<_>>().join(", "));
    Ok(text)
}

/// The mean of a sample of them.
fn size(count: usize, of: impl Fn(usize) -> Result<usize>) -> Result<usize> {
    let numbers: Vec<usize> = (0..count).step_by(count.div_ceil(1_000)).collect();
    let sizes = numbers.iter().map(|number| of(*number));
    let sum: usize = sizes.sum::<Result<usize>>()?;
    Ok(sum / numbers.len().max(1))
}

/// A table for each section; rows that nothing was measured of are left out.
pub(crate) fn tables(engines: &[&'static str], measured: &Measured) -> String {
    let mut text = String::new();
    let mut section = "";
    for row in rows() {
        let values: Vec<Option<f64>> = engines
            .iter()
            .map(|engine| median(measured.get(&(row.id.clone(), *engine))))
            .collect();
        if values.iter().all(Option::is_none) {
            continue;
        }
        if row.section != section {
            section = row.section;
            let _ = write!(text, "\n### {section}\n\n| | unit |");
            for engine in engines {
                let _ = write!(text, " {engine} |");
            }
            let dashes = "---:|".repeat(engines.len() + 1);
            let _ = writeln!(text, " {OURS} ÷ best other |\n|---|---|{dashes}");
        }
        let _ = writeln!(text, "{}", line(&row, engines, &values));
    }
    text
}

fn line(row: &Row, engines: &[&str], values: &[Option<f64>]) -> String {
    let all = || engines.iter().copied().zip(values.iter().copied());
    let competing = |engine: &str| {
        let (not_durable, rows) = NOT_DURABLE;
        engine != not_durable || !rows.contains(&row.id.as_str())
    };
    let ours = all().find_map(|(engine, value)| value.filter(|_| engine == OURS));
    let rivals = all().filter(|(engine, _)| competing(engine));
    let best = best(row.unit, rivals.clone().filter_map(|(_, value)| value));
    let others = rivals.filter(|(engine, _)| *engine != OURS);
    let other = self::best(row.unit, others.filter_map(|(_, value)| value));
    let mut line = format!("| {} | {} |", row.title, row.unit.name());
    for (engine, value) in all() {
        let Some(value) = value else {
            line += " - |";
            continue;
        };
        let shown = shown(row.unit, value);
        let mut cell = match competing(engine) {
            true if best == Some(value) => format!("**{shown}**"),
            true => shown,
            false => format!("{shown}, not durable"),
        };
        let times = ours.and_then(|ours| times(row.unit, value, ours));
        if let Some(times) = times.filter(|_| engine != OURS) {
            let _ = write!(cell, " ({times})");
        }
        let _ = write!(line, " {cell} |");
    }
    let beside = ours.zip(other);
    let beside = beside.and_then(|(ours, other)| times(row.unit, ours, other));
    let _ = write!(line, " {} |", beside.as_deref().unwrap_or("-"));
    line
}

fn best(unit: Unit, values: impl Iterator<Item = f64>) -> Option<f64> {
    values.reduce(if unit.is_rate() { f64::max } else { f64::min })
}

/// How many times as good a value is as another: as fast, or as little.
fn times(unit: Unit, value: f64, other: f64) -> Option<String> {
    if unit == Unit::Records {
        return None;
    }
    let times = if unit.is_rate() {
        value / other
    } else {
        other / value
    };
    times.is_finite().then(|| format!("{} ×", digits(times)))
}

fn shown(unit: Unit, value: f64) -> String {
    match unit {
        Unit::PerSecond if value >= 1e6 => format!("{} M", digits(value / 1e6)),
        Unit::PerSecond if value >= 1e3 => format!("{} k", digits(value / 1e3)),
        Unit::Records => format!("{value:.0}"),
        _ => digits(value),
    }
}

/// Three that count.
fn digits(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn median(values: Option<&Vec<f64>>) -> Option<f64> {
    let mut values = values?.clone();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(upper, *values.get(middle - 1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        assert_eq!(median(Some(&vec![3.0, 1.0, 2.0])), Some(2.0));
        assert_eq!(median(Some(&vec![4.0, 1.0])), Some(2.5));
        assert_eq!(median(Some(&vec![])), None);
    }

    #[test]
    fn the_larger_rate_and_the_shorter_time_are_better() {
        assert_eq!(
            times(Unit::PerSecond, 200.0, 100.0).as_deref(),
            Some("2.00 ×")
        );
        assert_eq!(times(Unit::Millis, 200.0, 100.0).as_deref(), Some("0.50 ×"));
        assert_eq!(best(Unit::Millis, [2.0, 1.0].into_iter()), Some(1.0));
        assert_eq!(best(Unit::PerSecond, [2.0, 1.0].into_iter()), Some(2.0));
    }

    #[test]
    fn a_table_names_the_best_and_what_is_missing() {
        let mut measured = Measured::new();
        for (engine, value) in [("nonos", 1_500.0), ("sled", 3_000.0)] {
            measured.insert(("hot".to_owned(), engine), vec![value]);
        }
        let text = tables(&["nonos", "sled", "redb"], &measured);
        let row = "| point read, 1,000 hot peers | records/s | 1.50 k | **3.00 k** (2.00 ×) | - | 0.50 × |";
        assert!(text.contains(row), "{text}");
    }

    #[test]
    fn what_is_not_durable_is_not_the_best() {
        let mut measured = Measured::new();
        for (engine, value) in [("nonos", 1_500.0), ("sled", 3_000.0), ("redb", 750.0)] {
            measured.insert(("durable_1".to_owned(), engine), vec![value]);
        }
        let text = tables(&["nonos", "sled", "redb"], &measured);
        let row =
            "| records/s | **1.50 k** | 3.00 k, not durable (2.00 ×) | 750 (0.50 ×) | 2.00 × |";
        assert!(text.contains(row), "{text}");
    }
}
