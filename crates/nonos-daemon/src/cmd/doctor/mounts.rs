//! On which file system a path is.

use std::fs;
use std::path::Path;

/// The type of the file system that holds a path, or that of the nearest directory above that there is.
pub(super) fn of(path: &Path) -> Option<String> {
    let there = path
        .ancestors()
        .find_map(|path| fs::canonicalize(path).ok())?;
    let text = fs::read_to_string("/proc/self/mountinfo").ok()?;
    find(&text, &there)
}

/// The mount with the longest path that the path begins with; of two, the later one.
fn find(mountinfo: &str, path: &Path) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for line in mountinfo.lines() {
        // "36 35 98:0 /root /mount/point options - type source options"
        let (before, behind) = line.split_once(" - ")?;
        let point = unescaped(before.split(' ').nth(4)?);
        let kind = behind.split(' ').next()?;
        if path.starts_with(&point) && best.is_none_or(|(len, _)| point.len() >= len) {
            best = Some((point.len(), kind));
        }
    }
    best.map(|(_, kind)| kind.to_owned())
}

/// A space is written as its octal code there.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\134", "\\")
}

/// Whether what was synced may be gone all the same, or locks may not hold.
pub(super) fn is_unsafe(kind: &str) -> bool {
    let network = ["nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph"];
    let fleeting = ["tmpfs", "ramfs"];
    let loose = ["vfat", "exfat", "msdos"];
    network
        .iter()
        .chain(&fleeting)
        .chain(&loose)
        .any(|of| *of == kind)
        || kind.starts_with("fuse")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_is_found() {
        let text = "\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
23 22 0:20 / /tmp rw - tmpfs tmpfs rw
24 22 0:30 / /srv/my\\040disk rw - nfs4 server:/x rw
25 22 0:31 / /srv rw - xfs /dev/sdb1 rw
";
        for (path, kind) in [
            ("/home/node", "ext4"),
            ("/tmp/x", "tmpfs"),
            ("/tmpfoo", "ext4"),
            ("/srv/my disk/data", "nfs4"),
            ("/srv/data", "xfs"),
        ] {
            assert_eq!(find(text, Path::new(path)).as_deref(), Some(kind), "{path}");
        }
        assert!(
            is_unsafe("nfs4")
                && is_unsafe("fuse.sshfs")
                && is_unsafe("tmpfs")
                && !is_unsafe("ext4")
        );
    }
}
