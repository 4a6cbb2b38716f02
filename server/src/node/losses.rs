//! Members that have lost what they promised, as far as this replica hears, so that people are told when too many have.
//!
//! A replica without its memory says so several times a second until it may vote again, which takes about a second where
//! a majority of the others remembers. Where none does, no majority can ever say again what was chosen, and nothing but
//! starting anew helps (RULES R19). Nothing in agreement depends on this file: without it the replicas would wait in
//! silence.

use std::collections::BTreeMap;

use log::error;
use paxos::{Incarnation, ReplicaId};

use super::{Node, Phase};
use crate::peers::PeerMessage;

/// Who says that it has lost its memory.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Since when each says so without a pause, and when it last did, in ticks.
    heard: BTreeMap<ReplicaId, (u64, u64)>,
    log_tick: u64,
}

impl Node {
    /// `from` says something. Who belongs to no cluster yet, or asks for its vote, in another life than the one that the
    /// cluster knows, has lost its memory.
    pub(super) fn note_loss(&mut self, from: ReplicaId, message: &PeerMessage) {
        let life = match message {
            PeerMessage::FoundingQuery { .. } => None,
            PeerMessage::FoundingReply { incarnation, .. }
            | PeerMessage::RejoinRequest { incarnation, .. } => Some(*incarnation),
            _ => return,
        };
        let known = self.known_life(from);
        if known.is_none() || life == known {
            return;
        }
        let now = self.now;
        let times = self.losses.heard.entry(from).or_insert((now, now));
        if now > times.1 + PAUSE_TICKS {
            times.0 = now;
        }
        times.1 = now;
    }

    /// The life that the cluster knows, as far as this replica knows the cluster.
    fn known_life(&self, replica: ReplicaId) -> Option<Incarnation> {
        match &self.phase {
            Phase::Unfit(_) => None,
            Phase::Founding(founding) => founding.recorded_life(replica),
            Phase::Running(running) => running.configuration().last_life(replica),
        }
    }

    pub(super) fn tick_losses(&mut self) {
        let now = self.now;
        self.losses
            .heard
            .retain(|_, &mut (_, last)| now <= last + PAUSE_TICKS);
        if now >= self.losses.log_tick {
            self.losses.log_tick = now + LOG_TICKS;
            let remark = self.loss_remark();
            if !remark.is_empty() {
                error!("{remark}");
            }
        }
    }

    /// What a person should know when too many have lost their memory; empty otherwise.
    pub(super) fn loss_remark(&self) -> String {
        let has_lost = match &self.phase {
            Phase::Unfit(_) => return String::new(),
            // Members of a cluster that is yet to be founded are blank without having lost anything.
            Phase::Founding(founding)
                if founding.recorded_life(self.settings.replica).is_none() =>
            {
                return String::new();
            }
            Phase::Founding(_) => true,
            Phase::Running(replica) => !replica.votes(),
        };
        let me = has_lost.then_some(self.settings.replica);
        let is_lasting = |&(since, last): &(u64, u64)| last >= since + LASTING_TICKS;
        let heard = self.losses.heard.iter();
        let mut lost: Vec<ReplicaId> = heard
            .filter(|(_, times)| is_lasting(times))
            .map(|(replica, _)| *replica)
            .chain(me)
            .collect();
        lost.sort_unstable();
        let count = self.settings.members.len();
        let left = count - lost.len();
        if self.leader().is_some() || left > count / 2 {
            return String::new();
        }
        let lost: Vec<String> = lost.iter().map(ReplicaId::to_string).collect();
        format!(
            "the memory of {} is lost, and {left} of {count} members are no majority: nobody can tell any more what was \
             chosen, so this cluster never serves again; to begin a new and empty one, stop all members, remove \
             the files of those that have any, and start all of them",
            lost.join(", ")
        )
    }
}

/// Who says nothing of a loss for so long is not counted any more: ten times the interval at which it would.
const PAUSE_TICKS: u64 = 200;

/// Who says it for so long cannot expect to be helped soon: a few elections.
const LASTING_TICKS: u64 = 200;

/// How often it is logged.
const LOG_TICKS: u64 = 500;
