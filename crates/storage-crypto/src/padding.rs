//! How much of a secret's length shows.

use crate::error::CryptoError;

/// What is added to a secret before it is sealed, so that its length tells less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Padding {
    /// Nothing: the length shows.
    None,
    /// Up to a multiple of 64 bytes.
    #[default]
    Block64,
    /// Up to the next length that keeps a few leading bits (Nikitin et al., PETS 2019): at most 12 % more.
    Padme,
}

impl Padding {
    /// The length of data and padding together.
    pub(crate) fn padded(self, len: usize) -> Result<usize, CryptoError> {
        let padded = match self {
            Self::None => Some(len),
            Self::Block64 => len.checked_next_multiple_of(64),
            Self::Padme => padme(len),
        };
        padded.ok_or(CryptoError::Malformed { what: "the length" })
    }
}

fn padme(len: usize) -> Option<usize> {
    let Some(exponent) = len.checked_ilog2().filter(|exponent| *exponent > 0) else {
        return Some(len);
    };
    let kept = exponent.ilog2() + 1;
    len.checked_next_multiple_of(1 << (exponent - kept))
}
