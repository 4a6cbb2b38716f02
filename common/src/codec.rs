//! The bytes of every frame of the client protocol.
//!
//! A frame's first byte is its kind. The kinds of the two directions, and of the links between replicas, are
//! disjoint, so that a frame that went the wrong way is named and not misread (SPEC B3). Reading and writing of each
//! message stand side by side in the files below this one; all integers are in network order.
//!
//! ```text
//! 0x01..=0x3f  client to replica        0x40..=0x7f  between replicas        0x80..=0xff  replica to client
//! ```

mod answer;
mod datagram;
#[cfg(test)]
mod datagram_tests;
mod greeting;
mod refusal;
mod request;
#[cfg(test)]
mod tests;
mod write;

pub use datagram::{ClientDatagram, append_datagram};
pub use request::{
    RequestError, append_get, append_write, check_key, check_value, over_long_write_tag,
};
pub use write::{ChangeRef, WriteRef};

use crate::answer::Answer;
use crate::greeting::{Greeting, Hello, WireLimits};
use crate::request::Request;
use crate::wire::{DecodeError, FieldReader};

/// The first byte of a frame. Public for the protocol between replicas, which must keep to its own range.
pub mod kind {
    use std::ops::RangeInclusive;

    /// Frames between replicas.
    pub const PEER: RangeInclusive<u8> = 0x40..=0x7f;

    pub(crate) const HELLO: u8 = 0x01;
    pub(crate) const OPEN_SESSION: u8 = 0x02;
    pub(crate) const WRITE: u8 = 0x03;
    pub(crate) const GET: u8 = 0x04;
    pub(crate) const STATUS: u8 = 0x05;
    /// In datagrams only; so are the other two of this name.
    pub(crate) const DATAGRAM_HELLO: u8 = 0x06;

    pub(crate) const GREETING: u8 = 0x81;
    pub(crate) const SESSION_OPENED: u8 = 0x82;
    pub(crate) const PUT_DONE: u8 = 0x83;
    pub(crate) const APPENDED: u8 = 0x84;
    pub(crate) const DELETED: u8 = 0x85;
    pub(crate) const VALUE: u8 = 0x86;
    pub(crate) const ABSENT: u8 = 0x87;
    pub(crate) const STATUS_REPORT: u8 = 0x88;
    pub(crate) const DATAGRAM_GREETING: u8 = 0x89;
    pub(crate) const COOKIE: u8 = 0x8a;
    pub(crate) const REFUSED: u8 = 0x8f;
}

/// What a client may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientFrame {
    /// The opening.
    Hello(Hello),
    /// A request.
    Request(Request),
}

impl ClientFrame {
    /// Reads the payload of a frame that a client sent. `limits` are those of the greeting.
    ///
    /// # Errors
    /// Says what is wrong, and under which tag, if that much could be read.
    pub fn decode(payload: &[u8], limits: &WireLimits) -> Result<Self, RequestError> {
        if payload.first() == Some(&kind::HELLO) {
            return Ok(Self::Hello(Hello::decode(payload)?));
        }
        Ok(Self::Request(Request::decode(payload, limits)?))
    }
}

/// What a replica may send to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerFrame {
    /// The opening.
    Greeting(Greeting),
    /// An answer.
    Answer(Answer),
}

impl ServerFrame {
    /// Reads the payload of a frame that a replica sent.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        if payload.first() == Some(&kind::GREETING) {
            return Ok(Self::Greeting(Greeting::decode(payload)?));
        }
        Ok(Self::Answer(Answer::decode(payload)?))
    }
}

/// Which way a frame should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    ToReplica,
    ToClient,
}

impl Direction {
    fn expected(self) -> &'static str {
        match self {
            Self::ToReplica => "a request",
            Self::ToClient => "an answer",
        }
    }

    fn found(self) -> &'static str {
        match self {
            Self::ToReplica => "a request, as a client sends it",
            Self::ToClient => "an answer, as a replica sends it",
        }
    }

    fn of(kind: u8) -> Option<Self> {
        match kind {
            kind::HELLO..=kind::DATAGRAM_HELLO => Some(Self::ToReplica),
            kind::GREETING..=kind::COOKIE | kind::REFUSED => Some(Self::ToClient),
            _ => None,
        }
    }
}

/// What a frame of a kind that is not allowed here should be called.
fn wrong_kind(kind: u8, wanted: Direction) -> DecodeError {
    let expected = wanted.expected();
    let found = match Direction::of(kind) {
        _ if DATAGRAM_ONLY.contains(&kind) => "what only a datagram may be",
        Some(_) if [kind::HELLO, kind::GREETING].contains(&kind) => "the opening of a connection",
        Some(direction) => direction.found(),
        None if kind::PEER.contains(&kind) => "a message of the protocol between replicas",
        None => return DecodeError::UnknownKind { kind, expected },
    };
    DecodeError::WrongDirection { found, expected }
}

/// Kinds that are not allowed on a connection.
const DATAGRAM_ONLY: [u8; 3] = [kind::DATAGRAM_HELLO, kind::DATAGRAM_GREETING, kind::COOKIE];

/// Takes a frame's kind off its front.
fn take_kind(payload: &[u8]) -> Result<(u8, FieldReader<'_>), DecodeError> {
    let mut fields = FieldReader::new(payload);
    Ok((fields.u8("kind")?, fields))
}
