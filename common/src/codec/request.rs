//! The bytes of requests.
//!
//! ```text
//! OpenSession  02 tag:u64 nonce:u64
//! Write        03 tag:u64 (the write, see the file beside this one)
//! Get          04 tag:u64 key:u16+bytes
//! Status       05 tag:u64
//! ```

use thiserror::Error;

use super::write::WriteRef;
use super::{Direction, kind, take_kind, wrong_kind};
use crate::answer::{Limit, Refusal};
use crate::frame::append_frame;
use crate::greeting::WireLimits;
use crate::request::Request;
use crate::wire::{DecodeError, FieldReader, put_short_bytes, put_u64};

/// A frame that is no request, as far as it could be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{error}")]
pub struct RequestError {
    /// The tag, if that much could be read: a refusal can then be matched by the client.
    pub tag: Option<u64>,
    /// What is wrong.
    pub error: DecodeError,
}

impl RequestError {
    /// What to answer.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self.error {
            DecodeError::EmptyKey => Refusal::EmptyKey,
            DecodeError::TooLarge {
                limit,
                bytes,
                bytes_max,
            } => Refusal::TooLarge {
                limit,
                bytes,
                bytes_max,
            },
            ref error => Refusal::Malformed {
                reason: format!("the frame {error}"),
            },
        }
    }
}

impl From<DecodeError> for RequestError {
    fn from(error: DecodeError) -> Self {
        Self { tag: None, error }
    }
}

impl Request {
    /// Appends the whole frame. Key and value are within the limits; who sends has checked both.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        append_frame(out, |out| self.encode_payload_into(out));
    }

    /// Appends what [`Self::decode`] reads.
    pub(super) fn encode_payload_into(&self, out: &mut Vec<u8>) {
        match self {
            Self::OpenSession { tag, nonce } => {
                out.push(kind::OPEN_SESSION);
                put_u64(out, *tag);
                put_u64(out, *nonce);
            }
            Self::Write { tag, write } => encode_write(out, *tag, &write.as_ref()),
            Self::Get { tag, key } => encode_get(out, *tag, key),
            Self::Status { tag } => {
                out.push(kind::STATUS);
                put_u64(out, *tag);
            }
        }
    }

    /// Reads the payload of a frame.
    ///
    /// # Errors
    /// Says what is wrong, and under which tag, if that much could be read.
    pub fn decode(payload: &[u8], limits: &WireLimits) -> Result<Self, RequestError> {
        let (kind, mut fields) = take_kind(payload)?;
        if !(kind::OPEN_SESSION..=kind::STATUS).contains(&kind) {
            return Err(wrong_kind(kind, Direction::ToReplica).into());
        }
        let tag = fields.u64("tag")?;
        Self::take(kind, tag, fields, limits).map_err(|error| RequestError {
            tag: Some(tag),
            error,
        })
    }

    fn take(
        kind: u8,
        tag: u64,
        mut fields: FieldReader<'_>,
        limits: &WireLimits,
    ) -> Result<Self, DecodeError> {
        let request = match kind {
            kind::OPEN_SESSION => Self::OpenSession {
                tag,
                nonce: fields.u64("nonce")?,
            },
            kind::WRITE => {
                let write = WriteRef::take(&mut fields)?;
                check_key(write.change.key(), limits)?;
                check_value(write.change.value().unwrap_or_default(), limits)?;
                Self::Write {
                    tag,
                    write: write.to_owned(),
                }
            }
            kind::GET => {
                let key = fields.short_bytes("key")?;
                check_key(key, limits)?;
                Self::Get {
                    tag,
                    key: key.to_vec(),
                }
            }
            kind::STATUS => Self::Status { tag },
            other => return Err(wrong_kind(other, Direction::ToReplica)),
        };
        fields.end()?;
        Ok(request)
    }
}

/// Appends the frame of a write without owning its key and value. Both are within the limits.
pub fn append_write(out: &mut Vec<u8>, tag: u64, write: &WriteRef<'_>) {
    append_frame(out, |out| encode_write(out, tag, write));
}

fn encode_write(out: &mut Vec<u8>, tag: u64, write: &WriteRef<'_>) {
    out.push(kind::WRITE);
    put_u64(out, tag);
    write.encode_into(out);
}

/// Appends the frame of a read without owning its key, which is within the limits.
pub fn append_get(out: &mut Vec<u8>, tag: u64, key: &[u8]) {
    append_frame(out, |out| encode_get(out, tag, key));
}

fn encode_get(out: &mut Vec<u8>, tag: u64, key: &[u8]) {
    out.push(kind::GET);
    put_u64(out, tag);
    put_short_bytes(out, key);
}

/// The tag of a write whose frame is too long to be taken, from the first bytes of its payload: it can then be refused
/// by a server that passes over the rest. `None` if it is no write, or too little has come to tell.
#[must_use]
pub fn over_long_write_tag(payload: &[u8]) -> Option<u64> {
    let (found, mut fields) = take_kind(payload).ok()?;
    if found != kind::WRITE {
        return None;
    }
    fields.u64("tag").ok()
}

/// A key within the limits.
///
/// # Errors
/// It is empty or too long.
pub fn check_key(key: &[u8], limits: &WireLimits) -> Result<(), DecodeError> {
    if key.is_empty() {
        return Err(DecodeError::EmptyKey);
    }
    check_length(key, Limit::KeyBytes, limits.key_bytes_max)
}

/// A value within the limits.
///
/// # Errors
/// It is too long.
pub fn check_value(value: &[u8], limits: &WireLimits) -> Result<(), DecodeError> {
    check_length(value, Limit::ValueBytes, limits.value_bytes_max)
}

fn check_length(bytes: &[u8], limit: Limit, bytes_max: u32) -> Result<(), DecodeError> {
    if bytes.len() as u64 > bytes_max.into() {
        return Err(DecodeError::TooLarge {
            limit,
            bytes: bytes.len() as u64,
            bytes_max: bytes_max.into(),
        });
    }
    Ok(())
}
