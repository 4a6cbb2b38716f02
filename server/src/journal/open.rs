//! Opening: replaying a journal, telling a torn tail from damage, and making durable what was read (RULES R3, R4).
//!
//! Nothing is written before the whole journal is found to be in order. Then the newest segment is written anew, under
//! a new salt, and takes the place of the old one by a rename. A crash at any step leaves either the old segment or
//! the new one, and files with the name of a spare. The longest of these, usually the one that is kept for this purpose
//! (`room.rs`), is what the new segment is made of: so opening needs no room where the disk is full. The others are removed.
//! Without any, opening needs room for what the newest segment holds, and fails with nothing lost where there is none.
//!
//! A trimmed journal begins with a later segment than the first. Which one may be the first is told by the last batch;
//! segments before that one are left over from trimming, in whatever order their names disappeared, and are removed once
//! what was read is durable.

use std::collections::VecDeque;
use std::sync::Arc;

use paxos::{DurableState, Record, Slot};

use super::Serial;
use super::batch::{BLOCK_SECTORS, BatchBuilder, BatchHeader, BatchKind, BatchPlace, seal_batch};
use super::disk::{BLOCK_BYTES, Disk, SECTOR_BYTES};
use super::error::{Damage, DiskAction, JournalError};
use super::files::{
    Trouble, check_header, check_replica, last_run, list, missing, read_segment, segment_numbers,
};
use super::scan::{SegmentBytes, Tail};
use super::sector::SECTOR_HEADER_BYTES;
use super::segment::{
    FIRST_PLACE, OpenSegment, Owner, SegmentHeader, Spare, is_spare_name, segment_name, spare_name,
};
use super::trim::{ClosedSegment, slot_max};
use super::writer::{Journal, JournalEnd, JournalParts, JournalSettings, MARKER_SECTORS, Salts};

/// Is given every batch in the order of its serial: the state as of its end, and its records.
pub type Replay<'a> = &'a mut dyn FnMut(DurableState, Vec<Record>);

/// What became of a journal that was opened.
#[derive(Debug)]
pub enum Opened {
    /// Everything that was ever acknowledged was replayed, and is durable.
    Whole {
        /// Ready to be appended to.
        journal: Box<Journal>,
        /// A batch that was being written when the process or the machine stopped, and that nobody was told of.
        torn: Option<TornTail>,
    },
    /// Something that may have been acknowledged cannot be read. Nothing was changed. What was replayed are consecutive
    /// batches, from the first on unless the first segments are what is missing; only what is chosen may be used of it.
    Damaged(Damage),
}

/// A torn tail that opening cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// In which file.
    pub file: String,
    /// Where it began, in bytes.
    pub offset: u64,
    /// The serial of the batch, which the next batch takes again.
    pub serial: Serial,
}

impl Journal {
    /// Replays the journal of `owner`. `salt_seed` is 64 random bits.
    ///
    /// # Errors
    /// [`JournalError::NewerVersion`] and [`JournalError::OtherReplica`]: nothing was changed.
    /// [`JournalError::DiskFull`] and [`JournalError::Disk`]: the journal is as it was, or has its newest segment
    /// rewritten; opening may be tried again.
    pub fn open(
        disk: Arc<dyn Disk>,
        settings: JournalSettings,
        owner: Owner,
        salt_seed: u64,
        replay: Replay<'_>,
    ) -> Result<Opened, JournalError> {
        let reading = match Reading::of(&*disk, owner, replay) {
            Ok(reading) => reading,
            Err(Trouble::Damage(damage)) => return Ok(Opened::Damaged(damage)),
            Err(Trouble::Error(error)) => return Err(error),
        };
        let torn = reading.torn_tail();
        let journal = Rewriting {
            disk,
            settings,
            owner,
            salts: Salts::new(salt_seed),
            spares_made: 0,
            reserve: None,
        }
        .finish(reading)?;
        Ok(Opened::Whole {
            journal: Box::new(journal),
            torn,
        })
    }
}

/// Replays a journal that is open and has nothing staged.
pub(super) fn replay_all(
    disk: &dyn Disk,
    owner: Owner,
    replay: Replay<'_>,
) -> Result<(), JournalError> {
    match Reading::of(disk, owner, replay) {
        Ok(_) => Ok(()),
        Err(Trouble::Error(error)) => Err(error),
        Err(Trouble::Damage(damage)) => {
            let why = std::io::Error::new(std::io::ErrorKind::InvalidData, damage.to_string());
            Err(JournalError::disk(DiskAction::Read, &damage.file, why))
        }
    }
}

