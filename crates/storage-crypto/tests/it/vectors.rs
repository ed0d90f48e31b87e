//! The fixtures that the oracle wrote: lines of `name=value`, below comments that say what they are.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::str::FromStr;
use std::{fmt, fs};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// One line.
#[derive(Debug)]
pub(crate) struct Vector {
    place: String,
    fields: BTreeMap<String, String>,
}

/// As `file:line`.
impl fmt::Display for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

pub(crate) fn path(file: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../fixtures/secrets", file]
        .iter()
        .collect()
}

/// Does `check` with each line of `file` and returns how many there are.
pub(crate) fn each(file: &str, check: impl Fn(&Vector) -> Result<()>) -> Result<usize> {
    let text = fs::read_to_string(path(file))?;
    let mut count = 0;
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with('#') {
            continue;
        }
        let place = format!("{file}:{number}");
        let fields = line.split(' ').filter_map(|field| field.split_once('='));
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let vector = Vector {
            place,
            fields: fields.collect(),
        };
        check(&vector).map_err(|error| format!("{vector}: {error}"))?;
        count += 1;
    }
    Ok(count)
}

impl Vector {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    pub(crate) fn text(&self, name: &str) -> Result<&str> {
        let value = self.fields.get(name);
        Ok(value.ok_or_else(|| format!("no field {name}"))?)
    }

    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Result<T>
    where
        T::Err: Error + 'static,
    {
        Ok(self.text(name)?.parse()?)
    }

    pub(crate) fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        unhex(self.text(name)?)
    }

    pub(crate) fn array<const N: usize>(&self, name: &str) -> Result<[u8; N]> {
        array(self.text(name)?)
    }

    /// A field that is `-` where there is no value.
    pub(crate) fn array_or_none<const N: usize>(&self, name: &str) -> Result<Option<[u8; N]>> {
        match self.text(name)? {
            "-" => Ok(None),
            value => array(value).map(Some),
        }
    }

    /// The data of a record: as bytes, or as how many of one byte.
    pub(crate) fn data(&self) -> Result<Vec<u8>> {
        let Ok(fill) = self.text("data_fill") else {
            return self.bytes("data");
        };
        let (byte, len) = fill.split_once('*').ok_or("no number of bytes")?;
        Ok(vec![u8::from_str_radix(byte, 16)?; len.parse()?])
    }
}

/// The bytes that hexadecimal digits spell; `-` spells none.
pub(crate) fn unhex(text: &str) -> Result<Vec<u8>> {
    if text == "-" {
        return Ok(Vec::new());
    }
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return Err("half a byte".into());
    };
    let byte = |pair: &[u8; 2]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    pairs.iter().map(byte).collect()
}

pub(crate) fn array<const N: usize>(text: &str) -> Result<[u8; N]> {
    let bytes = unhex(text)?;
    Ok(bytes.try_into().map_err(|_other| "another length")?)
}
