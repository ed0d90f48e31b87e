//! File systems in a loop image, for trials that a test on the machine's own disk cannot make.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::Error;

/// `EXT4_IOC_SHUTDOWN` without flushing the log: what a power cut leaves. The call needs a number and a
/// pointer, which this workspace, without unsafe code, leaves to Python.
const SHUTDOWN: &str = "import fcntl, os, struct, sys; \
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

/// An ext4 file system in an image, unmounted at drop.
#[derive(Debug)]
pub(crate) struct Mount {
    directory: TempDir,
}

impl Mount {
    /// Makes and mounts one of so many MiB; `None`, with a message, where that is not possible.
    pub(crate) fn new(mib: u64) -> Result<Option<Self>, Error> {
        let directory = tempfile::tempdir().map_err(|source| Error::Process {
            what: "a temporary directory",
            source,
        })?;
        let mount = Self { directory };
        let image = mount.directory.path().join("image");
        let made = File::create(&image).and_then(|file| file.set_len(mib * 1024 * 1024));
        made.map_err(|source| Error::Io {
            path: image.clone(),
            source,
        })?;
        let point = mount.path();
        std::fs::create_dir(&point).map_err(|source| Error::Io {
            path: point,
            source,
        })?;
        let image = image.display().to_string();
        if !succeeds("mkfs.ext4", &["-q", "-F", &image]) || !mount.mount() {
            println!("skipped: this needs root, mkfs.ext4 and loop devices");
            return Ok(None);
        }
        Ok(Some(mount))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("mounted")
    }

    pub(crate) fn mount(&self) -> bool {
        let image = self.directory.path().join("image").display().to_string();
        let point = self.path().display().to_string();
        succeeds("mount", &["-o", "loop", &image, &point])
    }

    pub(crate) fn unmount(&self) -> bool {
        succeeds("umount", &[&self.path().display().to_string()])
    }

    /// Cuts the power: nothing that is not on the device gets there any more.
    pub(crate) fn shut_down(&self) -> bool {
        succeeds(
            "python3",
            &["-c", SHUTDOWN, &self.path().display().to_string()],
        )
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    let ended = Command::new(program)
        .args(args)
        .stderr(Stdio::null())
        .status();
    ended.is_ok_and(|status| status.success())
}