/// Whether the directory holds nothing but what [`Journal::create`] leaves behind, or less. `Ok(false)` also when the
/// segments are damaged: nobody can then say that they held nothing.
pub(super) fn is_fresh(disk: &dyn Disk, owner_expected: Owner) -> Result<bool, JournalError> {
    let numbers = segment_numbers(&list(disk)?);
    let [number] = numbers[..] else {
        return Ok(numbers.is_empty());
    };
    let segment = match read_segment(disk, number) {
        Ok(segment) => segment,
        Err(Trouble::Damage(_)) => return Ok(false),
        Err(Trouble::Error(error)) => return Err(error),
    };
    check_replica(&segment, owner_expected)?;
    let mut end = JournalEnd::NONE;
    let tail = segment.scan(&mut end, &mut |_, _| {});
    Ok(tail == Ok(Tail::Untouched) && end.serial == Serial(1))
}

/// The names of all segments, in order of their numbers.
pub(super) fn segment_names(disk: &dyn Disk) -> Result<Vec<String>, JournalError> {
    let numbers = segment_numbers(&list(disk)?);
    Ok(numbers.into_iter().map(segment_name).collect())
}

impl JournalEnd {
    /// Before the first batch of a journal.
    pub(super) const NONE: Self = Self {
        serial: Serial(0),
        chain: 0,
        place: FIRST_PLACE,
        is_sealed: true,
        oldest_segment: 1,
        state: DurableState {
            promised: paxos::Ballot::NONE,
            chosen_watermark: Slot(0),
            forget_watermark: Slot(0),
        },
    };
}

/// What was found by reading alone.
struct Reading {
    /// The newest segment of all that were used.
    newest: ScannedSegment,
    /// The one before it, if any.
    previous: Option<ScannedSegment>,
    /// What follows the whole batches of `newest`.
    tail: Tail,
    /// The segments before `newest`, oldest first.
    closed: VecDeque<ClosedSegment>,
    /// A next segment that was prepared and not used, if any: of no use any more.
    leftovers: Vec<String>,
    /// Files that may become segments, whatever they hold.
    spares: Vec<String>,
    /// Segments that are trimmed away. They go when that is durable.
    trimmed: Vec<String>,
}

struct ScannedSegment {
    segment: SegmentBytes,
    /// Where the journal ended before this segment.
    begin: JournalEnd,
    /// Where its last whole batch ends.
    end: JournalEnd,
    /// The highest slot of a record in it.
    slot_max: Option<Slot>,
}

impl ScannedSegment {
    fn has_batches(&self) -> bool {
        self.begin.serial != self.end.serial
    }
}

impl Reading {
    fn of(disk: &dyn Disk, owner: Owner, replay: Replay<'_>) -> Result<Self, Trouble> {
        let names = list(disk)?;
        let numbers = segment_numbers(&names);
        let (before, numbers) = numbers.split_at(last_run(&numbers));
        let mut reading: Option<Self> = None;
        for &number in numbers {
            let segment = read_segment(disk, number)?;
            check_replica(&segment, owner)?;
            check_header(&segment, owner, number)?;
            reading = Some(Self::with_segment(reading, segment, replay)?);
        }
        let mut reading = reading.ok_or_else(|| missing(1))?;
        reading.check_end()?;
        let oldest = reading.newest.end.oldest_segment;
        if numbers[0] > oldest {
            return Err(missing(numbers[0] - 1).into());
        }
        reading.closed.retain(|closed| closed.number >= oldest);
        let trimmed = before
            .iter()
            .chain(numbers)
            .filter(|number| **number < oldest);
        reading
            .trimmed
            .extend(trimmed.map(|number| segment_name(*number)));
        reading.spares = names
            .into_iter()
            .filter(|name| is_spare_name(name))
            .collect();
        Ok(reading)
    }

