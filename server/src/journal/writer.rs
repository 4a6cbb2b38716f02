//! Writing: staging records, group commit, seals, and the step from one segment to the next.

use std::collections::VecDeque;
use std::sync::Arc;

use paxos::{DurableState, Persist, Slot};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use super::Serial;
use super::batch::{BLOCK_SECTORS, BatchBuilder, BatchKind, BatchPlace};
use super::disk::{Disk, SECTOR_BYTES};
use super::error::{DiskAction, JournalError};
use super::room::segment_bytes;
use super::segment::{FIRST_PLACE, OpenSegment, Owner, SegmentHeader, Spare, spare_name};
use super::trim::{ClosedSegment, slot_max};

/// The lengths of segments, in bytes; multiples of 4 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// The first segment of a journal; at least 8 KiB. Each later one is twice as long as the one before it.
    pub first_segment_bytes: u64,
    /// No segment is longer, unless a single batch needs it. On a small disk they are shorter.
    pub segment_bytes_max: u64,
}

impl Default for JournalSettings {
    /// A store with little in it takes little. Segments are trimmed as a whole, so that longer ones would keep more of
    /// what snapshots cover already; 16 MiB are zeroed in some 30 ms, off the path of any request.
    fn default() -> Self {
        Self {
            first_segment_bytes: 4 << 20,
            segment_bytes_max: SEGMENT_BYTES_MAX,
        }
    }
}

/// The journal of one acceptor, open for writing. See the module's text for what it promises.
#[derive(Debug)]
pub struct Journal {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) settings: JournalSettings,
    owner: Owner,
    salts: Salts,
    /// Where batches go. Holds at least one block behind `end.place`: its end marker's.
    pub(super) segment: OpenSegment,
    /// The highest slot of a record in `segment`.
    slot_max: Option<Slot>,
    /// The segments before `segment` that are not trimmed, oldest first.
    pub(super) closed: VecDeque<ClosedSegment>,
    /// The segment after `segment`. Its name is durable, and there is nothing in it.
    pub(super) next: Option<OpenSegment>,
    /// All segments together, in bytes.
    pub(super) segments_bytes: u64,
    /// Where the last batch that was written ends.
    pub(super) end: JournalEnd,
    /// Records that were appended and are not written.
    staged: BatchBuilder,
    /// The state as of the last of them; `None` when nothing is staged.
    staged_state: Option<DurableState>,
    staged_slot_max: Option<Slot>,
    /// A batch without records: the next seal or end marker.
    marker: BatchBuilder,
    /// The last batch was written after the last sync.
    is_unsynced: bool,
    /// The number for the next spare's name.
    spares_made: u64,
    /// A [`SpareOrder`] was given out and has not come back.
    is_spare_ordered: bool,
    /// The length of the segments that the next opening is known to have room for; 0 if none was asked for.
    pub(super) reserved_bytes: u64,
    has_failed: bool,
}

/// Where the last whole batch of a journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JournalEnd {
    /// The last batch's.
    pub(super) serial: Serial,
    /// The last batch's chain value.
    pub(super) chain: u64,
    /// The first sector after it in its segment.
    pub(super) place: u32,
    /// It is a seal or an end marker: there is nothing to seal.
    pub(super) is_sealed: bool,
    /// Segments with lower numbers were trimmed away.
    pub(super) oldest_segment: u64,
    /// As of the end of the last batch.
    pub(super) state: DurableState,
}

/// What a new `Journal` begins with.
#[derive(Debug)]
pub(super) struct JournalParts {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) settings: JournalSettings,
    pub(super) owner: Owner,
    pub(super) salts: Salts,
    pub(super) segment: OpenSegment,
    pub(super) slot_max: Option<Slot>,
    pub(super) closed: VecDeque<ClosedSegment>,
    pub(super) end: JournalEnd,
    pub(super) spares_made: u64,
}

