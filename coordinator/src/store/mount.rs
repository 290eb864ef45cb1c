//! Whether a path lies on a network file system, where SQLite's locks and shared memory cannot be trusted.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Types of file systems that several machines see.
const NETWORK: &[&str] = &[
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "fuse.ceph-fuse",
    "fuse.curlftpfs",
    "fuse.davfs",
    "fuse.gcsfuse",
    "fuse.glusterfs",
    "fuse.juicefs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.sshfs",
    "glusterfs",
    "gpfs",
    "lustre",
    "nfs",
    "nfs4",
    "orangefs",
    "smb3",
    "smbfs",
    "wekafs",
];

/// The type of the network file system that the absolute `path` lies on; none if it is local or nobody can tell.
pub(super) fn network(path: &Path) -> Option<String> {
    let table = std::fs::read("/proc/self/mountinfo").ok()?;
    network_in(&table, path)
}

/// See `man 5 proc_pid_mountinfo`: the fifth field is the mount point, the type follows a lone dash.
fn network_in(table: &[u8], path: &Path) -> Option<String> {
    let mut deepest: Option<(usize, String)> = None;
    for line in table.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ');
        let Some(point) = fields.nth(4).map(unescape) else { continue };
        let Some(kind) = fields.skip_while(|field| *field != b"-").nth(1) else { continue };
        let depth = point.components().count();
        // A later mount on the same point hides the earlier one.
        if path.starts_with(&point) && deepest.as_ref().is_none_or(|(known, _)| *known <= depth) {
            deepest = Some((depth, String::from_utf8_lossy(kind).into_owned()));
        }
    }
    let (_, kind) = deepest?;
    NETWORK.contains(&kind.as_str()).then_some(kind)
}

/// Spaces and the like stand as three octal digits after a backslash.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let code = tail.get(..3).and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
30 22 0:27 / /home rw - nfs4 server:/home rw
31 30 0:28 / /home/local rw - xfs /dev/sda rw
32 22 0:29 / /mnt/my\\040share rw master:3 propagate_from:2 - fuse.sshfs me@host:/ rw
33 22 0:30 / /mnt/stick rw - fuse.ntfs-3g /dev/sdb1 rw
34 22 0:31 / /mnt/twice rw - ext4 /dev/sdc rw
35 22 0:32 / /mnt/twice rw - cifs //server/share rw
";

    #[test]
    fn the_deepest_mount_counts() {
        for (path, kind) in [
            ("/srv/a.db", None),
            ("/home/ann/a.db", Some("nfs4")),
            ("/homework/a.db", None),
            ("/home/local/a.db", None),
            ("/mnt/my share/a.db", Some("fuse.sshfs")),
            ("/mnt/stick/a.db", None),
            ("/mnt/twice/a.db", Some("cifs")),
        ] {
            assert_eq!(network_in(TABLE.as_bytes(), Path::new(path)).as_deref(), kind, "{path}");
        }
    }

    #[test]
    fn a_table_that_makes_no_sense_refuses_nothing() {
        assert_eq!(network_in(b"", Path::new("/a")), None);
        assert_eq!(network_in(b"1 2 3\n\xff \\09 - - -\n", Path::new("/a")), None);
    }
}
