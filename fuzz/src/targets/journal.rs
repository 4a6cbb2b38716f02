//! Journals: the segments that a directory holds when a replica starts.
//!
//! An input is not the file but what the file is made of, because most of a file is padding and checksums:
//! ```text
//! raw        odd:u8, then the first segment as it is
//! made       even:u8 number:u8, of the first segment, serial:u64, of its first batch; then batches
//! batch      flags:u8 length:u16, then so many bytes: its header and records as `server/src/journal/batch.rs` has them
//! ```
//! Integers are big-endian here. Sectors are labelled and sealed, and chain and digest of a batch made right, unless a flag
//! says otherwise.

use std::sync::Arc;

use common::wire::FieldReader;
use kvpaxos_server::journal::{
    Disk, Journal, JournalError, JournalSettings, Opened, Owner, SECTOR_BYTES, TornTail,
};
use paxos::{DurableState, Incarnation, Record, ReplicaId};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::faulty_disk::FaultyDisk;

/// A journal's segments.
pub fn journal(input: &[u8]) {
    let disk = FaultyDisk::new();
    for (name, content) in segments(input) {
        disk.write_new(&name, &content).expect("memory takes it");
    }
    let before = contents(&disk);
    let Some((replayed, _)) = open(&disk, 1) else {
        assert!(contents(&disk) == before, "what is refused changes nothing");
        return;
    };
    let has_lost_files = before.iter().any(|(name, _)| !disk.names().contains(name));
    let (again, torn) = open(&disk, 2).expect("what was opened can be opened again");
    // Segments that a crash left over from trimming are read once more, and removed.
    assert!(replayed.records.ends_with(&again.records));
    assert!(has_lost_files || again.records.len() == replayed.records.len());
    assert_eq!(again.state, replayed.state);
    assert_eq!(torn, None, "what was torn is cut");
}

/// What a journal held.
#[derive(Default)]
struct Replayed {
    state: DurableState,
    records: Vec<Record>,
}

/// Opens the journal; none if it is damaged or another's.
fn open(disk: &FaultyDisk, salt_seed: u64) -> Option<(Replayed, Option<TornTail>)> {
    let mut replayed = Replayed::default();
    let replay = &mut |state, records: Vec<Record>| {
        replayed.state = state;
        replayed.records.extend(records);
    };
    let shared = Arc::new(disk.clone());
    match Journal::open(shared, SETTINGS, OWNER, salt_seed, replay) {
        Ok(Opened::Whole { torn, .. }) => Some((replayed, torn)),
        Ok(Opened::Damaged(_))
        | Err(JournalError::NewerVersion { .. } | JournalError::OtherReplica { .. }) => None,
        Err(error) => panic!("the disk has room and does not fail: {error}"),
    }
}

fn contents(disk: &FaultyDisk) -> Vec<(String, Vec<u8>)> {
    let names = disk.names().into_iter();
    names
        .map(|name| (name.clone(), disk.content(&name)))
        .collect()
}

/// Whose journal it is.
pub const OWNER: Owner = Owner {
    replica: ReplicaId(1),
    incarnation: Incarnation(77),
};

/// Short segments.
pub const SETTINGS: JournalSettings = JournalSettings {
    first_segment_bytes: 8 << 10,
    segment_bytes_max: 16 << 10,
};

/// The files that an input stands for.
fn segments(input: &[u8]) -> Vec<(String, Vec<u8>)> {
    match input.split_first() {
        Some((mode, raw)) if mode % 2 == 1 => vec![(segment_name(1), raw.to_vec())],
        Some((_, made)) => Making::of(made).files,
        None => Vec::new(),
    }
}

fn segment_name(number: u64) -> String {
    format!("segment-{number:012}.log")
}

/// A new segment begins with this batch.
pub const BEGINS_SEGMENT: u8 = 1;
/// The batch is linked to whatever its bytes say.
const KEEPS_CHAIN: u8 = 2;
/// The batch has the digest that its bytes say.
const KEEPS_DIGEST: u8 = 4;
/// The last sector of the batch was never written.
const IS_TORN: u8 = 8;
/// The serial is one too high.
const SKIPS_SERIAL: u8 = 16;
/// The first sector does not verify.
const IS_SPOILT: u8 = 32;

/// Where chain and digest stand in the payload of a batch's first sector.
const CHAIN_AT: usize = SECTOR_HEADER_BYTES + 17;
const DIGEST_AT: usize = SECTOR_HEADER_BYTES + 25;
const SECTOR_HEADER_BYTES: usize = 20;
const SECTOR_PAYLOAD_BYTES: usize = SECTOR_BYTES - SECTOR_HEADER_BYTES;
const BLOCK_BYTES: usize = 8 * SECTOR_BYTES;

/// More would only be slow.
const BATCHES_MAX: usize = 16;

/// Files in the making.
struct Making {
    files: Vec<(String, Vec<u8>)>,
    number: u64,
    content: Vec<u8>,
    serial: u64,
    chain: u64,
}

