//! Batches: what is written and synced as one, and torn as one.
//!
//! A batch is a header and records, spread over the payloads of consecutive sectors and padded with zeros to blocks of
//! 4 KiB, so that a block that holds acknowledged bytes is never written again. The header begins the first sector:
//! ```text
//! 0   kind            1 records, 2 seal, 3 end of segment
//! 1   record bytes    4 bytes: how long the records after the header are
//! 5   records         4 bytes: how many there are
//! 9   oldest segment  8 bytes: segments with lower numbers are trimmed away
//! 17  chain           8 bytes: the checksum of the first sector of the batch before, which covers that batch whole
//! 25  digest          8 bytes: over the checksums of all sectors of this batch but the first
//! 33  promised        17 bytes, a ballot: the durable state as of the end of the batch, also where it did not change,
//! 50  chosen          8 bytes: so that trimming cannot forget a promise (RULES R4)
//! 58  forget          8 bytes
//! ```
//! Integers are little-endian. A batch begins to be written only when the one before it is synced, so every header
//! names all batches before it durable. That is why a seal, a header alone, protects the batch before it (RULES R3).

use std::io;

use byteorder::{LittleEndian, ReadBytesExt, WriteBytesExt};
use paxos::{DurableState, Record, Slot};

use super::Serial;
use super::aligned::AlignedBuffer;
use super::disk::{BLOCK_BYTES, SECTOR_BYTES};
use super::record::{decode_ballot, decode_record, encode_record, write_ballot};
use super::sector::{SECTOR_HEADER_BYTES, SECTOR_PAYLOAD_BYTES, fold_checksum, seal_sector};

/// How many sectors a block holds.
pub(super) const BLOCK_SECTORS: u32 = (BLOCK_BYTES / SECTOR_BYTES) as u32;

/// The length of a batch's header.
const HEADER_BYTES: usize = 66;

/// What a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchKind {
    /// Carries records, or a changed state.
    Records,
    /// Written when there is nothing more to write.
    Seal,
    /// The last of its segment: the journal goes on in the next one, which exists.
    EndOfSegment,
}

impl BatchKind {
    fn to_byte(self) -> u8 {
        match self {
            Self::Records => 1,
            Self::Seal => 2,
            Self::EndOfSegment => 3,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Records),
            2 => Some(Self::Seal),
            3 => Some(Self::EndOfSegment),
            _ => None,
        }
    }
}

/// What the header of a batch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub(super) kind: BatchKind,
    pub(super) record_bytes: u32,
    pub(super) records: u32,
    pub(super) oldest_segment: u64,
    pub(super) chain: u64,
    pub(super) digest: u64,
    pub(super) state: DurableState,
}

impl BatchHeader {
    /// Parses the payload of a first sector; `None` if no writer of this version can have written it.
    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        Some(Self {
            kind: BatchKind::from_byte(bytes.read_u8().ok()?)?,
            record_bytes: bytes.read_u32::<LittleEndian>().ok()?,
            records: bytes.read_u32::<LittleEndian>().ok()?,
            oldest_segment: bytes.read_u64::<LittleEndian>().ok()?,
            chain: bytes.read_u64::<LittleEndian>().ok()?,
            digest: bytes.read_u64::<LittleEndian>().ok()?,
            state: DurableState {
                promised: decode_ballot(bytes)?,
                chosen_watermark: Slot(bytes.read_u64::<LittleEndian>().ok()?),
                forget_watermark: Slot(bytes.read_u64::<LittleEndian>().ok()?),
            },
        })
    }

    /// Writes it to the front of `payload`.
    pub(super) fn encode(&self, mut payload: &mut [u8]) {
        self.write(&mut payload)
            .expect("a first sector has room for the header");
    }

    fn write(&self, out: &mut &mut [u8]) -> io::Result<()> {
        out.write_u8(self.kind.to_byte())?;
        out.write_u32::<LittleEndian>(self.record_bytes)?;
        out.write_u32::<LittleEndian>(self.records)?;
        out.write_u64::<LittleEndian>(self.oldest_segment)?;
        out.write_u64::<LittleEndian>(self.chain)?;
        out.write_u64::<LittleEndian>(self.digest)?;
        write_ballot(self.state.promised, out)?;
        out.write_u64::<LittleEndian>(self.state.chosen_watermark.0)?;
        out.write_u64::<LittleEndian>(self.state.forget_watermark.0)
    }

    /// How many sectors the batch takes. At most 2^24 or so, since its length in bytes has 32 bits.
    pub(super) fn sectors(&self) -> u32 {
        let payload_bytes = u64::from(self.record_bytes) + HEADER_BYTES as u64;
        let sectors = payload_bytes
            .div_ceil(SECTOR_PAYLOAD_BYTES as u64)
            .next_multiple_of(u64::from(BLOCK_SECTORS));
        u32::try_from(sectors)
            .expect("2^32 bytes in sectors of 492 bytes are less than 2^24 of them")
    }
}

