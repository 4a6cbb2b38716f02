//! The bytes of answers.
//!
//! Every answer begins with its kind, `tag:u64` and `leader:u8?`; then
//! ```text
//! SessionOpened  82 revision:u64 nonce:u64 expiry_s:u32
//! Put            83 revision:u64
//! Appended       84 revision:u64 length:u64
//! Deleted        85 revision:u64 existed:bool
//! Value          86 revision:u64 value:u32+bytes
//! Absent         87 revision:u64
//! Status         88 replica:u8 cluster:u64 serving:bool role:u8 leader:u8? ballot_round:u64 ballot_replica:u8
//!                   chosen:u64 applied:u64 hash_slot:u64 state_hash:u128 keys:u64 sessions:u64
//!                   journal_bytes:u64 snapshot_slot:u64 revision:u64
//!                   received:u64 answered:u64 junk:u64 cookies:u64 remark:text
//! Refused        8f (see the file beside this one)
//! ```

use super::{Direction, kind, take_kind, wrong_kind};
use crate::answer::{Answer, DatagramCounts, Outcome, Refusal, Role, StatusReport};
use crate::frame::append_frame;
use crate::request::SessionId;
use crate::wire::{
    DecodeError, FieldReader, cut_at, put_long_bytes, put_optional_u8, put_text, put_u32, put_u64,
    put_u128,
};

/// The longest sentence for people in an answer, in bytes; longer ones are cut.
pub(super) const SENTENCE_BYTES_MAX: usize = 1_024;

impl Answer {
    /// Appends the whole frame. A value fits a frame; sentences that are too long are cut.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        append_frame(out, |out| self.encode_payload_into(out));
    }

    /// Appends what [`Self::decode`] reads.
    pub(super) fn encode_payload_into(&self, out: &mut Vec<u8>) {
        out.push(self.outcome.kind());
        put_u64(out, self.tag);
        put_optional_u8(out, self.leader);
        self.outcome.encode_into(out);
    }

    /// Reads the payload of a frame.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let (kind, mut fields) = take_kind(payload)?;
        let is_answer = (kind::SESSION_OPENED..=kind::STATUS_REPORT).contains(&kind);
        if !is_answer && kind != kind::REFUSED {
            return Err(wrong_kind(kind, Direction::ToClient));
        }
        let tag = fields.u64("tag")?;
        let leader = fields.optional_u8("leader")?;
        let outcome = Outcome::take(kind, &mut fields)?;
        fields.end()?;
        Ok(Self {
            tag,
            leader,
            outcome,
        })
    }
}

impl Outcome {
    /// Appends the bytes that [`Self::decode`] reads: an outcome by itself, as a session's table keeps it.
    pub fn encode_with_kind_into(&self, out: &mut Vec<u8>) {
        out.push(self.kind());
        self.encode_into(out);
    }

    /// Reads one outcome off the front of `bytes` and moves `bytes` behind it.
    ///
    /// # Errors
    /// Says what is wrong; `bytes` is then unchanged.
    pub fn decode(bytes: &mut &[u8]) -> Result<Self, DecodeError> {
        let mut fields = FieldReader::new(bytes);
        let kind = fields.u8("kind")?;
        let outcome = Self::take(kind, &mut fields)?;
        *bytes = fields.rest();
        Ok(outcome)
    }

    /// The same outcome with its sentence for people `bytes` shorter, or a few more where a character would be split;
    /// `None` if it has none that is so long.
    pub(super) fn with_sentence_cut(&self, bytes: usize) -> Option<Self> {
        let mut shorter = self.clone();
        let sentence = match &mut shorter {
            Self::Status(report) => &mut report.remark,
            Self::Refused(Refusal::NotServing { reason } | Refusal::Malformed { reason }) => reason,
            _ => return None,
        };
        let sent = cut_at(sentence, SENTENCE_BYTES_MAX);
        sentence.truncate(cut_at(sentence, sent.checked_sub(bytes)?));
        Some(shorter)
    }

    fn kind(&self) -> u8 {
        match self {
            Self::SessionOpened { .. } => kind::SESSION_OPENED,
            Self::Put { .. } => kind::PUT_DONE,
            Self::Appended { .. } => kind::APPENDED,
            Self::Deleted { .. } => kind::DELETED,
            Self::Value { .. } => kind::VALUE,
            Self::Absent { .. } => kind::ABSENT,
            Self::Status(_) => kind::STATUS_REPORT,
            Self::Refused(_) => kind::REFUSED,
        }
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        match self {
            Self::SessionOpened { session, expiry_s } => {
                put_u64(out, session.revision);
                put_u64(out, session.nonce);
                put_u32(out, *expiry_s);
            }
            Self::Put { revision } | Self::Absent { revision } => put_u64(out, *revision),
            Self::Appended { revision, length } => {
                put_u64(out, *revision);
                put_u64(out, *length);
            }
            Self::Deleted { revision, existed } => {
                put_u64(out, *revision);
                out.push((*existed).into());
            }
            Self::Value { revision, value } => {
                put_u64(out, *revision);
                put_long_bytes(out, value);
            }
            Self::Status(report) => report.encode_into(out),
            Self::Refused(refusal) => refusal.encode_into(out),
        }
    }

