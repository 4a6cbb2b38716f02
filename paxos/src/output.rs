//! The contract between the core and whoever drives it.
//!
//! A driver feeds the core ([`crate::Replica::step`], `tick`, `propose`, `read`), then takes one [`Output`] and
//! handles its fields **in the order in which they stand**:
//!
//! 1. `persist`: hand it to the journal. Need not be durable yet.
//! 2. `messages`: send. They claim nothing about this replica's disk, so the leader's Accepts overlap its own write.
//! 3. `messages_when_durable`: keep until *everything handed to the journal so far*, this output's part included, has
//!    returned from its sync; then send. One that is addressed to this replica itself is stepped back into it: its own
//!    vote counts when it is durable, like any other's.
//! 4. `chosen`: apply, in order.
//! 5. `reads`: answer each once every slot below its watermark is applied.
//!
//! A driver that fails to persist must stop: it may not take another output after it.

use std::fmt;

use crate::ballot::{Ballot, ReplicaId, Slot};
use crate::message::{Command, Envelope};

/// What one turn of the core asks of its driver. See the module's text for the order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[must_use = "an output that is dropped loses messages and, worse, promises"]
pub struct Output {
    /// What must survive a crash; `None` when this turn changed nothing durable.
    pub persist: Option<Persist>,
    /// Messages that claim nothing about this replica's disk.
    pub messages: Vec<Envelope>,
    /// Messages that claim that what was persisted so far is durable.
    pub messages_when_durable: Vec<Envelope>,
    /// Commands newly known to be chosen: consecutive slots, each exactly once in the life of a `Replica`. In sparse mode
    /// each once too, but in any order and with holes.
    pub chosen: Vec<(Slot, Command)>,
    /// Reads whose watermark is confirmed.
    pub reads: Vec<ReadReady>,
    /// What a person would like to find in the log.
    pub notes: Vec<Note>,
}

/// One append to the journal: records in order, and the small state that every batch header repeats.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Persist {
    /// In the order in which they happened.
    pub records: Vec<Record>,
    /// As of the end of `records`.
    pub state: DurableState,
}

/// The small part of the durable state. It is in every batch header, so that trimming cannot forget it (RULES R4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DurableState {
    /// The highest ballot promised; never falls.
    pub promised: Ballot,
    /// Every slot below it is chosen, and the newest record of each such slot that is not trimmed holds the chosen
    /// command; never falls.
    pub chosen_watermark: Slot,
    /// Every replica's journal can replay all below this slot, so that memory need not keep it; never falls.
    pub forget_watermark: Slot,
}

/// What the journal keeps of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Record {
    /// This acceptor accepted.
    Accepted {
        /// Where.
        slot: Slot,
        /// Under which ballot; at least the promise of that moment.
        ballot: Ballot,
        /// What.
        command: Command,
    },
    /// Learned to be chosen, without having been accepted here in the ballot that chose it (RULES R7).
    Learned {
        /// Where.
        slot: Slot,
        /// What.
        command: Command,
    },
}

/// A read that may be answered once every slot below `watermark` is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadReady {
    /// The ticket that was given to [`crate::Replica::read`].
    pub ticket: u64,
    /// What must be applied first.
    pub watermark: Slot,
}

/// Something that a person who reads the log wants to know. It has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Note {
    /// No leader is heard; this replica asks whether a majority would follow it.
    Canvassing,
    /// A majority would follow; this replica asks it to promise.
    Preparing(Ballot),
    /// This replica leads.
    Leading(Ballot),
    /// This replica led and no longer does.
    Resigned(Ballot, ResignReason),
    /// This replica led, stops, and told another to lead in its place.
    HandedOver(Ballot, ReplicaId),
    /// The leader stops, and told this replica to lead in its place.
    TakingOver(Ballot, ReplicaId),
    /// This replica led, and hands over to another because its own disk takes less than a majority's.
    ShortOfSpace(ReplicaId),
    /// This replica follows.
    Following(Ballot, ReplicaId),
}

/// Why a leader stopped leading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResignReason {
    /// It saw a higher ballot whose leader is alive.
    HigherBallot,
    /// No majority echoed for one election timeout.
    LostMajority,
    /// Its driver wanted it to.
    Asked,
    /// It stops, or has less room on its disk than a majority: whoever it hears best is to lead.
    HandsOver,
    /// Its proposer or its learner ended.
    Failed,
    /// It lacks slots that its peers have forgotten, and serves nobody before it has a snapshot.
    NeedsSnapshot,
}

impl fmt::Display for ResignReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HigherBallot => "another replica is ahead of it",
            Self::LostMajority => "it hears no majority",
            Self::Asked => "its disk is far behind, so another is to lead",
            Self::HandsOver => "it leaves the lead to others",
            Self::Failed => "its proposer or its learner failed",
            Self::NeedsSnapshot => "it needs a snapshot from another replica first",
        })
    }
}

/// What this replica needs of the log, its peers have forgotten: it takes a snapshot from one of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotWanted {
    /// The first slot that this replica lacks; the snapshot must cover it.
    pub from_slot: Slot,
    /// Who said that it has forgotten that slot, in order of ids. Some may be gone since.
    pub peers: Vec<ReplicaId>,
}
