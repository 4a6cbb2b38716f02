//! The bytes of a snapshot file.
//!
//! ```text
//! head    magic "KVPXSNAP" | version 4 | length 4: of the body | checksum 8: of the body
//!         body: cluster 8 | slot 8 | revision 8 | log time in ms 8 | noted slot 8 | noted hash 16
//!               settings: value bytes 4, sessions 4, expiry in s 4, hash interval 4, store bytes 8, window 4
//!               lives 2: how many; then of each replica 1, from slot 8, incarnation 8
//!               keys 8 | sessions 8
//! chunk   kind 1: 1 entries, 2 sessions | index 4: from 0 | length 4 | checksum 8: of the bytes | bytes, whole parts
//! footer  kind 1: 3 | index 4 | length 4: 24 | checksum 8 | state hash 16 | checksum 8: of the file up to here
//! ```
//! Integers are big-endian. Checksums are XXH3, 64 bits; that of the head is seeded with its version and length, those
//! of chunks with index, kind and length. Where one chunk ends and the next begins follows from the content alone, so that
//! every replica's snapshot of a slot has the same bytes, and a transfer can go on from another replica. Magic, version,
//! length and checksum stand in the same places in every version, so that a newer one is told from damage.

use common::DecodeError;
use common::wire::{FieldReader, put_u16, put_u32, put_u64, put_u128};
use paxos::{Configuration, Incarnation, ReplicaId, Slot};
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use crate::identity::ClusterSettings;
use crate::node::{PieceKind, SnapshotHead};

/// The version that this release writes, and the newest that it reads.
pub(super) const FORMAT_VERSION: u32 = 1;

/// A chunk is closed at this size; a longer entry stands alone. Large enough that writing it is no matter of calls, small
/// enough that copying it costs the replica thread a fraction of a millisecond.
pub(super) const CHUNK_BYTES: usize = 256 << 10;

/// The head before its body, and a chunk before its bytes.
pub(super) const PRELUDE_BYTES: usize = 24;
pub(super) const CHUNK_HEADER_BYTES: usize = 17;

/// As many lives as the head can count take less than this.
pub(super) const HEAD_BODY_BYTES_MAX: usize = 2 << 20;

const MAGIC: &[u8; 8] = b"KVPXSNAP";
const ENTRIES: u8 = 1;
const SESSIONS: u8 = 2;
const FOOTER: u8 = 3;
const FOOTER_BYTES: usize = 24;

/// Why the beginning of a file is not the head of a snapshot that this release understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHead {
    NewerVersion(u32),
    Damaged,
}

/// What the first bytes of a file announce.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prelude {
    version: u32,
    pub(super) body_bytes: usize,
    checksum: u64,
}

impl Prelude {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadHead> {
        let mut fields = FieldReader::new(bytes);
        let prelude = (|| {
            let is_snapshot = fields.bytes("magic", MAGIC.len())? == MAGIC;
            let version = fields.u32("version")?;
            let length = fields.u32("length")?;
            let checksum = fields.u64("checksum")?;
            Ok::<_, DecodeError>((is_snapshot, version, length as usize, checksum))
        })();
        match prelude {
            Ok((true, version, body_bytes, checksum)) if body_bytes <= HEAD_BODY_BYTES_MAX => {
                Ok(Self {
                    version,
                    body_bytes,
                    checksum,
                })
            }
            _ => Err(BadHead::Damaged),
        }
    }

    /// Parses the body that follows.
    pub(super) fn head(self, body: &[u8]) -> Result<SnapshotHead, BadHead> {
        if body.len() != self.body_bytes || head_checksum(self.version, body) != self.checksum {
            return Err(BadHead::Damaged);
        }
        if self.version > FORMAT_VERSION {
            return Err(BadHead::NewerVersion(self.version));
        }
        let mut fields = FieldReader::new(body);
        let head = decode_body(&mut fields).map_err(|_| BadHead::Damaged)?;
        match head {
            // There was no version before the first.
            Some(head) if fields.rest().is_empty() && self.version == FORMAT_VERSION => Ok(head),
            _ => Err(BadHead::Damaged),
        }
    }
}

/// The head of a file, its prelude included.
pub(super) fn encode_head(head: &SnapshotHead) -> Vec<u8> {
    let mut body = Vec::new();
    for word in [
        head.cluster,
        head.slot.0,
        head.revision,
        head.log_time_ms,
        head.noted.0.0,
    ] {
        put_u64(&mut body, word);
    }
    put_u128(&mut body, head.noted.1);
    let settings = &head.settings;
    put_u32(&mut body, settings.value_bytes_max);
    put_u32(&mut body, settings.sessions_max);
    put_u32(&mut body, settings.session_expiry_s);
    put_u32(&mut body, settings.hash_interval);
    put_u64(&mut body, settings.store_bytes_max);
    put_u32(&mut body, settings.window);
    let lives: Vec<_> = head.configuration.lives().collect();
    let count = u16::try_from(lives.len()).expect("replicas do not lose their disks so often");
    put_u16(&mut body, count);
    for (replica, from_slot, incarnation) in lives {
        body.push(replica.0);
        put_u64(&mut body, from_slot.0);
        put_u64(&mut body, incarnation.0);
    }
    put_u64(&mut body, head.keys);
    put_u64(&mut body, head.sessions);
    let mut bytes = MAGIC.to_vec();
    put_u32(&mut bytes, FORMAT_VERSION);
    put_u32(
        &mut bytes,
        u32::try_from(body.len()).expect("a head is short"),
    );
    put_u64(&mut bytes, head_checksum(FORMAT_VERSION, &body));
    bytes.extend_from_slice(&body);
    bytes
}

