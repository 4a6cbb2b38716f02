//! The bytes of a write, which are the same from the client, between replicas and in the log.
//!
//! ```text
//! session.revision:u64 session.nonce:u64 sequence:u64 floor:u64 after:u64
//! operation:u8 (1 put, 2 append, 3 delete) key:u16+bytes [value:u32+bytes, not for delete]
//! ```

use crate::request::{Change, SessionId, Write};
use crate::wire::{DecodeError, FieldReader, put_long_bytes, put_short_bytes, put_u64};

const PUT: u8 = 1;
const APPEND: u8 = 2;
const DELETE: u8 = 3;

impl Write {
    /// Appends the bytes. The key has at most 65,535 bytes and the value fits a frame; who sends has checked both.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        self.as_ref().encode_into(out);
    }

    /// The same write, borrowing key and value.
    #[must_use]
    pub fn as_ref(&self) -> WriteRef<'_> {
        WriteRef {
            session: self.session,
            sequence: self.sequence,
            floor: self.floor,
            after: self.after,
            change: self.change.as_ref(),
        }
    }
}

impl Change {
    /// The same change, borrowing key and value.
    #[must_use]
    pub fn as_ref(&self) -> ChangeRef<'_> {
        match self {
            Self::Put { key, value } => ChangeRef::Put { key, value },
            Self::Append { key, value } => ChangeRef::Append { key, value },
            Self::Delete { key } => ChangeRef::Delete { key },
        }
    }
}

/// A [`Write`] whose key and value are borrowed, as it is read from the log or sent without a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteRef<'a> {
    /// The session that numbers it.
    pub session: SessionId,
    /// Its number in the session, from 1.
    pub sequence: u64,
    /// As in [`Write::floor`].
    pub floor: u64,
    /// As in [`Write::after`].
    pub after: u64,
    /// What it does.
    pub change: ChangeRef<'a>,
}

/// A [`Change`] whose key and value are borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeRef<'a> {
    /// Replace the value.
    Put {
        /// The key.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
    },
    /// Add to the end of the value.
    Append {
        /// The key.
        key: &'a [u8],
        /// What to add.
        value: &'a [u8],
    },
    /// Remove the key.
    Delete {
        /// The key.
        key: &'a [u8],
    },
}

impl<'a> WriteRef<'a> {
    /// Reads one write off the front of `bytes` and moves `bytes` behind it. Lengths of key and value are not
    /// compared with any limit: a client's were when it came in.
    ///
    /// # Errors
    /// Says what is wrong; `bytes` is then unchanged.
    pub fn decode(bytes: &mut &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = FieldReader::new(bytes);
        let write = Self::take(&mut fields)?;
        *bytes = fields.rest();
        Ok(write)
    }

    /// Takes the fields of one write.
    pub(super) fn take(fields: &mut FieldReader<'a>) -> Result<Self, DecodeError> {
        let write = Self {
            session: SessionId {
                revision: fields.u64("session")?,
                nonce: fields.u64("session")?,
            },
            sequence: fields.u64("sequence")?,
            floor: fields.u64("floor")?,
            after: fields.u64("after")?,
            change: ChangeRef::take(fields)?,
        };
        write.check_numbers()?;
        Ok(write)
    }

    fn check_numbers(&self) -> Result<(), DecodeError> {
        let Self {
            sequence,
            floor,
            after,
            ..
        } = *self;
        if floor >= 1 && floor <= sequence && after < sequence {
            return Ok(());
        }
        Err(DecodeError::Numbers {
            sequence,
            floor,
            after,
        })
    }

    /// Appends the bytes that [`Self::decode`] reads.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        put_u64(out, self.session.revision);
        put_u64(out, self.session.nonce);
        put_u64(out, self.sequence);
        put_u64(out, self.floor);
        put_u64(out, self.after);
        match self.change {
            ChangeRef::Put { key, value } => {
                out.push(PUT);
                put_short_bytes(out, key);
                put_long_bytes(out, value);
            }
            ChangeRef::Append { key, value } => {
                out.push(APPEND);
                put_short_bytes(out, key);
                put_long_bytes(out, value);
            }
            ChangeRef::Delete { key } => {
                out.push(DELETE);
                put_short_bytes(out, key);
            }
        }
    }

    /// The same write with bytes of its own.
    #[must_use]
    pub fn to_owned(&self) -> Write {
        Write {
            session: self.session,
            sequence: self.sequence,
            floor: self.floor,
            after: self.after,
            change: self.change.to_owned(),
        }
    }
}

impl<'a> ChangeRef<'a> {
    /// The key that it changes.
    #[must_use]
    pub fn key(&self) -> &'a [u8] {
        match *self {
            Self::Put { key, .. } | Self::Append { key, .. } | Self::Delete { key } => key,
        }
    }

    /// The value that it brings; none for a delete.
    #[must_use]
    pub fn value(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Put { value, .. } | Self::Append { value, .. } => Some(value),
            Self::Delete { .. } => None,
        }
    }

    /// The same change with bytes of its own.
    #[must_use]
    pub fn to_owned(&self) -> Change {
        match *self {
            Self::Put { key, value } => Change::Put {
                key: key.to_vec(),
                value: value.to_vec(),
            },
            Self::Append { key, value } => Change::Append {
                key: key.to_vec(),
                value: value.to_vec(),
            },
            Self::Delete { key } => Change::Delete { key: key.to_vec() },
        }
    }

    fn take(fields: &mut FieldReader<'a>) -> Result<Self, DecodeError> {
        match fields.u8("operation")? {
            PUT => Ok(Self::Put {
                key: fields.short_bytes("key")?,
                value: fields.long_bytes("value")?,
            }),
            APPEND => Ok(Self::Append {
                key: fields.short_bytes("key")?,
                value: fields.long_bytes("value")?,
            }),
            DELETE => Ok(Self::Delete {
                key: fields.short_bytes("key")?,
            }),
            value => Err(DecodeError::UnknownValue {
                field: "operation",
                value: value.into(),
                allowed: "1 for put, 2 for append, 3 for delete",
            }),
        }
    }
}