    /// Goes on with the next segment.
    fn with_segment(
        before: Option<Self>,
        segment: SegmentBytes,
        replay: Replay<'_>,
    ) -> Result<Self, Damage> {
        let Some(mut before) = before else {
            return Self::with_scanned(None, segment, replay);
        };
        if before.tail == Tail::Closed {
            return Self::with_scanned(Some(before), segment, replay);
        }
        if !before.leftovers.is_empty() {
            return Err(Damage {
                why: "the end marker is missing, although two segments follow".to_owned(),
                ..before.end_as_damage()
            });
        }
        if let Some(place) = segment.first_touched() {
            // Either of the two is spoiled.
            let end = before.end_as_damage();
            let why = format!(
                "something is there, and yet {} has no end marker at byte {}",
                end.file, end.offset
            );
            return Err(segment.damage(place, &why));
        }
        before.leftovers.push(segment.name);
        Ok(before)
    }

    fn with_scanned(
        before: Option<Self>,
        segment: SegmentBytes,
        replay: Replay<'_>,
    ) -> Result<Self, Damage> {
        let begin = match &before {
            Some(before) => before.newest.end,
            None if segment.header.number == 1 => JournalEnd::NONE,
            None if segment.is_untouched() => return Err(missing(segment.header.number - 1)),
            None => segment.begin()?,
        };
        let mut end = begin;
        let mut highest = None;
        let tail = segment.scan(&mut end, &mut |state, records| {
            highest = highest.max(slot_max(&records));
            replay(state, records);
        })?;
        let newest = ScannedSegment {
            segment,
            begin,
            end,
            slot_max: highest,
        };
        let Some(mut before) = before else {
            return Ok(Self {
                newest,
                previous: None,
                tail,
                closed: VecDeque::new(),
                leftovers: Vec::new(),
                spares: Vec::new(),
                trimmed: Vec::new(),
            });
        };
        before.closed.push_back(ClosedSegment {
            number: before.newest.segment.header.number,
            bytes: before.newest.segment.header.bytes,
            slot_max: before.newest.slot_max,
        });
        Ok(Self {
            newest,
            previous: Some(before.newest),
            tail,
            ..before
        })
    }

    /// Checks that the last segment is there, and that the journal has its first batch.
    fn check_end(&self) -> Result<(), Damage> {
        if self.tail == Tail::Closed {
            return Err(missing(self.newest.segment.header.number + 1));
        }
        if self.previous.is_none() && !self.newest.has_batches() {
            return Err(Damage {
                why: "the first batch is missing".to_owned(),
                ..self.end_as_damage()
            });
        }
        Ok(())
    }

    fn torn_tail(&self) -> Option<TornTail> {
        let at = self.end_as_damage();
        (self.tail == Tail::Torn).then(|| TornTail {
            file: at.file,
            offset: at.offset,
            serial: self.newest.end.serial.next(),
        })
    }

    /// Names the place where the journal ends.
    fn end_as_damage(&self) -> Damage {
        Damage {
            file: self.newest.segment.name.clone(),
            offset: u64::from(self.newest.end.place) * SECTOR_BYTES as u64,
            why: String::new(),
        }
    }
}

/// What is needed to write a segment anew.
struct Rewriting {
    disk: Arc<dyn Disk>,
    settings: JournalSettings,
    owner: Owner,
    salts: Salts,
    spares_made: u64,
    /// The file that the next segment is made of, if there is one.
    reserve: Option<String>,
}

impl Rewriting {
    /// Makes durable what was read, and returns the journal.
    fn finish(mut self, mut reading: Reading) -> Result<Journal, JournalError> {
        self.remove(&reading.leftovers)?;
        let length = |name: &String| self.disk.length(name).unwrap_or(0);
        reading.spares.sort_by_cached_key(length);
        self.reserve = reading.spares.pop();
        self.remove(&reading.spares)?;
        let mut newest = reading.newest;
        if reading.tail == Tail::Untouched && !newest.has_batches() {
            // Nothing proves that the end marker of the segment before is durable: it is synced before the next
            // segment is used, and that one was not.
            let previous = reading.previous.expect("the first segment has a batch");
            newest.begin = self.rewrite(previous, 0)?.1;
            newest.end = JournalEnd {
                place: FIRST_PLACE,
                ..newest.begin
            };
        }
        let slot_max = newest.slot_max;
        let (segment, end) = self.rewrite(newest, MARKER_SECTORS)?;
        self.remove(&reading.trimmed)?;
        Ok(Journal::from_parts(JournalParts {
            disk: self.disk,
            settings: self.settings,
            owner: self.owner,
            salts: self.salts,
            segment,
            slot_max,
            closed: reading.closed,
            end,
            spares_made: self.spares_made,
        }))
    }

