//! How a replica that lost its acceptor's memory comes to vote again (RULES R1).
//!
//! ```text
//! blank   RejoinRequest { incarnation, 0 } ──▶ the leader; to all, while none is heard
//! leader  RejoinQuery { nonce } ──▶ blank
//! blank   RejoinRequest { incarnation, nonce } ──▶ leader
//! leader  proposes Rejoin { replica, incarnation }; agreement fills the window after it
//! ```
//! Which life votes is what the log says, never what this file believes: a blank replica is one whose incarnation is not
//! in force. It follows and learns like any other, and agreement gives no vote in its name.
//!
//! The nonce proves that the life which is to vote was there after the leader asked. Without it a request of an earlier
//! life that comes late would take the vote from a healthy replica. A Rejoin can still be chosen late: a later leader finds
//! it accepted, and the replica may have begun yet another life. That loses nothing but time: the life that is then in
//! force gives no votes, and the one that is there sees that it is not the last one named, and asks.

use std::collections::BTreeMap;

use log::{info, warn};
use paxos::{Command, Incarnation, ReplicaId, Slot};

use super::{Node, Phase};
use crate::peers::PeerMessage;

/// What a node knows of rejoins: its own, and, while it leads, those of others.
#[derive(Debug)]
pub(crate) struct Rejoins {
    /// Why this replica lost its memory, while its present life is not in force.
    reason: Option<String>,
    ask_tick: u64,
    log_tick: u64,
    /// Begins at random, so that no answer to an earlier life's question fits.
    nonce: u64,
    /// The nonce that each replica which asked must repeat.
    questions: BTreeMap<ReplicaId, u64>,
    /// Lives that proved that they are there, to be proposed.
    proved: BTreeMap<ReplicaId, Incarnation>,
    /// What this leader proposed, and where.
    proposed: BTreeMap<ReplicaId, (Incarnation, Slot)>,
}

impl Rejoins {
    /// `nonce` is random; `reason` says as a sentence why the memory was lost, if it was.
    pub(crate) fn new(nonce: u64, reason: Option<String>) -> Self {
        Self {
            reason,
            ask_tick: 0,
            log_tick: 0,
            nonce,
            questions: BTreeMap::new(),
            proved: BTreeMap::new(),
            proposed: BTreeMap::new(),
        }
    }

    /// Another leads, or this replica does under another ballot: what it proposed may be lost.
    pub(crate) fn forget_proposals(&mut self) {
        self.questions.clear();
        self.proved.clear();
        self.proposed.clear();
    }

    fn is_under_way(&self, replica: ReplicaId, incarnation: Incarnation, chosen: Slot) -> bool {
        self.proposed
            .get(&replica)
            .is_some_and(|&(life, slot)| life == incarnation && slot >= chosen)
    }

    fn fresh_nonce(&mut self) -> u64 {
        self.nonce = self.nonce.wrapping_add(1).max(1);
        self.nonce
    }
}

impl Node {
    /// This replica has no acceptor's memory, for `reason`: it learns, and asks for its vote.
    pub(super) fn become_learner(&mut self, reason: String) {
        warn!(
            "{} is blank and has no vote: {reason}; it learns from the others and asks to vote as incarnation {}",
            self.settings.replica, self.identity.incarnation
        );
        self.rejoins.log_tick = self.now + LOG_TICKS;
        self.rejoins.reason = Some(reason);
    }

    /// Asks for the vote while no chosen command names this life.
    pub(super) fn tick_rejoin(&mut self) {
        let Phase::Running(replica) = &self.phase else {
            return;
        };
        let me = self.settings.replica;
        if replica.votes() {
            if self.rejoins.reason.take().is_some() {
                let life = self.identity.incarnation;
                let slot = replica.chosen_watermark();
                info!("{me} votes as incarnation {life} from slot {slot} on");
            }
            return;
        }
        if self.now >= self.rejoins.log_tick {
            self.rejoins.log_tick = self.now + LOG_TICKS;
            info!("{me} has no vote yet: {}", self.why_no_vote());
        }
        if replica.votes_from().is_none() && self.now >= self.rejoins.ask_tick {
            self.rejoins.ask_tick = self.now + ASK_TICKS;
            self.ask_to_rejoin(0);
        }
    }

