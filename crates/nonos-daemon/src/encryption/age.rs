//! Files in the age format.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::iter;
use std::path::Path;

use age::x25519::{Identity, Recipient};
use age::{DecryptError, Decryptor, Encryptor};
use nonos_storage::read_private;

use super::{CryptError, EncryptionError, io_error};

/// What is compared at once, in bytes.
const PIECE: u64 = 256 * 1024;

#[derive(Default)]
pub(super) struct Recipients(Vec<Recipient>);

#[derive(Default)]
pub(super) struct Identities(Vec<Identity>);

impl Recipients {
    pub(super) fn parse(texts: &[String]) -> Result<Self, EncryptionError> {
        // What was given may be a private key: it is not shown.
        let parse = |text: &String| {
            let parsed = text.trim().parse();
            parsed.map_err(|_what: &str| EncryptionError::Recipient)
        };
        texts.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in order.
    pub(super) fn names(&self) -> String {
        let mut names: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        names.sort();
        names.dedup();
        names.join(" ")
    }

    /// Encrypts what is in `from` to `file`, which is at `to`.
    pub(super) fn encrypt(&self, from: &Path, file: File, to: &Path) -> Result<(), CryptError> {
        // The recipients' keys are not here; this one proves that the file can be decrypted.
        let witness = Identity::generate();
        let seen = witness.to_public();
        let recipients = self.0.iter().chain(iter::once(&seen));
        let recipients = recipients.map(|recipient| -> &dyn age::Recipient { recipient });
        let encryptor = Encryptor::with_recipients(recipients)
            .map_err(|error| io_error(to, io::Error::other(error)))?;
        let mut source = open(from)?;
        let file = BufWriter::new(file);
        let written = encryptor.wrap_output(file).and_then(|mut output| {
            io::copy(&mut source, &mut output)?;
            let mut file = output.finish()?;
            file.flush()?;
            file.get_ref().sync_all()
        });
        written.map_err(|source| io_error(to, source))?;
        let decrypted = Identities(vec![witness]).reader(to);
        let mut decrypted = decrypted.map_err(|error| match error {
            CryptError::NoIdentity | CryptError::Damaged => CryptError::Differs,
            error => error,
        })?;
        let mut original = open(from)?;
        if !is_equal(&mut decrypted, &mut original).map_err(|source| io_error(to, source))? {
            return Err(CryptError::Differs);
        }
        Ok(())
    }
}

impl Identities {
    pub(super) fn read(path: &Path) -> Result<Self, EncryptionError> {
        let text = read_private(path)?;
        let lines = text.lines().map(str::trim);
        let identities: Result<Vec<Identity>, _> = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(str::parse::<Identity>)
            .collect();
        match identities {
            Ok(identities) if !identities.is_empty() => Ok(Self(identities)),
            _ => Err(EncryptionError::Identity {
                path: path.to_owned(),
            }),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Decrypts what is in `from` to `file`, which is at `to`.
    pub(super) fn decrypt(&self, from: &Path, mut file: File, to: &Path) -> Result<(), CryptError> {
        let mut source = self.reader(from)?;
        match io::copy(&mut source, &mut file) {
            Ok(_) => Ok(()),
            // So the reader says that a piece was changed or is missing.
            Err(error) if is_damage(&error) => Err(CryptError::Damaged),
            Err(error) => Err(io_error(to, error)),
        }
    }

    fn reader(&self, path: &Path) -> Result<impl Read + use<>, CryptError> {
        let failed = |error| match error {
            DecryptError::NoMatchingKeys => CryptError::NoIdentity,
            DecryptError::Io(error) if !is_damage(&error) => io_error(path, error),
            _ => CryptError::Damaged,
        };
        let decryptor = Decryptor::new_buffered(open(path)?).map_err(failed)?;
        let identities = self
            .0
            .iter()
            .map(|identity| -> &dyn age::Identity { identity });
        decryptor.decrypt(identities).map_err(failed)
    }
}

fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, UnexpectedEof};
    matches!(error.kind(), InvalidData | UnexpectedEof)
}

fn open(path: &Path) -> Result<BufReader<File>, CryptError> {
    let opened = File::open(path).map(BufReader::new);
    opened.map_err(|source| io_error(path, source))
}

/// Whether two sources hold the same.
fn is_equal(one: &mut impl Read, other: &mut impl Read) -> io::Result<bool> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        one.by_ref().take(PIECE).read_to_end(&mut left)?;
        other.by_ref().take(PIECE).read_to_end(&mut right)?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}
