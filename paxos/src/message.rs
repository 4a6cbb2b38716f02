//! What replicas say to each other. This page is the protocol reference.
//!
//! ```text
//! a write, with a leader in place      a new leader                        a linearizable read at a follower
//!
//! leader     Accept ──▶ all            candidate  Canvass ──▶ all          follower  ReadQuery ──▶ leader
//! acceptors  Accepted ─▶ leader        all        CanvassReply ─▶ it       leader    Heartbeat ──▶ all
//! leader     Advance ──▶ all           candidate  Prepare ──▶ all          voters    Echo ──▶ leader
//!            (or with the next         acceptors  Promise ──▶ it           leader    ReadAnswer ─▶ follower
//!             Accept)                  leader     Accept what was found
//! ```
//!
//! In sparse mode some messages are replaced by those with `Instance` in their names; the chart of an agreement there
//! stands in `replica/sparse.rs`. Where a message of both modes carries a watermark of what is durable or forgotten, it
//! means in sparse mode what a program, or every program, is done with.
//!
//! Any message may be lost, repeated, delayed or reordered, and may arrive after either side has restarted. Every
//! message is therefore complete in itself: it names the ballot, slot or nonce that it speaks of.

mod display;

use std::fmt;
use std::sync::Arc;

use crate::ballot::{Ballot, Incarnation, ReplicaId, Slot};
use crate::space::Space;

/// A message with its sender and its receiver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Envelope {
    /// Who says it. A transport fills this in from the link's greeting, never from the message.
    pub from: ReplicaId,
    /// Who is to hear it. May be the sender itself: its acceptor is one of the voters.
    pub to: ReplicaId,
    /// What is said.
    pub message: Message,
}

/// What a slot of the log holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Command {
    /// Nothing: a new leader fills with it the slots in which no command can have been chosen.
    Noop,
    /// From the slot at which the window after this one begins, `replica` votes as `incarnation` (RULES R1).
    Rejoin {
        /// The replica that lost its acceptor memory.
        replica: ReplicaId,
        /// The life in which it votes from then on.
        incarnation: Incarnation,
    },
    /// Bytes that agreement carries and does not look into.
    Opaque(Arc<[u8]>),
}

impl Command {
    /// How much of a message or a batch this command takes, in bytes, within a few of the truth.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Noop | Self::Rejoin { .. } => 16,
            Self::Opaque(bytes) => 16 + bytes.len(),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Noop => f.write_str("noop"),
            Self::Rejoin {
                replica,
                incarnation,
            } => write!(f, "rejoin({replica},{incarnation})"),
            Self::Opaque(bytes) if bytes.len() <= 16 && bytes.iter().all(u8::is_ascii_graphic) => {
                write!(f, "{}", String::from_utf8_lossy(bytes))
            }
            Self::Opaque(bytes) => write!(f, "({} bytes)", bytes.len()),
        }
    }
}

/// What an acceptor accepted in one slot, as it reports it in a [`Message::Promise`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AcceptedCommand {
    /// Where.
    pub slot: Slot,
    /// The highest ballot in which it accepted there.
    pub ballot: Ballot,
    /// What it accepted in that ballot.
    pub command: Command,
}

/// The slots from `start` up to and without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotRange {
    /// The first.
    pub start: Slot,
    /// The first one after it; above `start`.
    pub end: Slot,
}

