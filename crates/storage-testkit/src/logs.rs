//! Watching that nothing is logged of a secret.
//!
//! A test binary that [`forbid`]s what it stores hears every event and span of `tracing`, from every
//! thread and at every level, for as long as it runs: whatever the tests do is looked at, not only what a
//! test of logging does.

use std::collections::HashMap;
use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::sync::{Mutex, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Secrets shorter than this are not looked for: their spellings would be found by chance.
pub const SHORTEST: usize = 8;

/// How texts that spell a secret begin, and how they go on.
type Spellings = HashMap<[u8; SHORTEST], Vec<String>>;

static FORBIDDEN: Mutex<Option<Spellings>> = Mutex::new(None);
static LISTENING: Once = Once::new();

/// From now on this process ends where an event or a span spells `secret`. One that is shorter than
/// [`SHORTEST`], or of fewer than four different bytes at its start, is not looked for.
pub fn forbid(secret: &[u8]) {
    LISTENING.call_once(|| {
        // Where a test listens by itself, it looks by itself.
        tracing::subscriber::set_global_default(Listener).ok();
    });
    let Some(start) = secret.first_chunk::<SHORTEST>() else {
        return;
    };
    let different = start.iter().enumerate();
    let different = different.filter(|(at, byte)| !start.iter().take(*at).any(|b| b == *byte));
    if different.count() < 4 {
        return;
    }
    let mut forbidden = FORBIDDEN.lock().unwrap_or_else(PoisonError::into_inner);
    let forbidden = forbidden.get_or_insert_default();
    // Two words may stand in a sentence by chance; a log may cut what it shows.
    let sought = secret.get(..2 * SHORTEST).unwrap_or(secret);
    for spelling in spellings(sought) {
        if let Some(begin) = spelling.as_bytes().first_chunk() {
            let known = forbidden.entry(*begin).or_default();
            if !known.contains(&spelling) {
                known.push(spelling);
            }
        }
    }
}

/// The spelling of a forbidden secret in a text.
pub fn spelled_in(text: &str) -> Option<String> {
    let forbidden = FORBIDDEN.lock().unwrap_or_else(PoisonError::into_inner);
    let forbidden = forbidden.as_ref()?;
    let mut windows = text.as_bytes().windows(SHORTEST).enumerate();
    windows
        .find_map(|(at, window)| {
            let rest = text.as_bytes().get(at..)?;
            let known = forbidden.get(<&[u8; SHORTEST]>::try_from(window).ok()?)?;
            known.iter().find(|one| rest.starts_with(one.as_bytes()))
        })
        .cloned()
}

/// The ways in which bytes could be written in text, each from its beginning.
pub fn spellings(bytes: &[u8]) -> Vec<String> {
    let hex: String = bytes.iter().fold(String::new(), |mut text, byte| {
        let _written = write!(text, "{byte:02x}");
        text
    });
    let list: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    let base64 = base64(bytes);
    vec![
        hex.to_uppercase(),
        hex,
        list.join(", "),
        bytes.escape_ascii().to_string(),
        String::from_utf8_lossy(bytes).into_owned(),
        base64.replace('+', "-").replace('/', "_"),
        base64,
    ]
}

/// The threes of the bytes.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks_exact(3) {
        let number = three
            .iter()
            .fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        for place in [18, 12, 6, 0] {
            let digit = DIGITS.get(number >> place & 63).copied().unwrap_or(b'=');
            text.push(char::from(digit));
        }
    }
    text
}

struct Listener;

#[derive(Default)]
struct Fields(String);

impl Fields {
    /// Ends the process: a panic would be caught, or lost in another thread.
    fn look(&self, metadata: &Metadata<'_>) {
        if let Some(spelling) = spelled_in(&self.0) {
            // Not by `eprintln`, which a test captures, and loses with the process.
            let _told = writeln!(
                std::io::stderr(),
                "a secret was logged by {} as {spelling:?}:{}",
                metadata.target(),
                self.0
            );
            std::process::abort();
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _written = write!(self.0, " {field}={value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _written = write!(self.0, " {field}={value}");
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        let _written = write!(self.0, " {field}={value:?}");
    }
}

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        fields.look(span.metadata());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        if spelled_in(&fields.0).is_some() {
            std::process::abort();
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        fields.look(event.metadata());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    const SECRET: &[u8] = b"the \xff canary";

    /// The control: in a process of its own, as it ends.
    #[test]
    #[ignore = "run by the test below"]
    fn logs_a_secret() {
        super::forbid(SECRET);
        let way = std::env::var("WAY").unwrap_or_default();
        match way.as_str() {
            "debug" => tracing::trace!(?SECRET),
            "lossy" => tracing::trace!(text = &*String::from_utf8_lossy(SECRET)),
            "message" => tracing::debug!("{}", super::base64(SECRET)),
            "span" => drop(tracing::trace_span!("in", text = %SECRET.escape_ascii())),
            _ => tracing::error!(len = SECRET.len(), "nothing"),
        }
    }

    #[test]
    fn a_process_that_logs_a_secret_ends() -> std::io::Result<()> {
        for (way, is_fine) in [
            ("debug", false),
            ("lossy", false),
            ("message", false),
            ("span", false),
            ("nothing", true),
        ] {
            let ran = Command::new(std::env::current_exe()?)
                .args(["--exact", "logs::tests::logs_a_secret", "--ignored"])
                .env("WAY", way)
                .output()?;
            assert_eq!(ran.status.success(), is_fine, "{way}: {ran:?}");
        }
        Ok(())
    }
}
