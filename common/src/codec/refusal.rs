//! The bytes of a refusal: `code:u8` and what belongs to it.
//!
//! ```text
//! 1 NoQuorum proposed:bool                     7 Closed
//! 2 Busy limit:u8                              8 TooManyOutstanding width:u64
//! 3 TooLarge limit:u8 bytes:u64 bytes_max:u64  9 NotServing reason:text
//! 4 EmptyKey                                  10 AskReplica replica:u8 proposed:bool
//! 5 StoreFull bytes_max:u64                   11 Malformed reason:text
//! 6 SessionExpired                             12 TooLargeForDatagram bytes:u64 bytes_max:u64
//!                                             13 DiskFull refuses_deletes:bool
//! limit: 1 key bytes, 2 value bytes, 3 connections, 4 requests held, 5 bytes held, 6 sessions
//! ```

use super::answer::SENTENCE_BYTES_MAX;
use crate::answer::{Limit, Refusal};
use crate::wire::{DecodeError, FieldReader, put_text, put_u64};

impl Refusal {
    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        match self {
            Self::NoQuorum { proposed } => out.extend_from_slice(&[1, (*proposed).into()]),
            Self::Busy { limit } => out.extend_from_slice(&[2, limit_byte(*limit)]),
            Self::TooLarge {
                limit,
                bytes,
                bytes_max,
            } => {
                out.extend_from_slice(&[3, limit_byte(*limit)]);
                put_u64(out, *bytes);
                put_u64(out, *bytes_max);
            }
            Self::EmptyKey => out.push(4),
            Self::StoreFull { bytes_max } => {
                out.push(5);
                put_u64(out, *bytes_max);
            }
            Self::SessionExpired => out.push(6),
            Self::Closed => out.push(7),
            Self::TooManyOutstanding { width } => {
                out.push(8);
                put_u64(out, *width);
            }
            Self::NotServing { reason } => {
                out.push(9);
                put_text(out, reason, SENTENCE_BYTES_MAX);
            }
            Self::AskReplica { replica, proposed } => {
                out.extend_from_slice(&[10, *replica, (*proposed).into()]);
            }
            Self::Malformed { reason } => {
                out.push(11);
                put_text(out, reason, SENTENCE_BYTES_MAX);
            }
            Self::TooLargeForDatagram { bytes, bytes_max } => {
                out.push(12);
                put_u64(out, *bytes);
                put_u64(out, *bytes_max);
            }
            Self::DiskFull { refuses_deletes } => {
                out.extend_from_slice(&[13, (*refuses_deletes).into()]);
            }
        }
    }

    pub(super) fn take(fields: &mut FieldReader<'_>) -> Result<Self, DecodeError> {
        Ok(match fields.u8("refusal")? {
            1 => Self::NoQuorum {
                proposed: fields.bool("proposed")?,
            },
            2 => Self::Busy {
                limit: take_limit(fields)?,
            },
            3 => Self::TooLarge {
                limit: take_limit(fields)?,
                bytes: fields.u64("length")?,
                bytes_max: fields.u64("limit")?,
            },
            4 => Self::EmptyKey,
            5 => Self::StoreFull {
                bytes_max: fields.u64("limit")?,
            },
            6 => Self::SessionExpired,
            7 => Self::Closed,
            8 => Self::TooManyOutstanding {
                width: fields.u64("width")?,
            },
            9 => Self::NotServing {
                reason: fields.text("reason", SENTENCE_BYTES_MAX)?.to_owned(),
            },
            10 => Self::AskReplica {
                replica: fields.u8("replica")?,
                proposed: fields.bool("proposed")?,
            },
            11 => Self::Malformed {
                reason: fields.text("reason", SENTENCE_BYTES_MAX)?.to_owned(),
            },
            12 => Self::TooLargeForDatagram {
                bytes: fields.u64("length")?,
                bytes_max: fields.u64("limit")?,
            },
            13 => Self::DiskFull {
                refuses_deletes: fields.bool("refuses deletes")?,
            },
            value => {
                return Err(DecodeError::UnknownValue {
                    field: "refusal",
                    value: value.into(),
                    allowed: "1 to 13",
                });
            }
        })
    }
}

fn limit_byte(limit: Limit) -> u8 {
    match limit {
        Limit::KeyBytes => 1,
        Limit::ValueBytes => 2,
        Limit::Connections => 3,
        Limit::RequestsHeld => 4,
        Limit::BytesHeld => 5,
        Limit::Sessions => 6,
    }
}

fn take_limit(fields: &mut FieldReader<'_>) -> Result<Limit, DecodeError> {
    match fields.u8("limit")? {
        1 => Ok(Limit::KeyBytes),
        2 => Ok(Limit::ValueBytes),
        3 => Ok(Limit::Connections),
        4 => Ok(Limit::RequestsHeld),
        5 => Ok(Limit::BytesHeld),
        6 => Ok(Limit::Sessions),
        value => Err(DecodeError::UnknownValue {
            field: "limit",
            value: value.into(),
            allowed: "1 to 6",
        }),
    }
}
