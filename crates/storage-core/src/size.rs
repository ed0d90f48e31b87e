//! The size of files and directories.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::CoreError;

/// The bytes of a file, or of every file below a directory; 0 if there is nothing. Files that
/// vanish meanwhile do not count.
pub(crate) fn of(path: &Path) -> Result<u64, CoreError> {
    let mut size = 0;
    let mut paths = vec![path.to_owned()];
    while let Some(path) = paths.pop() {
        let measured = fs::symlink_metadata(&path).and_then(|metadata| {
            if metadata.is_dir() {
                for entry in fs::read_dir(&path)? {
                    paths.push(entry?.path());
                }
            } else {
                size += metadata.len();
            }
            Ok(())
        });
        match measured {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(CoreError::io("measure", &path, e));
            }
            _ => {}
        }
    }
    Ok(size)
}
