//! What is known of a record while a database is salvaged.
//!
//! ```text
//! 0  1  bit 0: it is there; bit 1: an index confirms it     1  1  source     2  8  number, BE     10  -  the value
//! ```

/// Where a record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Checkpoint,
    Commit,
    Index,
    MovedAside,
}

impl Source {
    const ALL: [Self; 4] = [
        Self::Checkpoint,
        Self::Commit,
        Self::Index,
        Self::MovedAside,
    ];

    pub(super) fn is_index(self) -> bool {
        matches!(self, Self::Index | Self::MovedAside)
    }

    const fn number(self) -> u8 {
        match self {
            Self::Checkpoint => 0,
            Self::Commit => 1,
            Self::Index => 2,
            Self::MovedAside => 3,
        }
    }
}

/// What is known of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known<'a> {
    /// `None` if it was deleted.
    pub(super) value: Option<&'a [u8]>,
    pub(super) source: Source,
    /// The last commit that is known to have changed it, or the checkpoint that says what it was.
    pub(super) number: u64,
    /// Whether the journal and an index say the same.
    pub(super) is_confirmed: bool,
}

impl<'a> Known<'a> {
    pub(super) fn put(source: Source, number: u64, value: &'a [u8]) -> Self {
        Self {
            value: Some(value),
            source,
            number,
            is_confirmed: false,
        }
    }

    pub(super) fn deleted(number: u64) -> Self {
        Self {
            value: None,
            source: Source::Commit,
            number,
            is_confirmed: false,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let flags = u8::from(self.value.is_some()) | u8::from(self.is_confirmed) << 1;
        let mut bytes = vec![flags, self.source.number()];
        bytes.extend(self.number.to_be_bytes());
        bytes.extend(self.value.unwrap_or_default());
        bytes
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (&[flags, source], rest) = bytes.split_first_chunk::<2>()?;
        let (number, value) = rest.split_first_chunk::<8>()?;
        Some(Self {
            value: (flags & 1 != 0).then_some(value),
            source: *Source::ALL.get(usize::from(source))?,
            number: u64::from_be_bytes(*number),
            is_confirmed: flags & 2 != 0,
        })
    }
}
