//! How each type that messages between replicas are made of stands in a frame: one `put` and one `take` a type.
//!
//! Relies on `common::wire` for the cursor and its errors. What it reads may come from anybody, so nothing panics and
//! memory grows with the bytes that are there, never with a count that is announced.

use std::sync::Arc;

use common::DecodeError;
use common::wire::{FieldReader, put_long_bytes, put_optional_u8, put_u32, put_u64, put_u128};
use paxos::{AcceptedCommand, Ballot, Command, Incarnation, ReplicaId, Slot, SlotRange, Space};

use crate::identity::{ClusterSettings, FoundingRecord};

/// A type with one form on the wire. `name` is what an error calls the field.
pub(super) trait Field: Sized {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads it off the front.
    fn take(fields: &mut FieldReader<'_>, name: &'static str) -> Result<Self, DecodeError>;
}

impl Field for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push((*self).into());
    }

    fn take(fields: &mut FieldReader<'_>, name: &'static str) -> Result<Self, DecodeError> {
        fields.bool(name)
    }
}

impl Field for u16 {
    fn put(&self, out: &mut Vec<u8>) {
        common::wire::put_u16(out, *self);
    }

    fn take(fields: &mut FieldReader<'_>, name: &'static str) -> Result<Self, DecodeError> {
        fields.u16(name)
    }
}

impl Field for u32 {
    fn put(&self, out: &mut Vec<u8>) {
        put_u32(out, *self);
    }

    fn take(fields: &mut FieldReader<'_>, name: &'static str) -> Result<Self, DecodeError> {
        fields.u32(name)
    }
}

impl Field for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, *self);
    }

    fn take(fields: &mut FieldReader<'_>, name: &'static str) -> Result<Self, DecodeError> {
        fields.u64(name)
    }
}

impl Field for u128 {
    fn put(&self, out: &mut Vec<u8>) {
        put_u128(out, *self);
    }

    fn take(fields: &mut FieldReader<'_>, name: &'static str) -> Result<Self, DecodeError> {
        fields.u128(name)
    }
}

impl Field for Slot {
    fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, self.0);
    }

    fn take(fields: &mut FieldReader<'_>, name: &'static str) -> Result<Self, DecodeError> {
        counted(fields, name).map(Self)
    }
}

/// A number that only ever grows by one: a slot, or the round of a ballot. Those that a broken peer might make up are
/// refused here, because the next one must always exist.
fn counted(fields: &mut FieldReader<'_>, name: &'static str) -> Result<u64, DecodeError> {
    let value = fields.u64(name)?;
    if value < COUNTED_END {
        return Ok(value);
    }
    Err(DecodeError::UnknownValue {
        field: name,
        value,
        allowed: "less than 2^62",
    })
}

/// Out of reach for anything that is counted.
const COUNTED_END: u64 = 1 << 62;

impl Field for Incarnation {
    fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, self.0);
    }

    fn take(fields: &mut FieldReader<'_>, name: &'static str) -> Result<Self, DecodeError> {
        fields.u64(name).map(Self)
    }
}

impl Field for ReplicaId {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.0);
    }

    fn take(fields: &mut FieldReader<'_>, name: &'static str) -> Result<Self, DecodeError> {
        fields.u8(name).map(Self)
    }
}

impl Field for Space {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::Spent => 0,
            Self::Reserve => 1,
            Self::Ample => 2,
        });
    }

    fn take(fields: &mut FieldReader<'_>, name: &'static str) -> Result<Self, DecodeError> {
        match fields.u8(name)? {
            0 => Ok(Self::Spent),
            1 => Ok(Self::Reserve),
            2 => Ok(Self::Ample),
            value => Err(DecodeError::UnknownValue {
                field: name,
                value: value.into(),
                allowed: "0 to 2",
            }),
        }
    }
}

impl Field for Option<ReplicaId> {
    fn put(&self, out: &mut Vec<u8>) {
        put_optional_u8(out, self.map(|replica| replica.0));
    }

    fn take(fields: &mut FieldReader<'_>, name: &'static str) -> Result<Self, DecodeError> {
        Ok(fields.optional_u8(name)?.map(ReplicaId))
    }
}

impl Field for Ballot {
    fn put(&self, out: &mut Vec<u8>) {
        self.round.put(out);
        self.replica.put(out);
        self.birth.put(out);
    }

    fn take(fields: &mut FieldReader<'_>, name: &'static str) -> Result<Self, DecodeError> {
        Ok(Self {
            round: counted(fields, name)?,
            replica: Field::take(fields, name)?,
            birth: Field::take(fields, name)?,
        })
    }
}

