//! The bytes of the opening.
//!
//! ```text
//! Hello     01 "KVPX" version:u16 label:text
//! Greeting  81 "KVPX" version:u16 cluster:u64 replica:u8 leader:u8?
//!           key_bytes_max:u32 value_bytes_max:u32 frame_bytes_max:u32 outstanding_max:u32
//! ```
//! Fields after these are ignored if the version is above ours: a later release may add some.

use super::{Direction, kind, take_kind, wrong_kind};
use crate::frame::append_frame;
use crate::greeting::{
    Greeting, Hello, LABEL_BYTES_MAX, MAGIC, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, WireLimits,
};
use crate::wire::{DecodeError, FieldReader, put_optional_u8, put_text, put_u16, put_u32, put_u64};

impl Hello {
    /// Appends the whole frame.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        append_frame(out, |out| {
            out.push(kind::HELLO);
            out.extend_from_slice(&MAGIC);
            put_u16(out, self.version);
            put_text(out, &self.label, LABEL_BYTES_MAX);
        });
    }

    /// Reads the payload of a frame.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = opening(payload, kind::HELLO, Direction::ToReplica)?;
        let version = checked_version(fields.u16("version")?)?;
        let label = fields.text("label", LABEL_BYTES_MAX)?.to_owned();
        end_of_opening(fields, version)?;
        Ok(Self { version, label })
    }
}

impl Greeting {
    /// Appends the whole frame.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        append_frame(out, |out| {
            out.push(kind::GREETING);
            out.extend_from_slice(&MAGIC);
            put_u16(out, self.version);
            put_u64(out, self.cluster);
            out.push(self.replica);
            put_optional_u8(out, self.leader);
            put_u32(out, self.limits.key_bytes_max);
            put_u32(out, self.limits.value_bytes_max);
            put_u32(out, self.limits.frame_bytes_max);
            put_u32(out, self.limits.outstanding_max);
        });
    }

    /// Reads the payload of a frame.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = opening(payload, kind::GREETING, Direction::ToClient)?;
        let version = checked_version(fields.u16("version")?)?;
        let greeting = Self {
            version,
            cluster: fields.u64("cluster")?,
            replica: fields.u8("replica")?,
            leader: fields.optional_u8("leader")?,
            limits: WireLimits {
                key_bytes_max: fields.u32("longest key")?,
                value_bytes_max: fields.u32("longest value")?,
                frame_bytes_max: fields.u32("longest frame")?,
                outstanding_max: fields.u32("most outstanding requests")?,
            },
        };
        end_of_opening(fields, version)?;
        Ok(greeting)
    }
}

/// Takes kind and magic off the front.
fn opening(
    payload: &[u8],
    wanted: u8,
    direction: Direction,
) -> Result<FieldReader<'_>, DecodeError> {
    let (found, mut fields) = take_kind(payload)?;
    if found != wanted {
        return Err(wrong_kind(found, direction));
    }
    let magic = fields.bytes("magic", MAGIC.len())?;
    if magic == MAGIC {
        Ok(fields)
    } else {
        let found = magic.try_into().expect("as many bytes were taken");
        Err(DecodeError::Magic { found })
    }
}

/// A higher version is fine: that side then speaks ours.
fn checked_version(found: u16) -> Result<u16, DecodeError> {
    if found < PROTOCOL_VERSION_MIN {
        return Err(DecodeError::Version {
            found,
            allowed_min: PROTOCOL_VERSION_MIN,
            allowed_max: PROTOCOL_VERSION,
        });
    }
    Ok(found)
}

fn end_of_opening(fields: FieldReader<'_>, version: u16) -> Result<(), DecodeError> {
    if version > PROTOCOL_VERSION {
        return Ok(());
    }
    fields.end()
}
