//! Snapshot files: the replicated state at one slot, so that the log below it need not be kept (SPEC D4, D5).
//!
//! [`Writer`] makes a file from the pieces that the node hands out; [`Incoming`] makes one from what another replica
//! sends; [`load`] finds the newest whole one when the process starts; [`read_piece`] reads what is to be sent. A file
//! counts only once it is durable under its name and the hash of the state was recomputed from its bytes and found to be
//! the one that the state had (RULES R21).
//!
//! # Two are kept
//! The two newest are kept, and the log above the older one: if the newest is damaged, the older and the log make the same
//! state. As long as there are not two, nothing of the log is trimmed. Nothing else counts as a snapshot, whatever its
//! name; what is left over is removed when the next one is durable.
//!
//! # Room for the next
//! On a full disk only trimming makes room, and only snapshots let the log be trimmed (RULES R18). So the room for the next
//! is taken beforehand, and grows with the state, always a little ahead of it: as a file without content, which becomes the
//! next snapshot, written or received. What is given up half-made goes back there. The log is trimmed below the older of two
//! snapshots, so there is room for two; the second takes the place of the oldest. A store of so many bytes that does not
//! change therefore takes at most three and a half times as much here, and one that has just grown from nothing two and a
//! half times, at all times.
//!
//! # Files
//! `format.rs` has the bytes, `files.rs` names and what is kept, `reader.rs` verification; `writer.rs` and `incoming.rs`
//! make files, in the room that `reserve.rs` keeps. Nothing here knows agreement, sockets or clocks.

mod files;
mod format;
mod incoming;
mod reader;
mod reserve;
mod writer;

use std::io;

use thiserror::Error;

use crate::journal::is_disk_full;

pub use files::{Kept, drop_all, give_up_leftovers, is_snapshot_name, newest, read_piece};
pub use incoming::Incoming;
pub use reader::{Loaded, Restored, load};
pub use reserve::keep_reserve;
pub use writer::Writer;

/// Why there is no snapshot where there should be one.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The disk is full, or failed. What was there before still is.
    #[error("cannot {action} {file}: {source}")]
    Disk {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file does not hold a whole snapshot.
    #[error("{file} is damaged: {why}")]
    Damaged {
        /// Which file.
        file: String,
        /// What is wrong there.
        why: String,
    },
    /// It was written by a later release.
    #[error("{file} has format version {found}, this release reads up to {newest}")]
    NewerVersion {
        /// Which file.
        file: String,
        /// Its version.
        found: u32,
        /// The newest that this release reads.
        newest: u32,
    },
    /// What was taken from the state is not the state: its memory is broken, or this program is.
    #[error(
        "the snapshot of slot {slot} has the hash {found:032x}, and the state had {expected:032x}: the state of this \
         replica is broken"
    )]
    OtherHash {
        /// Of which slot.
        slot: paxos::Slot,
        /// The hash of the state.
        expected: u128,
        /// The hash of the bytes.
        found: u128,
    },
}

impl SnapshotError {
    /// Whether the process must stop: the disk failed, and not for want of room, or the state is broken. What the disk
    /// says from then on, of this file or another, proves nothing.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Disk { source, .. } => !is_disk_full(source),
            Self::OtherHash { .. } => true,
            Self::Damaged { .. } | Self::NewerVersion { .. } => false,
        }
    }

    fn disk<'a>(action: &'static str, file: &'a str) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Disk {
            action,
            file: file.to_owned(),
            source,
        }
    }

    fn damaged(file: &str, why: impl ToString) -> Self {
        Self::Damaged {
            file: file.to_owned(),
            why: why.to_string(),
        }
    }
}
