//! The bytes of what replicas say to each other.
//!
//! A link carries frames as client connections do: four bytes of length, then so many bytes. The first of them is the
//! kind, from a range of its own, so that a frame on the wrong port is named and not misread; then follows
//! `rests_on:u64`, then the fields of the message in the order of the tables below. All integers are in network order.
//!
//! ```text
//! slot, min, nonce, sending, incarnation, ..._watermark   u64          replica   u8
//! hash       u128                                        space              0 spent, 1 reserve, 2 ample
//! ballot     round:u64 replica:u8 birth:u64              a leader that may be unknown   0 | 1 replica:u8
//! command    0 a no-op | 1 replica:u8 incarnation:u64 a rejoin | 2 length:u32 and so many bytes
//! a list     count:u32 and so many items                 accepted item   slot ballot command
//! range      start:u64 end:u64, the slots from the first up to and without the second
//! record     cluster:u64 members:list of (replica:u8 incarnation:u64) settings
//! settings   value_bytes_max:u32 sessions_max:u32 session_expiry_s:u32 hash_interval:u32 store_bytes_max:u64 window:u32
//! ```

use std::sync::Arc;

use byteorder::{BigEndian, ByteOrder};
use common::DecodeError;
use common::frame::append_frame;
use common::wire::{FieldReader, put_u64};
use paxos::{Command, Message};

use super::fields::Field;
use super::message::PeerMessage;
use crate::identity::ClusterSettings;

/// A message with what its sender's journal had made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFrame {
    /// The serial up to which the sender's journal was durable when it said this; 0 when the message claims nothing
    /// about it (RULES R19).
    pub rests_on: u64,
    /// What is said.
    pub message: PeerMessage,
}

impl PeerFrame {
    /// Reads the payload of a frame.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = FieldReader::new(payload);
        let kind = fields.u8("kind")?;
        let rests_on = fields.u64("journal serial")?;
        if kind == FORWARD {
            let requests = fields.rest().to_vec();
            let message = PeerMessage::Forward { requests };
            return Ok(Self { rests_on, message });
        }
        if kind == SNAPSHOT_PIECE {
            let message = PeerMessage::SnapshotPiece {
                slot: Field::take(&mut fields, "slot")?,
                total_bytes: Field::take(&mut fields, "total_bytes")?,
                offset: Field::take(&mut fields, "offset")?,
                bytes: fields.rest().to_vec(),
            };
            return Ok(Self { rests_on, message });
        }
        let message = take_message(kind, &mut fields)?;
        fields.end()?;
        Ok(Self { rests_on, message })
    }
}

/// Appends the whole frame of `message`.
pub fn append_peer_frame(out: &mut Vec<u8>, rests_on: u64, message: &PeerMessage) {
    append_frame(out, |out| match message {
        PeerMessage::Agreement(message) => put_agreement(out, rests_on, message),
        PeerMessage::Forward { requests } => {
            put_head(out, FORWARD, rests_on);
            out.extend_from_slice(requests);
        }
        PeerMessage::FoundingQuery { nonce } => {
            put_head(out, FOUNDING_QUERY, rests_on);
            nonce.put(out);
        }
        PeerMessage::FoundingReply { nonce, incarnation } => {
            put_head(out, FOUNDING_REPLY, rests_on);
            nonce.put(out);
            incarnation.put(out);
        }
        PeerMessage::Founded { nonce, record } => {
            put_head(out, FOUNDED, rests_on);
            nonce.put(out);
            record.put(out);
        }
        PeerMessage::HashReport { slot, hash } => {
            put_head(out, HASH_REPORT, rests_on);
            slot.put(out);
            hash.put(out);
        }
        PeerMessage::SnapshotRequest {
            from_slot,
            slot,
            offset,
        } => {
            put_head(out, SNAPSHOT_REQUEST, rests_on);
            from_slot.put(out);
            slot.put(out);
            offset.put(out);
        }
        PeerMessage::SnapshotPiece {
            slot,
            total_bytes,
            offset,
            bytes,
        } => {
            put_head(out, SNAPSHOT_PIECE, rests_on);
            slot.put(out);
            total_bytes.put(out);
            offset.put(out);
            out.extend_from_slice(bytes);
        }
        PeerMessage::SnapshotPending => put_head(out, SNAPSHOT_PENDING, rests_on),
        PeerMessage::RejoinRequest { incarnation, nonce } => {
            put_head(out, REJOIN_REQUEST, rests_on);
            incarnation.put(out);
            nonce.put(out);
        }
        PeerMessage::RejoinQuery { nonce } => {
            put_head(out, REJOIN_QUERY, rests_on);
            nonce.put(out);
        }
    });
}

