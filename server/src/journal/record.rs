//! The bytes of one record.
//!
//! ```text
//! 0  kind        1 accepted, 2 learned
//! 1  slot        8 bytes
//!    ballot      round 8, replica 1, birth 8 bytes; only of an accepted one
//!    command     0: nothing
//!                1: a rejoin: replica 1, incarnation 8 bytes
//!                2: opaque: length 4 bytes, then as many bytes
//! ```
//! Integers are little-endian. A kind that is not known is damage: a version of the format says which there are.

use std::io::{self, Read};
use std::sync::Arc;

use byteorder::{LittleEndian, ReadBytesExt, WriteBytesExt};
use paxos::{Ballot, Command, Incarnation, Record, ReplicaId, Slot};

const ACCEPTED: u8 = 1;
const LEARNED: u8 = 2;
const NOOP: u8 = 0;
const REJOIN: u8 = 1;
const OPAQUE: u8 = 2;

/// The longest that a record is without the bytes of an opaque command.
const FIXED_BYTES_MAX: usize = 1 + 8 + BALLOT_BYTES + 1 + 9;

/// The length of a ballot.
const BALLOT_BYTES: usize = 17;

/// Gives the bytes of `record` to `put`, in order, in one piece or two. The bytes of a command are not copied here.
pub(super) fn encode_record(record: &Record, mut put: impl FnMut(&[u8])) {
    let mut fixed = [0; FIXED_BYTES_MAX];
    let mut rest = &mut fixed[..];
    let command =
        write_fixed(record, &mut rest).expect("the longest fixed part of a record has room");
    let unused = rest.len();
    put(&fixed[..FIXED_BYTES_MAX - unused]);
    put(command);
}

fn write_fixed<'a>(record: &'a Record, out: &mut &mut [u8]) -> io::Result<&'a [u8]> {
    let command = match record {
        Record::Accepted {
            slot,
            ballot,
            command,
        } => {
            out.write_u8(ACCEPTED)?;
            out.write_u64::<LittleEndian>(slot.0)?;
            write_ballot(*ballot, out)?;
            command
        }
        Record::Learned { slot, command } => {
            out.write_u8(LEARNED)?;
            out.write_u64::<LittleEndian>(slot.0)?;
            command
        }
    };
    match command {
        Command::Noop => out.write_u8(NOOP).map(|()| &[][..]),
        Command::Rejoin {
            replica,
            incarnation,
        } => {
            out.write_u8(REJOIN)?;
            out.write_u8(replica.0)?;
            out.write_u64::<LittleEndian>(incarnation.0)?;
            Ok(&[])
        }
        Command::Opaque(bytes) => {
            let length =
                u32::try_from(bytes.len()).expect("a command is bounded by the limit of a value");
            out.write_u8(OPAQUE)?;
            out.write_u32::<LittleEndian>(length)?;
            Ok(bytes)
        }
    }
}

/// Takes one record from the front of `bytes`; `None` if they do not begin with one. Allocates no more than they are.
pub(super) fn decode_record(bytes: &mut &[u8]) -> Option<Record> {
    match bytes.read_u8().ok()? {
        ACCEPTED => Some(Record::Accepted {
            slot: decode_slot(bytes)?,
            ballot: decode_ballot(bytes)?,
            command: decode_command(bytes)?,
        }),
        LEARNED => Some(Record::Learned {
            slot: decode_slot(bytes)?,
            command: decode_command(bytes)?,
        }),
        _ => None,
    }
}

