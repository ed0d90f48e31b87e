//! Values of the `config` tree: any serializable type, as self-describing CBOR.
//!
//! Reading is strict about kinds, which serde's own implementations are not everywhere: a sequence
//! is no struct, bytes are no sequence, and a number must fit. A wider number type is fine.

use std::fmt;

use ciborium::Value;
use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer,
    Unexpected, VariantAccess, Visitor,
};
use serde::{Serialize, forward_to_deserialize_any};

use crate::codec::DecodeError;

/// CBOR tags of integers that do not fit 64 bits (RFC 8949, section 3.4.3).
const BIG_POSITIVE: u64 = 2;
const BIG_NEGATIVE: u64 = 3;

/// Why a stored value is not of the type asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(String);

impl serde::de::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Encodes any value, and makes sure that it can be read again.
pub(crate) fn encode<T: Serialize + ?Sized>(
    value: &T,
) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut body = Vec::new();
    ciborium::into_writer(value, &mut body)?;
    parse(&body)?;
    Ok(body)
}

/// The CBOR item that `body` is, to its last byte.
pub(crate) fn parse(body: &[u8]) -> Result<Value, DecodeError> {
    let mut rest = body;
    let value = ciborium::from_reader(&mut rest).map_err(|source| DecodeError::Cbor { source })?;
    match rest.len() {
        0 => Ok(value),
        len => Err(DecodeError::TrailingBytes { len }),
    }
}

/// Reads a value as a `T`.
pub(crate) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, ValueError> {
    T::deserialize(Reader(value))
}

/// What a value is, in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) => "an integer",
        Value::Bytes(_) => "bytes",
        Value::Float(_) => "a float",
        Value::Text(_) => "text",
        Value::Bool(_) => "a bool",
        Value::Null => "nothing (null)",
        Value::Tag(BIG_POSITIVE | BIG_NEGATIVE, _) => "a large integer",
        Value::Array(_) => "a sequence",
        Value::Map(_) => "a map",
        _ => "a tagged value",
    }
}

#[derive(Clone, Copy)]
struct Reader<'a>(&'a Value);

impl Reader<'_> {
    /// A float, or an integer that a float holds exactly: serde would round it.
    fn float(self) -> Result<f64, ValueError> {
        match self.0 {
            Value::Float(number) => Ok(*number),
            Value::Integer(number) => exact(i128::from(*number))
                .ok_or_else(|| self.expected("a number that a float holds exactly")),
            _ => Err(self.expected("a number")),
        }
    }

    fn expected(self, what: &'static str) -> ValueError {
        ValueError(format!("found {}, expected {what}", kind(self.0)))
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            Value::Integer(number) => visit_integer(i128::from(*number), visitor),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Bytes(bytes) => visitor.visit_bytes(bytes),
            Value::Text(text) => visitor.visit_str(text),
            Value::Bool(bool) => visitor.visit_bool(*bool),
            Value::Null => visitor.visit_unit(),
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.iter().map(Reader));
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            Value::Map(entries) => {
                let entries = entries
                    .iter()
                    .map(|(key, value)| (Reader(key), Reader(value)));
                let mut entries = MapDeserializer::new(entries);
                let value = visitor.visit_map(&mut entries)?;
                entries.end()?;
                Ok(value)
            }
            Value::Tag(tag @ (BIG_POSITIVE | BIG_NEGATIVE), bytes) => {
                let Value::Bytes(bytes) = &**bytes else {
                    return Err(self.expected("a number"));
                };
                let magnitude = big(bytes).ok_or_else(|| self.expected("a number of 128 bits"))?;
                if *tag == BIG_POSITIVE {
                    return visitor.visit_u128(magnitude);
                }
                let number = i128::try_from(magnitude).ok().map(|n| -1 - n);
                visitor.visit_i128(number.ok_or_else(|| self.expected("a number of 128 bits"))?)
            }
            _ => Err(self.expected("a value without a tag")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let wide = self.float()?;
        match narrow(wide) {
            Some(number) => visitor.visit_f32(number),
            None => Err(ValueError::invalid_value(Unexpected::Float(wide), &"f32")),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            Value::Text(text) => visitor.visit_str(text),
            _ => Err(self.expected("text")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_str(visitor)
    }

    /// Names of fields: by number or by bytes they would match whatever map comes along.
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            Value::Map(_) => self.deserialize_any(visitor),
            _ => Err(self.expected("a map")),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            Value::Bytes(_) => self.deserialize_any(visitor),
            _ => Err(self.expected("bytes")),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match self.0 {
            Value::Text(variant) => visitor.visit_enum(variant.as_str().into_deserializer()),
            Value::Map(entries) => match entries.as_slice() {
                [(Value::Text(variant), content)] => visitor.visit_enum(Variant {
                    variant,
                    content: Reader(content),
                }),
                _ => Err(self.expected("a map of one variant")),
            },
            _ => Err(self.expected("a variant")),
        }
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 unit unit_struct seq tuple tuple_struct
        ignored_any
    }
}

impl IntoDeserializer<'_, ValueError> for Reader<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

fn visit_integer<'de, V: Visitor<'de>>(number: i128, visitor: V) -> Result<V::Value, ValueError> {
    if let Ok(number) = u64::try_from(number) {
        visitor.visit_u64(number)
    } else if let Ok(number) = i64::try_from(number) {
        visitor.visit_i64(number)
    } else {
        visitor.visit_i128(number)
    }
}

fn big(bytes: &[u8]) -> Option<u128> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let significant = bytes.get(zeros..)?;
    if significant.len() > 16 {
        return None;
    }
    Some(
        significant
            .iter()
            .fold(0, |number, byte| number << 8 | u128::from(*byte)),
    )
}

/// The `f64` of the same value.
#[expect(clippy::as_conversions, reason = "i128 to f64 has no other conversion")]
#[expect(
    clippy::cast_precision_loss,
    reason = "beyond 2^53 nothing is converted"
)]
fn exact(number: i128) -> Option<f64> {
    (number.unsigned_abs() <= 1 << 53).then_some(number as f64)
}

/// The `f32` of the same value, NaN for NaN.
#[expect(clippy::as_conversions, reason = "f64 to f32 has no other conversion")]
#[expect(
    clippy::cast_possible_truncation,
    reason = "what was truncated is compared and refused"
)]
#[expect(
    clippy::float_cmp,
    reason = "the question is whether both are the same number"
)]
fn narrow(wide: f64) -> Option<f32> {
    let number = wide as f32;
    (f64::from(number) == wide || wide.is_nan()).then_some(number)
}

struct Variant<'a> {
    variant: &'a str,
    content: Reader<'a>,
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a> {
    type Error = ValueError;
    type Variant = Reader<'a>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Reader<'a>), ValueError> {
        let variant: StrDeserializer<'_, ValueError> = self.variant.into_deserializer();
        Ok((seed.deserialize(variant)?, self.content))
    }
}

impl<'de> VariantAccess<'de> for Reader<'_> {
    type Error = ValueError;

    fn unit_variant(self) -> Result<(), ValueError> {
        match self.0 {
            Value::Null => Ok(()),
            _ => Err(self.expected("nothing beside the variant's name")),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, ValueError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.deserialize_struct("", fields, visitor)
    }
}
