//! Changes to a tree that lie over a state of it, and the state that both make.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use crate::error::CoreError;
use crate::view::{self, KeyRange, Order, Visit};

/// Puts and, without a value, deletions, by key.
pub(crate) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// One of them.
pub(crate) type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// Those of a range, as a scan in this order meets them; `value` is what one of them puts.
pub(crate) fn of_range<'a, K: Borrow<[u8]> + Ord, T>(
    changes: &'a BTreeMap<K, T>,
    range: &KeyRange,
    order: Order,
    value: impl Fn(&'a T) -> Option<&'a [u8]> + 'a,
) -> Box<dyn Iterator<Item = Change<'a>> + 'a> {
    if view::is_empty(range) {
        return Box::new(std::iter::empty());
    }
    let found = changes
        .range::<[u8], _>(view::as_slices(range))
        .map(move |(key, change)| (key.borrow(), value(change)));
    match order {
        Order::Ascending => Box::new(found),
        Order::Descending => Box::new(found.rev()),
    }
}

/// Visits what `changes` make of the state that `scan` reads; both come in this order.
pub(crate) fn over<'a>(
    changes: impl Iterator<Item = Change<'a>>,
    order: Order,
    visit: Visit<'_>,
    scan: impl FnOnce(Visit<'_>) -> Result<(), CoreError>,
) -> Result<(), CoreError> {
    let mut changes = changes.peekable();
    if changes.peek().is_none() {
        return scan(visit);
    }
    let mut stopped = false;
    scan(&mut |key, value| {
        while let Some((changed, change)) =
            changes.next_if(|(changed, _)| order.of(changed, key).is_le())
        {
            if let Some(value) = change
                && !visit(changed, value)?
            {
                stopped = true;
                return Ok(false);
            }
            if changed == key {
                return Ok(true);
            }
        }
        let on = visit(key, value)?;
        stopped = !on;
        Ok(on)
    })?;
    for (key, change) in changes {
        if stopped {
            break;
        }
        if let Some(value) = change {
            stopped = !visit(key, value)?;
        }
    }
    Ok(())
}