impl Making {
    fn of(input: &[u8]) -> Self {
        let mut fields = FieldReader::new(input);
        let mut making = Self {
            files: Vec::new(),
            number: fields.u8("number").unwrap_or(1).into(),
            content: vec![0; BLOCK_BYTES],
            serial: fields.u64("serial").unwrap_or(1),
            chain: 0,
        };
        for _ in 0..BATCHES_MAX {
            let (Ok(flags), Ok(payload)) = (fields.u8("flags"), fields.short_bytes("payload"))
            else {
                break;
            };
            making.add(flags, payload);
        }
        making.end_segment();
        making
    }

    fn salt(&self) -> u64 {
        self.number + 1_000
    }

    fn add(&mut self, flags: u8, payload: &[u8]) {
        if flags & BEGINS_SEGMENT != 0 {
            self.end_segment();
        }
        let serial = self
            .serial
            .wrapping_add(u64::from(flags & SKIPS_SERIAL != 0));
        let from = self.content.len();
        let blocks = payload.len().div_ceil(8 * SECTOR_PAYLOAD_BYTES).max(1);
        self.content.resize(from + blocks * BLOCK_BYTES, 0);
        let mut payloads = payload.chunks(SECTOR_PAYLOAD_BYTES);
        let salt = self.salt();
        let mut first_place = from / SECTOR_BYTES;
        let mut sectors: Vec<_> = self.content[from..].chunks_mut(SECTOR_BYTES).collect();
        for sector in &mut sectors {
            let payload = payloads.next().unwrap_or_default();
            sector[SECTOR_HEADER_BYTES..][..payload.len()].copy_from_slice(payload);
        }
        let (first, others) = sectors.split_first_mut().expect("a block has sectors");
        let mut digest = 0;
        let place = first_place;
        for sector in &mut *others {
            first_place += 1;
            let checksum = seal(sector, salt, serial, first_place);
            digest = xxh3_64_with_seed(&checksum.to_le_bytes(), digest);
        }
        if flags & KEEPS_CHAIN == 0 {
            first[CHAIN_AT..][..8].copy_from_slice(&self.chain.to_le_bytes());
        }
        if flags & KEEPS_DIGEST == 0 {
            first[DIGEST_AT..][..8].copy_from_slice(&digest.to_le_bytes());
        }
        self.chain = seal(first, salt, serial, place);
        if flags & IS_SPOILT != 0 {
            first[0] ^= 1;
        }
        if flags & IS_TORN != 0 {
            others[others.len() - 1].fill(0);
        }
        self.serial = self.serial.wrapping_add(1);
    }

    /// Ends the segment with a block that was never written, and begins the next.
    fn end_segment(&mut self) {
        self.content.resize(self.content.len() + BLOCK_BYTES, 0);
        let (number, bytes) = (self.number, self.content.len() as u64);
        let header = &mut self.content[..SECTOR_BYTES];
        header[..8].copy_from_slice(b"KVPXSEGM");
        header[8] = 1;
        header[12] = OWNER.replica.0;
        for (at, field) in [
            (16, OWNER.incarnation.0),
            (24, number),
            (32, bytes),
            (40, number + 1_000),
        ] {
            header[at..at + 8].copy_from_slice(&field.to_le_bytes());
        }
        let checksum = xxh3_64(&header[..SECTOR_BYTES - 8]);
        header[SECTOR_BYTES - 8..].copy_from_slice(&checksum.to_le_bytes());
        let content = std::mem::replace(&mut self.content, vec![0; BLOCK_BYTES]);
        self.files.push((segment_name(number), content));
        self.number += 1;
    }
}

/// Labels a sector, and returns its checksum.
fn seal(sector: &mut [u8], salt: u64, serial: u64, place: usize) -> u64 {
    sector[8..16].copy_from_slice(&serial.to_le_bytes());
    let place = u32::try_from(place).expect("a segment is short");
    sector[16..20].copy_from_slice(&place.to_le_bytes());
    let checksum = xxh3_64_with_seed(&sector[8..], salt);
    sector[..8].copy_from_slice(&checksum.to_le_bytes());
    checksum
}

/// The input that stands for segments that were really written, which are given in order.
pub fn journal_input(segments: &[Vec<u8>]) -> Vec<u8> {
    let mut input = vec![0, 1];
    input.extend_from_slice(&1_u64.to_be_bytes());
    for (number, segment) in segments.iter().enumerate() {
        let mut flags = if number > 0 { BEGINS_SEGMENT } else { 0 };
        let sectors: Vec<_> = segment[BLOCK_BYTES..].chunks(SECTOR_BYTES).collect();
        for batch in sectors.chunk_by(|one, other| one[8..16] == other[8..16]) {
            let mut payload: Vec<u8> = batch
                .iter()
                .flat_map(|sector| &sector[SECTOR_HEADER_BYTES..])
                .copied()
                .collect();
            let Some(last) = payload.iter().rposition(|byte| *byte != 0) else {
                break;
            };
            payload.truncate(last + 1);
            input.push(flags);
            common::wire::put_short_bytes(&mut input, &payload);
            flags = 0;
        }
    }
    input
}
