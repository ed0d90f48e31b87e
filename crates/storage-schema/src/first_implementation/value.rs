//! Config values for the first implementation, which stores them in bincode without their type.
//!
//! A CBOR value says its kind, not its type: an integer may have been of any width. It is written with
//! 64 bits, and a float as `f64`. What a map was, a struct or a map, is
//! not known, and its bytes would differ: it has no form.

use ciborium::Value;

use super::Wrong;

/// The bincode of a value, and whether it holds a number.
pub(super) fn from_cbor(body: &[u8]) -> Result<(Vec<u8>, bool), Wrong> {
    let value: Value = ciborium::from_reader(body)?;
    let mut bytes = Vec::new();
    let mut has_numbers = false;
    write(&value, &mut bytes, &mut has_numbers)?;
    Ok((bytes, has_numbers))
}

fn write(value: &Value, to: &mut Vec<u8>, has_numbers: &mut bool) -> Result<(), Wrong> {
    match value {
        Value::Bool(value) => to.push(u8::from(*value)),
        Value::Text(text) => super::put(to, text.as_bytes()),
        Value::Bytes(bytes) => super::put(to, bytes),
        Value::Integer(number) => {
            *has_numbers = true;
            let number = i128::from(*number);
            // The same eight bytes for `i64` and `u64`, where both hold it.
            match i64::try_from(number) {
                Ok(number) => to.extend(number.to_le_bytes()),
                Err(_) => to.extend(u64::try_from(number)?.to_le_bytes()),
            }
        }
        Value::Float(number) => {
            *has_numbers = true;
            to.extend(number.to_le_bytes());
        }
        Value::Array(values) => {
            to.extend(super::number(values.len()));
            for value in values {
                write(value, to, has_numbers)?;
            }
        }
        Value::Null => return Err("the type of a value that is absent is not known".into()),
        Value::Map(_) => return Err("whether it was a struct or a map is not known".into()),
        _ => return Err("the first implementation has no tagged values".into()),
    }
    Ok(())
}