fn decode_command(bytes: &mut &[u8]) -> Option<Command> {
    match bytes.read_u8().ok()? {
        NOOP => Some(Command::Noop),
        REJOIN => Some(Command::Rejoin {
            replica: ReplicaId(bytes.read_u8().ok()?),
            incarnation: Incarnation(bytes.read_u64::<LittleEndian>().ok()?),
        }),
        OPAQUE => {
            let length = usize::try_from(bytes.read_u32::<LittleEndian>().ok()?).ok()?;
            let (command, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Some(Command::Opaque(Arc::from(command)))
        }
        _ => None,
    }
}

fn decode_slot(bytes: &mut &[u8]) -> Option<Slot> {
    bytes.read_u64::<LittleEndian>().ok().map(Slot)
}

/// The 17 bytes of a ballot, as they stand in records and in batch headers.
pub(super) fn write_ballot(ballot: Ballot, out: &mut &mut [u8]) -> io::Result<()> {
    out.write_u64::<LittleEndian>(ballot.round)?;
    out.write_u8(ballot.replica.0)?;
    out.write_u64::<LittleEndian>(ballot.birth)
}

/// The inverse of [`write_ballot`].
pub(super) fn decode_ballot(bytes: &mut &[u8]) -> Option<Ballot> {
    let mut fixed = [0; BALLOT_BYTES];
    bytes.read_exact(&mut fixed).ok()?;
    let mut fixed = &fixed[..];
    Some(Ballot {
        round: fixed.read_u64::<LittleEndian>().ok()?,
        replica: ReplicaId(fixed.read_u8().ok()?),
        birth: fixed.read_u64::<LittleEndian>().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(record: &Record) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_record(record, |piece| bytes.extend_from_slice(piece));
        bytes
    }

    fn examples() -> [(Record, Vec<u8>); 4] {
        let accepted = Record::Accepted {
            slot: Slot(7),
            ballot: Ballot {
                round: 3,
                replica: ReplicaId(1),
                birth: 0x0102_0304_0506_0708,
            },
            command: Command::Opaque(Arc::from(&b"hi"[..])),
        };
        let mut accepted_bytes = vec![1, 7, 0, 0, 0, 0, 0, 0, 0];
        accepted_bytes.extend([3, 0, 0, 0, 0, 0, 0, 0, 1, 8, 7, 6, 5, 4, 3, 2, 1]);
        accepted_bytes.extend([2, 2, 0, 0, 0, b'h', b'i']);
        let noop = Record::Learned {
            slot: Slot(256),
            command: Command::Noop,
        };
        let rejoin = Record::Learned {
            slot: Slot(0),
            command: Command::Rejoin {
                replica: ReplicaId(4),
                incarnation: Incarnation(9),
            },
        };
        [
            (accepted, accepted_bytes),
            (noop, vec![2, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
            (
                rejoin,
                vec![2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 4, 9, 0, 0, 0, 0, 0, 0, 0],
            ),
            longest_without_opaque_bytes(),
        ]
    }

    fn longest_without_opaque_bytes() -> (Record, Vec<u8>) {
        let record = Record::Accepted {
            slot: Slot(7),
            ballot: Ballot {
                round: 3,
                replica: ReplicaId(1),
                birth: 5,
            },
            command: Command::Rejoin {
                replica: ReplicaId(4),
                incarnation: Incarnation(9),
            },
        };
        let mut bytes = vec![1, 7, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend([3, 0, 0, 0, 0, 0, 0, 0, 1, 5, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([1, 4, 9, 0, 0, 0, 0, 0, 0, 0]);
        (record, bytes)
    }

    #[test]
    fn a_record_has_these_bytes() {
        for (record, bytes) in examples() {
            assert_eq!(encoded(&record), bytes);
            let mut rest = &bytes[..];
            assert_eq!(decode_record(&mut rest), Some(record));
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn a_truncated_or_unknown_record_is_none() {
        for (_, bytes) in examples() {
            for length in 0..bytes.len() {
                assert_eq!(decode_record(&mut &bytes[..length]), None);
            }
            let mut unknown = bytes.clone();
            unknown[0] = 3;
            assert_eq!(decode_record(&mut &unknown[..]), None);
        }
    }

    #[test]
    fn a_length_beyond_the_bytes_allocates_nothing() {
        let mut bytes = encoded(&examples()[0].0);
        let length_at = bytes.len() - 6;
        bytes[length_at..length_at + 4].fill(0xff);
        assert_eq!(decode_record(&mut &bytes[..]), None);
    }
}