impl fmt::Display for SlotRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// Everything that one replica's agreement says to another's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// A replica that hears no leader asks all: would you follow me? It changes nothing at the receiver, so a
    /// replica that is merely cut off does not disturb a working leader (RULES R17).
    Canvass {
        /// Which attempt this is; the reply repeats it.
        nonce: u64,
        /// Every slot below it is known to be chosen at the sender.
        chosen_watermark: Slot,
    },
    /// The answer to [`Message::Canvass`]. `follow` is false only from one that hears a leader with a majority.
    /// A voter's yes does not bind it: a [`Message::Prepare`] with a higher ballot is promised all the same.
    CanvassReply {
        /// The nonce of the question.
        nonce: u64,
        /// Whether the sender would follow.
        follow: bool,
        /// The life in which the sender would vote; counts only if it is in force.
        incarnation: Incarnation,
        /// Whom the sender follows, if it hears anybody. One that cannot hear that leader sends its clients there.
        leader: Option<ReplicaId>,
        /// How far the sender could help the receiver to catch up.
        chosen_watermark: Slot,
    },
    /// Phase 1a, for every slot from `from_slot` on ("Paxos Made Simple", sections 2.2 and 3).
    Prepare {
        /// The ballot to promise.
        ballot: Ballot,
        /// The first slot that the candidate does not know to be chosen.
        from_slot: Slot,
    },
    /// Phase 1b. Claims durability: the promise, and all that it reports, survive a crash of the sender.
    ///
    /// It comes in `parts` and counts when all have come (RULES R20). The receiver may conclude that the sender
    /// accepts nothing below `ballot` any more, and that it accepted nothing in a slot at or above
    /// `chosen_watermark` and `from_slot` but what is listed. Of slots below `chosen_watermark` it says only
    /// that they are chosen: they are to be learned, never proposed again (RULES R5).
    Promise {
        /// The ballot promised.
        ballot: Ballot,
        /// The life that promised.
        incarnation: Incarnation,
        /// Repeats the `from_slot` of the Prepare.
        from_slot: Slot,
        /// Which part this is, from 0.
        part: u32,
        /// How many parts there are, at least 1.
        parts: u32,
        /// What was accepted, in order of slots.
        accepted: Vec<AcceptedCommand>,
        /// Every slot below it is known to be chosen at the sender.
        chosen_watermark: Slot,
        /// The sender no longer has commands below this slot.
        trimmed_watermark: Slot,
    },
    /// Phase 2a: accept `command` in `slot`. A proposer never sends two commands for one slot and ballot.
    Accept {
        /// Under which ballot.
        ballot: Ballot,
        /// Where.
        slot: Slot,
        /// What.
        command: Command,
        /// Every slot below it is chosen. The receiver may take its own accepted command as the chosen one only
        /// where it accepted in this very ballot (RULES R6).
        chosen_watermark: Slot,
    },
    /// Phase 2b, to the leader alone (RULES R10). Claims durability of every slot listed.
    Accepted {
        /// The ballot of the Accepts.
        ballot: Ballot,
        /// The life that accepted.
        incarnation: Incarnation,
        /// Where; in the order in which they were accepted.
        slots: Vec<Slot>,
        /// The sender's own journal can replay every chosen command below this slot (RULES R7).
        durable_watermark: Slot,
    },
    /// The acceptor has promised a higher ballot, and says so aloud, so that a proposer can act on it.
    Refused {
        /// The ballot that was refused.
        ballot: Ballot,
        /// The ballot that stands in its way.
        promised: Ballot,
        /// Whether the sender hears the leader of `promised`. If nobody leads there, the refused one may go above
        /// it at once; otherwise it resigns (RULES R17).
        hears_leader: bool,
    },
    /// From the leader to all, at intervals, and whenever reads wait to be confirmed.
    Heartbeat {
        /// The leader's ballot.
        ballot: Ballot,
        /// Grows with every round of this leader; an Echo repeats it. A read is released only by a round that
        /// began after it was taken in (RULES R10).
        nonce: u64,
        /// As in [`Message::Accept`].
        chosen_watermark: Slot,
        /// Every replica's journal can replay all below this slot: memory may forget it (RULES R7).
        forget_watermark: Slot,
        /// Whether a majority echoed lately. Without it the hearer does not defend this leader (RULES R17).
        has_majority: bool,
        /// What a majority of the acceptors can still write, as their echoes say (RULES R18).
        space: Space,
    },
    /// The answer of a voter that has promised nothing above `ballot`. Not a claim about its disk.
    Echo {
        /// The ballot of the Heartbeat.
        ballot: Ballot,
        /// The nonce of the Heartbeat.
        nonce: u64,
        /// The life that answers; counts only if it is in force.
        incarnation: Incarnation,
        /// As in [`Message::Accepted`].
        durable_watermark: Slot,
        /// How much more the sender's disk takes.
        space: Space,
    },
    /// The leader's watermark moved and no Accept is about to carry it.
    Advance {
        /// The leader's ballot.
        ballot: Ballot,
        /// As in [`Message::Accept`].
        chosen_watermark: Slot,
    },
    /// Asks any replica for chosen commands from `from_slot` on.
    CatchUp {
        /// The first slot that the sender lacks.
        from_slot: Slot,
    },
    /// The answer: consecutive chosen commands, as many as fit a message. Final, whatever ballot is in force.
    Chosen {
        /// The slot of the first command.
        from_slot: Slot,
        /// The commands of `from_slot`, the next, and so on; empty when the sender has forgotten `from_slot`.
        commands: Vec<Command>,
        /// How far the sender could go on.
        chosen_watermark: Slot,
        /// The sender has forgotten every command below this slot.
        trimmed_watermark: Slot,
    },
    /// From a leader that stops, to the follower that is furthest: lead in its place. The sender does nothing more in
    /// `ballot`. The receiver prepares without asking who would follow, unless it knows of a higher ballot (RULES R26).
    /// Nothing rests on it: one that comes late, twice or never costs an election at most.
    TakeOver {
        /// The ballot that is given up.
        ballot: Ballot,
    },
    /// A follower asks the leader up to which slot its waiting reads must have been applied.
    ReadQuery {
        /// Names the question; the answer repeats it.
        nonce: u64,
    },
    /// The leader's answer, sent after a round that began when it had the question confirmed that it still leads.
    ReadAnswer {
        /// The nonce of the question.
        nonce: u64,
        /// The reads may be answered once every slot below this is applied.
        read_watermark: Slot,
    },
    /// Phase 1a in sparse mode, in the place of [`Message::Prepare`]: for every instance.
    PrepareInstances {
        /// The ballot to promise.
        ballot: Ballot,
        /// Every program is done with all below it, as far as the sender knows.
        min: Slot,
        /// What the sender knows to be chosen: nothing need be reported there. In order, not touching each other.
        chosen: Vec<SlotRange>,
    },
    /// Phase 1b in sparse mode, in the place of [`Message::Promise`], and like it in parts. Claims durability. The
    /// receiver may conclude that the sender accepts nothing below `ballot` any more, and that it accepted nothing at
    /// or above `min`, outside the ranges that the candidate named, but what is listed. What it knows to be chosen is
    /// listed under `ballot` itself.
    PromiseInstances {
        /// The ballot promised.
        ballot: Ballot,
        /// The life that promised.
        incarnation: Incarnation,
        /// Tells the parts of this sending from those of another, which may be cut elsewhere.
        sending: u64,
        /// Which part this is, from 0.
        part: u32,
        /// How many parts there are, at least 1.
        parts: u32,
        /// The sender has forgotten all below it: nothing may be proposed there (RULES R5).
        min: Slot,
        /// What the sender knows to be chosen, so that it need not be told; in the first part only.
        chosen: Vec<SlotRange>,
        /// What was accepted or is known to be chosen, in order of slots.
        accepted: Vec<AcceptedCommand>,
    },
    /// The answer to a Heartbeat in sparse mode, in the place of [`Message::Echo`]. Claims durability of `learned`.
    EchoInstances {
        /// The leader's ballot.
        ballot: Ballot,
        /// Of the heartbeat.
        nonce: u64,
        /// The life that answers; counts only if it is in force.
        incarnation: Incarnation,
        /// The sender's program is done with all below it. Accepted carries the same in sparse mode.
        done_watermark: Slot,
        /// What the leader told of since the last echo, and need not tell again.
        learned: Vec<Slot>,
    },
    /// Sparse mode: whoever begins an agreement asks the leader to propose the command. It is repeated until the
    /// instance is chosen; where another command came first, that one stands. One that does not hear the leader that
    /// others hear asks all others instead.
    ForwardInstance {
        /// Where.
        slot: Slot,
        /// Passed on to the leader by one that hears it, for one that does not. Not to be passed on again, so that it
        /// goes in no circle.
        relayed: bool,
        /// What.
        command: Command,
    },
    /// Sparse mode: from the leader to all, until each has acknowledged it, and to one that asks for what is chosen
    /// already. Final, whatever ballot is in force.
    ChosenInstance {
        /// Where.
        slot: Slot,
        /// What is chosen there.
        command: Command,
    },
    /// Sparse mode: the answer to whatever speaks of an instance below `min` (RULES R20).
    ForgottenInstances {
        /// Every program is done with all below it.
        min: Slot,
    },
}
