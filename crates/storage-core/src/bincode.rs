//! The encoding of the first implementation: bincode 1.3 with its top-level functions, which is
//! fixed-width little-endian integers and `u64` lengths (docs.rs/bincode/1.3.3, "spec").
//!
//! The reader is bounded, which bincode's was not: a length must fit what is left of the input, and
//! every byte must be used.

use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};
use serde::ser::{self, Serialize};

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

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], BincodeError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(BincodeError::End)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BincodeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(BincodeError::End)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn bool(&mut self) -> Result<bool, BincodeError> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [found] => Err(BincodeError::Bool { found }),
        }
    }

    /// A length. Every element takes a byte at least, but for empty ones, which nobody stores.
    fn len(&mut self) -> Result<usize, BincodeError> {
        let stated = u64::from_le_bytes(self.array()?);
        let left = self.0.len();
        let len = usize::try_from(stated).ok().filter(|len| *len <= left);
        len.ok_or(BincodeError::Length { stated, left })
    }

    fn bytes(&mut self) -> Result<&'a [u8], BincodeError> {
        let len = self.len()?;
        self.take(len)
    }

    fn text(&mut self) -> Result<&'a str, BincodeError> {
        str::from_utf8(self.bytes()?).map_err(|_not_utf8| BincodeError::Text)
    }

    fn char(&mut self) -> Result<char, BincodeError> {
        let len = match self.0.first().ok_or(BincodeError::End)? {
            0x00..=0x7f => 1,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            _ => 4,
        };
        let text = str::from_utf8(self.take(len)?).map_err(|_not_utf8| BincodeError::Char)?;
        text.chars().next().ok_or(BincodeError::Char)
    }
}

macro_rules! read_numbers {
    ($($method:ident $visit:ident $number:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BincodeError> {
            visitor.$visit(<$number>::from_le_bytes(self.array()?))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = BincodeError;

    read_numbers!(
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_u128 visit_u128 u128,
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64, deserialize_i128 visit_i128 i128,
        deserialize_f32 visit_f32 f32, deserialize_f64 visit_f64 f64
    );

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, BincodeError> {
        Err(BincodeError::NotDescribed)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BincodeError> {
        visitor.visit_bool(self.bool()?)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BincodeError> {
        visitor.visit_char(self.char()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BincodeError> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BincodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BincodeError> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BincodeError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BincodeError> {
        if self.bool()? {
            visitor.visit_some(self)
        } else {
            visitor.visit_none()
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BincodeError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, BincodeError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, BincodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BincodeError> {
        let left = self.len()?;
        visitor.visit_seq(Elements { reader: self, left })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, BincodeError> {
        visitor.visit_seq(Elements {
            reader: self,
            left: len,
        })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, BincodeError> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BincodeError> {
        let left = self.len()?;
        visitor.visit_map(Elements { reader: self, left })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BincodeError> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BincodeError> {
        visitor.visit_enum(self)
    }

    fn deserialize_identifier<V: Visitor<'de>>(
        self,
        _visitor: V,
    ) -> Result<V::Value, BincodeError> {
        Err(BincodeError::NotDescribed)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(
        self,
        _visitor: V,
    ) -> Result<V::Value, BincodeError> {
        Err(BincodeError::NotDescribed)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

struct Elements<'r, 'de> {
    reader: &'r mut Reader<'de>,
    left: usize,
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de> {
    type Error = BincodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, BincodeError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::MapAccess<'de> for Elements<'_, 'de> {
    type Error = BincodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, BincodeError> {
        de::SeqAccess::next_element_seed(self, seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, BincodeError> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::EnumAccess<'de> for &mut Reader<'de> {
    type Error = BincodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), BincodeError> {
        let variant = u32::from_le_bytes(self.array()?);
        let variant: de::value::U32Deserializer<BincodeError> = variant.into_deserializer();
        Ok((seed.deserialize(variant)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for &mut Reader<'de> {
    type Error = BincodeError;

    fn unit_variant(self) -> Result<(), BincodeError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, BincodeError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, BincodeError> {
        de::Deserializer::deserialize_tuple(self, len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BincodeError> {
        de::Deserializer::deserialize_tuple(self, fields.len(), visitor)
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn len(&mut self, len: usize) {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        self.0.extend(len.to_le_bytes());
    }

    fn known(&mut self, len: Option<usize>) -> Result<&mut Self, BincodeError> {
        let unknown = || BincodeError::Other("a sequence of unknown length".to_owned());
        self.len(len.ok_or_else(unknown)?);
        Ok(self)
    }

    fn variant(&mut self, index: u32) -> &mut Self {
        self.0.extend(index.to_le_bytes());
        self
    }
}

macro_rules! write_numbers {
    ($($method:ident $number:ty),*) => {$(
        fn $method(self, number: $number) -> Result<(), BincodeError> {
            self.0.extend(number.to_le_bytes());
            Ok(())
        }
    )*};
}

impl ser::Serializer for &mut Writer {
    type Ok = ();
    type Error = BincodeError;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    write_numbers!(
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_u128 u128,
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_i128 i128,
        serialize_f32 f32, serialize_f64 f64
    );

    fn serialize_bool(self, value: bool) -> Result<(), BincodeError> {
        self.0.push(u8::from(value));
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), BincodeError> {
        self.0.extend(value.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), BincodeError> {
        self.serialize_bytes(value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), BincodeError> {
        self.len(value.len());
        self.0.extend(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), BincodeError> {
        self.serialize_bool(false)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), BincodeError> {
        self.0.push(1);
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), BincodeError> {
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), BincodeError> {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
    ) -> Result<(), BincodeError> {
        self.variant(index);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), BincodeError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        value: &T,
    ) -> Result<(), BincodeError> {
        value.serialize(self.variant(index))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self, BincodeError> {
        self.known(len)
    }

    fn serialize_tuple(self, _len: usize) -> Result<Self, BincodeError> {
        Ok(self)
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Self, BincodeError> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self, BincodeError> {
        Ok(self.variant(index))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self, BincodeError> {
        self.known(len)
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Self, BincodeError> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self, BincodeError> {
        Ok(self.variant(index))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Parts of a compound value follow each other without anything between.
macro_rules! write_parts {
    ($($compound:ident $method:ident ($($key:ty)?)),*) => {$(
        impl ser::$compound for &mut Writer {
            type Ok = ();
            type Error = BincodeError;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $(_key: $key,)?
                value: &T,
            ) -> Result<(), BincodeError> {
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), BincodeError> {
                Ok(())
            }
        }
    )*};
}

write_parts!(
    SerializeSeq serialize_element (),
    SerializeTuple serialize_element (),
    SerializeTupleStruct serialize_field (),
    SerializeTupleVariant serialize_field (),
    SerializeStruct serialize_field (&'static str),
    SerializeStructVariant serialize_field (&'static str)
);

impl ser::SerializeMap for &mut Writer {
    type Ok = ();
    type Error = BincodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), BincodeError> {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), BincodeError> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), BincodeError> {
        Ok(())
    }
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