/// Where a batch is put, and what it is linked to.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchPlace {
    pub(super) serial: Serial,
    /// The first sector, counted from the beginning of the segment.
    pub(super) place: u32,
    pub(super) salt: u64,
    pub(super) chain: u64,
    pub(super) oldest_segment: u64,
}

/// Gathers records in memory in the form in which they are written: each byte of a command is copied once.
#[derive(Debug)]
pub(super) struct BatchBuilder {
    buffer: AlignedBuffer,
    /// How much of the sectors' payload is in use, the header included.
    payload_bytes: usize,
    records: u32,
}

impl BatchBuilder {
    /// A batch without records.
    pub(super) fn new() -> Self {
        let mut builder = Self {
            buffer: AlignedBuffer::default(),
            payload_bytes: 0,
            records: 0,
        };
        builder.clear(0);
        builder
    }

    /// Takes all records out again, and gives back memory beyond `bytes_kept`.
    pub(super) fn clear(&mut self, bytes_kept: usize) {
        self.buffer.clear(bytes_kept);
        self.buffer.grow_by_block();
        self.payload_bytes = HEADER_BYTES;
        self.records = 0;
    }

    /// Adds a record.
    pub(super) fn push(&mut self, record: &Record) {
        encode_record(record, |piece| self.put(piece));
        self.records += 1;
    }

    /// How long the batch would be on disk, in bytes.
    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// How many sectors it would take.
    pub(super) fn sectors(&self) -> u32 {
        u32::try_from(self.buffer.len() / SECTOR_BYTES)
            .expect("a batch is far shorter than 2^32 sectors")
    }

    /// Fills in the header and every sector's label. Returns the bytes to write and the chain value for the next batch.
    pub(super) fn finish(
        &mut self,
        kind: BatchKind,
        state: DurableState,
        at: BatchPlace,
    ) -> (&[u8], u64) {
        let header = BatchHeader {
            kind,
            record_bytes: u32::try_from(self.payload_bytes - HEADER_BYTES)
                .expect("a batch is far shorter than 4 GiB"),
            records: self.records,
            oldest_segment: at.oldest_segment,
            chain: at.chain,
            digest: 0,
            state,
        };
        let chain = seal_batch(self.buffer.as_mut_slice(), header, at);
        (self.buffer.as_slice(), chain)
    }

    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let sector = self.payload_bytes / SECTOR_PAYLOAD_BYTES;
            let within = SECTOR_HEADER_BYTES + self.payload_bytes % SECTOR_PAYLOAD_BYTES;
            if sector * SECTOR_BYTES == self.buffer.len() {
                self.buffer.grow_by_block();
            }
            let taken = bytes.len().min(SECTOR_BYTES - within);
            let from = sector * SECTOR_BYTES + within;
            self.buffer.as_mut_slice()[from..from + taken].copy_from_slice(&bytes[..taken]);
            self.payload_bytes += taken;
            bytes = &bytes[taken..];
        }
    }
}

/// Labels every sector of a batch whose records are in place, and writes `header` with the digest that results.
/// Returns the chain value for the next batch.
pub(super) fn seal_batch(sectors: &mut [u8], header: BatchHeader, at: BatchPlace) -> u64 {
    let (first, others) = sectors.split_at_mut(SECTOR_BYTES);
    let mut digest = 0;
    let mut place = at.place;
    for sector in others.chunks_exact_mut(SECTOR_BYTES) {
        place += 1;
        digest = fold_checksum(digest, seal_sector(sector, at.salt, at.serial, place));
    }
    let header = BatchHeader {
        chain: at.chain,
        digest,
        ..header
    };
    header.encode(&mut first[SECTOR_HEADER_BYTES..]);
    seal_sector(first, at.salt, at.serial, at.place)
}

/// The records of a batch whose sectors are all verified; `None` if they are not what the header says.
pub(super) fn decode_records(header: &BatchHeader, sectors: &[u8]) -> Option<Vec<Record>> {
    let mut payload = Vec::with_capacity(sectors.len());
    for sector in sectors.chunks_exact(SECTOR_BYTES) {
        payload.extend_from_slice(&sector[SECTOR_HEADER_BYTES..]);
    }
    let record_bytes = usize::try_from(header.record_bytes).ok()?;
    let mut bytes = payload[HEADER_BYTES..].get(..record_bytes)?;
    let mut records = Vec::new();
    for _ in 0..header.records {
        records.push(decode_record(&mut bytes)?);
    }
    bytes.is_empty().then_some(records)
}
