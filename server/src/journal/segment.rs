//! Segments: files of fixed length, zeroed before use, that hold one batch after the other.
//!
//! The first block of a segment is its header; batches follow from the second block on. The header's first sector:
//! ```text
//! 0    magic        "KVPXSEGM"
//! 8    version      4 bytes
//! 12   replica      1 byte: whose journal this is, then 3 zeros
//! 16   incarnation  8 bytes: of which life of that replica's acceptor
//! 24   number       8 bytes: its place among the segments, from 1; also in the file's name
//! 32   bytes        8 bytes: how long the file is
//! 40   salt         8 bytes: seeds the checksums of this use of the file; never 0
//! 48   salt before  8 bytes: of the use before, 0 if the file was new
//! 504  checksum     8 bytes, XXH3 of all before
//! ```
//! Integers are little-endian. Magic, version and checksum stand in the same places in every version, so that a newer
//! one is told apart from damage. The serial of a segment's first batch stands in the sectors of its second block.

use std::cmp::Ordering;
use std::io;
use std::sync::Arc;

use byteorder::{ByteOrder, LittleEndian};
use paxos::{Incarnation, ReplicaId};
use xxhash_rust::xxh3::xxh3_64;

use super::aligned::AlignedBuffer;
use super::batch::BLOCK_SECTORS;
use super::disk::{BLOCK_BYTES, Disk, DiskFile, SECTOR_BYTES};
use super::error::{DiskAction, JournalError};

/// The version that this release writes, and the newest that it reads.
pub(super) const FORMAT_VERSION: u32 = 1;

/// No segment is longer, so that a file of another kind cannot make opening allocate without bound. A segment is made
/// as long as its first batch needs, and a batch is bounded by the window of slots in flight, 64 MiB at the most.
pub(super) const SEGMENT_BYTES_LIMIT: u64 = 1 << 30;

/// Where the first batch of a segment stands.
pub(super) const FIRST_PLACE: u32 = BLOCK_SECTORS;

const MAGIC: &[u8; 8] = b"KVPXSEGM";
const CHECKSUM_AT: usize = SECTOR_BYTES - 8;

/// Whose journal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The replica.
    pub replica: ReplicaId,
    /// The life of its acceptor memory.
    pub incarnation: Incarnation,
}

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) owner: Owner,
    pub(super) number: u64,
    pub(super) bytes: u64,
    pub(super) salt: u64,
    pub(super) salt_before: Option<u64>,
}

/// Why a segment's first block is not a header that this release understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// Written by a later release, and whole.
    NewerVersion(u32),
    /// Not what any release wrote.
    Damaged,
}

impl SegmentHeader {
    /// How many sectors the file has.
    pub(super) fn sectors(&self) -> u32 {
        u32::try_from(self.bytes / SECTOR_BYTES as u64)
            .expect("a segment's length is checked against its limit")
    }

    /// Writes it to the first sector of `block`.
    pub(super) fn encode(&self, block: &mut [u8]) {
        let sector = &mut block[..SECTOR_BYTES];
        sector.fill(0);
        sector[..8].copy_from_slice(MAGIC);
        LittleEndian::write_u32(&mut sector[8..], FORMAT_VERSION);
        sector[12] = self.owner.replica.0;
        LittleEndian::write_u64(&mut sector[16..], self.owner.incarnation.0);
        LittleEndian::write_u64(&mut sector[24..], self.number);
        LittleEndian::write_u64(&mut sector[32..], self.bytes);
        LittleEndian::write_u64(&mut sector[40..], self.salt);
        LittleEndian::write_u64(&mut sector[48..], self.salt_before.unwrap_or(0));
        let checksum = xxh3_64(&sector[..CHECKSUM_AT]);
        LittleEndian::write_u64(&mut sector[CHECKSUM_AT..], checksum);
    }

