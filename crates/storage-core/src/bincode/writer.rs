//! A serde serializer of the encoding.

use serde::ser::{self, Serialize};

use super::BincodeError;

pub(super) struct Writer(pub(super) Vec<u8>);

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
