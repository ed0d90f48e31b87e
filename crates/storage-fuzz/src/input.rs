//! What the bytes of an input mean, before they are those of a format.

use std::ops::Range;

use storage_core::TreeId;

/// Bits of the first byte of an input.
pub(crate) const MENDED: u8 = 1;
pub(crate) const SECOND: u8 = 2;

/// An input: how its bytes are to be taken, and they.
pub(crate) struct Input<'a> {
    mode: u8,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) fn of(data: &'a [u8]) -> Option<Self> {
        let (&mode, bytes) = data.split_first()?;
        Some(Self { mode, bytes })
    }

    pub(crate) fn is(&self, bit: u8) -> bool {
        self.mode & bit != 0
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(byte)
    }

    /// A length of one byte, and so many bytes or what there are.
    pub(crate) fn short(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(self.byte()?).min(self.bytes.len());
        let (short, rest) = self.bytes.split_at(len);
        self.bytes = rest;
        Some(short)
    }

    /// One of the trees.
    pub(crate) fn tree(&mut self) -> Option<TreeId> {
        let number = usize::from(self.byte()?);
        let trees = TreeId::ALL;
        trees.get(number % trees.len()).copied()
    }
}

/// The input that is read as these parts.
pub(crate) fn output(mode: u8, shorts: &[&[u8]], rest: &[u8]) -> Vec<u8> {
    let mut data = vec![mode];
    for short in shorts {
        data.push(u8::try_from(short.len()).expect("a short part"));
        data.extend(*short);
    }
    data.extend(rest);
    data
}

/// The four bytes at `at`, as a little-endian number.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*field))
}

/// The eight bytes at `at`, as a little-endian number.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*field))
}

/// Puts `field` at `at`, where there is room for it.
pub(crate) fn put_at(bytes: &mut [u8], at: usize, field: &[u8]) {
    let place = at
        .checked_add(field.len())
        .and_then(|end| bytes.get_mut(at..end));
    if let Some(place) = place {
        place.copy_from_slice(field);
    }
}

/// Puts the CRC-32 of `range`, without the sum itself where that lies in it, at `at`.
pub(crate) fn mend_crc(bytes: &mut [u8], at: usize, range: Range<usize>) {
    let (before, after) = (
        range.start..at.min(range.end),
        (at + 4).max(range.start)..range.end,
    );
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(bytes.get(before).unwrap_or_default());
    hasher.update(bytes.get(after).unwrap_or_default());
    put_at(bytes, at, &hasher.finalize().to_le_bytes());
}

/// Puts the line with the CRC-32 of all lines before at the end of a text, in the place of the one it has.
pub(crate) fn mend_last_line(text: &mut Vec<u8>) {
    const FIELD: &[u8] = b"checksum = ";
    let at = text
        .windows(FIELD.len())
        .rposition(|window| window == FIELD);
    text.truncate(at.unwrap_or(text.len()));
    let sum = crc32fast::hash(text);
    text.extend(FIELD);
    text.extend(format!("{sum:08x}\n").bytes());
}
