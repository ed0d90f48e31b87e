//! Point reads, ranges and scans, of a database that was opened anew.

use super::{Task, tell_rate, timed};
use crate::engine::{Engine, Mode};
use crate::error::{Result, failed};
use crate::records::{any, peer_id, time};

const RANGE: usize = 1_000;
const NEWEST: usize = 100;
const HOT: usize = 1_000;

pub(super) fn run(task: &Task) -> Result<()> {
    let engine = task.open(Mode::Buffered)?;
    let scale = task.scale;
    points(&*engine, "hot", HOT.min(scale.peers), scale.reads)?;
    points(&*engine, "any", scale.peers, scale.reads)?;
    let last = scale.metrics - RANGE;
    ranges(
        &*engine,
        "range_newest",
        std::iter::repeat_n(last, scale.ranges),
    )?;
    ranges(&*engine, "range_any", any(last).take(scale.ranges))?;
    let (found, took) = timed(|| {
        let mut found = 0;
        for _ in 0..scale.ranges * 10 {
            found += engine.load_newest(NEWEST)?.len();
        }
        Ok(found)
    })?;
    expect(found, scale.ranges * 10 * NEWEST)?;
    tell_rate("newest_100", found, took)?;
    let (found, took) = timed(|| {
        let mut found = 0;
        for _ in 0..scale.scans {
            found += engine.list_peers()?.len();
        }
        Ok(found)
    })?;
    expect(found, scale.scans * scale.peers)?;
    tell_rate("scan", found, took)?;
    engine.close()
}

fn points(engine: &dyn Engine, row: &str, of: usize, count: usize) -> Result<()> {
    let ids: Vec<_> = (0..of).map(peer_id).collect();
    // Every engine has seen each once.
    for id in &ids {
        engine.load_peer(id)?;
    }
    let order: Vec<_> = any(of).take(count).filter_map(|at| ids.get(at)).collect();
    let (found, took) = timed(|| {
        let mut found = 0;
        for id in &order {
            found += usize::from(engine.load_peer(id)?.is_some());
        }
        Ok(found)
    })?;
    expect(found, count)?;
    tell_rate(row, count, took)
}

fn ranges(engine: &dyn Engine, row: &str, firsts: impl Iterator<Item = usize>) -> Result<()> {
    let bounds: Vec<_> = firsts
        .map(|first| (time(first), time(first + RANGE - 1)))
        .collect();
    let (found, took) = timed(|| {
        let mut found = 0;
        for (start, end) in &bounds {
            found += engine.load_range(*start, *end)?.len();
        }
        Ok(found)
    })?;
    expect(found, bounds.len() * RANGE)?;
    tell_rate(row, found, took)
}

fn expect(found: usize, expected: usize) -> Result<()> {
    let is_all = found == expected;
    is_all
        .then_some(())
        .ok_or_else(|| failed(format!("{found} records were read, not {expected}")))
}
