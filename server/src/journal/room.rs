//! Room on the disk (RULES R18): how long a segment is made where there is little, what can be written without another,
//! and what is kept back so that the journal can be opened again on a disk that has none.
//!
//! Opening writes the present segment anew (RULES R4), so it needs room for another of its length just when there may be
//! none. A file of that length is therefore kept for it. It bears the name of a spare: whatever is in it, every opening may
//! take it, and nobody else does. Where the file system cannot promise room there is none, and opening needs what is free.

use std::io;

use super::disk::{BLOCK_BYTES, Disk, SECTOR_BYTES};
use super::error::{DiskAction, JournalError};
use super::segment::{FIRST_PLACE, OpenSegment};
use super::writer::{Journal, MARKER_SECTORS, SEGMENT_BYTES_MAX};

/// The name of the file that is kept for the next opening.
const RESERVE_NAME: &str = "spare-reserve.tmp";

/// A segment takes at most one part in so many of what is free, so that on a small disk preallocation leaves room for data.
const FREE_SHARE: u64 = 8;

/// A segment is not made shorter than this for want of room, unless it is meant to be short. The last of a disk stays free
/// for files like the identity.
const SEGMENT_BYTES_SMALL: u64 = 256 << 10;

/// An opening adds a seal, which may need a block more than the segment had.
const SLACK_BYTES_MIN: u64 = BLOCK_BYTES as u64;
/// Where there is room, more is kept, so that many openings in a row find their block.
const SLACK_BYTES: u64 = 16 * SLACK_BYTES_MIN;

impl Journal {
    /// What can be written without another segment, in bytes: into the present one and into the next. Less in records,
    /// since each batch is padded.
    #[must_use]
    pub fn writable_bytes(&self) -> u64 {
        let room = |segment: &OpenSegment, place: u32| {
            let sectors = segment.header.sectors();
            u64::from(sectors.saturating_sub(place + MARKER_SECTORS)) * SECTOR_BYTES as u64
        };
        let next = self.next.as_ref();
        room(&self.segment, self.end.place) + next.map_or(0, |next| room(next, FIRST_PLACE))
    }

    /// How long the next segment is to be, if its first batch takes so many sectors.
    pub(super) fn next_segment_bytes(&self, sectors: u32) -> u64 {
        let wanted = (2 * self.segment.header.bytes).min(self.settings.segment_bytes_max);
        let sectors_needed = u64::from(FIRST_PLACE + sectors + MARKER_SECTORS);
        segment_bytes(&*self.disk, wanted).max(sectors_needed * SECTOR_BYTES as u64)
    }

    /// The next segment is too short for what is to come: its room is given back. Nothing points to it yet.
    pub(super) fn give_up_next(&mut self) -> Result<(), JournalError> {
        let Some(next) = self.next.take() else {
            return Ok(());
        };
        self.segments_bytes -= next.header.bytes;
        let removed = self.disk.remove(&next.name);
        self.or_fail(
            removed.map_err(|source| JournalError::disk(DiskAction::Remove, &next.name, source)),
        )
    }

    /// Sees to it that the next opening finds room, whatever the disk is like then: for the present segment in full and for the
    /// next, or, where there is little room, for what the present one holds. To be called often: it does nothing while there
    /// is nothing to do.
    ///
    /// # Errors
    /// There is no room for the segment in full now, or the file system cannot promise any. Nothing rests on it.
    pub fn reserve_for_opening(&mut self) -> io::Result<()> {
        let next_bytes = self.next.as_ref().map_or(0, |next| next.header.bytes);
        let bytes = self.segment.header.bytes.max(next_bytes);
        if self.reserved_bytes == bytes {
            return Ok(());
        }
        let reserve = |bytes| self.disk.reserve(RESERVE_NAME, bytes);
        let reserved = reserve(bytes + SLACK_BYTES).or_else(|_| reserve(bytes + SLACK_BYTES_MIN));
        if reserved.is_ok() {
            self.reserved_bytes = bytes;
            return Ok(());
        }
        let held_bytes = u64::from(self.end.place) * SECTOR_BYTES as u64 + SLACK_BYTES;
        if self.disk.length(RESERVE_NAME).unwrap_or(0) < held_bytes {
            reserve(held_bytes)?;
        }
        reserved
    }
}

/// How long a segment is made that would be `wanted` bytes long on a disk with room enough.
pub(super) fn segment_bytes(disk: &dyn Disk, wanted: u64) -> u64 {
    // Who cannot tell what is free learns it when the segment is made.
    let free_bytes = disk.free_bytes().unwrap_or(u64::MAX);
    wanted.min(segment_bytes_max(free_bytes))
}

/// How long a segment is made at the most where so many bytes are free, unless a single batch needs it.
#[must_use]
pub fn segment_bytes_max(free_bytes: u64) -> u64 {
    let share = free_bytes / FREE_SHARE / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
    share.clamp(SEGMENT_BYTES_SMALL, SEGMENT_BYTES_MAX)
}