    fn remove(&self, names: &[String]) -> Result<(), JournalError> {
        for name in names {
            self.disk
                .remove(name)
                .map_err(|source| JournalError::disk(DiskAction::Remove, name, source))?;
        }
        Ok(())
    }

    /// Writes a segment's whole batches into a new file, adds a seal if the last is none, and puts the file in the
    /// place of the old one. It is durable when this returns, and has room for so many sectors more.
    fn rewrite(
        &mut self,
        scanned: ScannedSegment,
        sectors_left: u32,
    ) -> Result<(OpenSegment, JournalEnd), JournalError> {
        let mut end = scanned.begin;
        end.place = FIRST_PLACE;
        let salt = self.salts.draw();
        let mut bytes = scanned.segment.bytes;
        bytes.truncate(scanned.end.place as usize * SECTOR_BYTES);
        while end.place < scanned.end.place {
            let from = end.place as usize * SECTOR_BYTES;
            end = salt_anew(&mut bytes[from..], salt, end);
        }
        if !end.is_sealed {
            end = push_seal(&mut bytes, salt, end);
        }
        let bytes_needed = u64::from(end.place + sectors_left) * SECTOR_BYTES as u64;
        let spare = self.spare(scanned.segment.header.bytes.max(bytes_needed), bytes_needed)?;
        let header = SegmentHeader {
            bytes: spare.bytes,
            salt,
            salt_before: None,
            ..scanned.segment.header
        };
        let segment = spare.become_segment(&self.disk, header, &bytes[BLOCK_BYTES..])?;
        Ok((segment, end))
    }

    /// A file of zeros of so many bytes; on a full disk, of as many as there is room for, if these are as many as needed.
    fn spare(&mut self, bytes: u64, bytes_needed: u64) -> Result<Spare, JournalError> {
        self.spares_made += 1;
        let name = spare_name(self.spares_made);
        let mut room_bytes = self.disk.free_bytes().unwrap_or(u64::MAX);
        if let Some(reserve) = self.reserve.take() {
            let reserved_bytes = self.disk.length(&reserve).unwrap_or(0);
            room_bytes = room_bytes.saturating_add(reserved_bytes);
            self.disk
                .rename(&reserve, &name)
                .map_err(|source| JournalError::disk(DiskAction::Rename, &reserve, source))?;
        }
        let block_bytes = BLOCK_BYTES as u64;
        let possible = (room_bytes / block_bytes * block_bytes).max(bytes_needed);
        match Spare::make_in_place(&*self.disk, name.clone(), bytes.min(possible)) {
            Err(JournalError::DiskFull { .. }) => {
                Spare::make_in_place(&*self.disk, name, bytes_needed)
            }
            made => made,
        }
    }
}

/// Labels the batch at the front of `bytes`, which follows `end`, under another salt. Returns where it ends.
fn salt_anew(bytes: &mut [u8], salt: u64, end: JournalEnd) -> JournalEnd {
    let header = BatchHeader::decode(&bytes[SECTOR_HEADER_BYTES..SECTOR_BYTES])
        .expect("the scan found this batch whole");
    let at = BatchPlace {
        serial: end.serial.next(),
        place: end.place,
        salt,
        chain: end.chain,
        oldest_segment: header.oldest_segment,
    };
    let batch = &mut bytes[..header.sectors() as usize * SECTOR_BYTES];
    JournalEnd {
        serial: at.serial,
        chain: seal_batch(batch, header, at),
        place: at.place + header.sectors(),
        is_sealed: header.kind != BatchKind::Records,
        oldest_segment: header.oldest_segment,
        state: header.state,
    }
}

fn push_seal(bytes: &mut Vec<u8>, salt: u64, end: JournalEnd) -> JournalEnd {
    let at = BatchPlace {
        serial: end.serial.next(),
        place: end.place,
        salt,
        chain: end.chain,
        oldest_segment: end.oldest_segment,
    };
    let mut builder = BatchBuilder::new();
    let (seal, chain) = builder.finish(BatchKind::Seal, end.state, at);
    bytes.extend_from_slice(seal);
    JournalEnd {
        serial: at.serial,
        chain,
        place: at.place + BLOCK_SECTORS,
        is_sealed: true,
        ..end
    }
}