    /// Parses the beginning of a file.
    pub(super) fn decode(file: &[u8]) -> Result<Self, BadHeader> {
        let sector = file.get(..SECTOR_BYTES).ok_or(BadHeader::Damaged)?;
        let checksum = LittleEndian::read_u64(&sector[CHECKSUM_AT..]);
        if &sector[..8] != MAGIC || xxh3_64(&sector[..CHECKSUM_AT]) != checksum {
            return Err(BadHeader::Damaged);
        }
        let version = LittleEndian::read_u32(&sector[8..]);
        match version.cmp(&FORMAT_VERSION) {
            Ordering::Greater => return Err(BadHeader::NewerVersion(version)),
            // There was none before the first.
            Ordering::Less => return Err(BadHeader::Damaged),
            Ordering::Equal => {}
        }
        let salt_before = LittleEndian::read_u64(&sector[48..]);
        Ok(Self {
            owner: Owner {
                replica: ReplicaId(sector[12]),
                incarnation: Incarnation(LittleEndian::read_u64(&sector[16..])),
            },
            number: LittleEndian::read_u64(&sector[24..]),
            bytes: LittleEndian::read_u64(&sector[32..]),
            salt: LittleEndian::read_u64(&sector[40..]),
            salt_before: (salt_before != 0).then_some(salt_before),
        })
    }
}

/// The file name of a segment.
pub(super) fn segment_name(number: u64) -> String {
    format!("segment-{number:012}.log")
}

/// The number in the file name of a segment; `None` for other names.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    let number = name
        .strip_prefix("segment-")?
        .strip_suffix(".log")?
        .parse()
        .ok()?;
    (number > 0 && segment_name(number) == name).then_some(number)
}

/// The name of a segment that is not yet one: opening removes what has such a name.
pub(super) fn spare_name(count: u64) -> String {
    format!("spare-{count}.tmp")
}

/// Whether [`spare_name`] makes such names.
pub(super) fn is_spare_name(name: &str) -> bool {
    name.starts_with("spare-") && name.ends_with(".tmp")
}

/// A file of zeros that may become a segment. [`super::SpareOrder::make`] makes it.
#[derive(Debug)]
pub struct Spare {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) file: Box<dyn DiskFile>,
}

impl Spare {
    /// Makes the file, if there is room for it: otherwise nothing is tried, since whoever waits for room asks often.
    pub(super) fn make(disk: &dyn Disk, name: String, bytes: u64) -> Result<Self, JournalError> {
        if disk.free_bytes().is_ok_and(|free| free < bytes) {
            let full = io::ErrorKind::StorageFull.into();
            return Err(JournalError::of_making(&name, full));
        }
        Self::make_in_place(disk, name, bytes)
    }

    /// Makes the file, in the room of one that has the name if there is one. On failure nothing is left of it, so that a
    /// full disk gets its space back.
    pub(super) fn make_in_place(
        disk: &dyn Disk,
        name: String,
        bytes: u64,
    ) -> Result<Self, JournalError> {
        match disk.create(&name, bytes) {
            Ok(file) => Ok(Self { name, bytes, file }),
            Err(source) => {
                // What cannot be removed is removed at the next opening.
                let _ = disk.remove(&name);
                Err(JournalError::of_making(&name, source))
            }
        }
    }

    /// Makes it the segment that `header` describes, with `content` from its second block on. When this returns, the
    /// segment and its name are durable; until then the segment that had this name, if any, is untouched.
    pub(super) fn become_segment(
        self,
        disk: &Arc<dyn Disk>,
        header: SegmentHeader,
        content: &[u8],
    ) -> Result<OpenSegment, JournalError> {
        assert_eq!(self.bytes, header.bytes, "the header tells the length");
        if let Err(source) = self.fill(header, content) {
            let _ = disk.remove(&self.name);
            return Err(JournalError::of_making(&self.name, source));
        }
        let name = segment_name(header.number);
        if let Err(source) = disk.rename(&self.name, &name) {
            let _ = disk.remove(&self.name);
            return Err(JournalError::of_growing(
                DiskAction::Rename,
                &self.name,
                source,
            ));
        }
        disk.sync_directory()
            .map_err(|source| JournalError::disk(DiskAction::SyncDirectory, &name, source))?;
        Ok(OpenSegment {
            name,
            header,
            file: self.file,
        })
    }

