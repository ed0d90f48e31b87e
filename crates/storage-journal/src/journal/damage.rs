//! What was found damaged: set aside, and noted until it was told.

use std::path::Path;

use super::Journal;
use crate::checkpoint;
use crate::disk::Disk;
use crate::error::JournalError;
use crate::format;

impl Journal {
    /// Renames a checkpoint of this journal that turned out to be damaged, so that the one before it is
    /// read in its place; `false` if the error is of something else.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`].
    pub fn set_damaged_aside(&self, error: &JournalError) -> Result<bool, JournalError> {
        let JournalError::Checkpoint { path, .. } = error else {
            return Ok(false);
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.parent() != Some(&self.directory) || checkpoint::commit_of(&name).is_none() {
            return Ok(false);
        }
        let mut aside = path.clone().into_os_string();
        aside.push(".damaged");
        let renamed = self.disk.rename(path, Path::new(&aside));
        renamed.map_err(|e| JournalError::io("rename", path, e))?;
        Ok(true)
    }

    /// Notes what was found damaged, durably, until [`forget_damage`](Self::forget_damage).
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`].
    pub fn note_damage(
        disk: &dyn Disk,
        directory: &Path,
        lines: &[String],
    ) -> Result<(), JournalError> {
        format::note(disk, directory, lines)
    }

    /// Forgets what was noted: it was told.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`].
    pub fn forget_damage(&self) -> Result<(), JournalError> {
        format::forget(&*self.disk, &self.directory)
    }

    /// Makes a directory without journal say nothing of an old one.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`].
    pub fn forget_old(disk: &dyn Disk, directory: &Path) -> Result<(), JournalError> {
        format::remove(disk, directory)
    }
}
