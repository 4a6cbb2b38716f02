//! How a new cluster comes to be, told from one whose disks were wiped (RULES R11).
//!
//! The member with the lowest id asks all others; when every one has answered that it is blank, and in which life, it
//! writes a founding record and sends it round. A replica takes the record only in answer to what it said last, and only
//! if the record names the life that it is in; where a majority says that it names another, the disk was lost, and the
//! replica belongs to the cluster without a vote (see `rejoin`). Whoever finds a founded peer never founds.

use std::collections::BTreeMap;

use log::{info, warn};
use paxos::{Incarnation, ReplicaId};

use super::{NodeOutput, NodeSettings};
use crate::identity::{FoundingRecord, Identity};
use crate::peers::PeerMessage;

/// A replica that belongs to no cluster yet.
#[derive(Debug)]
pub(crate) struct Founding {
    /// The nonce of this replica's own questions, if it is the one to found; otherwise of its unasked-for replies.
    nonce: u64,
    /// The nonce answered last.
    answered: u64,
    /// Who said that it is blank, and in which life.
    blank: BTreeMap<ReplicaId, Incarnation>,
    /// Who said that a cluster was founded with another life of this replica, and with what record.
    too_late: BTreeMap<ReplicaId, FoundingRecord>,
    next_tick: u64,
    next_log_tick: u64,
    /// A record is on its way to the disk: nothing more is asked or answered.
    settled: bool,
}

/// What came of a message.
#[derive(Debug)]
pub(crate) enum FoundingStep {
    /// Nothing to do.
    Wait,
    /// To be made durable, then in force. The record may name another life: then this one is blank.
    Join(FoundingRecord),
}

impl Founding {
    /// `nonce` is random and not 0.
    pub(crate) fn new(nonce: u64) -> Self {
        Self {
            nonce,
            answered: nonce,
            blank: BTreeMap::new(),
            too_late: BTreeMap::new(),
            next_tick: 0,
            next_log_tick: LOG_TICKS,
            settled: false,
        }
    }

    /// Asks whom it waits for, or, when it is not the one to found, says that it is here: a peer that was founded
    /// meanwhile answers with the record.
    pub(crate) fn tick(
        &mut self,
        now: u64,
        settings: &NodeSettings,
        identity: &Identity,
        out: &mut NodeOutput,
    ) -> FoundingStep {
        if self.settled {
            return FoundingStep::Wait;
        }
        let founds = settings.members.first() == Some(&settings.replica);
        if founds && self.too_late.is_empty() && self.missing(settings).next().is_none() {
            return FoundingStep::Join(self.record(settings, identity));
        }
        if now >= self.next_tick {
            self.next_tick = now + ASK_TICKS;
            for peer in self.missing(settings) {
                let message = if founds {
                    PeerMessage::FoundingQuery { nonce: self.nonce }
                } else {
                    PeerMessage::FoundingReply {
                        nonce: self.answered,
                        incarnation: identity.incarnation,
                    }
                };
                out.send.push((peer, message));
            }
        }
        if now >= self.next_log_tick {
            self.next_log_tick = now + LOG_TICKS;
            self.log_whom_it_waits_for(settings, founds);
        }
        FoundingStep::Wait
    }

    pub(crate) fn handle(
        &mut self,
        from: ReplicaId,
        message: PeerMessage,
        settings: &NodeSettings,
        identity: &Identity,
        out: &mut NodeOutput,
    ) -> FoundingStep {
        match message {
            PeerMessage::FoundingQuery { nonce } => {
                if !self.settled {
                    self.answered = nonce;
                    let incarnation = identity.incarnation;
                    out.send
                        .push((from, PeerMessage::FoundingReply { nonce, incarnation }));
                }
                FoundingStep::Wait
            }
            PeerMessage::FoundingReply { nonce, incarnation } => {
                if nonce == self.nonce && self.too_late.is_empty() {
                    self.blank.insert(from, incarnation);
                }
                FoundingStep::Wait
            }
            PeerMessage::Founded { nonce, record } => {
                self.handle_founded(from, nonce, record, settings, identity)
            }
            PeerMessage::Agreement(_)
            | PeerMessage::Forward { .. }
            | PeerMessage::HashReport { .. }
            | PeerMessage::SnapshotRequest { .. }
            | PeerMessage::SnapshotPiece { .. }
            | PeerMessage::SnapshotPending
            | PeerMessage::RejoinRequest { .. }
            | PeerMessage::RejoinQuery { .. } => FoundingStep::Wait,
        }
    }

