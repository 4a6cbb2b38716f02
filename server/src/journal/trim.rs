//! Trimming: giving up the segments that hold nothing but what snapshots cover (SPEC D5, RULES R4, R7).
//!
//! A segment is given up as a whole, oldest first, when every record in it is of a slot below the given one. That the
//! segment is not missed is written first: a seal that names the oldest segment still needed, synced; only then do names
//! disappear. So a crash leaves segments too many, never too few, and the next opening removes them. The seal stands in
//! the present segment, which therefore always repeats the promise, whatever is removed before it.

use paxos::{Record, Slot};

use super::batch::BatchKind;
use super::disk::Disk;
use super::error::{DiskAction, JournalError};
use super::segment::segment_name;
use super::writer::Journal;

/// A segment that nothing is written to any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClosedSegment {
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// The highest slot of a record in it.
    pub(super) slot_max: Option<Slot>,
}

impl ClosedSegment {
    fn lies_below(&self, slot: Slot) -> bool {
        self.slot_max.is_none_or(|slot_max| slot_max < slot)
    }
}

impl Journal {
    /// Gives up the segments that hold nothing at or above `slot`; every slot below it must be in durable snapshots. What
    /// is returned are files that nothing needs any more.
    ///
    /// # Errors
    /// [`JournalError::DiskFull`]: nothing was given up; to be tried again. [`JournalError::Disk`]: the process must stop.
    pub fn trim_below(&mut self, slot: Slot) -> Result<TrimmedSegments, JournalError> {
        self.check()?;
        let lies_below = |closed: &&ClosedSegment| closed.lies_below(slot);
        if self.closed.front().filter(lies_below).is_none() {
            return Ok(TrimmedSegments::default());
        }
        self.make_room_for_marker()?;
        let mut trimmed = TrimmedSegments::default();
        while let Some(closed) = self.closed.pop_front_if(|closed| closed.lies_below(slot)) {
            trimmed.names.push(segment_name(closed.number));
            self.segments_bytes -= closed.bytes;
        }
        self.write(BatchKind::Seal)?;
        self.sync_segment()?;
        Ok(trimmed)
    }

    /// The number of the oldest segment that is still needed.
    pub(super) fn oldest_segment(&self) -> u64 {
        self.closed
            .front()
            .map_or(self.segment.header.number, |closed| closed.number)
    }
}

/// Segments that were given up, to be removed: by another thread, because removing a long file takes milliseconds. If that
/// does not come about, the next opening does it.
#[derive(Debug, Default)]
#[must_use = "the files take up space"]
pub struct TrimmedSegments {
    names: Vec<String>,
}

impl TrimmedSegments {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Removes the files.
    ///
    /// # Errors
    /// [`JournalError::Disk`]: some may still be there. Nothing rests on it.
    pub fn remove(self, disk: &dyn Disk) -> Result<(), JournalError> {
        for name in self.names {
            disk.remove(&name)
                .map_err(|source| JournalError::disk(DiskAction::Remove, &name, source))?;
        }
        Ok(())
    }
}

/// The highest slot of these records.
pub(super) fn slot_max(records: &[Record]) -> Option<Slot> {
    let slots = records.iter().map(|record| match record {
        Record::Accepted { slot, .. } | Record::Learned { slot, .. } => *slot,
    });
    slots.max()
}
