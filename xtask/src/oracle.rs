//! The formats of secrets against an implementation in another language: libsodium, through `PyNaCl`.
//!
//! `xtask/oracle/oracle.py` was written from the specification alone. It makes the fixtures of the tests
//! anew, which must be those that are committed, and seals and opens random records, in both directions.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use data_encoding::HEXLOWER;
use storage_crypto::{
    EncryptionKeys, Padding, SecretContext, StoreId, parse_header, seal, seal_anonymous, unseal,
};

use crate::{Error, failed, number};

/// What is installed from the package index.
const PACKAGES: [&str; 2] = ["pynacl==1.6.2", "argon2-cffi==25.1.0"];
const ROUNDS: u64 = 500;

/// Checks `rounds` random records each way; without Python it says so.
pub(crate) fn run(root: &Path, rounds: Option<&str>) -> Result<bool, Error> {
    let rounds = number("rounds", rounds, ROUNDS)?;
    let environment = root.join("target").join("oracle");
    let python = environment.join("bin").join("python");
    if !python.exists() {
        let made = Command::new("python3")
            .args(["-m", "venv"])
            .arg(&environment)
            .status();
        if !made.is_ok_and(|status| status.success()) {
            println!("skipped: `python3 -m venv` does not work here (Debian: python3-venv)");
            return Ok(true);
        }
    }
    let installed = Command::new(&python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(PACKAGES)
        .status();
    if !installed.map_err(failed)?.success() {
        println!("skipped: {PACKAGES:?} cannot be installed");
        return Ok(true);
    }
    let program = root.join("xtask").join("oracle").join("oracle.py");
    let fixtures = same_fixtures(root, &python, &program)?;
    let wrong = Oracle::start(&python, &program)?.compare(rounds)?;
    println!("{rounds} random records each way, tagged and anonymous: {wrong} disagreements");
    Ok(fixtures && wrong == 0)
}

fn same_fixtures(root: &Path, python: &Path, program: &Path) -> Result<bool, Error> {
    let made = tempfile::tempdir().map_err(failed)?;
    let status = Command::new(python)
        .arg(program)
        .arg("fixtures")
        .arg(made.path())
        .stdout(Stdio::null())
        .status();
    if !status.map_err(failed)?.success() {
        return Err(failed("the oracle made no fixtures"));
    }
    let committed = root.join("fixtures").join("secrets");
    let (mut files, mut others) = (0, 0);
    let mut directories = vec![committed.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let below = path.strip_prefix(&committed).map_err(failed)?;
            let again = std::fs::read(made.path().join(below)).map_err(failed)?;
            files += 1;
            if again != std::fs::read(&path).map_err(failed)? {
                others += 1;
                println!("{} is not what the oracle makes", below.display());
            }
        }
    }
    println!("{files} files of fixtures made anew: {others} differ");
    Ok(others == 0 && files > 0)
}

/// The oracle, answering.
struct Oracle {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Oracle {
    fn start(python: &Path, program: &Path) -> Result<Self, Error> {
        let mut child = Command::new(python)
            .arg(program)
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let (Some(requests), Some(answers)) = pipes else {
            return Err(failed("the oracle has no pipes"));
        };
        Ok(Self {
            child,
            requests,
            answers: BufReader::new(answers),
        })
    }

    fn ask(&mut self, request: &str) -> Result<String, Error> {
        writeln!(self.requests, "{request}")
            .and_then(|()| self.requests.flush())
            .map_err(failed)?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(failed)?;
        Ok(answer.trim_end().to_owned())
    }

    fn compare(mut self, rounds: u64) -> Result<u64, Error> {
        let mut wrong = 0;
        let mut random = Random(0x0bad_5eed);
        for round in 0..rounds {
            if let Err(what) = self.round(&mut random, round)? {
                wrong += 1;
                println!("round {round}: {what}");
            }
        }
        Ok(wrong)
    }

    fn round(&mut self, random: &mut Random, round: u64) -> Result<Result<(), String>, Error> {
        let secret = random.bytes(32);
        let store = StoreId(random.bytes(16).try_into().unwrap_or_default());
        let name = format!("key {round}: \u{e4}");
        let data_len = usize::try_from(random.next() % 300).unwrap_or(0);
        let data = random.bytes(data_len);
        let version = random.next() | 1;
        let (padding, padding_name) = match round % 3 {
            0 => (Padding::None, "none"),
            1 => (Padding::Block64, "block64"),
            _ => (Padding::Padme, "padme"),
        };
        let keys = EncryptionKeys::from_secret(&secret).map_err(failed)?;
        let context = SecretContext {
            store,
            tree: "secrets",
            key: name.as_bytes(),
        };
        let place = format!(
            "{} {store} secrets {}",
            HEXLOWER.encode(&secret),
            HEXLOWER.encode(name.as_bytes())
        );
        let (hex_data, public) = (hex_or_dash(&data), HEXLOWER.encode(&keys.public_key()));

        let tagged = seal(&keys, &context, version, padding, &data).map_err(failed)?;
        let anonymous = seal_anonymous(&keys, &context, padding, &data).map_err(failed)?;
        for (record, version) in [(tagged, version), (anonymous, 0)] {
            let answer = self.ask(&format!("open {place} {}", HEXLOWER.encode(&record)))?;
            if answer != format!("ok {version} {hex_data}") {
                return Ok(Err(format!("the oracle does not open ours: {answer}")));
            }
        }
        let tagged = format!("seal {place} {version} {padding_name} {hex_data}");
        let place = format!(
            "{public} {store} secrets {}",
            HEXLOWER.encode(name.as_bytes())
        );
        let anonymous = format!("seal2 {place} 0 {padding_name} {hex_data}");
        for (request, version) in [(tagged, version), (anonymous, 0)] {
            let answer = self.ask(&request)?;
            let Some(record) = unhex(&answer) else {
                return Ok(Err(format!("the oracle does not seal: {answer}")));
            };
            let header = parse_header(&record).map(|header| header.version);
            let opened = unseal(&keys, &context, &record);
            if header != Ok(version) || opened.as_deref().ok() != Some(&data) {
                return Ok(Err(format!("we do not open the oracle's: {header:?}")));
            }
        }
        Ok(Ok(()))
    }
}

/// Sebastiano Vigna's splitmix64: the same records every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next().to_le_bytes())
            .flatten()
            .take(len)
            .collect()
    }
}

fn hex_or_dash(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        "-".to_owned()
    } else {
        HEXLOWER.encode(bytes)
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    HEXLOWER.decode(text.as_bytes()).ok()
}
