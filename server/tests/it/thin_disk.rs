//! A file system that promises more than there is: ext4 on a loop device, its image on a tmpfs that is smaller. When that is
//! full, blocks that were never written cannot be, and the kernel says so where a real disk would: in the middle of a sync.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::small_disk::SmallDisk;

/// What there is.
const BACKING_BYTES: u64 = 48 << 20;
/// What the file system believes that there is.
const IMAGE_BYTES: u64 = 96 << 20;

/// Mounted for as long as this lives; for the superuser, where there are loop devices. Whoever else runs the tests is told
/// so, by a failure.
#[derive(Debug)]
pub(crate) struct ThinDisk {
    mode: DataMode,
    mounted_at: TempDir,
    /// After the file system that lies on it.
    backing: SmallDisk,
}

/// Where data goes first.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DataMode {
    /// To its place, as usual.
    Ordered,
    /// To the file system's journal, which is so long that each sync needs blocks of it that were never written.
    Journaled,
}

impl DataMode {
    fn option(self) -> &'static str {
        match self {
            Self::Ordered => "loop,data=ordered",
            Self::Journaled => "loop,data=journal",
        }
    }

    fn layout(self) -> &'static [&'static str] {
        match self {
            Self::Ordered => &[],
            Self::Journaled => &["-b", "4096", "-J", "size=32"],
        }
    }
}

impl ThinDisk {
    pub(crate) fn new(mode: DataMode) -> Self {
        let backing = SmallDisk::new(BACKING_BYTES);
        let disk = Self {
            mode,
            mounted_at: TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            backing,
        };
        let image = std::fs::File::create(disk.image()).unwrap();
        image.set_len(IMAGE_BYTES).unwrap();
        run(
            Command::new("mkfs.ext4")
                .args(["-q", "-F"])
                .args(mode.layout())
                .arg(disk.image()),
            "makes a file system (apt-get install e2fsprogs)",
        );
        disk.mount();
        disk
    }

    fn mount(&self) {
        run(
            Command::new("mount")
                .args(["-o", self.mode.option()])
                .arg(self.image())
                .arg(self.path()),
            "mounts a file system on a loop device (only root may, and a container only with --privileged)",
        );
    }

    /// The directory where a server may put its own.
    pub(crate) fn path(&self) -> &Path {
        self.mounted_at.path()
    }

    /// From now on no block can be written that was never written before.
    pub(crate) fn exhaust(&self) {
        self.backing.fill(0);
    }

    /// There is room again, and the machine was started again: a file system that failed has to be mounted anew.
    pub(crate) fn mend(&self) {
        self.backing.empty();
        let unmounted = Command::new("umount").arg(self.path()).status();
        assert!(unmounted.unwrap().success(), "nobody uses it");
        self.mount();
    }

    /// There is room again.
    pub(crate) fn relieve(&self) {
        self.backing.empty();
    }

    fn image(&self) -> PathBuf {
        self.backing.path().join("image")
    }
}

impl Drop for ThinDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.path())
            .status();
    }
}

fn run(command: &mut Command, what: &str) {
    let done = command.output();
    let why = match &done {
        Ok(done) if done.status.success() => return,
        Ok(done) => String::from_utf8_lossy(&done.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    panic!("this test {what}, and cannot: {why}");
}
