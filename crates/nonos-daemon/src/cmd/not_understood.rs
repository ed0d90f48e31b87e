//! A command line that is not understood: told to a person by the parser, and to a program, which asked for JSON, as every
//! other error.

use clap::ValueEnum as _;
use clap::error::ErrorKind;

use crate::args::{Color, Output};
use crate::error::CliError;
use crate::exit;
use crate::output::{Report, diagnose};

/// Says what is wrong, and returns the exit code. Help and the version are asked for in the same way.
pub(crate) fn tell(error: &clap::Error) -> u8 {
    let is_asked_for = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    let output = asked_for(std::env::args());
    if is_asked_for || output == Output::Table {
        // There is nobody left to tell that it cannot be written.
        let _ = error.print();
        return u8::try_from(error.exit_code()).unwrap_or(exit::USAGE);
    }
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim);
    let what = lines.next().unwrap_or_default();
    let missing = lines.take_while(|line| !line.is_empty());
    let what = missing.fold(
        what.trim_start_matches("error: ").to_owned(),
        |what, more| what + " " + more,
    );
    let report = Report::start("nonos.usage/1", output);
    let told = report.finish::<()>(Err(CliError::CommandLine { what }), |()| String::new());
    if let Err(error) = told {
        diagnose(&error, Color::Never);
    }
    exit::USAGE
}

/// The form of the results, as far as it can be told.
fn asked_for(mut words: impl Iterator<Item = String>) -> Output {
    let mut found = Output::Table;
    while let Some(word) = words.next() {
        let value = match word.as_str() {
            "--" => break,
            "-o" | "--output" => words.next(),
            _ => word
                .strip_prefix("--output=")
                .or_else(|| word.strip_prefix("-o"))
                .map(|value| value.trim_start_matches('=').to_owned()),
        };
        if let Some(output) = value.and_then(|value| Output::from_str(&value, false).ok()) {
            found = output;
        }
    }
    found
}