impl Field for Command {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Noop => out.push(0),
            Self::Rejoin {
                replica,
                incarnation,
            } => {
                out.push(1);
                replica.put(out);
                incarnation.put(out);
            }
            Self::Opaque(bytes) => {
                out.push(2);
                put_long_bytes(out, bytes);
            }
        }
    }

    fn take(fields: &mut FieldReader<'_>, name: &'static str) -> Result<Self, DecodeError> {
        match fields.u8(name)? {
            0 => Ok(Self::Noop),
            1 => Ok(Self::Rejoin {
                replica: Field::take(fields, name)?,
                incarnation: Field::take(fields, name)?,
            }),
            2 => Ok(Self::Opaque(Arc::from(fields.long_bytes(name)?))),
            value => Err(DecodeError::UnknownValue {
                field: name,
                value: value.into(),
                allowed: "0, 1 or 2",
            }),
        }
    }
}

impl Field for AcceptedCommand {
    fn put(&self, out: &mut Vec<u8>) {
        self.slot.put(out);
        self.ballot.put(out);
        self.command.put(out);
    }

    fn take(fields: &mut FieldReader<'_>, name: &'static str) -> Result<Self, DecodeError> {
        Ok(Self {
            slot: Field::take(fields, name)?,
            ballot: Field::take(fields, name)?,
            command: Field::take(fields, name)?,
        })
    }
}

impl Field for SlotRange {
    fn put(&self, out: &mut Vec<u8>) {
        self.start.put(out);
        self.end.put(out);
    }

    fn take(fields: &mut FieldReader<'_>, name: &'static str) -> Result<Self, DecodeError> {
        Ok(Self {
            start: Field::take(fields, name)?,
            end: Field::take(fields, name)?,
        })
    }
}

/// The most items of a list. A byte of a frame may stand for a command of 24 in memory; this bounds what they add up
/// to. The core's own bounds, the window and the bytes of a message, are far below it.
pub(super) const ITEMS_MAX: u32 = 1 << 16;

impl<T: Field> Field for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        let count = u32::try_from(self.len()).unwrap_or(u32::MAX);
        assert!(
            count <= ITEMS_MAX,
            "a message lists {count} items; {ITEMS_MAX} are allowed"
        );
        put_u32(out, count);
        for item in self {
            item.put(out);
        }
    }

    fn take(fields: &mut FieldReader<'_>, name: &'static str) -> Result<Self, DecodeError> {
        let count = fields.u32(name)?;
        if count > ITEMS_MAX {
            return Err(DecodeError::UnknownValue {
                field: name,
                value: count.into(),
                allowed: "a list of at most 65536 items",
            });
        }
        let mut items = Self::with_capacity((count as usize).min(fields.rest().len()));
        for _ in 0..count {
            items.push(T::take(fields, name)?);
        }
        Ok(items)
    }
}

impl Field for (ReplicaId, Incarnation) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(fields: &mut FieldReader<'_>, name: &'static str) -> Result<Self, DecodeError> {
        Ok((Field::take(fields, name)?, Field::take(fields, name)?))
    }
}

impl Field for FoundingRecord {
    fn put(&self, out: &mut Vec<u8>) {
        self.cluster.put(out);
        self.members.put(out);
        self.settings.put(out);
    }

    fn take(fields: &mut FieldReader<'_>, _name: &'static str) -> Result<Self, DecodeError> {
        Ok(Self {
            cluster: Field::take(fields, "cluster")?,
            members: Field::take(fields, "members")?,
            settings: Field::take(fields, "settings")?,
        })
    }
}

impl Field for ClusterSettings {
    fn put(&self, out: &mut Vec<u8>) {
        self.value_bytes_max.put(out);
        self.sessions_max.put(out);
        self.session_expiry_s.put(out);
        self.hash_interval.put(out);
        self.store_bytes_max.put(out);
        self.window.put(out);
    }

    fn take(fields: &mut FieldReader<'_>, _name: &'static str) -> Result<Self, DecodeError> {
        Ok(Self {
            value_bytes_max: Field::take(fields, "value_bytes_max")?,
            sessions_max: Field::take(fields, "sessions_max")?,
            session_expiry_s: Field::take(fields, "session_expiry_s")?,
            hash_interval: Field::take(fields, "hash_interval")?,
            store_bytes_max: Field::take(fields, "store_bytes_max")?,
            window: Field::take(fields, "window")?,
        })
    }
}