    /// To the leader, or to everybody while none is heard: only who leads acts on it.
    fn ask_to_rejoin(&mut self, nonce: u64) {
        let leader = self.leader();
        let incarnation = self.identity.incarnation;
        for &member in &self.settings.members {
            let is_asked = leader.is_none_or(|leader| leader == member);
            if is_asked && member != self.settings.replica {
                self.out
                    .send
                    .push((member, PeerMessage::RejoinRequest { incarnation, nonce }));
            }
        }
    }

    /// A leader wants to know whether this life is still there.
    pub(super) fn take_rejoin_query(&mut self, from: ReplicaId, nonce: u64) {
        let names_this_life = |replica: &paxos::Replica| replica.votes_from().is_some();
        if self
            .replica()
            .is_some_and(|replica| !names_this_life(replica))
        {
            let incarnation = self.identity.incarnation;
            self.out
                .send
                .push((from, PeerMessage::RejoinRequest { incarnation, nonce }));
        }
    }

    /// A replica says that its present life has no vote. It is asked once more before it is believed.
    pub(super) fn take_rejoin_request(
        &mut self,
        from: ReplicaId,
        incarnation: Incarnation,
        nonce: u64,
    ) {
        let Some(replica) = self.replica() else {
            return;
        };
        let chosen = replica.chosen_watermark();
        let is_named = replica.configuration().last_life(from) == Some(incarnation);
        if replica.role() != paxos::Role::Leader
            || is_named
            || self.rejoins.is_under_way(from, incarnation, chosen)
        {
            return;
        }
        if nonce == 0 {
            let nonce = self.rejoins.fresh_nonce();
            self.rejoins.questions.insert(from, nonce);
            self.out
                .send
                .push((from, PeerMessage::RejoinQuery { nonce }));
        } else if self.rejoins.questions.get(&from) == Some(&nonce) {
            self.rejoins.questions.remove(&from);
            self.rejoins.proved.insert(from, incarnation);
        }
    }

    /// Goes before the clients' requests, so that a full window does not keep a vote waiting for ever.
    pub(super) fn propose_rejoins(&mut self) {
        while let Some((&whom, &incarnation)) = self.rejoins.proved.first_key_value() {
            let Phase::Running(replica) = &mut self.phase else {
                return;
            };
            let chosen = replica.chosen_watermark();
            let is_named = replica.configuration().last_life(whom) == Some(incarnation);
            if !is_named && !self.rejoins.is_under_way(whom, incarnation, chosen) {
                let command = Command::Rejoin {
                    replica: whom,
                    incarnation,
                };
                let Ok(slot) = replica.propose(command) else {
                    return;
                };
                info!(
                    "{whom} began another life: in slot {slot} is proposed that it votes as incarnation {incarnation}"
                );
                self.rejoins.proposed.insert(whom, (incarnation, slot));
            }
            self.rejoins.proved.remove(&whom);
        }
    }

    /// For the log: a change of the voters is applied.
    pub(super) fn log_rejoin(&self, slot: Slot, command: &Command) {
        if let (
            Command::Rejoin {
                replica,
                incarnation,
            },
            Some(founding),
        ) = (command, &self.identity.founding)
        {
            let from = slot.plus(u64::from(founding.settings.window));
            info!("{replica} votes as incarnation {incarnation} from slot {from} on");
        }
    }

    /// Where clients are better served while this replica has long to learn: what it forwarded it could only answer once it
    /// has applied all that lies before. Its reads would be right, and late for the same reason.
    pub(super) fn better_served_by(&self) -> Option<ReplicaId> {
        let replica = self.replica().filter(|replica| !replica.votes())?;
        let window = self.settings.cluster.window;
        let leader = replica.leader()?;
        (replica.slots_behind() > u64::from(window)).then_some(leader)
    }

    /// What a person should know of a replica without a vote; empty for one that has it.
    pub(super) fn why_no_vote(&self) -> String {
        let Some(replica) = self.replica().filter(|replica| !replica.votes()) else {
            return String::new();
        };
        let reason = self.rejoins.reason.as_deref();
        let reason = reason.unwrap_or("the cluster votes with another life of this replica");
        let learned = replica.chosen_watermark();
        match replica.votes_from() {
            Some(slot) => {
                format!("{reason}; it votes from slot {slot} on and has learned {learned} slots")
            }
            None => format!(
                "{reason}; it has learned {learned} slots and asks the others to let it vote again"
            ),
        }
    }
}

/// How often a replica without a vote asks for it. A request costs one small message; the vote is missed meanwhile.
const ASK_TICKS: u64 = 20;

/// How often it says in the log how far it is.
const LOG_TICKS: u64 = 500;