impl Journal {
    /// A journal that holds nothing but its first seal, durable when this returns. No segment may be there.
    /// `salt_seed` is 64 random bits.
    ///
    /// # Errors
    /// [`JournalError::DiskFull`] and [`JournalError::Disk`]; no segment is there then.
    pub fn create(
        disk: Arc<dyn Disk>,
        settings: JournalSettings,
        owner: Owner,
        salt_seed: u64,
    ) -> Result<Self, JournalError> {
        let mut salts = Salts::new(salt_seed);
        let header = SegmentHeader {
            owner,
            number: 1,
            bytes: segment_bytes(&*disk, settings.first_segment_bytes),
            salt: salts.draw(),
            salt_before: None,
        };
        let mut builder = BatchBuilder::new();
        let state = DurableState::default();
        let at = BatchPlace {
            serial: Serial(1),
            place: FIRST_PLACE,
            salt: header.salt,
            chain: 0,
            oldest_segment: 1,
        };
        let (content, chain) = builder.finish(BatchKind::Seal, state, at);
        let segment = Spare::make(&*disk, spare_name(0), header.bytes)?
            .become_segment(&disk, header, content)?;
        let end = JournalEnd {
            serial: at.serial,
            chain,
            place: FIRST_PLACE + BLOCK_SECTORS,
            is_sealed: true,
            oldest_segment: 1,
            state,
        };
        Ok(Self::from_parts(JournalParts {
            disk,
            settings,
            owner,
            salts,
            segment,
            slot_max: None,
            closed: VecDeque::new(),
            end,
            spares_made: 1,
        }))
    }

    pub(super) fn from_parts(parts: JournalParts) -> Self {
        let closed_bytes: u64 = parts.closed.iter().map(|closed| closed.bytes).sum();
        Self {
            disk: parts.disk,
            settings: parts.settings,
            owner: parts.owner,
            salts: parts.salts,
            segments_bytes: closed_bytes + parts.segment.header.bytes,
            segment: parts.segment,
            slot_max: parts.slot_max,
            closed: parts.closed,
            next: None,
            end: parts.end,
            staged: BatchBuilder::new(),
            staged_state: None,
            staged_slot_max: None,
            marker: BatchBuilder::new(),
            is_unsynced: false,
            spares_made: parts.spares_made,
            is_spare_ordered: false,
            reserved_bytes: 0,
            has_failed: false,
        }
    }

    /// Adds records to the batch that the next [`Journal::sync`] writes. Usually only memory is touched; a batch that
    /// has become long enough is written at once.
    ///
    /// # Errors
    /// Those of [`Journal::sync`]. After [`JournalError::DiskFull`] the records are staged all the same.
    ///
    /// # Panics
    /// When a watermark or the promise falls: the core broke its word.
    pub fn append(&mut self, persist: &Persist) -> Result<(), JournalError> {
        self.check()?;
        assert_grows(self.staged_state.unwrap_or(self.end.state), persist.state);
        for record in &persist.records {
            self.staged.push(record);
        }
        self.staged_slot_max = self.staged_slot_max.max(slot_max(&persist.records));
        self.staged_state = Some(persist.state);
        if self.staged.len() >= BATCH_BYTES_FULL {
            self.sync()?;
        }
        Ok(())
    }

    /// Writes what is staged. When this returns, everything that was appended is durable, and so is every batch up to
    /// the serial that it returns.
    ///
    /// # Errors
    /// [`JournalError::DiskFull`]: nothing was written and nothing is lost; to be tried again when there is room.
    /// [`JournalError::Disk`]: the process must stop. [`JournalError::Failed`] ever after.
    pub fn sync(&mut self) -> Result<Serial, JournalError> {
        self.check()?;
        if self.staged_state.is_some() {
            self.write_staged()?;
        }
        self.sync_segment()?;
        Ok(self.end.serial)
    }

    /// To be called when there is nothing to append: protects the last batch against being taken for a torn tail
    /// (RULES R3). Writes a header alone, once, and does not wait for it to be durable.
    ///
    /// # Errors
    /// As [`Journal::sync`].
    pub fn seal(&mut self) -> Result<(), JournalError> {
        self.check()?;
        if self.staged_state.is_some() || self.is_unsynced || self.end.is_sealed {
            return Ok(());
        }
        if self.fits(BLOCK_SECTORS) {
            self.write(BatchKind::Seal)
        } else {
            self.enter_next_segment(BLOCK_SECTORS)
        }
    }

    /// Replays what was synced, as an opening would: for the successor of an agent that failed.
    ///
    /// # Errors
    /// The files cannot be read, or are damaged: they were written by this process, so nothing here can be trusted.
    pub fn read_back(&self, replay: super::open::Replay<'_>) -> Result<(), JournalError> {
        super::open::replay_all(&*self.disk, self.owner, replay)
    }

