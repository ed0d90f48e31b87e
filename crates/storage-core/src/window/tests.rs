//! The window against a map of all samples.

use std::collections::BTreeMap;

use super::{Known, Sample, Window};
use crate::codec;
use crate::error::CoreError;
use crate::key::{Key, TimestampKey};
use crate::tree::TreeId;
use crate::trees::metrics::StoredMetrics;

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// All samples, and what a reader does who finds that the window lacks some of a range.
#[derive(Default)]
struct All(BTreeMap<i64, StoredMetrics>);

impl All {
    fn range(&self, start: i64, end: i64) -> Vec<Sample> {
        let inside = self
            .0
            .iter()
            .filter(|(time, _)| (start..=end).contains(time));
        inside
            .map(|(time, sample)| (*time, sample.clone()))
            .collect()
    }

    fn newest(&self, count: usize) -> Vec<Sample> {
        let mut all = self.range(0, i64::MAX);
        all.split_off(all.len().saturating_sub(count))
    }

    /// What such a reader adds.
    fn fill(&self, window: &mut Window, known: Known, start: i64) {
        let end = known.from.map_or(i64::MAX, |from| from - 1);
        window.prepend(known, start, &self.range(start, end));
    }
}

fn sample(number: i64) -> StoredMetrics {
    StoredMetrics {
        total_requests: number.unsigned_abs(),
        ..StoredMetrics::default()
    }
}

fn put(window: &mut Window, all: &mut All, time: i64, number: i64) -> Result<(), CoreError> {
    let key = time.to_be_bytes();
    let frame = codec::encode(TreeId::Metrics, &key, &sample(number), false)?;
    window.apply(&key, Some(&frame));
    all.0.insert(time, sample(number));
    Ok(())
}

fn remove(window: &mut Window, all: &mut All, time: i64) {
    window.apply(&time.to_be_bytes(), None);
    all.0.remove(&time);
}

/// How many of the reads it answered.
fn check(window: &Window, all: &All, times: i64, case: &str) -> u64 {
    let mut answered = 0;
    for start in 0..times {
        for end in [start - 1, start, start + 3, times, i64::MAX] {
            if let Some(found) = window.range(start, end) {
                assert_eq!(
                    found,
                    all.range(start, end),
                    "{case}: from {start} to {end}"
                );
                answered += 1;
            }
        }
    }
    for count in [1, 2, 5, 100] {
        if let Some(found) = window.newest(count) {
            assert_eq!(found, all.newest(count), "{case}: the newest {count}");
            answered += 1;
        }
    }
    assert!(window.samples.len() <= window.capacity, "{case}");
    answered
}

#[test]
fn whatever_the_window_answers_is_what_there_is() -> TestResult {
    const TIMES: i64 = 40;
    let mut answered = 0;
    for seed in 0..1500_u64 {
        let mut mixed = seed;
        let mut below = |end: i64| {
            mixed = mixed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            i64::try_from(mixed >> 33).unwrap_or_default() % end
        };
        let mut all = All::default();
        let is_empty = below(2) == 0;
        if !is_empty {
            for time in 0..below(TIMES) {
                all.0.insert(time, sample(-1));
            }
        }
        let samples = [2, 10, 50][usize::try_from(below(3))?];
        let mut window = Window::new(
            samples * u64::try_from(size_of::<Sample>())?,
            is_empty || all.0.is_empty(),
        );
        for step in 0..40 {
            let case = format!("seed {seed}, step {step}");
            let newest = all.0.last_key_value().map_or(0, |(time, _)| *time);
            match below(12) {
                0..4 => put(&mut window, &mut all, (newest + 1).min(TIMES), step)?,
                4 | 5 => put(&mut window, &mut all, below(TIMES), step)?,
                6 => remove(&mut window, &mut all, below(TIMES)),
                7 => {
                    let oldest = all.0.keys().next().copied().unwrap_or_default();
                    remove(&mut window, &mut all, oldest);
                }
                8 => {
                    // A reader that read what is no longer so: since it looked, everything was forgotten.
                    let known = window.known();
                    window.clear();
                    All::default().fill(&mut window, known, below(TIMES));
                }
                9 => window.clear(),
                _ => {
                    let known = window.known();
                    all.fill(&mut window, known, below(TIMES));
                }
            }
            answered += check(&window, &all, TIMES, &case);
        }
    }
    assert!(answered > 1_000_000, "{answered} answers");
    Ok(())
}

#[test]
fn what_is_no_sample_is_not_in_the_window_and_hides_nothing() -> TestResult {
    let bytes = 100 * u64::try_from(size_of::<Sample>())?;
    let mut all = All::default();
    let mut window = Window::new(bytes, true);
    for time in 0..20 {
        put(&mut window, &mut all, time, time)?;
    }
    // A value that does not decode: whoever reads its time is to be told.
    window.apply(&TimestampKey::encode(&12)?, Some(b"no frame"));
    for start in 0..=12 {
        assert_eq!(window.range(start, 30), None, "from {start}");
    }
    assert_eq!(window.range(13, 30), Some(all.range(13, 30)));
    assert_eq!(window.newest(7), Some(all.newest(7)));
    assert_eq!(window.newest(8), None);
    // A key of another shape.
    window.apply(b"key", Some(b"value"));
    assert_eq!(window.range(19, 30), None);
    assert_eq!(window.newest(1), None);
    Ok(())
}

#[test]
fn memory_that_was_used_once_is_not_spare_until_it_is_cleared() -> TestResult {
    let bytes = u64::try_from(size_of::<Sample>())?;
    let (mut all, mut window) = (All::default(), Window::new(100 * bytes, true));
    assert_eq!(window.spare_bytes(), 100 * bytes);
    for time in 0..10 {
        put(&mut window, &mut all, time, time)?;
    }
    assert_eq!(window.spare_bytes(), 90 * bytes);
    window.apply(&TimestampKey::encode(&9)?, None);
    assert_eq!(
        window.spare_bytes(),
        90 * bytes,
        "a removal gives none back"
    );
    for time in 10..500 {
        put(&mut window, &mut all, time, time)?;
    }
    assert_eq!(window.spare_bytes(), 0);
    window.clear();
    assert_eq!(window.spare_bytes(), 100 * bytes);
    Ok(())
}
