//! The bytes of datagrams.
//!
//! ```text
//! client to replica   "KVPU" version:u16 0:u8 cookie:16 bytes  then the payload of a frame:
//!   DatagramHello     06 tag:u64 label:text, then zeros until the whole datagram has 128 bytes or more
//!   OpenSession, Write, Get, Status   as over TCP, without the four bytes of length
//! replica to client   "KVPR" version:u16 replica:u8            then the payload of a frame:
//!   DatagramGreeting  89 tag:u64 cookie:16 bytes cluster:u64 leader:u8?
//!                     key_bytes_max:u32 value_bytes_max:u32 datagram_bytes_max:u32
//!   Cookie            8a tag:u64 cookie:16 bytes
//!   any answer        as over TCP, without the four bytes of length
//! ```
//! The lengths are chosen so that the cookie that answers a request is never longer than it, whatever it asks: the
//! shortest request and the cookie both have 32 bytes.

use super::request::RequestError;
use super::{Direction, kind, take_kind};
use crate::answer::{Answer, Outcome, Refusal};
use crate::datagram::{
    COOKIE_BYTES, ClientMessage, Cookie, DATAGRAM_MAGIC, DatagramGreeting, DatagramHello,
    HELLO_DATAGRAM_BYTES_MIN, REPLY_MAGIC, ServerDatagram, ServerMessage,
};
use crate::greeting::{LABEL_BYTES_MAX, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, WireLimits};
use crate::request::Request;
use crate::wire::{DecodeError, FieldReader, put_optional_u8, put_text, put_u16, put_u32, put_u64};

/// A client's datagram of which the header is understood.
#[derive(Clone, Copy, Debug)]
pub struct ClientDatagram<'a> {
    /// The version that it is written in.
    version: u16,
    /// What is to prove the sender's address.
    pub cookie: Cookie,
    bytes: usize,
    payload: &'a [u8],
}

impl<'a> ClientDatagram<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn open(datagram: &'a [u8]) -> Result<Self, DecodeError> {
        let (version, mut fields) = take_head(datagram, Direction::ToReplica)?;
        match fields.u8("reserved byte")? {
            0 => {}
            value => {
                return Err(DecodeError::UnknownValue {
                    field: "reserved byte",
                    value: value.into(),
                    allowed: "0",
                });
            }
        }
        Ok(Self {
            version,
            cookie: take_cookie(&mut fields)?,
            bytes: datagram.len(),
            payload: fields.rest(),
        })
    }

    /// Reads the rest. Of a version above ours only a hello is understood, and what follows its label is ignored.
    ///
    /// # Errors
    /// Says what is wrong, and under which tag, if that much could be read.
    pub fn message(&self, limits: &WireLimits) -> Result<ClientMessage, RequestError> {
        let (found, fields) = take_kind(self.payload)?;
        if found == kind::DATAGRAM_HELLO {
            return Ok(ClientMessage::Hello(self.hello(fields)?));
        }
        if self.version > PROTOCOL_VERSION {
            return Err(wrong_version(self.version).into());
        }
        Ok(ClientMessage::Request(Request::decode(
            self.payload,
            limits,
        )?))
    }

    /// The tag of what looks like a request, so that one that is too long for a datagram can be refused.
    #[must_use]
    pub fn tag(&self) -> Option<u64> {
        let (found, mut fields) = take_kind(self.payload).ok()?;
        (Direction::of(found) == Some(Direction::ToReplica)).then_some(())?;
        fields.u64("tag").ok()
    }

    fn hello(&self, mut fields: FieldReader<'_>) -> Result<DatagramHello, DecodeError> {
        let hello = DatagramHello {
            tag: fields.u64("tag")?,
            label: fields.text("label", LABEL_BYTES_MAX)?.to_owned(),
        };
        if self.bytes < HELLO_DATAGRAM_BYTES_MIN {
            return Err(DecodeError::Unpadded {
                bytes: self.bytes,
                bytes_min: HELLO_DATAGRAM_BYTES_MIN,
            });
        }
        let padding = fields.rest();
        if self.version <= PROTOCOL_VERSION && padding.iter().any(|byte| *byte != 0) {
            return Err(DecodeError::Trailing {
                bytes: padding.len(),
            });
        }
        Ok(hello)
    }
}

/// Appends a client's datagram; `payload` is that of a frame with a request.
pub fn append_datagram(out: &mut Vec<u8>, cookie: Cookie, payload: &[u8]) {
    put_client_head(out, cookie);
    out.extend_from_slice(payload);
}

impl DatagramHello {
    /// Appends the whole datagram. A cookie at hand may go with it, and need not.
    pub fn append_to(&self, out: &mut Vec<u8>, cookie: Cookie) {
        let start = out.len();
        put_client_head(out, cookie);
        out.push(kind::DATAGRAM_HELLO);
        put_u64(out, self.tag);
        put_text(out, &self.label, LABEL_BYTES_MAX);
        let bytes = (out.len() - start).max(HELLO_DATAGRAM_BYTES_MIN);
        out.resize(start + bytes, 0);
    }
}

impl Request {
    /// Appends the whole datagram. Key and value are within the limits; who sends compares the length with what the
    /// replica takes.
    pub fn append_datagram_to(&self, out: &mut Vec<u8>, cookie: Cookie) {
        put_client_head(out, cookie);
        self.encode_payload_into(out);
    }
}