    fn fill(&self, header: SegmentHeader, content: &[u8]) -> io::Result<()> {
        let mut buffer = AlignedBuffer::default();
        buffer.set_zeros(BLOCK_BYTES);
        header.encode(buffer.as_mut_slice());
        self.file.write_at(0, buffer.as_slice())?;
        let mut offset = BLOCK_BYTES as u64;
        for piece in content.chunks(COPY_BYTES) {
            buffer.set_zeros(piece.len());
            buffer.as_mut_slice().copy_from_slice(piece);
            self.file.write_at(offset, buffer.as_slice())?;
            offset += piece.len() as u64;
        }
        self.file.sync()
    }
}

/// How much of a segment is copied at a time when opening rewrites it: enough to make the number of writes irrelevant.
const COPY_BYTES: usize = 1 << 20;

/// A segment that can be written.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) name: String,
    pub(super) header: SegmentHeader,
    pub(super) file: Box<dyn DiskFile>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> SegmentHeader {
        SegmentHeader {
            owner: Owner {
                replica: ReplicaId(2),
                incarnation: Incarnation(3),
            },
            number: 4,
            bytes: 8192,
            salt: 5,
            salt_before: None,
        }
    }

    #[test]
    fn a_header_has_these_bytes() {
        let mut block = vec![0; BLOCK_BYTES];
        example().encode(&mut block);
        let mut expected = b"KVPXSEGM\x01\0\0\0\x02\0\0\0".to_vec();
        for field in [3, 4, 8192, 5, 0_u64] {
            expected.extend(field.to_le_bytes());
        }
        assert_eq!(block[..56], expected);
        assert!(block[56..CHECKSUM_AT].iter().all(|byte| *byte == 0));
        assert_eq!(SegmentHeader::decode(&block), Ok(example()));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_of_a_header_is_damage() {
        let mut block = vec![0; BLOCK_BYTES];
        example().encode(&mut block);
        for bit in 0..8 * SECTOR_BYTES {
            block[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&block), Err(BadHeader::Damaged));
            block[bit / 8] ^= 1 << (bit % 8);
        }
        for length in 0..SECTOR_BYTES {
            let truncated = SegmentHeader::decode(&block[..length]);
            assert_eq!(truncated, Err(BadHeader::Damaged));
        }
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage_and_one_before_the_first_is_none() {
        let mut block = vec![0; BLOCK_BYTES];
        example().encode(&mut block);
        for (version, bad) in [(2, BadHeader::NewerVersion(2)), (0, BadHeader::Damaged)] {
            block[8] = version;
            let checksum = xxh3_64(&block[..CHECKSUM_AT]);
            LittleEndian::write_u64(&mut block[CHECKSUM_AT..], checksum);
            assert_eq!(SegmentHeader::decode(&block), Err(bad));
        }
    }

    #[test]
    fn only_the_names_of_segments_are_numbers() {
        assert_eq!(segment_number(&segment_name(7)), Some(7));
        assert_eq!(segment_number("segment-000000000001.log"), Some(1));
        let no_segments = ["segment-1.log", "segment-+00000000001.log", "identity"];
        for name in no_segments.into_iter().chain(["segment-000000000000.log"]) {
            assert_eq!(segment_number(name), None, "{name}");
        }
        assert_eq!(segment_number("segment-000000000001.log.damaged-1"), None);
    }

    #[test]
    fn only_what_is_named_as_a_spare_is_removed_as_one() {
        assert!(is_spare_name(&spare_name(7)));
        for name in ["spare-7", "snapshot-7.tmp", "identity"] {
            assert!(!is_spare_name(name), "{name}");
        }
    }
}