    /// A record that names this life is its own. One that names another is taken when a majority of the members has it:
    /// one peer with the files of another cluster must not bind this replica to that. It costs nothing, for without a
    /// majority that kept its memory nobody could agree on a rejoin either (RULES R19).
    fn handle_founded(
        &mut self,
        from: ReplicaId,
        nonce: u64,
        record: FoundingRecord,
        settings: &NodeSettings,
        identity: &Identity,
    ) -> FoundingStep {
        if self.settled || (nonce != self.answered && nonce != self.nonce) {
            return FoundingStep::Wait;
        }
        let own = (settings.replica, identity.incarnation);
        if record.members.contains(&own) {
            return FoundingStep::Join(record);
        }
        self.too_late.insert(from, record.clone());
        // Who was blank when it was asked may have been founded since: everybody is asked again.
        self.blank.clear();
        let same = self.too_late.values();
        let same = same.filter(|told| told.cluster == record.cluster).count();
        if same >= majority(settings) {
            FoundingStep::Join(record)
        } else {
            FoundingStep::Wait
        }
    }

    /// The life of a member in the record of the cluster that was founded with another life of this replica, if such a
    /// record came.
    pub(crate) fn recorded_life(&self, member: ReplicaId) -> Option<Incarnation> {
        let record = self.too_late.values().next()?;
        let life = record
            .members
            .iter()
            .find(|(replica, _)| *replica == member);
        life.map(|(_, incarnation)| *incarnation)
    }

    /// What a person should know of a replica that is not founded; empty where that is all there is to say.
    pub(crate) fn remark(&self, settings: &NodeSettings) -> String {
        let Some(record) = self.too_late.values().next() else {
            return String::new();
        };
        let cluster = record.cluster;
        let told: Vec<String> = self.too_late.keys().map(ReplicaId::to_string).collect();
        format!(
            "cluster {cluster:016x} was founded with another life of this replica, whose memory is lost; it \
             waits to hear so from {} members and has heard it from {}",
            majority(settings),
            told.join(", ")
        )
    }

    /// The record of this step is being written.
    pub(crate) fn settle(&mut self) {
        self.settled = true;
    }

    fn missing<'a>(&'a self, settings: &'a NodeSettings) -> impl Iterator<Item = ReplicaId> + 'a {
        let me = settings.replica;
        settings
            .members
            .iter()
            .copied()
            .filter(move |member| *member != me && !self.blank.contains_key(member))
    }

    fn record(&self, settings: &NodeSettings, identity: &Identity) -> FoundingRecord {
        let life = |member: &ReplicaId| {
            if *member == settings.replica {
                identity.incarnation
            } else {
                self.blank[member]
            }
        };
        FoundingRecord {
            cluster: settings.birth.max(1),
            members: settings
                .members
                .iter()
                .map(|member| (*member, life(member)))
                .collect(),
            settings: settings.cluster,
        }
    }

    fn log_whom_it_waits_for(&self, settings: &NodeSettings, founds: bool) {
        if !self.too_late.is_empty() {
            warn!("{}", self.remark(settings));
        } else if founds {
            let waits: Vec<String> = self
                .missing(settings)
                .map(|member| member.to_string())
                .collect();
            info!(
                "the cluster is not founded yet: waiting to hear from {}",
                waits.join(", ")
            );
        } else {
            let founder = settings.members.first().copied().unwrap_or_default();
            warn!("the cluster is not founded yet: waiting for {founder} to hear from all members");
        }
    }
}

fn majority(settings: &NodeSettings) -> usize {
    settings.members.len() / 2 + 1
}

/// A founded replica answers one that is not: with the record, under the nonce of its question. Whether that names its
/// life the other one sees for itself.
pub(crate) fn answer_unfounded(
    from: ReplicaId,
    message: &PeerMessage,
    record: &FoundingRecord,
    out: &mut NodeOutput,
) {
    let nonce = match message {
        PeerMessage::FoundingQuery { nonce } | PeerMessage::FoundingReply { nonce, .. } => *nonce,
        PeerMessage::Founded { .. }
        | PeerMessage::Agreement(_)
        | PeerMessage::Forward { .. }
        | PeerMessage::HashReport { .. }
        | PeerMessage::SnapshotRequest { .. }
        | PeerMessage::SnapshotPiece { .. }
        | PeerMessage::SnapshotPending
        | PeerMessage::RejoinRequest { .. }
        | PeerMessage::RejoinQuery { .. } => return,
    };
    let record = record.clone();
    out.send
        .push((from, PeerMessage::Founded { nonce, record }));
}

/// How often an unfounded replica makes itself heard: often enough that a founding takes a blink.
const ASK_TICKS: u64 = 10;

/// How often it says in the log whom it waits for.
const LOG_TICKS: u64 = 500;
