//! Fields of a message: fixed-width integers in network order, byte strings with their length before them.
//!
//! Owns the reading cursor, the writing functions and the one error type of all decoding. It allocates nothing but
//! what a caller asks to own, and only after the bytes are known to be there. Nothing it is given makes it panic.

use byteorder::{BigEndian, ByteOrder};
use thiserror::Error;

use crate::answer::Limit;
use crate::quote::Quoted;

/// Why bytes could not be understood. The text says what was wrong and what is allowed, for people.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The message ends within a field.
    #[error("ends within its {field}: {needed} bytes are needed and {left} are left")]
    Truncated {
        /// The field.
        field: &'static str,
        /// Bytes that the field needs.
        needed: u64,
        /// Bytes that are left of the message.
        left: usize,
    },
    /// The message goes on after its last field.
    #[error("goes on for {bytes} bytes after its last field")]
    Trailing {
        /// How far.
        bytes: usize,
    },
    /// The first byte names no kind of frame.
    #[error("is of unknown kind 0x{kind:02x}; {expected} is allowed here")]
    UnknownKind {
        /// The byte.
        kind: u8,
        /// What is allowed.
        expected: &'static str,
    },
    /// The frame belongs to the other direction, or to the protocol between replicas.
    #[error("is {found}; {expected} is allowed here")]
    WrongDirection {
        /// What it is.
        found: &'static str,
        /// What is allowed.
        expected: &'static str,
    },
    /// A field holds a number that means nothing.
    #[error("has {value} as its {field}; {allowed} is allowed")]
    UnknownValue {
        /// The field.
        field: &'static str,
        /// The number.
        value: u64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A greeting does not begin as one of this protocol.
    #[error("begins with {} instead of KVPX", Quoted(found))]
    Magic {
        /// The four bytes found.
        found: [u8; 4],
    },
    /// A datagram does not begin as one of this protocol.
    #[error("begins with {} instead of KVPU or KVPR", Quoted(found))]
    DatagramMagic {
        /// The four bytes found.
        found: [u8; 4],
    },
    /// A hello in a datagram is so short that its greeting might be longer.
    #[error("has {bytes} bytes; a hello is padded to {bytes_min}")]
    Unpadded {
        /// How long the datagram is, in bytes.
        bytes: usize,
        /// How long it must be, in bytes.
        bytes_min: usize,
    },
    /// The other side speaks a version that this one does not.
    #[error("speaks protocol version {found}; {allowed_min} to {allowed_max} are spoken here")]
    Version {
        /// Its version.
        found: u16,
        /// The lowest spoken here.
        allowed_min: u16,
        /// The highest spoken here.
        allowed_max: u16,
    },
    /// A text is not UTF-8.
    #[error("has a {field} that is not UTF-8")]
    NotUtf8 {
        /// The field.
        field: &'static str,
    },
    /// A text is longer than allowed.
    #[error("has a {field} of {bytes} bytes; {bytes_max} are allowed")]
    TextTooLong {
        /// The field.
        field: &'static str,
        /// Its length in bytes.
        bytes: u64,
        /// The longest allowed, in bytes.
        bytes_max: u64,
    },
    /// A key or a value is longer than the server's limit. The frame as such is sound.
    #[error("has {bytes} {limit}; {bytes_max} are allowed")]
    TooLarge {
        /// Which limit.
        limit: Limit,
        /// How long it is, in bytes.
        bytes: u64,
        /// How long it may be, in bytes.
        bytes_max: u64,
    },
    /// A key of no bytes.
    #[error("has an empty key; a key has at least one byte")]
    EmptyKey,
    /// The numbers of a write contradict each other.
    #[error(
        "has sequence={sequence} floor={floor} after={after}; 1 <= floor <= sequence and after < sequence are required"
    )]
    Numbers {
        /// The write's number.
        sequence: u64,
        /// Its floor.
        floor: u64,
        /// The number it comes after.
        after: u64,
    },
}

/// A cursor over the fields of one message. Each method takes one field off the front, or says which is missing.
#[derive(Clone, Copy, Debug)]
pub struct FieldReader<'a> {
    rest: &'a [u8],
}

