//! The journal: what makes an acceptor's promises survive a crash (SPEC D3, RULES R3 and R4).
//!
//! ```text
//! segment-000000000001.log                              segment-000000000002.log
//! ┌────────┬─────────┬──────┬─────────┬─────────┬─────┐  ┌────────┬─────────┬──────┬───────────────────┐
//! │ header │ batch 1 │ b. 2 │ batch 3 │ end (4) │ 000 │  │ header │ batch 5 │ seal │ zeros             │
//! └────────┴─────────┴──────┴─────────┴─────────┴─────┘  └────────┴─────────┴──────┴───────────────────┘
//! ```
//! [`Journal::append`] stages records in memory; [`Journal::sync`] writes all that is staged as one batch and waits for
//! the disk, so whatever gathers during one sync is made durable by the next. Every batch repeats the small durable
//! state, is linked to the one before it, and is padded to blocks that are never written again.
//!
//! # Torn or damaged
//! A crash may tear the batch that was being written, and only that one, because no batch begins before the one before
//! it is synced. Nobody was told that a torn batch is durable, so it may be cut. Anything else that does not verify may
//! have been acknowledged: cutting it would make the acceptor forget a promise. So opening cuts a tail only if it is
//! provably a torn one: every sector after the last whole batch belongs to the one next batch or was never written, and
//! at least one was never written. All else is [`Damage`], and the acceptor that finds it stays silent. A seal, a batch
//! without records, is written when there is nothing more to write: then even the last batch that carries records is
//! followed by something.
//!
//! The next segment exists before the present one is left, and the present one is left through an end marker. So a
//! missing segment is found out: an end marker points to it.
//!
//! # Trimmed
//! What snapshots cover is given up, a segment at a time ([`Journal::trim_below`]). At any time there are the segments that
//! hold something above the older of two snapshots, the present one, and the next: with what a replica lets the journal grow
//! between snapshots, that bounds the bytes on disk. A trimmed slot is never an empty one (RULES R5): whoever opens the
//! journal says which slots its snapshot covers ([`Storage::open_above`]), and a journal that lacks a command above them is
//! damaged.
//!
//! # On a full disk
//! Nothing is lost: what is staged waits until there is room for another segment, and trimming needs none. Segments are
//! made in full before they are used, so that only making one can fail for want of room. See `room.rs`.
//!
//! # Files
//! `writer.rs` appends, `trim.rs` gives up what snapshots cover, `room.rs` knows how much more can be written, `open.rs`, `files.rs` and `scan.rs` read, `coverage.rs` and `directory.rs` decide
//! what a directory as a whole means.
//! `sector.rs`, `record.rs`, `batch.rs` and `segment.rs` are the format, from the inside out. `disk.rs` is the contract
//! with the disk, `file_disk.rs` the real one. Nothing here knows sockets, clocks or agreement.

mod aligned;
mod batch;
mod coverage;
mod directory;
mod disk;
mod error;
mod file_disk;
mod files;
mod open;
mod record;
mod room;
mod scan;
mod sector;
mod segment;
mod trim;
mod writer;

use std::fmt;

pub use directory::{Storage, StorageError, StorageSettings};
pub use disk::{BLOCK_BYTES, Disk, DiskFile, GrowingFile, SECTOR_BYTES, is_disk_full};
pub use error::{Damage, DiskAction, JournalError};
pub use file_disk::{FileDisk, FileDiskError};
pub use open::{Opened, Replay, TornTail};
pub use room::segment_bytes_max;
pub use segment::{Owner, Spare};
pub use trim::TrimmedSegments;
pub use writer::{Journal, JournalSettings, SpareOrder};

/// The number of a batch: 1 for the first of a journal, then without gaps, also over restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(pub u64);

impl Serial {
    /// The serial of the next batch. 2^64 batches are out of reach, so overflow means broken state.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("a serial fits 64 bits"))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