    /// The last batch that was written, or found at opening. It is durable unless it was written after the last sync.
    #[must_use]
    pub fn last_serial(&self) -> Serial {
        self.end.serial
    }

    /// How much of the disk the segments take, preallocated space included, in bytes; without what is kept for the next
    /// opening.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.segments_bytes
    }

    /// Asks for a file to be made from which the next segment will be: to be made by another thread, so that no append
    /// waits for it, and given to [`Journal::take_spare`]. `None` while there is one: it is made long before it is needed,
    /// because what is preallocated is what can be written when the disk is full (RULES R18). A journal whose spare does not
    /// come in time makes the segment itself.
    pub fn order_spare(&mut self) -> Option<SpareOrder> {
        if self.has_failed || self.next.is_some() || self.is_spare_ordered {
            return None;
        }
        self.is_spare_ordered = true;
        Some(SpareOrder {
            name: self.name_spare(),
            bytes: self.next_segment_bytes(BLOCK_SECTORS),
        })
    }

    /// What came of a [`SpareOrder`]. After a failure the journal orders again: a caller waits a second or so first.
    ///
    /// # Errors
    /// The failure, passed on; [`JournalError::DiskFull`]: the spare is lost. If it was made, [`JournalError::Disk`]: the
    /// process must stop.
    pub fn take_spare(&mut self, made: Result<Spare, JournalError>) -> Result<(), JournalError> {
        self.is_spare_ordered = false;
        self.check()?;
        let spare = made?;
        if self.next.is_some() {
            return self
                .disk
                .remove(&spare.name)
                .map_err(|source| JournalError::disk(DiskAction::Remove, &spare.name, source));
        }
        self.adopt(spare)
    }

    fn write_staged(&mut self) -> Result<(), JournalError> {
        let sectors = self.staged.sectors();
        if !self.fits(sectors) {
            self.enter_next_segment(sectors)?;
        }
        self.write(BatchKind::Records)?;
        self.slot_max = self.slot_max.max(self.staged_slot_max.take());
        self.staged_state = None;
        self.staged.clear(BATCH_BYTES_KEPT);
        Ok(())
    }

    /// Whether a batch fits into the segment with a [seal that trims](Self::trim_below) and an end marker after it: so
    /// that trimming, which makes room, needs no room for another segment first.
    fn fits(&self, sectors: u32) -> bool {
        self.end.place + sectors + MARKER_SECTORS <= self.segment.header.sectors()
    }

    /// Goes on in the next segment if there is no room for a marker and the end marker after it.
    pub(super) fn make_room_for_marker(&mut self) -> Result<(), JournalError> {
        if self.end.place + MARKER_SECTORS <= self.segment.header.sectors() {
            return Ok(());
        }
        self.enter_next_segment(BLOCK_SECTORS)
    }

    /// Closes the segment and goes on in the next, which has room for a batch of `sectors`.
    fn enter_next_segment(&mut self, sectors: u32) -> Result<(), JournalError> {
        let sectors_needed = FIRST_PLACE + sectors + MARKER_SECTORS;
        let is_too_short = |next: &OpenSegment| next.header.sectors() < sectors_needed;
        if self.next.as_ref().is_some_and(is_too_short) {
            self.give_up_next()?;
        }
        if self.next.is_none() {
            let bytes = self.next_segment_bytes(sectors);
            let name = self.name_spare();
            let spare = Spare::make(&*self.disk, name, bytes)?;
            self.adopt(spare)?;
        }
        self.write(BatchKind::EndOfSegment)?;
        self.sync_segment()?;
        let next = self.next.take().expect("the next segment was just made");
        let closed = std::mem::replace(&mut self.segment, next);
        self.closed.push_back(ClosedSegment {
            number: closed.header.number,
            bytes: closed.header.bytes,
            slot_max: self.slot_max.take(),
        });
        self.end.place = FIRST_PLACE;
        Ok(())
    }

    /// Makes a spare the next segment, of which there is none.
    fn adopt(&mut self, spare: Spare) -> Result<(), JournalError> {
        let header = SegmentHeader {
            owner: self.owner,
            number: self.segment.header.number + 1,
            bytes: spare.bytes,
            salt: self.salts.draw(),
            salt_before: None,
        };
        let adopted = spare.become_segment(&self.disk, header, &[]);
        let segment = self.or_fail(adopted)?;
        self.segments_bytes += segment.header.bytes;
        self.next = Some(segment);
        if self.reserved_bytes > 0 {
            // Before the segment is used, and whoever fills the disk finds it without. What fails is tried again.
            let _ = self.reserve_for_opening();
        }
        Ok(())
    }

    /// Writes one batch where the last one ends: the staged records, or a marker.
    pub(super) fn write(&mut self, kind: BatchKind) -> Result<(), JournalError> {
        // At most one batch is not durable at any time: otherwise a torn tail could not be told from damage.
        self.sync_segment()?;
        let at = BatchPlace {
            serial: self.end.serial.next(),
            place: self.end.place,
            salt: self.segment.header.salt,
            chain: self.end.chain,
            oldest_segment: self.oldest_segment(),
        };
        // An end marker makes room for records that are staged: its state must not rest on them.
        let (builder, state) = match kind {
            BatchKind::Records => (&mut self.staged, self.staged_state),
            BatchKind::Seal | BatchKind::EndOfSegment => (&mut self.marker, None),
        };
        let state = state.unwrap_or(self.end.state);
        let sectors = builder.sectors();
        let (bytes, chain) = builder.finish(kind, state, at);
        let offset = u64::from(at.place) * SECTOR_BYTES as u64;
        let written = self.segment.file.write_at(offset, bytes);
        let result = written
            .map_err(|source| JournalError::disk(DiskAction::Write, &self.segment.name, source));
        self.or_fail(result)?;
        self.is_unsynced = true;
        self.end = JournalEnd {
            serial: at.serial,
            chain,
            place: at.place + sectors,
            is_sealed: kind != BatchKind::Records,
            oldest_segment: at.oldest_segment,
            state,
        };
        Ok(())
    }

    pub(super) fn sync_segment(&mut self) -> Result<(), JournalError> {
        if !self.is_unsynced {
            return Ok(());
        }
        let synced = self.segment.file.sync();
        let result = synced
            .map_err(|source| JournalError::disk(DiskAction::Sync, &self.segment.name, source));
        self.or_fail(result)?;
        self.is_unsynced = false;
        Ok(())
    }

    fn name_spare(&mut self) -> String {
        self.spares_made += 1;
        spare_name(self.spares_made)
    }

    pub(super) fn check(&self) -> Result<(), JournalError> {
        if self.has_failed {
            return Err(JournalError::Failed);
        }
        Ok(())
    }

    /// Remembers a failure after which nothing can be said of what is on disk.
    pub(super) fn or_fail<T>(
        &mut self,
        result: Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        self.has_failed |= matches!(result, Err(JournalError::Disk { .. }));
        result
    }
}

