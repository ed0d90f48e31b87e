//! Looks for secrets in the memory of this very process, as its file in `/proc` shows it.
//!
//! Work has a thread of its own, which waits until its stack was searched: nothing else is there then.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::{self, File};
use std::hint::black_box;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::thread;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const MASK: u8 = 0xaa;
const PAGE_LEN: usize = 4096;
const WINDOW_LEN: usize = 256 * PAGE_LEN;
/// No less than what is looked for has.
const OVERLAP_LEN: usize = 64;

/// What to look for, with every byte changed: this is no copy of it.
#[derive(Debug)]
pub(crate) struct Masked {
    name: &'static str,
    bytes: Vec<u8>,
}

impl Masked {
    /// The second half of 32 secret bytes, but for the last one. The allocator writes over the first
    /// bytes of what is freed, so a search for the whole would find nothing of it; and the last byte is
    /// another where the library has the key as a scalar.
    pub(crate) fn of(name: &'static str, secret: &[u8; 32]) -> Self {
        Self::of_bytes(name, secret.iter().skip(16).take(15).copied())
    }

    /// The same of what a key file has, in its hexadecimal digits.
    pub(crate) fn of_digits(name: &'static str, secret: &[u8; 32]) -> Self {
        let half = secret.iter().skip(16).take(15);
        let nibbles = half.flat_map(|byte| [byte >> 4, byte & 0xf]);
        Self::of_bytes(
            name,
            nibbles.map(|nibble| b"0123456789abcdef"[usize::from(nibble)]),
        )
    }

    /// One byte after another, which the compiler may not put together.
    pub(crate) fn of_bytes(name: &'static str, bytes: impl Iterator<Item = u8>) -> Self {
        let masked = bytes.map(|byte| black_box(byte) ^ black_box(MASK));
        Self {
            name,
            bytes: masked.collect(),
        }
    }

    fn places(&self, window: &[u8]) -> Vec<usize> {
        let first = self.bytes.first().map(|byte| byte ^ MASK);
        let mut places = Vec::new();
        for (page, start) in window.chunks(PAGE_LEN).zip((0..).step_by(PAGE_LEN)) {
            // Most of it was never used.
            if page == &[0; PAGE_LEN][..page.len()] {
                continue;
            }
            let starts = page.iter().zip(start..);
            let starts = starts.filter(|(byte, _)| Some(**byte) == first);
            places.extend(starts.map(|(_, at)| at).filter(|at| {
                let found = window[*at..].get(..self.bytes.len());
                found.is_some_and(|found| {
                    let mut pairs = found.iter().zip(&self.bytes);
                    pairs.all(|(byte, masked)| byte ^ MASK == *masked)
                })
            }));
        }
        places
    }
}

/// Where in everything that this process may write any of `secrets` is.
pub(crate) fn search(secrets: &[Masked]) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut window = vec![0; WINDOW_LEN];
    let own = window.as_ptr_range();
    let own = address(own.start)..address(own.end);
    let memory = File::open("/proc/self/mem")?;
    let maps = fs::read_to_string("/proc/self/maps")?;
    for (area, name) in maps.lines().filter_map(writable) {
        let mut at = area.start;
        loop {
            let left = usize::try_from(area.end - at).unwrap_or(usize::MAX);
            let window = &mut window[..left.min(WINDOW_LEN)];
            // Another thread may have given it back since.
            if memory.read_exact_at(window, at).is_err() {
                break;
            }
            for secret in secrets {
                let places = secret.places(window).into_iter();
                let places = places.map(|place| at + address_of_index(place));
                let places = places.filter(|place| !own.contains(place));
                found.extend(places.map(|place| format!("{} at {place:x}, {name}", secret.name)));
            }
            if left <= WINDOW_LEN {
                break;
            }
            at += address_of_index(WINDOW_LEN - OVERLAP_LEN);
        }
    }
    // The next search would find what this one saw.
    window.fill(0);
    black_box(&window);
    Ok(found)
}

/// What of `secrets` is left when `work` is done and `owned` dropped, while the thread that did it waits.
pub(crate) fn left_after<T: Send + 'static>(
    secrets: &[Masked],
    owned: T,
    work: impl FnOnce(&T) -> Result<()> + Send + 'static,
) -> Result<Vec<String>> {
    let (says, hears) = mpsc::channel();
    let (ends, waits) = mpsc::channel::<()>();
    let worker = thread::spawn(move || {
        let done = far_down(|| work(&owned)).map_err(|error| error.to_string());
        drop(owned);
        let said = says.send(done);
        said.is_ok() && waits.recv().is_ok()
    });
    hears.recv()??;
    let found = search(secrets)?;
    ends.send(())?;
    let was_there = worker.join().map_err(|_panic| "the thread ended early")?;
    assert!(was_there, "the thread ended early");
    Ok(Vec::from_iter(found))
}

/// Does `work` in frames that what comes after it, which needs some too, does not reach.
#[inline(never)]
pub(crate) fn far_down<T>(work: impl FnOnce() -> T) -> T {
    let between = [0_u8; 12 * 1024];
    black_box(&between);
    let done = work();
    black_box(&between);
    done
}

fn address(pointer: *const u8) -> u64 {
    address_of_index(pointer.addr())
}

fn address_of_index(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(u64::MAX)
}

/// An area's addresses and name, from a line such as `7f00-7f80 rw-p 00000000 00:00 0 [heap]`.
fn writable(line: &str) -> Option<(Range<u64>, &str)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let is_writable = fields.next()?.starts_with("rw");
    let area = u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?;
    is_writable.then(|| (area, fields.nth(3).unwrap_or("anonymous")))
}
