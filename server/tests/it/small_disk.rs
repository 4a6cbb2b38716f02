//! A disk of a few megabytes that a test fills and empties: a file system in memory, in a directory of its own.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// Mounted as long as it lives.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// # Panics
    /// When it cannot be mounted: that takes a superuser.
    pub(crate) fn new(bytes: u64) -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let size = format!("size={bytes}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "kvpaxos-test"])
            .arg(directory.path())
            .output()
            .expect("there is a mount command");
        assert!(
            mounted.status.success(),
            "a small disk cannot be mounted, and this test needs one: {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
        Self { directory }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Takes all that is free but so many bytes.
    pub(crate) fn fill(&self, leave_bytes: u64) {
        let mut ballast = File::create(self.path().join("ballast")).unwrap();
        let piece = [0; 64 << 10];
        while ballast.write_all(&piece).is_ok() {}
        let length = ballast.metadata().unwrap().len();
        ballast.set_len(length.saturating_sub(leave_bytes)).unwrap();
    }

    /// Gives back what was taken.
    pub(crate) fn empty(&self) {
        fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.path().display());
        }
    }
}