impl ServerDatagram {
    /// Appends the whole datagram, however long it is.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&REPLY_MAGIC);
        put_u16(out, PROTOCOL_VERSION);
        out.push(self.replica);
        match &self.message {
            ServerMessage::Greeting(greeting) => greeting.encode_into(out),
            ServerMessage::Cookie { tag, cookie } => {
                out.push(kind::COOKIE);
                put_u64(out, *tag);
                out.extend_from_slice(&cookie.0);
            }
            ServerMessage::Answer(answer) => answer.encode_payload_into(out),
        }
    }

    /// Appends the datagram so that it has at most `bytes_max` bytes: sentences for people are cut, and an answer that
    /// is still too long becomes [`Refusal::TooLargeForDatagram`]. Returns `false`, with nothing appended, if not even
    /// that fits.
    #[must_use]
    pub fn append_within(&self, bytes_max: usize, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        self.append_to(out);
        let bytes = out.len() - start;
        if bytes <= bytes_max {
            return true;
        }
        out.truncate(start);
        let ServerMessage::Answer(answer) = &self.message else {
            return false;
        };
        let shorter = answer.outcome.with_sentence_cut(bytes - bytes_max);
        let outcome = shorter.unwrap_or(Outcome::Refused(Refusal::TooLargeForDatagram {
            bytes: bytes as u64,
            bytes_max: bytes_max as u64,
        }));
        let shorter = Self {
            replica: self.replica,
            message: ServerMessage::Answer(Answer { outcome, ..*answer }),
        };
        shorter.append_to(out);
        let fits = out.len() - start <= bytes_max;
        if !fits {
            out.truncate(start);
        }
        fits
    }

    /// Reads a datagram that a replica sent.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn decode(datagram: &[u8]) -> Result<Self, DecodeError> {
        let (version, mut fields) = take_head(datagram, Direction::ToClient)?;
        if version > PROTOCOL_VERSION {
            return Err(wrong_version(version));
        }
        let replica = fields.u8("replica")?;
        let payload = fields.rest();
        let (found, fields) = take_kind(payload)?;
        let message = match found {
            kind::DATAGRAM_GREETING => ServerMessage::Greeting(DatagramGreeting::take(fields)?),
            kind::COOKIE => take_cookie_message(fields)?,
            _ => ServerMessage::Answer(Answer::decode(payload)?),
        };
        Ok(Self { replica, message })
    }
}

impl DatagramGreeting {
    fn encode_into(&self, out: &mut Vec<u8>) {
        out.push(kind::DATAGRAM_GREETING);
        put_u64(out, self.tag);
        out.extend_from_slice(&self.cookie.0);
        put_u64(out, self.cluster);
        put_optional_u8(out, self.leader);
        put_u32(out, self.key_bytes_max);
        put_u32(out, self.value_bytes_max);
        put_u32(out, self.datagram_bytes_max);
    }

    fn take(mut fields: FieldReader<'_>) -> Result<Self, DecodeError> {
        let greeting = Self {
            tag: fields.u64("tag")?,
            cookie: take_cookie(&mut fields)?,
            cluster: fields.u64("cluster")?,
            leader: fields.optional_u8("leader")?,
            key_bytes_max: fields.u32("longest key")?,
            value_bytes_max: fields.u32("longest value")?,
            datagram_bytes_max: fields.u32("longest datagram")?,
        };
        fields.end()?;
        Ok(greeting)
    }
}

fn put_client_head(out: &mut Vec<u8>, cookie: Cookie) {
    out.extend_from_slice(&DATAGRAM_MAGIC);
    put_u16(out, PROTOCOL_VERSION);
    out.push(0);
    out.extend_from_slice(&cookie.0);
}

/// Takes magic and version off the front.
fn take_head(datagram: &[u8], wanted: Direction) -> Result<(u16, FieldReader<'_>), DecodeError> {
    let mut fields = FieldReader::new(datagram);
    let magic = fields.bytes("magic", DATAGRAM_MAGIC.len())?;
    let magic: [u8; 4] = magic.try_into().expect("as many bytes were taken");
    let direction = match magic {
        DATAGRAM_MAGIC => Direction::ToReplica,
        REPLY_MAGIC => Direction::ToClient,
        found => return Err(DecodeError::DatagramMagic { found }),
    };
    if direction != wanted {
        return Err(DecodeError::WrongDirection {
            found: direction.found(),
            expected: wanted.expected(),
        });
    }
    let version = fields.u16("version")?;
    if version < PROTOCOL_VERSION_MIN {
        return Err(wrong_version(version));
    }
    Ok((version, fields))
}

fn wrong_version(found: u16) -> DecodeError {
    DecodeError::Version {
        found,
        allowed_min: PROTOCOL_VERSION_MIN,
        allowed_max: PROTOCOL_VERSION,
    }
}

fn take_cookie(fields: &mut FieldReader<'_>) -> Result<Cookie, DecodeError> {
    let bytes = fields.bytes("cookie", COOKIE_BYTES)?;
    Ok(Cookie(bytes.try_into().expect("as many bytes were taken")))
}

fn take_cookie_message(mut fields: FieldReader<'_>) -> Result<ServerMessage, DecodeError> {
    let tag = fields.u64("tag")?;
    let cookie = take_cookie(&mut fields)?;
    fields.end()?;
    Ok(ServerMessage::Cookie { tag, cookie })
}
