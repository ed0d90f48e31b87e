//! Looking at what would be done.

use crate::error::CliError;
use crate::output::Finding;

/// Whether a verb only looks.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct DryRun {
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// With --dry-run: exit with 13 if there is something to do
    #[arg(long, requires = "dry_run")]
    pub(crate) exit_code: bool,
}

impl DryRun {
    /// What a dry run is judged by that found something to do, or nothing.
    pub(crate) fn judge(self, is_work: bool) -> (Option<CliError>, Vec<Finding>) {
        let is_told = self.exit_code && is_work;
        (is_told.then_some(CliError::WorkToDo), Vec::new())
    }
}
