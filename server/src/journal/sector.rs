//! What every 512-byte sector of a segment carries beside its share of a batch (RULES R3).
//!
//! ```text
//! 0   checksum   XXH3, 64 bits, seeded with the segment's salt, of all that follows
//! 8   serial     of the batch that the sector belongs to
//! 16  place      which sector of the segment this is: a sector written to the wrong place is found out
//! 20  492 bytes of the batch
//! ```
//! Integers are little-endian. The salt is random and new for each use of a segment, so that a sector that an earlier
//! use left behind cannot pass for one of this use.

use byteorder::{ByteOrder, LittleEndian};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Serial;
use super::disk::SECTOR_BYTES;

/// What a sector spends on itself, in bytes.
pub(super) const SECTOR_HEADER_BYTES: usize = 20;

/// What a sector holds of its batch, in bytes.
pub(super) const SECTOR_PAYLOAD_BYTES: usize = SECTOR_BYTES - SECTOR_HEADER_BYTES;

static ZERO_SECTOR: [u8; SECTOR_BYTES] = [0; SECTOR_BYTES];

/// What a sector says of itself, once its checksum is found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SectorLabel {
    pub(super) checksum: u64,
    pub(super) serial: Serial,
    pub(super) place: u32,
}

/// Fills in the label of a sector whose payload is final, and returns the checksum.
pub(super) fn seal_sector(sector: &mut [u8], salt: u64, serial: Serial, place: u32) -> u64 {
    LittleEndian::write_u64(&mut sector[8..16], serial.0);
    LittleEndian::write_u32(&mut sector[16..20], place);
    let checksum = xxh3_64_with_seed(&sector[8..], salt);
    LittleEndian::write_u64(&mut sector[..8], checksum);
    checksum
}

/// The label of a sector, if its checksum is right under `salt`.
pub(super) fn verify_sector(sector: &[u8], salt: u64) -> Option<SectorLabel> {
    let checksum = LittleEndian::read_u64(&sector[..8]);
    (xxh3_64_with_seed(&sector[8..], salt) == checksum).then(|| SectorLabel {
        checksum,
        serial: Serial(LittleEndian::read_u64(&sector[8..16])),
        place: LittleEndian::read_u32(&sector[16..20]),
    })
}

/// Whether nothing was written to the sector in this use of its segment: it is zero, or belongs to the use before.
pub(super) fn is_as_before(sector: &[u8], salt_before: Option<u64>) -> bool {
    sector == ZERO_SECTOR || salt_before.is_some_and(|salt| verify_sector(sector, salt).is_some())
}

/// One checksum over the checksums of a batch's sectors, folded in one by one.
pub(super) fn fold_checksum(digest: u64, checksum: u64) -> u64 {
    xxh3_64_with_seed(&checksum.to_le_bytes(), digest)
}
