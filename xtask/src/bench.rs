//! The library beside other engines: builds and starts `benches/peers`, and puts what a full run measured
//! into `docs/PERFORMANCE.md`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Error, failed, read_table};

#[expect(dead_code, reason = "the harness, whose file it is, uses the rest")]
#[path = "../../benches/peers/src/rows.rs"]
mod rows;

const DOCUMENT: &str = "docs/PERFORMANCE.md";
const PACKAGE: &str = "benches/peers";
const BEGIN: &str = "<!-- measured: begin -->\n";
const END: &str = "<!-- measured: end -->";
/// Fewer are no measurement.
const LEAST_ROUNDS: usize = 5;

pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<bool, Error> {
    let package = root.join(PACKAGE);
    let has_rocksdb = has_rocksdb(&package)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(&package).stdout(Stdio::piped());
    command.args(["run", "--quiet", "--release", "--locked"]);
    if !has_rocksdb {
        eprintln!("no librocksdb (Debian: librocksdb-dev, libclang-dev): RocksDB is left out");
        command.arg("--no-default-features");
    }
    command.arg("--").args(arguments);
    if !arguments.iter().any(|word| word == "--directory") {
        // Temporary files may be in memory, where nothing is durable.
        let target = root.join("target");
        fs::create_dir_all(&target).map_err(failed)?;
        command.arg("--directory").arg(target);
    }
    let started = command.spawn();
    let output = started.and_then(std::process::Child::wait_with_output);
    let output = output.map_err(failed)?;
    let measured = String::from_utf8_lossy(&output.stdout);
    print!("{measured}");
    if !output.status.success() {
        return Ok(false);
    }
    if is_full(arguments) && has_rocksdb {
        let path = root.join(DOCUMENT);
        let today = time::OffsetDateTime::now_utc().date();
        let text = fs::read_to_string(&path).map_err(failed)?;
        let text = put(&text, &format!("{today}, {measured}"));
        let text = text.ok_or_else(|| failed(format!("{DOCUMENT}: no place for the table")))?;
        fs::write(&path, text).map_err(failed)?;
        println!("\nwritten to {DOCUMENT}");
    }
    Ok(true)
}

/// Whether the library is where it is looked for, or is to be built.
fn has_rocksdb(package: &Path) -> Result<bool, Error> {
    let config = read_table(&package.join(".cargo/config.toml"))?;
    let default = config.get("env").and_then(|env| env.get("ROCKSDB_LIB_DIR"));
    let default = default.and_then(toml::Value::as_str).unwrap_or_default();
    let place = std::env::var("ROCKSDB_LIB_DIR").unwrap_or_else(|_| default.to_owned());
    let library = Path::new(&place).join("librocksdb.so");
    Ok(library.exists() || std::env::var_os("ROCKSDB_COMPILE").is_some())
}

/// All engines and workloads, often enough.
fn is_full(arguments: &[String]) -> bool {
    let is_part = |word: &String| ["--quick", "--only", "--engines"].contains(&word.as_str());
    let rounds = arguments.iter().skip_while(|word| *word != "--rounds");
    let rounds = rounds.skip(1).find_map(|word| word.parse().ok());
    !arguments.iter().any(is_part) && rounds.unwrap_or(LEAST_ROUNDS) >= LEAST_ROUNDS
}

/// The document with this in the place of what was measured before.
fn put(document: &str, measured: &str) -> Option<String> {
    let (head, rest) = document.split_once(BEGIN)?;
    let (_, tail) = rest.split_once(END)?;
    Some(format!("{head}{BEGIN}{measured}{END}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Result<String, Error> {
        fs::read_to_string(crate::root().join(DOCUMENT)).map_err(failed)
    }

    /// The first cells of the table under a heading, without their quotes.
    fn named(document: &str, heading: &str) -> Vec<String> {
        let section = document.split_once(heading).map_or("", |(_, rest)| rest);
        let section = section.split("\n## ").next().unwrap_or_default();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        let names = rows.filter_map(|row| row.split('`').next());
        names.map(str::to_owned).collect()
    }

    #[test]
    fn the_document_explains_every_engine_and_workload() -> Result<(), Error> {
        let text = document()?;
        assert_eq!(named(&text, "\n## Engines\n"), rows::ENGINES);
        assert_eq!(named(&text, "\n## Workloads\n"), rows::WORKLOADS);
        Ok(())
    }

    #[test]
    fn the_table_has_the_rows_and_engines_that_are_measured() -> Result<(), Error> {
        let text = document()?;
        let (_, rest) = text.split_once(BEGIN).ok_or_else(|| failed(BEGIN))?;
        let (table, _) = rest.split_once(END).ok_or_else(|| failed(END))?;
        if table.is_empty() {
            // Nobody has measured on a quiet machine yet.
            return Ok(());
        }
        let lines = table.lines().filter_map(|line| line.strip_prefix("| "));
        let (heads, lines): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with('|'));
        let columns = format!(
            "| unit | {} | nonos ÷ best other |",
            rows::ENGINES.join(" | ")
        );
        for head in &heads {
            assert_eq!(*head, columns);
        }
        let titles: Vec<_> = lines
            .iter()
            .filter_map(|line| line.split(" |").next())
            .collect();
        let rows = rows::rows();
        let measured: Vec<_> = rows.iter().map(|row| row.title.as_str()).collect();
        assert_eq!(titles, measured);
        Ok(())
    }

    #[test]
    fn only_a_full_run_is_written() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(is_full(&[]));
        assert!(is_full(&words("--rounds 7")));
        for part in [
            "--quick",
            "--rounds 4",
            "--only read",
            "--engines nonos,redb",
        ] {
            assert!(!is_full(&words(part)), "{part}");
        }
    }

    #[test]
    fn what_was_measured_takes_the_place_of_what_was_there() {
        let document = format!("above\n{BEGIN}old\n{END}\nbelow\n");
        let expected = format!("above\n{BEGIN}new\n{END}\nbelow\n");
        assert_eq!(put(&document, "new\n"), Some(expected));
        assert_eq!(put("no place", "new\n"), None);
    }
}
