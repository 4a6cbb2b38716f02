//! Where the session stands that numbers a client's writes.

use std::time::{Duration, Instant};

use common::SessionId;

use super::datagrams::Resend;
use super::lane::LaneSet;
use super::queue::WriteName;
use crate::numbering::Numbering;

/// Where the session stands.
#[derive(Debug)]
pub(super) enum Session {
    /// There is none; the first write opens one.
    None,
    /// One is being opened.
    Opening(Opening),
    /// One is open.
    Open {
        /// Its numbers.
        numbering: Numbering,
        /// When it gave out a number last, or was opened.
        used: Instant,
        /// Idle for so long it is not used again: see [`Session::next_name`].
        idle_max: Duration,
    },
}

/// A session that is being opened. Copies at several replicas carry the same nonce; the first answer counts, and a
/// second session opened by another copy is left to expire.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) tag: u64,
    pub(super) nonce: u64,
    /// Where copies wait for an answer.
    pub(super) copies: LaneSet,
    /// Since when the current lane is expected to answer.
    pub(super) asked: Instant,
    /// When it is sent to the current lane again, if that is over UDP.
    pub(super) resend: Resend,
}

impl Session {
    /// The cluster forgets it when it was idle for `expiry_s` seconds.
    pub(super) fn opened(session: SessionId, expiry_s: u32, now: Instant) -> Self {
        Self::Open {
            numbering: Numbering::new(session),
            used: now,
            idle_max: Duration::from_secs(expiry_s.into()) / 2,
        }
    }

    /// Gives out the name of the next write; `None` while there is no session to give one.
    ///
    /// A session that was idle for half of its expiry is not used again (RULES R15), unless a write that was given up may
    /// still run: only the session's own next write closes that number, and a write of another session could be overtaken
    /// by it.
    pub(super) fn next_name(&mut self, now: Instant) -> Option<WriteName> {
        let Self::Open {
            numbering,
            used,
            idle_max,
        } = self
        else {
            return None;
        };
        if numbering.is_settled() && now.duration_since(*used) >= *idle_max {
            *self = Self::None;
            return None;
        }
        let sequence = numbering.next()?;
        *used = now;
        Some(WriteName {
            session: numbering.session(),
            sequence,
        })
    }

    /// Floor and `after` of a write of this session; those of a session that is gone matter no more.
    pub(super) fn bounds(&self, name: WriteName) -> (u64, u64) {
        match self {
            Self::Open { numbering, .. } if numbering.session() == name.session => {
                (numbering.floor(), numbering.before(name.sequence))
            }
            _ => (name.sequence, 0),
        }
    }

    /// The answer of a write came (`ran`), or it is given up.
    pub(super) fn finish(&mut self, name: WriteName, ran: bool) {
        if let Self::Open { numbering, .. } = self
            && numbering.session() == name.session
        {
            if ran {
                numbering.answered(name.sequence);
            } else {
                numbering.give_up(name.sequence);
            }
        }
    }

    pub(super) fn opening_mut(&mut self) -> Option<&mut Opening> {
        match self {
            Self::Opening(opening) => Some(opening),
            _ => None,
        }
    }

    pub(super) fn opening(&self) -> Option<&Opening> {
        match self {
            Self::Opening(opening) => Some(opening),
            _ => None,
        }
    }
}
