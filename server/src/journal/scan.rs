//! Reading one segment: which batches are whole, and whether what follows them is torn, untouched or damaged.
//!
//! Safe on arbitrary bytes: it neither panics nor allocates more than the segment is long. It writes nothing.

use super::Serial;
use super::batch::{BatchHeader, BatchKind, decode_records};
use super::disk::SECTOR_BYTES;
use super::error::Damage;
use super::open::Replay;
use super::sector::{SECTOR_HEADER_BYTES, SectorLabel, fold_checksum, is_as_before, verify_sector};
use super::segment::{FIRST_PLACE, SegmentHeader};
use super::writer::JournalEnd;

/// What a scan found behind the whole batches of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// An end marker: the journal goes on in the next segment.
    Closed,
    /// Nothing was ever written there.
    Untouched,
    /// A batch that was being written when the process or the machine stopped.
    Torn,
}

/// A segment as it was read, its header parsed and found to tell the file's true length.
#[derive(Debug)]
pub(super) struct SegmentBytes {
    pub(super) name: String,
    pub(super) header: SegmentHeader,
    pub(super) bytes: Vec<u8>,
}

impl SegmentBytes {
    /// Replays every whole batch after the one at which the journal ended so far, and moves `end` behind the last.
    /// The end's place is then in this segment.
    pub(super) fn scan(&self, end: &mut JournalEnd, replay: Replay<'_>) -> Result<Tail, Damage> {
        end.place = FIRST_PLACE;
        while end.place < self.header.sectors() {
            let Some(batch) = self.whole_batch(end)? else {
                return self.tail(end);
            };
            let sectors = self.sectors(end.place, batch.header.sectors());
            let Some(records) = decode_records(&batch.header, sectors) else {
                return Err(self.damage(end.place, "records that cannot be read"));
            };
            replay(batch.header.state, records);
            *end = JournalEnd {
                serial: end.serial.next(),
                chain: batch.label.checksum,
                place: end.place + batch.header.sectors(),
                is_sealed: batch.header.kind != BatchKind::Records,
                oldest_segment: batch.header.oldest_segment,
                state: batch.header.state,
            };
            if batch.header.kind == BatchKind::EndOfSegment {
                return Ok(Tail::Closed);
            }
        }
        Ok(Tail::Untouched)
    }

    /// Where the journal ended before this segment, as its first batch tells: a trimmed journal begins here. Damage if
    /// there is no first batch, because trimming leaves no such segment behind.
    pub(super) fn begin(&self) -> Result<JournalEnd, Damage> {
        let first = verify_sector(self.sectors(FIRST_PLACE, 1), self.header.salt)
            .filter(|label| label.place == FIRST_PLACE && is_countable(label.serial));
        let header = BatchHeader::decode(&self.sectors(FIRST_PLACE, 1)[SECTOR_HEADER_BYTES..]);
        let (Some(first), Some(header)) = (first, header) else {
            return Err(self.damage(FIRST_PLACE, "the first batch cannot be read"));
        };
        Ok(JournalEnd {
            serial: Serial(first.serial.0 - 1),
            chain: header.chain,
            place: FIRST_PLACE,
            is_sealed: true,
            oldest_segment: header.oldest_segment,
            state: header.state,
        })
    }

    /// Whether no batch was ever written into it.
    pub(super) fn is_untouched(&self) -> bool {
        self.first_touched().is_none()
    }

    /// Where it holds something, be it a batch or damage.
    pub(super) fn first_touched(&self) -> Option<u32> {
        (FIRST_PLACE..self.header.sectors())
            .find(|place| !is_as_before(self.sectors(*place, 1), self.header.salt_before))
    }

    /// The header of the next batch, if all of its sectors are there. Damage if they are and yet are no batch.
    fn whole_batch(&self, end: &JournalEnd) -> Result<Option<WholeBatch>, Damage> {
        let serial = end.serial.next();
        let Some((label, header)) = self.batch_header(end.place, serial)? else {
            return Ok(None);
        };
        if header.chain != end.chain {
            return Err(self.damage(end.place, "a batch that does not follow the one before it"));
        }
        let mut digest = 0;
        for place in end.place + 1..end.place + header.sectors() {
            let Some(label) = self.sector_of(place, serial) else {
                return Ok(None);
            };
            digest = fold_checksum(digest, label.checksum);
        }
        if header.digest != digest {
            return Err(self.damage(end.place, "a batch of sectors that do not belong together"));
        }
        Ok(Some(WholeBatch { label, header }))
    }

