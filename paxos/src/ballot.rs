//! The names of things in agreement: replicas, their lives, ballots and slots.
//!
//! All are newtypes over integers, so that a slot cannot be passed where a round is meant. Their `Display` is the
//! notation of the golden scripts and of the server's log lines: `r1`, `b3.1`, `7`.

use std::fmt;

/// One process of the cluster, numbered from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub u8);

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// One life of a replica's acceptor memory: 64 random bits, drawn when that memory begins empty (RULES R1).
///
/// A vote counts only under the incarnation that the configuration names for its slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The number of a proposal: "Paxos Made Simple", section 2.2. Totally ordered, and never used by two proposers.
///
/// `birth` is 64 random bits drawn when a proposer comes to life. It makes a ballot unique even when the proposer
/// lost its memory of having used the same round before (RULES R2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// Grows with each attempt to lead; 0 only in [`Ballot::NONE`].
    pub round: u64,
    /// Who proposes under this ballot.
    pub replica: ReplicaId,
    /// Which life of that proposer.
    pub birth: u64,
}

impl Ballot {
    /// Lower than every ballot that a proposer uses: what an acceptor has promised before it promised anything.
    pub const NONE: Self = Self {
        round: 0,
        replica: ReplicaId(0),
        birth: 0,
    };
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("b-");
        }
        write!(f, "b{}.{}", self.round, self.replica.0)
    }
}

/// A position in the log, counted from 0. A watermark is a slot too: every slot *below* it has the property.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u64);

impl Slot {
    /// The slot after this one. A log of 2^64 slots is out of reach, so overflow means broken state.
    #[must_use]
    pub fn next(self) -> Self {
        self.plus(1)
    }

    /// The slot `distance` after this one.
    #[must_use]
    pub fn plus(self, distance: u64) -> Self {
        Self(
            self.0
                .checked_add(distance)
                .expect("a slot number fits 64 bits"),
        )
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