/// `None` if the lives are those of no configuration.
fn decode_body(fields: &mut FieldReader<'_>) -> Result<Option<SnapshotHead>, DecodeError> {
    let cluster = fields.u64("cluster")?;
    let slot = Slot(fields.u64("slot")?);
    let revision = fields.u64("revision")?;
    let log_time_ms = fields.u64("log time")?;
    let noted = (Slot(fields.u64("noted slot")?), fields.u128("noted hash")?);
    let settings = ClusterSettings {
        value_bytes_max: fields.u32("value bytes")?,
        sessions_max: fields.u32("sessions")?,
        session_expiry_s: fields.u32("expiry")?,
        hash_interval: fields.u32("hash interval")?,
        store_bytes_max: fields.u64("store bytes")?,
        window: fields.u32("window")?,
    };
    let mut lives = Vec::new();
    for _ in 0..fields.u16("lives")? {
        let replica = ReplicaId(fields.u8("replica")?);
        let from_slot = Slot(fields.u64("from slot")?);
        lives.push((replica, from_slot, Incarnation(fields.u64("incarnation")?)));
    }
    let keys = fields.u64("keys")?;
    let sessions = fields.u64("sessions")?;
    Ok(
        Configuration::from_lives(lives).map(|configuration| SnapshotHead {
            cluster,
            slot,
            revision,
            log_time_ms,
            noted,
            settings,
            configuration,
            keys,
            sessions,
        }),
    )
}

fn head_checksum(version: u32, body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, u64::from(version) << 32 | body.len() as u64)
}

/// What a chunk's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkHeader {
    kind: u8,
    index: u32,
    length: u32,
    checksum: u64,
}

/// What stands behind a chunk's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChunkKind {
    Parts(PieceKind),
    Footer,
}

impl ChunkHeader {
    fn of(kind: u8, index: u32, bytes: &[u8]) -> Self {
        let length =
            u32::try_from(bytes.len()).expect("a chunk is bounded by the limit of a value");
        Self {
            kind,
            index,
            length,
            checksum: chunk_checksum(kind, index, bytes),
        }
    }

    fn put(self, out: &mut Vec<u8>) {
        out.push(self.kind);
        put_u32(out, self.index);
        put_u32(out, self.length);
        put_u64(out, self.checksum);
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = FieldReader::new(bytes);
        Ok(Self {
            kind: fields.u8("kind")?,
            index: fields.u32("index")?,
            length: fields.u32("length")?,
            checksum: fields.u64("checksum")?,
        })
    }

    pub(super) fn length(self) -> usize {
        self.length as usize
    }

    /// What the chunk is, if these are its bytes and it is the one of this index.
    pub(super) fn verify(self, index: u32, bytes: &[u8]) -> Option<ChunkKind> {
        let expected = Self {
            index,
            ..Self::of(self.kind, index, bytes)
        };
        match self.kind {
            _ if self != expected => None,
            ENTRIES => Some(ChunkKind::Parts(PieceKind::Entries)),
            SESSIONS => Some(ChunkKind::Parts(PieceKind::Sessions)),
            FOOTER => Some(ChunkKind::Footer),
            _ => None,
        }
    }
}

fn chunk_checksum(kind: u8, index: u32, bytes: &[u8]) -> u64 {
    let seed = u64::from(index) << 32 ^ u64::from(kind) << 56 ^ bytes.len() as u64;
    xxh3_64_with_seed(bytes, seed)
}

/// Makes the bytes of a file after its head: parts in, chunks out.
pub(super) struct Chunks {
    /// The chunk that is being filled.
    kind: PieceKind,
    bytes: Vec<u8>,
    index: u32,
    /// Of everything that was given out.
    whole: Xxh3,
}

impl Chunks {
    /// For a file that begins with this head.
    pub(super) fn after_head(head: &[u8]) -> Self {
        let mut whole = Xxh3::new();
        whole.update(head);
        Self {
            kind: PieceKind::Entries,
            bytes: Vec::new(),
            index: 0,
            whole,
        }
    }

    /// Adds a part, and appends the chunk to `out` that it closes, if it closes one.
    pub(super) fn push(&mut self, kind: PieceKind, part: &[u8], out: &mut Vec<u8>) {
        let is_full = !self.bytes.is_empty() && self.bytes.len() + part.len() > CHUNK_BYTES;
        if is_full || kind != self.kind {
            self.close(out);
            self.kind = kind;
        }
        self.bytes.extend_from_slice(part);
    }

