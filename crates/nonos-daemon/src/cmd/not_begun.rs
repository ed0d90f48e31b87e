//! What is wrong before a verb has begun: with the command line, with the configuration. A program, which asked for JSON,
//! is told in JSON.

use clap::ValueEnum as _;
use clap::error::ErrorKind;

use crate::args::{Color, Output};
use crate::error::CliError;
use crate::exit;
use crate::output::{Report, diagnose};

/// Says what is wrong with the command line, and returns the exit code. Help and the version are asked for in the same way.
pub(crate) fn not_understood(error: &clap::Error) -> u8 {
    let is_asked_for = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    let words = std::env::args_os();
    let output = asked_for(words.map(|word| word.to_string_lossy().into_owned()));
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
    tell(CliError::CommandLine { what }, output, Color::Never)
}

/// Says why a verb failed, unless its result did, and returns the exit code.
pub(crate) fn tell(error: CliError, output: Output, color: Color) -> u8 {
    let code = exit::code(&error);
    let is_told = matches!(error, CliError::Reported { .. });
    let told = if is_told || output == Output::Table {
        Err(error)
    } else {
        Report::start("nonos.error/1", output).finish::<()>(Err(error), |()| String::new())
    };
    if let Err(error) = told {
        diagnose(&error, color);
    }
    code
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