    fn take(kind: u8, fields: &mut FieldReader<'_>) -> Result<Self, DecodeError> {
        Ok(match kind {
            kind::SESSION_OPENED => Self::SessionOpened {
                session: SessionId {
                    revision: fields.u64("session")?,
                    nonce: fields.u64("session")?,
                },
                expiry_s: fields.u32("expiry")?,
            },
            kind::PUT_DONE => Self::Put {
                revision: fields.u64("revision")?,
            },
            kind::APPENDED => Self::Appended {
                revision: fields.u64("revision")?,
                length: fields.u64("length")?,
            },
            kind::DELETED => Self::Deleted {
                revision: fields.u64("revision")?,
                existed: fields.bool("existence")?,
            },
            kind::VALUE => Self::Value {
                revision: fields.u64("revision")?,
                value: fields.long_bytes("value")?.to_vec(),
            },
            kind::ABSENT => Self::Absent {
                revision: fields.u64("revision")?,
            },
            kind::STATUS_REPORT => Self::Status(Box::new(StatusReport::take(fields)?)),
            kind::REFUSED => Self::Refused(Refusal::take(fields)?),
            other => return Err(wrong_kind(other, Direction::ToClient)),
        })
    }
}

impl StatusReport {
    fn encode_into(&self, out: &mut Vec<u8>) {
        out.push(self.replica);
        put_u64(out, self.cluster);
        out.push(self.serving.into());
        out.push(role_byte(self.role));
        put_optional_u8(out, self.leader);
        put_u64(out, self.ballot_round);
        out.push(self.ballot_replica);
        put_u64(out, self.chosen);
        put_u64(out, self.applied);
        put_u64(out, self.hash_slot);
        put_u128(out, self.state_hash);
        put_u64(out, self.keys);
        put_u64(out, self.sessions);
        put_u64(out, self.journal_bytes);
        put_u64(out, self.snapshot_slot);
        put_u64(out, self.revision);
        let datagrams = &self.datagrams;
        put_u64(out, datagrams.received);
        put_u64(out, datagrams.answered);
        put_u64(out, datagrams.junk);
        put_u64(out, datagrams.cookies);
        put_text(out, &self.remark, SENTENCE_BYTES_MAX);
    }

    fn take(fields: &mut FieldReader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            replica: fields.u8("replica")?,
            cluster: fields.u64("cluster")?,
            serving: fields.bool("serving")?,
            role: take_role(fields)?,
            leader: fields.optional_u8("leader")?,
            ballot_round: fields.u64("ballot's round")?,
            ballot_replica: fields.u8("ballot's replica")?,
            chosen: fields.u64("chosen watermark")?,
            applied: fields.u64("applied watermark")?,
            hash_slot: fields.u64("slot of the hash")?,
            state_hash: fields.u128("state hash")?,
            keys: fields.u64("count of keys")?,
            sessions: fields.u64("count of sessions")?,
            journal_bytes: fields.u64("journal's size")?,
            snapshot_slot: fields.u64("snapshot's slot")?,
            revision: fields.u64("revision")?,
            datagrams: DatagramCounts {
                received: fields.u64("datagrams received")?,
                answered: fields.u64("datagrams answered")?,
                junk: fields.u64("datagrams of junk")?,
                cookies: fields.u64("cookies given")?,
            },
            remark: fields.text("remark", SENTENCE_BYTES_MAX)?.to_owned(),
        })
    }
}

fn role_byte(role: Role) -> u8 {
    match role {
        Role::Founding => 0,
        Role::Blank => 1,
        Role::Follower => 2,
        Role::Candidate => 3,
        Role::Leader => 4,
    }
}

fn take_role(fields: &mut FieldReader<'_>) -> Result<Role, DecodeError> {
    match fields.u8("role")? {
        0 => Ok(Role::Founding),
        1 => Ok(Role::Blank),
        2 => Ok(Role::Follower),
        3 => Ok(Role::Candidate),
        4 => Ok(Role::Leader),
        value => Err(DecodeError::UnknownValue {
            field: "role",
            value: value.into(),
            allowed: "0 to 4",
        }),
    }
}
