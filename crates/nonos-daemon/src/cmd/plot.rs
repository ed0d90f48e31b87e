//! `nonos metrics plot`: a field of the samples, drawn in the terminal.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::ops::Bound;

use nonos_storage::{NonosError, Selection, StorageError, TreeId};
use serde::Serialize;
use time::OffsetDateTime;

use crate::args::Args;
use crate::cmd;
use crate::error::CliError;
use crate::output::{Report, rfc3339};
use crate::places::Places;

/// Lines of a chart, of four dots each.
const LINES: usize = 12;
/// Columns where there is no terminal to ask.
const COLUMNS: usize = 80;
/// What stands left of a chart: a number and a line.
const MARGIN: usize = 11;

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Plot {
    field: String,
    from: String,
    to: String,
    points: Vec<Point>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Point {
    /// Unix seconds.
    time: i64,
    value: f64,
}

pub(crate) fn plot(args: &Args, field: &str, since: i64) -> Result<(), CliError> {
    let report = Report::start("nonos.metrics-plot/1", args.output);
    report.finish(read(args, field, since), |plot| draw(plot, columns()))
}

fn read(args: &Args, field: &str, since: i64) -> Result<Plot, CliError> {
    let storage = cmd::view(&Places::of(args)?.load()?)?;
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let from = now.saturating_sub(since).max(0);
    let key = |time: i64| {
        let key = nonos_storage::encode_key(TreeId::Metrics, &time.to_string());
        key.map_err(|error| NonosError::from(StorageError::from(error)))
    };
    let which = Selection {
        keys: (Bound::Included(key(from)?), Bound::Unbounded),
        ..Selection::default()
    };
    let mut points = Vec::new();
    storage.visit_records::<CliError>(TreeId::Metrics, &which, &mut |record| {
        let record = record?;
        let value = record.value.get(field).and_then(serde_json::Value::as_f64);
        // One that was not measured is a gap.
        if let (Some(time), Some(value)) = (record.key.as_i64(), value) {
            points.push(Point { time, value });
        }
        Ok(true)
    })?;
    Ok(Plot {
        field: field.to_owned(),
        from: rfc3339(from),
        to: rfc3339(now),
        points,
    })
}

fn columns() -> usize {
    let asked = io::stdout()
        .is_terminal()
        .then(terminal_size::terminal_size);
    let width = asked.flatten().map(|(width, _)| usize::from(width.0));
    width.unwrap_or(COLUMNS).clamp(MARGIN + 10, 400)
}

/// The mean of the points of each dot's width, as a line of braille dots: two beside and four above each other in a
/// character.
fn draw(plot: &Plot, columns: usize) -> String {
    let (Some(first), Some(last)) = (plot.points.first(), plot.points.last()) else {
        return format!("{}: no sample since {}", plot.field, plot.from);
    };
    let values = || plot.points.iter().map(|point| point.value);
    let (low, high) = (
        values().fold(f64::INFINITY, f64::min),
        values().fold(f64::NEG_INFINITY, f64::max),
    );
    let width = (columns - MARGIN) * 2;
    let mut sums = vec![(0.0, 0_u32); width];
    let span = (last.time - first.time).max(1);
    for point in &plot.points {
        let at = scaled(point.time - first.time, span, width);
        if let Some((sum, count)) = sums.get_mut(at) {
            *sum += point.value;
            *count += 1;
        }
    }
    let mut canvas = Canvas::new(columns - MARGIN);
    for (x, (sum, count)) in sums.iter().enumerate() {
        if *count > 0 {
            canvas.dot(x, share((sum / f64::from(*count) - low) / (high - low)));
        }
    }
    let mut text = format!("{}, {} samples\n", plot.field, plot.points.len());
    for (number, line) in canvas.lines.iter().enumerate() {
        let label = match number {
            0 => short(high),
            _ if number + 1 == LINES => short(low),
            _ => String::new(),
        };
        let line: String = line.iter().collect();
        let _written = writeln!(text, "{label:>9} |{}", line.trim_end_matches(EMPTY));
    }
    let (from, to) = (rfc3339(first.time), rfc3339(last.time));
    let between = (columns - MARGIN)
        .saturating_sub(from.len() + to.len())
        .max(1);
    let _written = write!(text, "{:>MARGIN$}{from}{}{to}", "", " ".repeat(between));
    text
}

/// The dots of a chart.
struct Canvas {
    lines: Vec<Vec<char>>,
}

/// The braille character without a dot; the eight dots are the bits of what follows it.
const EMPTY: char = '\u{2800}';

impl Canvas {
    fn new(columns: usize) -> Self {
        Self {
            lines: vec![vec![EMPTY; columns]; LINES],
        }
    }

    /// Sets a dot; `height` counts from the bottom.
    fn dot(&mut self, x: usize, height: usize) {
        // From the top of a character down, left and right.
        const BITS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let y = (LINES * 4 - 1).saturating_sub(height);
        let bit = BITS.get(y % 4).and_then(|row| row.get(x % 2)).copied();
        let cell = self
            .lines
            .get_mut(y / 4)
            .and_then(|line| line.get_mut(x / 2));
        if let (Some(cell), Some(bit)) = (cell, bit) {
            *cell = char::from_u32(u32::from(*cell) | bit).unwrap_or(*cell);
        }
    }
}

/// Where of `width` dots a part of a span is.
fn scaled(part: i64, span: i64, width: usize) -> usize {
    let last = i128::try_from(width.saturating_sub(1)).unwrap_or(i128::MAX);
    usize::try_from(i128::from(part) * last / i128::from(span)).unwrap_or(0)
}

/// A share of the height in dots; of a flat line none is known, and it is in the middle.
fn share(share: f64) -> usize {
    if !share.is_finite() {
        return LINES * 2;
    }
    // From the top: the first step that it reaches.
    let steps = LINES * 4 - 1;
    (0..=steps)
        .rev()
        .find(|step| {
            let step = u32::try_from(*step).unwrap_or(u32::MAX);
            let steps = u32::try_from(steps).unwrap_or(u32::MAX);
            share + f64::EPSILON >= f64::from(step) / f64::from(steps)
        })
        .unwrap_or(0)
}

/// A number in nine characters at most.
fn short(number: f64) -> String {
    let size = number.abs();
    for (unit, letter) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")] {
        if size >= unit {
            let unit = if letter == "k" { 1e3 } else { unit };
            return format!("{:.1}{letter}", number / unit);
        }
    }
    format!("{number:.2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot_of(values: &[f64]) -> Plot {
        let points = (0..).zip(values);
        Plot {
            field: "x".to_owned(),
            from: String::new(),
            to: String::new(),
            points: points
                .map(|(time, value)| Point {
                    time,
                    value: *value,
                })
                .collect(),
        }
    }

    #[test]
    fn a_line_that_rises_is_drawn_from_the_lower_left_to_the_upper_right() {
        let values: Vec<f64> = (0..200).map(f64::from).collect();
        let drawn = draw(&plot_of(&values), 60);
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines.len(), LINES + 2);
        assert!(
            lines.iter().all(|line| line.chars().count() <= 60),
            "{drawn}"
        );
        assert!(lines[1].starts_with("   199.00 |") && lines[LINES].starts_with("     0.00 |"));
        // Each line begins further left than the one above it.
        let starts: Vec<usize> = lines[1..=LINES]
            .iter()
            .map(|line| {
                line.chars()
                    .skip(MARGIN)
                    .take_while(|c| *c == EMPTY)
                    .count()
            })
            .collect();
        assert!(
            starts.windows(2).all(|pair| pair[0] > pair[1]),
            "{starts:?}"
        );
        assert_eq!(starts.last(), Some(&0));
    }

    #[test]
    fn a_flat_line_a_single_point_and_nothing_are_drawn() {
        for values in [&[5.0; 30][..], &[5.0], &[-1e13, 1e13], &[]] {
            let drawn = draw(&plot_of(values), 40);
            assert!(
                drawn.lines().all(|line| line.chars().count() <= 62),
                "{drawn}"
            );
        }
    }
}
