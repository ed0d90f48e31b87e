//! The encoding of the first implementation: bincode 1.3 with its top-level functions, which is
//! fixed-width little-endian integers and `u64` lengths (docs.rs/bincode/1.3.3, "spec").
//!
//! The reader is bounded, which bincode's was not: a length must fit what is left of the input, and
//! every byte must be used.

use std::fmt;

use serde::de::{self, DeserializeOwned};
use serde::ser::{self, Serialize};

mod reader;
mod writer;

use reader::Reader;
use writer::Writer;

/// Why bytes are not a value of the type asked for, or a value cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BincodeError {
    /// The bytes end within the value.
    #[error("the bytes end within the value")]
    End,
    /// A length over what is left of the bytes.
    #[error("a length of {stated}, with {left} bytes left")]
    Length {
        /// The length as stated.
        stated: u64,
        /// Bytes that are left.
        left: usize,
    },
    /// A byte that is neither true nor false, neither there nor not.
    #[error("{found} is neither 0 nor 1")]
    Bool {
        /// The byte.
        found: u8,
    },
    /// Text that is not UTF-8.
    #[error("text that is not UTF-8")]
    Text,
    /// A character that there is not.
    #[error("a character that there is not")]
    Char,
    /// Bytes follow the value.
    #[error("{len} bytes follow the value")]
    Trailing {
        /// How many.
        len: usize,
    },
    /// The encoding does not describe itself, so that the type must say what comes.
    #[error("the type does not say what it expects")]
    NotDescribed,
    /// Of the type itself.
    #[error("{0}")]
    Other(String),
}

impl de::Error for BincodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Other(message.to_string())
    }
}

impl ser::Error for BincodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Other(message.to_string())
    }
}

/// Reads a value that is all of `bytes`.
///
/// # Errors
///
/// [`BincodeError`], one variant for each way in which the bytes are no such value.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BincodeError> {
    let mut reader = Reader(bytes);
    let value = T::deserialize(&mut reader)?;
    match reader.0.len() {
        0 => Ok(value),
        len => Err(BincodeError::Trailing { len }),
    }
}

/// Writes a value.
///
/// # Errors
///
/// [`BincodeError`] for a sequence or a map that does not know its length.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, BincodeError> {
    let mut writer = Writer(Vec::new());
    value.serialize(&mut writer)?;
    Ok(writer.0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Unit,
        New(u16),
        Pair(i8, char),
        Named { text: String, on: bool },
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct All {
        kinds: Vec<Kind>,
        map: BTreeMap<String, Option<u128>>,
        array: [f32; 2],
        float: f64,
        unit: (),
    }

    fn any_kind() -> impl Strategy<Value = Kind> {
        prop_oneof![
            Just(Kind::Unit),
            any::<u16>().prop_map(Kind::New),
            any::<(i8, char)>().prop_map(|(a, b)| Kind::Pair(a, b)),
            ("\\PC*", any::<bool>()).prop_map(|(text, on)| Kind::Named { text, on }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            kinds in prop::collection::vec(any_kind(), 0..6),
            map in prop::collection::btree_map("\\PC*", any::<Option<u128>>(), 0..4),
            array in any::<[f32; 2]>(),
            float in any::<f64>(),
        ) {
            let all = All { kinds, map, array, float, unit: () };
            let bytes = encode(&all).unwrap();
            prop_assert_eq!(decode::<All>(&bytes).unwrap(), all);
            for len in 0..bytes.len() {
                prop_assert!(decode::<All>(&bytes[..len]).is_err());
            }
            let mut longer = bytes;
            longer.push(0);
            prop_assert_eq!(decode::<All>(&longer), Err(BincodeError::Trailing { len: 1 }));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _read_or_not = decode::<All>(&bytes);
        }
    }

    #[test]
    fn a_length_over_the_input_allocates_nothing() {
        let mut bytes = (1_u64 << 60).to_le_bytes().to_vec();
        bytes.push(1);
        let refused = BincodeError::Length {
            stated: 1 << 60,
            left: 1,
        };
        assert_eq!(decode::<Vec<u64>>(&bytes), Err(refused.clone()));
        assert_eq!(decode::<String>(&bytes), Err(refused));
        assert_eq!(decode::<bool>(&[2]), Err(BincodeError::Bool { found: 2 }));
    }
}
