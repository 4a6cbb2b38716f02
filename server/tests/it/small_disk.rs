//! A real file system that is small, and full when a test wants it to be: a tmpfs in a directory of its own.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tempfile::TempDir;

/// Mounted for as long as this lives. Mounting takes the superuser: whoever else runs the tests is told so, by a failure.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// An empty one that holds so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=700")])
            .arg("kvpaxos-test")
            .arg(directory.path())
            .output()
            .expect("a machine with a mount command");
        assert!(
            mounted.status.success(),
            "this test needs a disk of its own, and may not mount one (only root may): {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
        Self { directory }
    }

    /// The directory where a server may put its own.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What can still be written, in bytes.
    pub(crate) fn free_bytes(&self) -> u64 {
        let found = statvfs(self.path()).unwrap();
        found.f_bavail * found.f_frsize
    }

    /// Takes what is free but for so many bytes, less than a block more or less. What is given back later by others is
    /// free then.
    pub(crate) fn fill(&self, bytes_left: u64) {
        let ballast = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.ballast())
            .unwrap();
        loop {
            let taken = ballast.metadata().unwrap().len();
            let surplus = self.free_bytes().saturating_sub(bytes_left);
            if surplus < BLOCK_BYTES {
                return;
            }
            // If somebody was quicker, there is less to take now.
            let _ = fallocate(&ballast, FallocateFlags::empty(), 0, taken + surplus);
        }
    }

    /// Gives back all that [`Self::fill`] took.
    pub(crate) fn empty(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    /// From now on nothing can be written, or again everything.
    pub(crate) fn set_read_only(&self, read_only: bool) {
        let mode = if read_only {
            "remount,ro"
        } else {
            "remount,rw"
        };
        let mounted = Command::new("mount")
            .args(["-o", mode])
            .arg(self.path())
            .status();
        assert!(mounted.unwrap().success(), "nobody writes there");
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount")
            .arg("--lazy")
            .arg(self.path())
            .status();
        if !unmounted.is_ok_and(|status| status.success()) {
            println!("{} stays mounted", self.path().display());
        }
    }
}

const BLOCK_BYTES: u64 = 4_096;