    /// Appends the last chunk and the footer to `out`.
    pub(super) fn finish(mut self, state_hash: u128, out: &mut Vec<u8>) {
        self.close(out);
        let mut footer = Vec::with_capacity(FOOTER_BYTES);
        put_u128(&mut footer, state_hash);
        put_u64(&mut footer, self.whole.digest());
        ChunkHeader::of(FOOTER, self.index, &footer).put(out);
        out.extend_from_slice(&footer);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.bytes.is_empty() {
            return;
        }
        let kind = match self.kind {
            PieceKind::Entries => ENTRIES,
            PieceKind::Sessions => SESSIONS,
        };
        let from = out.len();
        ChunkHeader::of(kind, self.index, &self.bytes).put(out);
        out.extend_from_slice(&self.bytes);
        self.whole.update(&out[from..]);
        self.index = self
            .index
            .checked_add(1)
            .expect("2^32 chunks are 2^50 bytes");
        self.bytes.clear();
    }
}

impl std::fmt::Debug for Chunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunks")
            .field("kind", &self.kind)
            .field("bytes", &self.bytes.len())
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// The state hash and the whole file's checksum; `None` if it is no footer.
pub(super) fn decode_footer(bytes: &[u8]) -> Option<(u128, u64)> {
    let mut fields = FieldReader::new(bytes);
    let hash = fields.u128("state hash").ok()?;
    let checksum = fields.u64("checksum").ok()?;
    fields.rest().is_empty().then_some((hash, checksum))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> SnapshotHead {
        let lives = [(ReplicaId(1), Slot(0), Incarnation(7))];
        SnapshotHead {
            cluster: 0x0102,
            slot: Slot(3),
            revision: 4,
            log_time_ms: 5,
            noted: (Slot(2), 6),
            settings: ClusterSettings::default(),
            configuration: Configuration::from_lives(lives).unwrap(),
            keys: 8,
            sessions: 9,
        }
    }

    fn decode(bytes: &[u8]) -> Result<SnapshotHead, BadHead> {
        let (prelude, body) = bytes
            .split_at_checked(PRELUDE_BYTES)
            .ok_or(BadHead::Damaged)?;
        Prelude::decode(prelude)?.head(body)
    }

    #[test]
    fn a_head_has_these_bytes() {
        let bytes = encode_head(&example());
        let mut expected = b"KVPXSNAP\0\0\0\x01\0\0\0\x77".to_vec();
        expected.extend_from_slice(&bytes[16..24]);
        for word in [0x0102, 3, 4, 5, 2, 0, 6_u64] {
            expected.extend(word.to_be_bytes());
        }
        for word in [8 << 20, 1_000_000, 3_600, 1_024_u32] {
            expected.extend(word.to_be_bytes());
        }
        expected.extend((4_u64 << 30).to_be_bytes());
        expected.extend(64_u32.to_be_bytes());
        expected.extend([0, 1, 1]);
        for word in [0, 7, 8, 9_u64] {
            expected.extend(word.to_be_bytes());
        }
        assert_eq!(bytes, expected);
        assert_eq!(decode(&bytes), Ok(example()));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_of_a_head_is_damage() {
        let bytes = encode_head(&example());
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), Err(BadHead::Damaged), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), Err(BadHead::Damaged));
        }
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage_and_one_before_the_first_is_none() {
        let mut bytes = encode_head(&example());
        for (version, bad) in [(2, BadHead::NewerVersion(2)), (0, BadHead::Damaged)] {
            bytes[11] = version;
            let checksum = head_checksum(version.into(), &bytes[PRELUDE_BYTES..]);
            bytes[16..24].copy_from_slice(&checksum.to_be_bytes());
            assert_eq!(decode(&bytes), Err(bad));
        }
    }

    #[test]
    fn a_chunk_has_these_bytes() {
        let mut chunks = Chunks::after_head(b"head");
        let mut out = Vec::new();
        chunks.push(PieceKind::Entries, b"one", &mut out);
        assert!(out.is_empty());
        chunks.push(PieceKind::Sessions, b"two", &mut out);
        let checksum = chunk_checksum(ENTRIES, 0, b"one").to_be_bytes();
        let expected = [&[1, 0, 0, 0, 0, 0, 0, 0, 3][..], &checksum, b"one"];
        assert_eq!(out, expected.concat());
        let header = ChunkHeader::decode(&out).unwrap();
        let entries = Some(ChunkKind::Parts(PieceKind::Entries));
        assert_eq!(header.verify(0, b"one"), entries);
        assert_eq!(header.verify(1, b"one"), None);
        assert_eq!(header.verify(0, b"two"), None);
        chunks.finish(5, &mut out);
        assert_eq!(out.len(), 20 + 20 + CHUNK_HEADER_BYTES + FOOTER_BYTES);
    }
}
