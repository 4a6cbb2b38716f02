//! Writing a snapshot from the pieces that the state hands out.

use std::sync::Arc;

use super::files::{self, Kept, TEMPORARY_NAME};
use super::format::{Chunks, encode_head};
use super::{SnapshotError, reserve};
use crate::journal::{Disk, GrowingFile};
use crate::node::image::{Parts, Tally};
use crate::node::{Piece, SnapshotHead};

/// A snapshot that is being written, under a name that does not count.
///
/// The replica thread only copies bytes; checksums, hash and writing are done here, on whatever thread owns this.
#[derive(Debug)]
pub struct Writer {
    disk: Arc<dyn Disk>,
    head: SnapshotHead,
    /// What the state's hash was at the slot.
    state_hash: u128,
    file: Box<dyn GrowingFile>,
    chunks: Chunks,
    tally: Tally,
    /// Written and not synced.
    unsynced_bytes: usize,
}

impl Writer {
    /// Begins a file. What an earlier one left behind is overwritten.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`].
    pub fn begin(
        disk: Arc<dyn Disk>,
        head: SnapshotHead,
        state_hash: u128,
    ) -> Result<Self, SnapshotError> {
        let file = reserve::open(&*disk, TEMPORARY_NAME, 0)?;
        let encoded = encode_head(&head);
        let mut writer = Self {
            disk,
            head,
            state_hash,
            file,
            chunks: Chunks::after_head(&encoded),
            tally: Tally::default(),
            unsynced_bytes: 0,
        };
        match writer.append(&encoded) {
            Ok(()) => Ok(writer),
            Err(error) => {
                writer.give_up();
                Err(error)
            }
        }
    }

    /// Adds the next piece.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`]: the snapshot is to be given up.
    ///
    /// # Panics
    /// When the piece is not what the state makes.
    pub fn add(&mut self, piece: &Piece) -> Result<(), SnapshotError> {
        let mut bytes = Vec::new();
        for part in Parts::new(piece.kind, &piece.bytes) {
            let (encoded, part) = part.unwrap_or_else(|error| panic!("a piece of state {error}"));
            self.tally.add(&part);
            self.chunks.push(piece.kind, encoded, &mut bytes);
        }
        self.append(&bytes)
    }

    /// The last piece was added: makes the file durable, gives it its name, and removes what is not to be kept. `kept`
    /// is what is kept, oldest first.
    ///
    /// # Errors
    /// [`SnapshotError::OtherHash`]: the process must stop. [`SnapshotError::Disk`]: the snapshot was given up, or does
    /// not count for certain.
    pub fn finish(self, kept: &mut Vec<Kept>) -> Result<(), SnapshotError> {
        let disk = Arc::clone(&self.disk);
        let finished = self.end_and_keep(kept);
        if finished.is_err() {
            reserve::give_up(&*disk, TEMPORARY_NAME);
        }
        finished
    }

    fn end_and_keep(mut self, kept: &mut Vec<Kept>) -> Result<(), SnapshotError> {
        let found = self.tally.hash(&self.head);
        if found != self.state_hash || !self.tally.is_complete(&self.head) {
            return Err(SnapshotError::OtherHash {
                slot: self.head.slot,
                expected: self.state_hash,
                found,
            });
        }
        let mut last = Vec::new();
        self.chunks.finish(found, &mut last);
        self.file
            .append(&last)
            .map_err(SnapshotError::disk("write", TEMPORARY_NAME))?;
        self.file
            .finish()
            .map_err(SnapshotError::disk("sync", TEMPORARY_NAME))?;
        files::keep_own(&*self.disk, TEMPORARY_NAME, self.head.slot, kept)
    }

    /// Gives the snapshot up.
    pub fn give_up(self) {
        reserve::give_up(&*self.disk, TEMPORARY_NAME);
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file
            .append(bytes)
            .map_err(SnapshotError::disk("write", TEMPORARY_NAME))?;
        self.unsynced_bytes += bytes.len();
        if self.unsynced_bytes >= UNSYNCED_BYTES_MAX {
            self.unsynced_bytes = 0;
            self.file
                .sync()
                .map_err(SnapshotError::disk("sync", TEMPORARY_NAME))?;
        }
        Ok(())
    }
}

/// Synced in between, so that the journal never waits behind more than this: some 20 ms of a slow disk.
const UNSYNCED_BYTES_MAX: usize = 2 << 20;
