//! The replicated state as bytes: what a snapshot holds of it.
//!
//! ```text
//! entry      key: length 2 bytes, then as many | value: length 4 bytes, then as many | revision 8
//! session    see `sessions.rs`
//! ```
//! Integers are big-endian, as on the wire. Keys come in order, then sessions in order. A [`Tally`] recomputes the hash
//! of the state from these bytes alone (RULES R21).

use common::DecodeError;
use common::wire::{FieldReader, put_long_bytes, put_short_bytes, put_u64};
use paxos::{Configuration, Slot};

use super::sessions::SessionImage;
use super::state::hash_of_parts;
use super::store::digest_of_entry;
use crate::identity::ClusterSettings;

/// The small part of a snapshot: everything but the entries and the sessions, and how many of them there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// The cluster's id.
    pub cluster: u64,
    /// Everything below it is applied, and nothing else.
    pub slot: Slot,
    /// How many changes that were.
    pub revision: u64,
    /// The cluster's time at that slot.
    pub log_time_ms: u64,
    /// The last slot at which the state's hash was noted, and that hash.
    pub noted: (Slot, u128),
    /// What apply depends on.
    pub settings: ClusterSettings,
    /// Who votes where, as far as it was chosen below the slot.
    pub configuration: Configuration,
    /// How many keys there are.
    pub keys: u64,
    /// How many sessions there are.
    pub sessions: u64,
}

/// What a piece of a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceKind {
    /// Keys with their values.
    Entries,
    /// Sessions.
    Sessions,
}

/// Some consecutive entries or sessions, whole ones, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What is in it.
    pub kind: PieceKind,
    /// One after the other.
    pub bytes: Vec<u8>,
}

/// One entry or session of a piece.
#[derive(Debug)]
pub(crate) enum Part<'a> {
    Entry {
        key: &'a [u8],
        value: &'a [u8],
        revision: u64,
    },
    Session(SessionImage<'a>),
}

/// The parts of a piece, each with its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Parts<'a> {
    kind: PieceKind,
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(crate) fn new(kind: PieceKind, bytes: &'a [u8]) -> Self {
        Self { kind, rest: bytes }
    }

    fn take(&mut self) -> Result<(&'a [u8], Part<'a>), DecodeError> {
        let before = self.rest;
        let mut fields = FieldReader::new(before);
        let part = match self.kind {
            PieceKind::Entries => Part::Entry {
                key: fields.short_bytes("key")?,
                value: fields.long_bytes("value")?,
                revision: fields.u64("revision")?,
            },
            PieceKind::Sessions => Part::Session(SessionImage::take(&mut fields)?),
        };
        self.rest = fields.rest();
        Ok((&before[..before.len() - self.rest.len()], part))
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<(&'a [u8], Part<'a>), DecodeError>;

    /// The next part; after an error nothing more can be found.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let part = self.take();
        if part.is_err() {
            self.rest = &[];
        }
        Some(part)
    }
}

/// Appends an entry.
pub(super) fn put_entry(out: &mut Vec<u8>, key: &[u8], value: &[u8], revision: u64) {
    put_short_bytes(out, key);
    put_long_bytes(out, value);
    put_u64(out, revision);
}

/// How many bytes [`put_entry`] appends.
pub(super) fn entry_bytes(key: &[u8], value: &[u8]) -> usize {
    2 + key.len() + 4 + value.len() + 8
}

/// Counts and hashes the parts of a snapshot as they pass.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    keys: u64,
    sessions: u64,
    hash: u128,
}

impl Tally {
    pub(crate) fn add(&mut self, part: &Part<'_>) {
        let digest = match part {
            Part::Entry {
                key,
                value,
                revision,
            } => {
                self.keys += 1;
                digest_of_entry(key, value, *revision)
            }
            Part::Session(session) => {
                self.sessions += 1;
                session.digest()
            }
        };
        self.hash = self.hash.wrapping_add(digest);
    }

    /// Whether as many keys and sessions were seen as the head announces.
    pub(crate) fn is_complete(&self, head: &SnapshotHead) -> bool {
        (self.keys, self.sessions) == (head.keys, head.sessions)
    }

    /// The hash of the state of which all parts were added.
    pub(crate) fn hash(&self, head: &SnapshotHead) -> u128 {
        hash_of_parts(self.hash, head.revision, head.log_time_ms)
    }
}