impl<'a> FieldReader<'a> {
    /// At the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been taken yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `length` bytes.
    pub fn bytes(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(DecodeError::Truncated {
                field,
                needed: length as u64,
                left: self.rest.len(),
            });
        };
        self.rest = rest;
        Ok(taken)
    }

    /// One byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(self.bytes(field, 1)?[0])
    }

    /// Two bytes, most significant first; so are the wider ones.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(BigEndian::read_u16(self.bytes(field, 2)?))
    }

    /// Four bytes.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(BigEndian::read_u32(self.bytes(field, 4)?))
    }

    /// Eight bytes.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(BigEndian::read_u64(self.bytes(field, 8)?))
    }

    /// Sixteen bytes.
    pub fn u128(&mut self, field: &'static str) -> Result<u128, DecodeError> {
        Ok(BigEndian::read_u128(self.bytes(field, 16)?))
    }

    /// One byte, 0 for no and 1 for yes.
    pub fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(DecodeError::UnknownValue {
                field,
                value: value.into(),
                allowed: "0 or 1",
            }),
        }
    }

    /// One byte 0, or one byte 1 and a replica's id.
    pub fn optional_u8(&mut self, field: &'static str) -> Result<Option<u8>, DecodeError> {
        if self.bool(field)? {
            Ok(Some(self.u8(field)?))
        } else {
            Ok(None)
        }
    }

    /// Two bytes of length, then so many bytes.
    pub fn short_bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.u16(field)?;
        self.bytes(field, length.into())
    }

    /// Four bytes of length, then so many bytes.
    pub fn long_bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.u32(field)?;
        self.bytes(field, length as usize)
    }

    /// Two bytes of length, then at most `bytes_max` bytes of UTF-8.
    pub fn text(&mut self, field: &'static str, bytes_max: usize) -> Result<&'a str, DecodeError> {
        let bytes = self.short_bytes(field)?;
        if bytes.len() > bytes_max {
            return Err(DecodeError::TextTooLong {
                field,
                bytes: bytes.len() as u64,
                bytes_max: bytes_max as u64,
            });
        }
        std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8 { field })
    }

    /// An error if anything is left.
    pub fn end(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing {
                bytes: self.rest.len(),
            })
        }
    }
}

/// Writes two bytes, most significant first.
pub fn put_u16(out: &mut Vec<u8>, value: u16) {
    let mut bytes = [0; 2];
    BigEndian::write_u16(&mut bytes, value);
    out.extend_from_slice(&bytes);
}

/// Writes four bytes.
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    let mut bytes = [0; 4];
    BigEndian::write_u32(&mut bytes, value);
    out.extend_from_slice(&bytes);
}

/// Writes eight bytes.
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    let mut bytes = [0; 8];
    BigEndian::write_u64(&mut bytes, value);
    out.extend_from_slice(&bytes);
}

/// Writes sixteen bytes.
pub fn put_u128(out: &mut Vec<u8>, value: u128) {
    let mut bytes = [0; 16];
    BigEndian::write_u128(&mut bytes, value);
    out.extend_from_slice(&bytes);
}

/// Writes what [`FieldReader::optional_u8`] reads.
pub fn put_optional_u8(out: &mut Vec<u8>, value: Option<u8>) {
    match value {
        None => out.push(0),
        Some(value) => out.extend_from_slice(&[1, value]),
    }
}

/// Writes what [`FieldReader::short_bytes`] reads. The caller keeps to 65,535 bytes.
pub fn put_short_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("a short field is checked before it is written");
    put_u16(out, length);
    out.extend_from_slice(bytes);
}

/// Writes what [`FieldReader::long_bytes`] reads. The caller keeps to the limit of a frame.
pub fn put_long_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("a long field is checked before it is written");
    put_u32(out, length);
    out.extend_from_slice(bytes);
}

/// Writes a text of at most `bytes_max` bytes; a longer one is cut at the last whole character that fits.
pub fn put_text(out: &mut Vec<u8>, text: &str, bytes_max: usize) {
    let end = cut_at(text, bytes_max);
    put_short_bytes(out, &text.as_bytes()[..end]);
}

/// Where to cut a text of at most `bytes_max` bytes so that no character is split.
pub(crate) fn cut_at(text: &str, bytes_max: usize) -> usize {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_in_network_order() {
        let mut out = Vec::new();
        put_u16(&mut out, 0x0102);
        put_u32(&mut out, 0x0304_0506);
        put_u64(&mut out, 0x0708_090a_0b0c_0d0e);
        assert_eq!(out, (1..=14).collect::<Vec<u8>>());
        let mut fields = FieldReader::new(&out);
        assert_eq!(fields.u16("a"), Ok(0x0102));
        assert_eq!(fields.u32("b"), Ok(0x0304_0506));
        assert_eq!(fields.u64("c"), Ok(0x0708_090a_0b0c_0d0e));
        assert_eq!(fields.end(), Ok(()));
    }

    #[test]
    fn a_length_beyond_the_message_is_an_error_and_no_allocation() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 1, 2];
        let error = FieldReader::new(&bytes).long_bytes("value").unwrap_err();
        assert_eq!(
            error.to_string(),
            "ends within its value: 4294967295 bytes are needed and 2 are left"
        );
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut out = Vec::new();
        put_text(&mut out, "aé", 2);
        assert_eq!(out, [0, 1, b'a']);
        assert_eq!(FieldReader::new(&out).text("label", 2), Ok("a"));
    }

    #[test]
    fn texts_are_checked() {
        assert_eq!(
            FieldReader::new(&[0, 1, 0xff]).text("label", 9),
            Err(DecodeError::NotUtf8 { field: "label" })
        );
        assert_eq!(
            FieldReader::new(&[0, 2, b'a', b'b']).text("label", 1),
            Err(DecodeError::TextTooLong {
                field: "label",
                bytes: 2,
                bytes_max: 1
            })
        );
    }
}