    /// The header of the batch `serial` at `place`; `None` if its sector does not verify.
    fn batch_header(
        &self,
        place: u32,
        serial: Serial,
    ) -> Result<Option<(SectorLabel, BatchHeader)>, Damage> {
        let Some(label) = self.sector_of(place, serial) else {
            return Ok(None);
        };
        let payload = &self.sectors(place, 1)[SECTOR_HEADER_BYTES..];
        let Some(header) = BatchHeader::decode(payload) else {
            return Err(self.damage(place, "a batch header that cannot be read"));
        };
        if header.sectors() > self.header.sectors() - place {
            return Err(self.damage(place, "a batch longer than its segment"));
        }
        if header.oldest_segment > self.header.number {
            return Err(self.damage(place, "a batch that trims the segment it is in"));
        }
        Ok(Some((label, header)))
    }

    /// Judges what follows the last whole batch (RULES R3): see the text of the journal's module.
    fn tail(&self, end: &JournalEnd) -> Result<Tail, Damage> {
        let serial = end.serial.next();
        let batch = self.batch_header(end.place, serial)?;
        let batch_end = match batch {
            Some((_, header)) => end.place + header.sectors(),
            None => self.header.sectors(),
        };
        let mut tail = Tail::Untouched;
        for place in end.place..self.header.sectors() {
            if is_as_before(self.sectors(place, 1), self.header.salt_before) {
                continue;
            }
            if self.sector_of(place, serial).is_none() {
                return Err(self.damage(place, "a sector that is neither whole nor untouched"));
            }
            if place >= batch_end {
                return Err(self.damage(place, "a sector beyond the end of its batch"));
            }
            tail = Tail::Torn;
        }
        Ok(tail)
    }

    fn sector_of(&self, place: u32, serial: Serial) -> Option<SectorLabel> {
        verify_sector(self.sectors(place, 1), self.header.salt)
            .filter(|label| label.place == place && label.serial == serial)
    }

    pub(super) fn sectors(&self, place: u32, count: u32) -> &[u8] {
        let from = place as usize * SECTOR_BYTES;
        &self.bytes[from..from + count as usize * SECTOR_BYTES]
    }

    pub(super) fn damage(&self, place: u32, why: &str) -> Damage {
        Damage {
            file: self.name.clone(),
            offset: u64::from(place) * SECTOR_BYTES as u64,
            why: why.to_owned(),
        }
    }
}

/// Whether a journal can have so many batches: the next serial must always exist.
fn is_countable(serial: Serial) -> bool {
    Serial(0) < serial && serial < SERIAL_END
}

/// Out of reach for a journal that was written.
const SERIAL_END: Serial = Serial(1 << 62);

struct WholeBatch {
    label: SectorLabel,
    header: BatchHeader,
}

#[cfg(test)]
mod tests {
    use paxos::{Command, DurableState, Incarnation, Record, ReplicaId, Slot};

    use super::super::batch::{BatchBuilder, BatchPlace};
    use super::super::disk::BLOCK_BYTES;
    use super::super::segment::Owner;
    use super::*;

    const FIRST: BatchPlace = BatchPlace {
        serial: Serial(9),
        place: FIRST_PLACE,
        salt: 5,
        chain: 0,
        oldest_segment: 4,
    };

    /// A segment with these sectors behind its header, and no other.
    fn segment(sectors: &[u8]) -> SegmentBytes {
        let bytes = [&[0; BLOCK_BYTES], sectors].concat();
        SegmentBytes {
            name: "segment".to_owned(),
            header: SegmentHeader {
                owner: Owner {
                    replica: ReplicaId(2),
                    incarnation: Incarnation(3),
                },
                number: 4,
                bytes: bytes.len() as u64,
                salt: FIRST.salt,
                salt_before: None,
            },
            bytes,
        }
    }

