//! Values of options that have a unit or a form of their own.

use std::time::Duration;

/// A time to wait.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let longest = Duration::from_hours(24);
    let given = span(text)?;
    if given > longest {
        return Err("the longest is a day".to_owned());
    }
    Ok(given)
}

/// An age in seconds.
pub(super) fn age(text: &str) -> Result<i64, String> {
    let age = span(text)?.as_secs();
    i64::try_from(age).map_err(|e| e.to_string())
}

/// A number with its unit.
fn span(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|e| format!("{digits:?}: {e}"))?;
    let unit_ms = match text.get(digits.len()..).unwrap_or_default() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        unit => return Err(format!("{unit:?} is no unit; give ms, s, m, h or d")),
    };
    let millis = number.checked_mul(unit_ms).map(Duration::from_millis);
    millis.ok_or_else(|| "that is too long".to_owned())
}

/// A time in Unix milliseconds.
pub(super) fn time_ms(text: &str) -> Result<i64, String> {
    let format = &time::format_description::well_known::Rfc3339;
    let parsed = time::OffsetDateTime::parse(text, format);
    let at = parsed.map_err(|e| format!("{e}; give it as 2026-01-31T12:00:00Z"))?;
    let milliseconds = at.unix_timestamp_nanos().div_euclid(1_000_000);
    i64::try_from(milliseconds).map_err(|e| e.to_string())
}

/// Which database backups are of.
pub(crate) type StoreId = [u8; 16];

pub(super) fn store_id(text: &str) -> Result<StoreId, String> {
    if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("an id has 32 hexadecimal digits".to_owned());
    }
    let id = u128::from_str_radix(text, 16).map_err(|e| e.to_string())?;
    Ok(id.to_be_bytes())
}
