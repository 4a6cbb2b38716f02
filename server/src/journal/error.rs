//! What can go wrong with the journal, told apart by what the caller is to do about it.

use std::fmt;
use std::io;

use paxos::ReplicaId;
use thiserror::Error;

use super::disk::is_disk_full;

/// Why the journal did not do what it was asked.
#[derive(Debug, Error)]
pub enum JournalError {
    /// There is no room for another segment. Nothing that was appended is lost, and the journal goes on to work: what
    /// is staged is written by the next `sync` that finds room.
    #[error("the disk is full: cannot make {file}: {source}")]
    DiskFull {
        /// The file that could not be made.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The disk failed. The process must stop before it answers anything that rests on what was appended since the
    /// last `sync` (RULES R3); trying again proves nothing.
    #[error("cannot {action} {file}: {source}")]
    Disk {
        /// What was tried.
        action: DiskAction,
        /// On which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier call returned [`JournalError::Disk`].
    #[error("the journal has failed and takes nothing more")]
    Failed,
    /// The files are those of a later release. Nothing was changed.
    #[error("{file} has format version {found}, this release reads up to {newest}")]
    NewerVersion {
        /// Which file.
        file: String,
        /// Its version.
        found: u32,
        /// The newest that this release reads.
        newest: u32,
    },
    /// The files are another replica's. Nothing was changed.
    #[error("{file} belongs to {found}, this is {expected}")]
    OtherReplica {
        /// Which file.
        file: String,
        /// Whose it is.
        found: ReplicaId,
        /// Who asks.
        expected: ReplicaId,
    },
}

impl JournalError {
    pub(super) fn disk(action: DiskAction, file: &str, source: io::Error) -> Self {
        Self::Disk {
            action,
            file: file.to_owned(),
            source,
        }
    }

    /// The error for a file that could not be made: a full disk is one that the caller can wait out.
    pub(super) fn of_making(file: &str, source: io::Error) -> Self {
        Self::of_growing(DiskAction::Create, file, source)
    }

    /// The same for another action that may need room and has changed nothing.
    pub(super) fn of_growing(action: DiskAction, file: &str, source: io::Error) -> Self {
        if is_disk_full(&source) {
            return Self::DiskFull {
                file: file.to_owned(),
                source,
            };
        }
        Self::disk(action, file, source)
    }

    /// Whether somebody has but to make room.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::DiskFull { .. })
    }
}

/// What was asked of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskAction {
    /// To list the directory.
    List,
    /// To read a file.
    Read,
    /// To make a file.
    Create,
    /// To write to a file.
    Write,
    /// To sync a file.
    Sync,
    /// To rename a file.
    Rename,
    /// To remove a file.
    Remove,
    /// To sync the directory.
    SyncDirectory,
}

impl fmt::Display for DiskAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::List => "list the directory of",
            Self::Read => "read",
            Self::Create => "create",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::SyncDirectory => "sync the directory of",
        })
    }
}

/// Bytes of the journal that are neither what was written nor a torn tail (RULES R3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// In which file.
    pub file: String,
    /// Where, in bytes from its beginning.
    pub offset: u64,
    /// What is wrong there.
    pub why: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.file, self.offset, self.why)
    }
}
