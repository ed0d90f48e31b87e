//! `nonos completions` and `nonos man`: what a package installs beside the program.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::args::Args;
use crate::error::CliError;

pub(crate) fn completions(shell: Shell) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "nonos", &mut script);
    print(&script)
}

/// The manual on standard output, or a page for each verb in a directory.
pub(crate) fn man(to: Option<&Path>) -> Result<(), CliError> {
    let command = Args::command();
    let Some(directory) = to else {
        return print(&page(command)?);
    };
    let io = |source| CliError::Io {
        action: "write",
        path: directory.to_owned(),
        source,
    };
    fs::create_dir_all(directory).map_err(io)?;
    let mut pages = vec![("nonos".to_owned(), command)];
    while let Some((name, mut command)) = pages.pop() {
        command.build();
        for verb in command
            .get_subcommands()
            .filter(|verb| verb.get_name() != "help")
        {
            let name = format!("{name}-{}", verb.get_name());
            pages.push((name.clone(), verb.clone().display_name(name.clone())));
        }
        fs::write(directory.join(format!("{name}.1")), page(command)?).map_err(io)?;
    }
    Ok(())
}

fn page(command: Command) -> Result<Vec<u8>, CliError> {
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(command).render(&mut page);
    rendered.map_err(|source| CliError::Output { source })?;
    Ok(page)
}

fn print(bytes: &[u8]) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|source| CliError::Output { source }),
    }
}