/// A file to be made: see [`Journal::order_spare`].
#[derive(Debug)]
#[must_use = "the journal orders no other until it is told what came of this one"]
pub struct SpareOrder {
    name: String,
    bytes: u64,
}

impl SpareOrder {
    /// Makes the file; takes as long as it takes to write and sync up to 64 MiB of zeros.
    ///
    /// # Errors
    /// [`JournalError::DiskFull`] and [`JournalError::Disk`], to be handed to [`Journal::take_spare`] like a success.
    pub fn make(self, disk: &dyn Disk) -> Result<Spare, JournalError> {
        Spare::make(disk, self.name, self.bytes)
    }
}

/// Draws salts. A salt is never 0, which stands for "none".
#[derive(Debug)]
pub(super) struct Salts(StdRng);

impl Salts {
    pub(super) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.0.next_u64().max(1)
    }
}

/// The longest segments, in bytes. Whole segments are trimmed, so longer ones would keep more than they need.
pub(super) const SEGMENT_BYTES_MAX: u64 = 16 << 20;

/// What is kept free behind a batch: a block for a seal that trims, and one for the end marker.
pub(super) const MARKER_SECTORS: u32 = 2 * BLOCK_SECTORS;

/// A staged batch of this length, in bytes, is written without waiting for a sync to be asked for. Longer batches are
/// no faster, and the memory for one stays with the journal.
const BATCH_BYTES_FULL: usize = 4 << 20;

/// Memory for a batch beyond this is given back after it is written.
const BATCH_BYTES_KEPT: usize = 2 * BATCH_BYTES_FULL;

fn assert_grows(before: DurableState, after: DurableState) {
    assert!(
        after.promised >= before.promised
            && after.chosen_watermark >= before.chosen_watermark
            && after.forget_watermark >= before.forget_watermark,
        "the durable state fell from {before:?} to {after:?}"
    );
}