/// The long end of a frame, which is sent from where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// A command, which the log and the frames to the other replicas share.
    Shared(Arc<[u8]>),
    /// Requests that are forwarded, or a piece of a snapshot.
    Owned(Vec<u8>),
}

impl Tail {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// Appends the frame of `message`, or, where it ends with long bytes, the frame up to these, which are returned.
pub(super) fn append_frame_head(
    out: &mut Vec<u8>,
    rests_on: u64,
    mut message: PeerMessage,
) -> Option<Tail> {
    let start = out.len();
    let tail = take_tail(&mut message);
    append_peer_frame(out, rests_on, &message);
    let bytes = tail.as_ref()?.bytes().len();
    let bytes = u32::try_from(bytes).expect("a message fits a frame");
    let frame_bytes = BigEndian::read_u32(&out[start..]) + bytes;
    BigEndian::write_u32(&mut out[start..], frame_bytes);
    if let Some(Tail::Shared(_)) = tail {
        // Before a command stands its length, which was written as that of an empty one.
        let length = out.len() - 4;
        BigEndian::write_u32(&mut out[length..], bytes);
    }
    tail
}

/// Takes the bytes with which the frame of `message` ends out of it, if they are long.
fn take_tail(message: &mut PeerMessage) -> Option<Tail> {
    let command = match message {
        PeerMessage::Forward { requests } if requests.len() >= TAIL_BYTES_MIN => {
            return Some(Tail::Owned(std::mem::take(requests)));
        }
        PeerMessage::SnapshotPiece { bytes, .. } if bytes.len() >= TAIL_BYTES_MIN => {
            return Some(Tail::Owned(std::mem::take(bytes)));
        }
        PeerMessage::Agreement(
            Message::Accept { command, .. }
            | Message::ForwardInstance { command, .. }
            | Message::ChosenInstance { command, .. },
        ) => command,
        PeerMessage::Agreement(
            Message::Promise { accepted, .. } | Message::PromiseInstances { accepted, .. },
        ) => &mut accepted.last_mut()?.command,
        PeerMessage::Agreement(Message::Chosen { commands, .. }) => commands.last_mut()?,
        _ => return None,
    };
    match command {
        Command::Opaque(bytes) if bytes.len() >= TAIL_BYTES_MIN => {
            Some(Tail::Shared(std::mem::replace(bytes, Arc::from([]))))
        }
        _ => None,
    }
}

/// Shorter bytes are cheaper to copy than to send in a piece of their own.
const TAIL_BYTES_MIN: usize = 32 << 10;

/// The longest frame between replicas, in bytes without its length, in a cluster of these settings: a batch that lacks
/// a byte of being full, then a forward that lacks a byte of being full, then the value that fills both; and room for
/// every other field.
#[must_use]
pub const fn peer_frame_bytes_max(settings: &ClusterSettings) -> u32 {
    settings
        .value_bytes_max
        .saturating_add(BATCH_BYTES_MAX)
        .saturating_add(FORWARD_BYTES_MAX)
        .saturating_add(FIELDS_BYTES_MAX)
}

const BATCH_BYTES_MAX: u32 = 1 << 20;
const FORWARD_BYTES_MAX: u32 = 256 << 10;
const FIELDS_BYTES_MAX: u32 = 64 << 10;

const FORWARD: u8 = 0x60;
const FOUNDING_QUERY: u8 = 0x61;
const FOUNDING_REPLY: u8 = 0x62;
const FOUNDED: u8 = 0x63;
const HASH_REPORT: u8 = 0x6b;
const SNAPSHOT_REQUEST: u8 = 0x64;
const SNAPSHOT_PIECE: u8 = 0x65;
const SNAPSHOT_PENDING: u8 = 0x66;
const REJOIN_REQUEST: u8 = 0x68;
const REJOIN_QUERY: u8 = 0x69;

/// Writes and reads messages from one table, so that the two cannot differ: a kind, a variant, and its fields in the
/// order in which they travel. What may be long comes last, so that it need not be copied to be sent.
macro_rules! agreement_messages {
    ($($kind:literal $variant:ident { $($field:ident),+ })+) => {
        fn put_agreement(out: &mut Vec<u8>, rests_on: u64, message: &Message) {
            match message {
                $(Message::$variant { $($field),+ } => {
                    put_head(out, $kind, rests_on);
                    $($field.put(out);)+
                })+
            }
        }

        fn take_agreement(kind: u8, fields: &mut FieldReader<'_>) -> Result<Message, DecodeError> {
            match kind {
                $($kind => Ok(Message::$variant {
                    $($field: Field::take(fields, stringify!($field))?),+
                }),)+
                kind => Err(DecodeError::UnknownKind { kind, expected: "a message between replicas" }),
            }
        }
    };
}

agreement_messages! {
    0x41 Canvass { nonce, chosen_watermark }
    0x42 CanvassReply { nonce, follow, incarnation, leader, chosen_watermark }
    0x43 Prepare { ballot, from_slot }
    0x44 Promise {
        ballot, incarnation, from_slot, part, parts, chosen_watermark, trimmed_watermark, accepted
    }
    0x45 Accept { ballot, slot, chosen_watermark, command }
    0x46 Accepted { ballot, incarnation, durable_watermark, slots }
    0x47 Refused { ballot, promised, hears_leader }
    0x48 Heartbeat { ballot, nonce, chosen_watermark, forget_watermark, has_majority, space }
    0x49 Echo { ballot, nonce, incarnation, durable_watermark, space }
    0x4a Advance { ballot, chosen_watermark }
    0x4b CatchUp { from_slot }
    0x4c Chosen { from_slot, chosen_watermark, trimmed_watermark, commands }
    0x4d ReadQuery { nonce }
    0x4e ReadAnswer { nonce, read_watermark }
    0x4f TakeOver { ballot }
    0x50 PrepareInstances { ballot, min, chosen }
    0x51 PromiseInstances { ballot, incarnation, sending, part, parts, min, chosen, accepted }
    0x52 EchoInstances { ballot, nonce, incarnation, done_watermark, learned }
    0x53 ForwardInstance { slot, relayed, command }
    0x54 ChosenInstance { slot, command }
    0x55 ForgottenInstances { min }
}

fn put_head(out: &mut Vec<u8>, kind: u8, rests_on: u64) {
    out.push(kind);
    put_u64(out, rests_on);
}

fn take_message(kind: u8, fields: &mut FieldReader<'_>) -> Result<PeerMessage, DecodeError> {
    Ok(match kind {
        FOUNDING_QUERY => PeerMessage::FoundingQuery {
            nonce: Field::take(fields, "nonce")?,
        },
        FOUNDING_REPLY => PeerMessage::FoundingReply {
            nonce: Field::take(fields, "nonce")?,
            incarnation: Field::take(fields, "incarnation")?,
        },
        FOUNDED => PeerMessage::Founded {
            nonce: Field::take(fields, "nonce")?,
            record: Field::take(fields, "record")?,
        },
        HASH_REPORT => PeerMessage::HashReport {
            slot: Field::take(fields, "slot")?,
            hash: Field::take(fields, "hash")?,
        },
        SNAPSHOT_REQUEST => PeerMessage::SnapshotRequest {
            from_slot: Field::take(fields, "from_slot")?,
            slot: Field::take(fields, "slot")?,
            offset: Field::take(fields, "offset")?,
        },
        SNAPSHOT_PENDING => PeerMessage::SnapshotPending,
        REJOIN_REQUEST => PeerMessage::RejoinRequest {
            incarnation: Field::take(fields, "incarnation")?,
            nonce: Field::take(fields, "nonce")?,
        },
        REJOIN_QUERY => PeerMessage::RejoinQuery {
            nonce: Field::take(fields, "nonce")?,
        },
        _ => PeerMessage::Agreement(take_agreement(kind, fields)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos::{AcceptedCommand, Ballot, Incarnation, Slot};

    #[test]
    fn a_frame_in_two_pieces_has_the_same_bytes() {
        let long = Command::Opaque(vec![7; TAIL_BYTES_MIN].into());
        let entry = |command: &Command| AcceptedCommand {
            slot: Slot(1),
            ballot: Ballot::NONE,
            command: command.clone(),
        };
        let messages = [
            Message::Accept {
                ballot: Ballot::NONE,
                slot: Slot(1),
                command: long.clone(),
                chosen_watermark: Slot(1),
            },
            Message::Promise {
                ballot: Ballot::NONE,
                incarnation: Incarnation(1),
                from_slot: Slot(1),
                part: 0,
                parts: 1,
                accepted: vec![entry(&Command::Noop), entry(&long)],
                chosen_watermark: Slot(1),
                trimmed_watermark: Slot(1),
            },
            Message::Chosen {
                from_slot: Slot(1),
                commands: vec![long.clone(), long],
                chosen_watermark: Slot(1),
                trimmed_watermark: Slot(1),
            },
        ];
        let forward = PeerMessage::Forward {
            requests: vec![7; TAIL_BYTES_MIN],
        };
        let messages = messages.into_iter().map(PeerMessage::Agreement);
        for message in messages.chain([forward]) {
            let mut whole = vec![1];
            append_peer_frame(&mut whole, 9, &message);
            let mut pieces = vec![1];
            let tail = append_frame_head(&mut pieces, 9, message.clone());
            pieces.extend_from_slice(tail.expect("its end is long").bytes());
            assert!(pieces == whole, "{message:?}");
        }
    }
}
