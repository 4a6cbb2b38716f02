//! The real [`Disk`]: one locked directory of a file system.
//!
//! Segments are written with O_DIRECT, which is faster than the page cache for batches that are synced one by one, and
//! in which a failed write cannot hide until a later sync. Where a file system refuses it, writes go through the page
//! cache. Reading always does; the kernel keeps both in agreement.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;
use thiserror::Error;

use super::aligned::AlignedBuffer;
use super::disk::{Disk, DiskFile, GrowingFile};

/// A directory that no other process uses.
#[derive(Debug)]
pub struct FileDisk {
    path: PathBuf,
    /// Synced to make names durable.
    directory: File,
    /// Held for as long as this lives; the system lets go of it when the process ends, however it ends.
    _lock: File,
}

/// Why a directory cannot be used.
#[derive(Debug, Error)]
pub enum FileDiskError {
    /// Another process holds the lock.
    #[error("another server uses the directory {path}")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory cannot be made, read or written.
    #[error("cannot use the directory {path}: {source}")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FileDisk {
    /// Opens and locks a directory, which is made if it is absent.
    ///
    /// # Errors
    /// When another process has it locked, or it cannot be made or written.
    pub fn open(path: &Path) -> Result<Self, FileDiskError> {
        let unusable = |source| FileDiskError::Unusable {
            path: path.to_owned(),
            source,
        };
        create_durably(path).map_err(unusable)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK_NAME))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(FileDiskError::InUse {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        Ok(Self {
            path: path.to_owned(),
            directory: File::open(path).map_err(unusable)?,
            _lock: lock,
        })
    }

    /// Opens a file to be written, and makes it if it is absent. What is in it stays.
    fn open_or_create(&self, name: &str, flags: i32) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(flags)
            .open(self.path.join(name))
    }

    fn create_zeros(&self, name: &str, bytes: u64, flags: i32) -> io::Result<File> {
        let file = self.open_or_create(name, flags)?;
        let mut zeros = AlignedBuffer::default();
        let mut offset = 0;
        while offset < bytes {
            let piece = (bytes - offset).min(ZEROS_BYTES);
            zeros.set_zeros(usize::try_from(piece).expect("a piece is at most 1 MiB"));
            file.write_all_at(zeros.as_slice(), offset)?;
            offset += piece;
        }
        file.set_len(bytes)?;
        file.sync_all()?;
        Ok(file)
    }
}

/// Gives a file of `length` bytes the blocks for `bytes`, or takes those beyond from it.
fn allocate(file: &File, length: u64, bytes: u64) -> io::Result<()> {
    if bytes < length {
        return file.set_len(bytes);
    }
    let allocated = fallocate(file, FallocateFlags::empty(), 0, bytes);
    allocated.map_err(|error| {
        // Some file systems keep the part that there was room for. If that cannot be given back, it is still a part of
        // this file, and found again with it.
        let _ = file.set_len(length);
        match error {
            Errno::OPNOTSUPP | Errno::NOSYS => io::ErrorKind::Unsupported.into(),
            error => error.into(),
        }
    })
}

/// Makes a directory, and those above it, so that a loss of power does not take it away again with all that is in it.
fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let parent = parent.unwrap_or_else(|| Path::new("."));
    create_durably(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    File::open(parent)?.sync_all()
}

impl Disk for FileDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn read(&self, name: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        let file = File::open(self.path.join(name))?;
        let bytes = file.metadata()?.len();
        if bytes > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        file.take(bytes_max).read_to_end(&mut content)?;
        Ok(content)
    }

    fn read_at(&self, name: &str, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.path.join(name))?;
        let bytes_left = file.metadata()?.len().saturating_sub(offset);
        let bytes = bytes_max.min(usize::try_from(bytes_left).unwrap_or(usize::MAX));
        let mut content = Vec::with_capacity(bytes);
        file.seek(SeekFrom::Start(offset))?;
        file.take(bytes as u64).read_to_end(&mut content)?;
        Ok(content)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path.join(name))?.len())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let found = fstatvfs(&self.directory)?;
        if found.f_blocks == 0 {
            // It has no bound of its own, and so does not count.
            return Ok(u64::MAX);
        }
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn open_growing(&self, name: &str, bytes_kept: u64) -> io::Result<Box<dyn GrowingFile>> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(bytes_kept == 0)
            .truncate(false)
            .open(self.path.join(name))?;
        if file.metadata()?.len() < bytes_kept {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.seek(SeekFrom::Start(bytes_kept))?;
        Ok(Box::new(file))
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        match self.create_zeros(name, bytes, libc::O_DIRECT) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                Ok(Box::new(self.create_zeros(name, bytes, 0)?))
            }
            made => Ok(Box::new(made?)),
        }
    }

    fn reserve(&self, name: &str, bytes: u64) -> io::Result<()> {
        let file = self.open_or_create(name, 0)?;
        let length = file.metadata()?.len();
        let has_room = bytes.saturating_sub(length) <= self.free_bytes()?;
        let allocated = if has_room {
            allocate(&file, length, bytes)
        } else {
            // To try would take from others all that there is, for a moment.
            Err(io::ErrorKind::StorageFull.into())
        };
        allocated.inspect_err(|_| {
            if length == 0 {
                let _ = fs::remove_file(self.path.join(name));
            }
        })
    }

    fn write_new(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut file = self.open_or_create(name, 0)?;
        file.set_len(0)?;
        file.write_all(content)?;
        file.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.directory.sync_all()
    }
}

impl DiskFile for File {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

impl GrowingFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn finish(&mut self) -> io::Result<()> {
        let written_bytes = self.stream_position()?;
        self.set_len(written_bytes)?;
        self.sync_all()
    }
}

/// The file that is locked. It stays when the process ends; only the lock on it counts.
const LOCK_NAME: &str = "lock";

/// How many zeros are written at a time.
const ZEROS_BYTES: u64 = 1 << 20;
