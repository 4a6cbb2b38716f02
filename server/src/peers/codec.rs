//! The bytes of what replicas say to each other.
//!
//! A link carries frames as client connections do: four bytes of length, then so many bytes. The first of them is the
//! kind, from a range of its own, so that a frame on the wrong port is named and not misread; then follows
//! `rests_on:u64`, then the fields of the message in the order of the tables below. All integers are in network order.
//!
//! ```text
//! slot, nonce, incarnation, ..._watermark   u64          replica   u8
//! ballot     round:u64 replica:u8 birth:u64              a leader that may be unknown   0 | 1 replica:u8
//! command    0 a no-op | 1 replica:u8 incarnation:u64 a rejoin | 2 length:u32 and so many bytes
//! a list     count:u32 and so many items                 accepted item   slot ballot command
//! record     cluster:u64 members:list of (replica:u8 incarnation:u64) settings
//! settings   value_bytes_max:u32 sessions_max:u32 session_expiry_s:u32 hash_interval:u32 store_bytes_max:u64 window:u32
//! ```

use common::DecodeError;
use common::frame::append_frame;
use common::wire::{FieldReader, put_u64};
use paxos::Message;

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
    });
}

/// The longest frame between replicas, in bytes without its length, in a cluster of these settings: one value, or a
/// batch of smaller requests, or both where the value is what made the batch full; and room for every other field.
#[must_use]
pub const fn peer_frame_bytes_max(settings: &ClusterSettings) -> u32 {
    settings
        .value_bytes_max
        .saturating_add(BATCH_BYTES_MAX)
        .saturating_add(FIELDS_BYTES_MAX)
}

const BATCH_BYTES_MAX: u32 = 1 << 20;
const FIELDS_BYTES_MAX: u32 = 64 << 10;

const FORWARD: u8 = 0x60;
const FOUNDING_QUERY: u8 = 0x61;
const FOUNDING_REPLY: u8 = 0x62;
const FOUNDED: u8 = 0x63;

/// Writes and reads messages from one table, so that the two cannot differ: a kind, a variant, and its fields in the
/// order in which they travel.
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
        ballot, incarnation, from_slot, part, parts, accepted, chosen_watermark, trimmed_watermark
    }
    0x45 Accept { ballot, slot, command, chosen_watermark }
    0x46 Accepted { ballot, incarnation, slots, durable_watermark }
    0x47 Refused { ballot, promised, hears_leader }
    0x48 Heartbeat { ballot, nonce, chosen_watermark, forget_watermark, has_majority }
    0x49 Echo { ballot, nonce, incarnation, durable_watermark }
    0x4a Advance { ballot, chosen_watermark }
    0x4b CatchUp { from_slot }
    0x4c Chosen { from_slot, commands, chosen_watermark, trimmed_watermark }
    0x4d ReadQuery { nonce }
    0x4e ReadAnswer { nonce, read_watermark }
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
        _ => PeerMessage::Agreement(take_agreement(kind, fields)?),
    })
}
