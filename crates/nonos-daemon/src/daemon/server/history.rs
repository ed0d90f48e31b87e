//! The samples of the past, as many points as a chart has dots.

use nonos_storage::{NodeStorage, StoredMetrics};
use serde::Serialize;

use crate::daemon::node::now;
use crate::error::CliError;

/// A year.
const MAX_HOURS: i64 = 24 * 366;
const MAX_POINTS: i64 = 2000;

/// Which part of the past.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    hours: i64,
    points: i64,
}

impl Asked {
    /// Of `hours=24&points=300`, which are also what it is without them.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut asked = Self {
            hours: 24,
            points: 300,
        };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let number = value.parse().ok();
            let within = |most| {
                let number = number.filter(|number| (1..=most).contains(number));
                number.ok_or_else(|| format!("{name} is a number from 1 to {most}"))
            };
            match name {
                "hours" => asked.hours = within(MAX_HOURS)?,
                "points" => asked.points = within(MAX_POINTS)?,
                _ => return Err("give hours and points".to_owned()),
            }
        }
        Ok(asked)
    }
}

/// Means over equal stretches of time, oldest first; one without a sample is not there.
#[derive(Debug, Default, Serialize)]
pub(super) struct History {
    /// Unix seconds of the first sample of each.
    time: Vec<i64>,
    /// Percent.
    cpu: Vec<Option<f64>>,
    /// Percent.
    memory: Vec<Option<f64>>,
    /// Bytes a second.
    sent: Vec<Option<f64>>,
    /// Bytes a second.
    received: Vec<Option<f64>>,
    /// From 0 to 1.
    score: Vec<Option<f64>>,
    /// Requests a second.
    requests: Vec<Option<f64>>,
    /// How many samples all are of.
    samples: usize,
}

pub(super) fn read(storage: &NodeStorage, asked: &Asked) -> Result<History, CliError> {
    let end = now();
    let start = end.saturating_sub(asked.hours * 3600).max(0);
    let width = (asked.hours * 3600 / asked.points).max(1);
    let mut history = History::default();
    let mut stretch = Stretch::default();
    let mut before: Option<(i64, StoredMetrics)> = None;
    for sample in storage.iter_metrics(start, i64::MAX) {
        let (time, sample) = sample?;
        let number = (time - start) / width;
        if stretch.number != Some(number) {
            history.push(&stretch);
            stretch = Stretch::default();
            stretch.number = Some(number);
            stretch.time = time;
        }
        stretch.add(time, &sample, before.as_ref());
        history.samples += 1;
        before = Some((time, sample));
    }
    history.push(&stretch);
    Ok(history)
}

/// The sum of what was measured, and how often it was.
#[derive(Default)]
struct Mean(f64, u32);

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.0 += value;
            self.1 += 1;
        }
    }

    fn of(&self) -> Option<f64> {
        (self.1 > 0).then(|| self.0 / f64::from(self.1))
    }
}

#[derive(Default)]
struct Stretch {
    number: Option<i64>,
    time: i64,
    cpu: Mean,
    memory: Mean,
    sent: Mean,
    received: Mean,
    score: Mean,
    requests: Mean,
}

impl Stretch {
    fn add(&mut self, time: i64, sample: &StoredMetrics, before: Option<&(i64, StoredMetrics)>) {
        self.cpu.add(sample.cpu_usage.map(f64::from));
        self.memory.add(sample.memory_usage.map(f64::from));
        self.score.add(Some(sample.quality_score));
        let Some((then, before)) = before else {
            return;
        };
        // Counters begin anew with the host: a step back is no rate.
        let rate = |now: Option<u64>, then: Option<u64>, seconds: i64| {
            let grown = number(now?.checked_sub(then?)?);
            let seconds = u32::try_from(seconds).ok()?;
            Some(grown / f64::from(seconds.max(1)))
        };
        let seconds = time - then;
        let (sent, sent_before) = (sample.network_bytes_sent, before.network_bytes_sent);
        self.sent.add(rate(sent, sent_before, seconds));
        let (received, received_before) =
            (sample.network_bytes_received, before.network_bytes_received);
        self.received.add(rate(received, received_before, seconds));
        let (requests, requests_before) = (sample.total_requests, before.total_requests);
        self.requests
            .add(rate(Some(requests), Some(requests_before), seconds));
    }
}

/// A count as JavaScript and charts have it.
#[expect(clippy::as_conversions, reason = "u64 to f64 has no other conversion")]
#[expect(
    clippy::cast_precision_loss,
    reason = "a rate needs no more than 52 bits"
)]
fn number(count: u64) -> f64 {
    count as f64
}

impl History {
    fn push(&mut self, stretch: &Stretch) {
        if stretch.number.is_none() {
            return;
        }
        self.time.push(stretch.time);
        self.cpu.push(stretch.cpu.of());
        self.memory.push(stretch.memory.of());
        self.sent.push(stretch.sent.of());
        self.received.push(stretch.received.of());
        self.score.push(stretch.score.of());
        self.requests.push(stretch.requests.of());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_has_bounds() {
        assert_eq!(
            Asked::parse(""),
            Ok(Asked {
                hours: 24,
                points: 300
            })
        );
        let asked = Asked {
            hours: 720,
            points: 10,
        };
        assert_eq!(Asked::parse("hours=720&points=10"), Ok(asked));
        for wrong in [
            "hours=0",
            "hours=-1",
            "hours=x",
            "points=2001",
            "hours=99999",
            "x=1",
        ] {
            assert!(Asked::parse(wrong).is_err(), "{wrong}");
        }
    }
}
