//! Everything that the journal and the identity do to the world: one directory of files.
//!
//! [`Disk`] has two implementations: [`crate::journal::FileDisk`], and the simulator's, which keeps files in memory and
//! loses, tears and spoils them. This file owns the contract between them; it touches no file itself.
//!
//! What a caller may rely on after a crash, and nothing more:
//! - Bytes written to a file are there once a `sync` of that file that began after the write has returned. Before that
//!   each sector of 512 bytes may hold what it held before or what was written, independently of every other.
//! - A file that grew and was not synced may have any length between the two, and any mixture of what was written and
//!   zeros there.
//! - A name given by `create`, `write_new` or `rename`, or taken by `rename` or `remove`, is so for good once a
//!   `sync_directory` that began afterwards has returned. Before that it may or may not be. A rename is atomic.

use std::fmt;
use std::io;

/// A write that bypasses the page cache starts, ends and lies in memory at multiples of this many bytes.
pub const BLOCK_BYTES: usize = 4096;

/// What a disk writes whole or not at all, in bytes.
pub const SECTOR_BYTES: usize = 512;

/// One directory.
pub trait Disk: Send + Sync + fmt::Debug {
    /// The names of all files, in no particular order. Names that are not UTF-8 are none of ours and left out.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// The whole content of a file of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// When the file is absent, longer ([`io::ErrorKind::FileTooLarge`], nothing is allocated) or cannot be read.
    fn read(&self, name: &str, bytes_max: u64) -> io::Result<Vec<u8>>;

    /// At most `bytes_max` bytes of a file from `offset` on; fewer where the file ends, none behind its end.
    ///
    /// # Errors
    /// When the file is absent or cannot be read.
    fn read_at(&self, name: &str, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>>;

    /// How long a file is, in bytes.
    ///
    /// # Errors
    /// When the file is absent or the directory cannot be read.
    fn length(&self, name: &str) -> io::Result<u64>;

    /// What may still be written into the directory, in bytes, as far as the system can tell: others may write there too.
    ///
    /// # Errors
    /// When the system cannot tell.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Opens a file to be written from `bytes_kept` on; with 0 the file is made if it is absent. What is there beyond
    /// stays as room for what is written, until [`GrowingFile::finish`] cuts what is left of it. The name is not yet
    /// durable.
    ///
    /// # Errors
    /// When the file cannot be opened, or is shorter than `bytes_kept` ([`io::ErrorKind::UnexpectedEof`]).
    fn open_growing(&self, name: &str, bytes_kept: u64) -> io::Result<Box<dyn GrowingFile>>;

    /// Makes a file of `bytes` zeros, which are written (not left out as a hole) and synced. `bytes` is a multiple of
    /// [`BLOCK_BYTES`]. Its name is not yet durable. A file that has the name is overwritten in place, so that its room is
    /// enough for one that is no longer.
    ///
    /// # Errors
    /// When the file cannot be made in full; a part of it may be left behind.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn DiskFile>>;

    /// Makes sure that `bytes` can be written to a file of this name without any more room: makes it, or makes the one
    /// that is there so long or so short. What is in it besides is arbitrary. Nothing is durable.
    ///
    /// # Errors
    /// When there is no room, or the file system cannot promise any ([`io::ErrorKind::Unsupported`]). The file is then as
    /// long as it was, or absent.
    fn reserve(&self, name: &str, bytes: u64) -> io::Result<()>;

    /// Makes a small file that holds `content`, written and synced. Its name is not yet durable. A file that had the
    /// name is replaced.
    ///
    /// # Errors
    /// When the file cannot be made in full; a part of it may be left behind.
    fn write_new(&self, name: &str, content: &[u8]) -> io::Result<()>;

    /// Gives the file `from` the name `to`; a file that had that name is gone. An open [`DiskFile`] follows its file.
    ///
    /// # Errors
    /// When `from` is absent or the directory cannot be changed.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// When the file is absent or the directory cannot be changed.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all names durable.
    ///
    /// # Errors
    /// When the device says so. Nothing can then be said of names changed since the last success.
    fn sync_directory(&self) -> io::Result<()>;
}

/// An open file of fixed length.
pub trait DiskFile: Send + fmt::Debug {
    /// Writes `bytes` at `offset`, within the file. The offset, the length and the address of `bytes` in memory are
    /// multiples of [`BLOCK_BYTES`].
    ///
    /// # Errors
    /// When the device says so. Nothing can then be said of what the blocks hold.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes all that was written durable.
    ///
    /// # Errors
    /// When the device says so. Nothing can then be said of what was written since the last success, and a second
    /// sync that succeeds proves nothing.
    fn sync(&self) -> io::Result<()>;
}

/// An open file that is written from one end to the other. Through the page cache: it is written in large pieces, and
/// read back.
pub trait GrowingFile: Send + fmt::Debug {
    /// Adds `bytes` behind what was written before.
    ///
    /// # Errors
    /// When the device is full or says so. A part of the bytes may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes all that was written durable.
    ///
    /// # Errors
    /// As for [`DiskFile::sync`].
    fn sync(&mut self) -> io::Result<()>;

    /// Everything is written: cuts what is there behind it, and makes all durable, and the length.
    ///
    /// # Errors
    /// As for [`DiskFile::sync`].
    fn finish(&mut self) -> io::Result<()>;
}

/// Whether an error says that there is no room: somebody may make some, and nothing is broken.
#[must_use]
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
