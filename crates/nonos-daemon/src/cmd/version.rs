//! `nonos version`.

use nonos_storage::CURRENT_SCHEMA_VERSION;
use serde::Serialize;

use crate::args::Args;
use crate::error::CliError;
use crate::output::Report;

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Version {
    version: &'static str,
    schema_version: u32,
}

pub(crate) fn version(args: &Args) -> Result<(), CliError> {
    let report = Report::start("nonos.version/1", args.output);
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        schema_version: CURRENT_SCHEMA_VERSION,
    };
    report.finish(Ok(version), |version| {
        format!(
            "nonos {}, schema {}",
            version.version, version.schema_version
        )
    })
}
