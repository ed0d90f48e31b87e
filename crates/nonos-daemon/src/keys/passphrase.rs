//! Where a passphrase comes from.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use nonos_storage::{CryptoError, Zeroizing, read_text};

use super::encryption;
use crate::args::Args;
use crate::error::CliError;

/// The passphrase that opened a key file, if one did.
#[derive(Clone, Default)]
pub(super) struct Passphrase(pub(super) Option<Zeroizing<String>>);

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Passphrase")
            .field(&self.0.is_some())
            .finish()
    }
}

/// A passphrase: from `--passphrase-fd`, or asked for on a terminal.
pub(crate) fn passphrase(args: &Args, prompt: &str) -> Result<Zeroizing<String>, CliError> {
    if let Some(number) = args.passphrase_fd {
        let text = read_descriptor(number)?;
        let line = text.lines().next().unwrap_or_default();
        return Ok(Zeroizing::new(line.to_owned()));
    }
    if !io::stdin().is_terminal() {
        return Err(encryption(CryptoError::PassphraseRequired));
    }
    let asked = rpassword::prompt_password(prompt).map_err(|source| CliError::Setup {
        what: "the question for the passphrase",
        source,
    })?;
    Ok(Zeroizing::new(asked))
}

/// A new passphrase, asked for twice on a terminal.
pub(crate) fn new_passphrase(args: &Args) -> Result<Zeroizing<String>, CliError> {
    let first = passphrase(args, "new passphrase: ")?;
    if args.passphrase_fd.is_none() && *first != *passphrase(args, "the same once more: ")? {
        return Err(encryption(CryptoError::BadPassphrase));
    }
    Ok(first)
}

pub(super) fn read_descriptor(number: u32) -> Result<Zeroizing<String>, CliError> {
    let path = PathBuf::from(format!("/dev/fd/{number}"));
    let io = |source| CliError::Io {
        action: "read",
        path: path.clone(),
        source,
    };
    read_text(&File::open(&path).map_err(io)?).map_err(io)
}

/// A value that is not to be on the command line: a file, all of standard input, or what is typed.
pub(crate) fn read_value(from: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, CliError> {
    // The longest secret, and one byte to notice that there is more.
    let most = 64 * 1024 + 1;
    let mut value = Zeroizing::new(Vec::with_capacity(most));
    let mut take = |source: &mut dyn io::Read| -> io::Result<()> {
        let mut limited = io::Read::take(source, u64::try_from(most).unwrap_or(u64::MAX));
        io::Read::read_to_end(&mut limited, &mut value).map(drop)
    };
    match from {
        Some(path) => {
            let io = |source| CliError::Io {
                action: "read",
                path: path.to_owned(),
                source,
            };
            take(&mut File::open(path).map_err(io)?).map_err(io)?;
        }
        None if io::stdin().is_terminal() => {
            let asked = rpassword::prompt_password("secret: ");
            let asked = Zeroizing::new(asked.map_err(|source| CliError::Setup {
                what: "the question for the secret",
                source,
            })?);
            value.extend(asked.as_bytes());
        }
        None => {
            take(&mut io::stdin().lock()).map_err(|source| CliError::Setup {
                what: "standard input",
                source,
            })?;
        }
    }
    Ok(value)
}
