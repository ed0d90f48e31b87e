//! What the program was started with.

use std::path::PathBuf;

use crate::engine;
use crate::error::{Result, failed};
use crate::rows::{ENGINES, WORKLOADS};
use crate::scale::Scale;
use crate::workload::Task;

const ROUNDS: usize = 5;

#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    pub(crate) workloads: Vec<&'static str>,
    pub(crate) engines: Vec<&'static str>,
    /// Where databases are made; by default where temporary files are.
    pub(crate) directory: Option<PathBuf>,
    /// A process of one workload: what it does, with the first engine, in `directory`.
    pub(crate) child: Option<String>,
    pub(crate) size: usize,
}

impl Arguments {
    pub(crate) fn read(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut arguments = Self {
            quick: false,
            rounds: 0,
            workloads: WORKLOADS.to_vec(),
            engines: ENGINES.to_vec(),
            directory: None,
            child: None,
            size: 0,
        };
        while let Some(word) = words.next() {
            if word == "--quick" {
                arguments.quick = true;
                continue;
            }
            let value = words
                .next()
                .ok_or_else(|| failed(format!("{word} needs a value")))?;
            match word.as_str() {
                "--rounds" => arguments.rounds = count(&value)?,
                "--only" => arguments.workloads = chosen(&value, &WORKLOADS)?,
                "--engines" => arguments.engines = chosen(&value, &ENGINES)?,
                "--directory" => arguments.directory = Some(value.into()),
                "--child" => arguments.child = Some(value),
                "--size" => arguments.size = count(&value)?,
                _ => return Err(failed(format!("no such flag: {word}"))),
            }
        }
        if arguments.rounds == 0 {
            arguments.rounds = if arguments.quick { 1 } else { ROUNDS };
        }
        if arguments.child.is_none() {
            arguments
                .engines
                .retain(|name| engine::version(name).is_some());
        }
        Ok(arguments)
    }

    pub(crate) fn scale(&self) -> Scale {
        Scale::of(self.quick)
    }

    pub(crate) fn task(&self) -> Result<Task> {
        let engine = self.engines.first().ok_or_else(|| failed("no engine"))?;
        let directory = self
            .directory
            .clone()
            .ok_or_else(|| failed("no directory"))?;
        Ok(Task {
            engine: (*engine).to_owned(),
            directory,
            scale: self.scale(),
            size: self.size,
        })
    }
}

fn count(value: &str) -> Result<usize> {
    value
        .parse()
        .map_err(|_not| failed(format!("not a number: {value}")))
}

/// Names with commas between, each one of the known ones; in their order.
fn chosen(value: &str, known: &[&'static str]) -> Result<Vec<&'static str>> {
    let names: Vec<&str> = value.split(',').collect();
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        return Err(failed(format!("{name} is none of {}", known.join(", "))));
    }
    let all = known.iter().copied();
    Ok(all.filter(|name| names.contains(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_keep_their_order_and_unknown_ones_are_refused() -> Result<()> {
        assert_eq!(chosen("read,load", &WORKLOADS)?, ["load", "read"]);
        assert!(chosen("write", &WORKLOADS).is_err());
        Ok(())
    }
}