    /// The first batch, with a record of these bytes.
    fn batch(command: &[u8]) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        builder.push(&Record::Learned {
            slot: Slot(0),
            command: Command::Opaque(command.into()),
        });
        let (bytes, _) = builder.finish(BatchKind::Records, DurableState::default(), FIRST);
        bytes.to_vec()
    }

    /// What follows the batches that can be read, of which the first is [`FIRST`].
    fn scan(segment: &SegmentBytes) -> (Result<Tail, Damage>, JournalEnd) {
        let mut end = JournalEnd {
            serial: Serial(8),
            ..JournalEnd::NONE
        };
        let tail = segment.scan(&mut end, &mut |_, _| {});
        (tail, end)
    }

    /// Where a journal ended before a segment whose first batch says this of itself.
    fn ended_before(serial: Serial, place: u32) -> Option<Serial> {
        let at = BatchPlace {
            serial,
            place,
            ..FIRST
        };
        let mut builder = BatchBuilder::new();
        let (seal, _) = builder.finish(BatchKind::Seal, DurableState::default(), at);
        segment(seal).begin().ok().map(|end| end.serial)
    }

    #[test]
    fn a_segment_may_be_full_to_its_last_sector() {
        let records = batch(&[1; 100]);
        let (tail, end) = scan(&segment(&records));
        assert_eq!(tail, Ok(Tail::Untouched));
        assert_eq!((end.serial, end.place), (Serial(9), 2 * FIRST_PLACE));
        assert!(!end.is_sealed);
        let mut builder = BatchBuilder::new();
        let (seal, _) = builder.finish(BatchKind::Seal, DurableState::default(), FIRST);
        assert!(scan(&segment(seal)).1.is_sealed);
    }

    #[test]
    fn a_batch_ends_with_its_segment_at_the_latest() {
        let two_blocks = batch(&[1; 5_000]);
        assert_eq!(two_blocks.len(), 2 * BLOCK_BYTES);
        assert_eq!(scan(&segment(&two_blocks)).0, Ok(Tail::Untouched));
        let (tail, _) = scan(&segment(&two_blocks[..BLOCK_BYTES]));
        assert_eq!(tail.unwrap_err().why, "a batch longer than its segment");
    }

    #[test]
    fn sectors_of_two_batches_make_none() {
        let [one, other] = [1, 2].map(|byte| batch(&[byte; 5_000]));
        let (tail, _) = scan(&segment(
            &[&one[..BLOCK_BYTES], &other[BLOCK_BYTES..]].concat(),
        ));
        let why = "a batch of sectors that do not belong together";
        assert_eq!(tail.unwrap_err().why, why);
    }

    #[test]
    fn what_stands_behind_a_torn_batch_is_damage() {
        let mut torn = batch(&[1; 100]);
        torn[SECTOR_BYTES..2 * SECTOR_BYTES].fill(0);
        let untouched = [0; BLOCK_BYTES];
        let (tail, _) = scan(&segment(&[&torn[..], &untouched].concat()));
        assert_eq!(tail, Ok(Tail::Torn));
        // Sectors that are whole, in their place, and of the same serial.
        let strays = &batch(&[1; 5_000])[BLOCK_BYTES..];
        let (tail, _) = scan(&segment(&[&torn[..], strays].concat()));
        let damage = tail.unwrap_err();
        assert_eq!(damage.why, "a sector beyond the end of its batch");
        assert_eq!(damage.offset, 2 * BLOCK_BYTES as u64);
    }

    #[test]
    fn a_trimmed_journal_begins_with_a_batch_that_one_may_follow_and_precede() {
        assert_eq!(ended_before(Serial(9), FIRST_PLACE), Some(Serial(8)));
        assert_eq!(ended_before(Serial(1), FIRST_PLACE), Some(Serial(0)));
        assert_eq!(ended_before(Serial(9), FIRST_PLACE + 1), None);
        assert_eq!(ended_before(Serial(0), FIRST_PLACE), None);
        assert_eq!(ended_before(SERIAL_END, FIRST_PLACE), None);
    }
}
