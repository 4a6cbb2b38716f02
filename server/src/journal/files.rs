//! Finding and reading the files of a journal, each judged by itself.

use std::io;

use super::disk::{BLOCK_BYTES, Disk};
use super::error::{Damage, DiskAction, JournalError};
use super::scan::SegmentBytes;
use super::segment::{
    BadHeader, FORMAT_VERSION, Owner, SEGMENT_BYTES_LIMIT, SegmentHeader, segment_name,
    segment_number,
};

/// Why a journal cannot be opened: as it should be told.
pub(super) enum Trouble {
    Damage(Damage),
    Error(JournalError),
}

impl From<Damage> for Trouble {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl From<JournalError> for Trouble {
    fn from(error: JournalError) -> Self {
        Self::Error(error)
    }
}

pub(super) fn list(disk: &dyn Disk) -> Result<Vec<String>, JournalError> {
    disk.list()
        .map_err(|source| JournalError::disk(DiskAction::List, "the journal", source))
}

pub(super) fn segment_numbers(names: &[String]) -> Vec<u64> {
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| segment_number(name))
        .collect();
    numbers.sort_unstable();
    numbers
}

/// Where the last run of consecutive numbers begins. What stands before a gap is left over from trimming, or damage.
pub(super) fn last_run(numbers: &[u64]) -> usize {
    let gap = numbers.windows(2).rposition(|pair| pair[0] + 1 < pair[1]);
    gap.map_or(0, |place| place + 1)
}

/// Reads a segment and its header. A file that may not be read is an error that a person mends; one that cannot be
/// read is damage.
pub(super) fn read_segment(disk: &dyn Disk, number: u64) -> Result<SegmentBytes, Trouble> {
    let name = segment_name(number);
    let bytes = match disk.read(&name, SEGMENT_BYTES_LIMIT) {
        Ok(bytes) => bytes,
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            return Err(JournalError::disk(DiskAction::Read, &name, source).into());
        }
        Err(source) => return Err(damaged_file(name, format!("cannot be read: {source}")).into()),
    };
    match SegmentHeader::decode(&bytes) {
        Ok(header) => Ok(SegmentBytes {
            name,
            header,
            bytes,
        }),
        Err(BadHeader::NewerVersion(found)) => Err(JournalError::NewerVersion {
            file: name,
            found,
            newest: FORMAT_VERSION,
        }
        .into()),
        Err(BadHeader::Damaged) => Err(damaged_file(name, "no segment header".to_owned()).into()),
    }
}

pub(super) fn check_replica(segment: &SegmentBytes, owner: Owner) -> Result<(), JournalError> {
    let found = segment.header.owner.replica;
    if found == owner.replica {
        return Ok(());
    }
    Err(JournalError::OtherReplica {
        file: segment.name.clone(),
        found,
        expected: owner.replica,
    })
}

pub(super) fn check_header(
    segment: &SegmentBytes,
    owner: Owner,
    number: u64,
) -> Result<(), Damage> {
    let header = &segment.header;
    let bytes = segment.bytes.len() as u64;
    let why = if header.owner.incarnation != owner.incarnation {
        format!(
            "belongs to incarnation {}, this is {}",
            header.owner.incarnation, owner.incarnation
        )
    } else if header.number != number {
        format!("says that it is segment {}", header.number)
    } else if header.bytes != bytes {
        format!("is {bytes} bytes long and should be {}", header.bytes)
    } else if !bytes.is_multiple_of(BLOCK_BYTES as u64) || bytes < 2 * BLOCK_BYTES as u64 {
        format!("is {bytes} bytes long, which no segment is")
    } else {
        return Ok(());
    };
    Err(damaged_file(segment.name.clone(), why))
}

pub(super) fn missing(number: u64) -> Damage {
    damaged_file(segment_name(number), "is missing".to_owned())
}

fn damaged_file(file: String, why: String) -> Damage {
    Damage {
        file,
        offset: 0,
        why,
    }
}

#[cfg(test)]
mod tests {
    use paxos::{Incarnation, ReplicaId};

    use super::*;

    const OWNER: Owner = Owner {
        replica: ReplicaId(1),
        incarnation: Incarnation(7),
    };

    /// A segment whose header and file agree that it has so many bytes.
    fn segment(bytes: usize) -> SegmentBytes {
        let header = SegmentHeader {
            owner: OWNER,
            number: 3,
            bytes: bytes as u64,
            salt: 5,
            salt_before: None,
        };
        SegmentBytes {
            name: segment_name(3),
            header,
            bytes: vec![0; bytes],
        }
    }

    #[test]
    fn a_segment_has_a_header_and_at_least_one_block_more_all_of_them_whole() {
        let is_right = |blocks: usize, more: usize| {
            check_header(&segment(blocks * BLOCK_BYTES + more), OWNER, 3).is_ok()
        };
        assert!(is_right(2, 0) && is_right(3, 0));
        assert!(!is_right(0, 0) && !is_right(1, 0));
        assert!(!is_right(1, 512) && !is_right(2, 512) && !is_right(3, 1));
    }
}
