//! A peer as a state machine: the founding of its group, then a replica in sparse mode. The store's counterpart is
//! [`crate::node::Node`]; nothing here knows threads, clocks or sockets.

use paxos::{
    Command, Config, Configuration, Envelope, Incarnation, Message, Persist, Recovered, Replica,
    ReplicaId, Slot,
};

use super::board::Call;
use crate::identity::{ClusterSettings, FoundingRecord, Identity};
use crate::node::founding::{Founding, FoundingStep, answer_unfounded};
use crate::node::{NodeOutput, NodeSettings};
use crate::peers::PeerMessage;

/// What a member is told when it starts.
#[derive(Debug)]
pub(super) struct MemberSettings {
    pub(super) replica: ReplicaId,
    /// All of the group, this one included, in order of ids.
    pub(super) members: Vec<ReplicaId>,
    pub(super) cluster: ClusterSettings,
    /// As in [`NodeSettings`].
    pub(super) birth: u64,
}

/// One peer.
#[derive(Debug)]
pub(super) struct Member {
    settings: NodeSettings,
    identity: Identity,
    phase: Phase,
    now: u64,
    out: MemberOutput,
}

#[derive(Debug)]
enum Phase {
    /// The group has not met yet. What the program asks for waits.
    Founding(Founding, Vec<Call>),
    /// It takes part.
    Running(Box<Replica>),
    /// The group was founded with another life of this peer.
    Refused,
}

/// What a turn asks of the driver; to be handled in the order of the fields.
#[derive(Debug, Default)]
#[must_use = "an output that is dropped loses messages and, worse, promises"]
pub(super) struct MemberOutput {
    /// As in [`NodeOutput`].
    pub(super) identity: Option<Identity>,
    pub(super) persist: Option<Persist>,
    pub(super) send: Vec<(ReplicaId, PeerMessage)>,
    pub(super) send_when_durable: Vec<(ReplicaId, PeerMessage)>,
    /// For the board.
    pub(super) decided: Vec<(Slot, Command)>,
    /// Why this peer can take no part.
    pub(super) refused: Option<String>,
}

impl MemberOutput {
    pub(super) fn is_empty(&self) -> bool {
        self.identity.is_none()
            && self.persist.is_none()
            && self.send.is_empty()
            && self.send_when_durable.is_empty()
            && self.decided.is_empty()
            && self.refused.is_none()
    }
}

impl Member {
    pub(super) fn new(settings: MemberSettings, identity: Identity, recovered: Recovered) -> Self {
        let founding = Founding::new(settings.birth | 1);
        let mut member = Self {
            settings: NodeSettings {
                replica: settings.replica,
                members: settings.members,
                cluster: settings.cluster,
                no_quorum_after_ticks: 0,
                reads_through_log: false,
                birth: settings.birth,
            },
            identity,
            phase: Phase::Founding(founding, Vec::new()),
            now: 0,
            out: MemberOutput::default(),
        };
        if let Some(record) = member.identity.founding.clone() {
            member.become_running(&record, recovered);
        }
        member
    }

    pub(super) fn call(&mut self, call: Call) {
        match &mut self.phase {
            Phase::Founding(_, calls) => calls.push(call),
            Phase::Running(replica) => call_replica(replica, call),
            Phase::Refused => {}
        }
    }

    /// A message of another peer, or one of this member's own `send_when_durable` that was addressed to itself.
    pub(super) fn peer(&mut self, from: ReplicaId, message: PeerMessage) {
        match &mut self.phase {
            Phase::Refused => {}
            Phase::Founding(founding, _) => {
                if from == self.settings.replica {
                    self.join(message);
                    return;
                }
                let mut out = NodeOutput::default();
                let step = founding.handle(from, message, &self.settings, &self.identity, &mut out);
                self.out.send.extend(out.send);
                self.take_step(step);
            }
            Phase::Running(replica) => match message {
                PeerMessage::Agreement(message) => replica.step(Envelope {
                    from,
                    to: self.settings.replica,
                    message,
                }),
                other => self.answer_unfounded(from, &other),
            },
        }
    }

    /// Ten milliseconds have passed.
    pub(super) fn tick(&mut self) {
        self.now += 1;
        match &mut self.phase {
            Phase::Refused => {}
            Phase::Founding(founding, _) => {
                let mut out = NodeOutput::default();
                let step = founding.tick(self.now, &self.settings, &self.identity, &mut out);
                self.out.send.extend(out.send);
                self.take_step(step);
            }
            Phase::Running(replica) => replica.tick(),
        }
    }

    /// The disk is far behind: another is to lead.
    pub(super) fn leave_the_lead(&mut self) {
        if let Phase::Running(replica) = &mut self.phase {
            replica.resign();
        }
    }

    pub(super) fn take_output(&mut self) -> MemberOutput {
        let mut out = std::mem::take(&mut self.out);
        if let Phase::Running(replica) = &mut self.phase {
            let output = replica.take_output();
            let wrap = |envelope: Envelope| (envelope.to, PeerMessage::Agreement(envelope.message));
            out.persist = output.persist;
            out.send.extend(output.messages.into_iter().map(wrap));
            let when_durable = output.messages_when_durable.into_iter().map(wrap);
            out.send_when_durable.extend(when_durable);
            out.decided = output.chosen;
            for note in output.notes {
                log::debug!("{} {note:?}", self.settings.replica);
            }
        }
        out
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// One above what all programs are done with.
    pub(super) fn min(&self) -> Slot {
        match &self.phase {
            Phase::Running(replica) => replica.min(),
            Phase::Founding(..) | Phase::Refused => Slot(0),
        }
    }

    /// The highest instance heard of.
    pub(super) fn max(&self) -> Option<Slot> {
        match &self.phase {
            Phase::Running(replica) => replica.max(),
            Phase::Founding(..) | Phase::Refused => None,
        }
    }

    fn become_running(&mut self, record: &FoundingRecord, recovered: Recovered) {
        let settings = &self.settings;
        let config = Config::new(settings.replica, self.identity.incarnation, settings.birth);
        let configuration = Configuration::founded(&record.members);
        let mut replica = Box::new(Replica::sparse(config, configuration, recovered));
        if let Phase::Founding(_, calls) = &mut self.phase {
            for call in calls.drain(..) {
                call_replica(&mut replica, call);
            }
        }
        self.phase = Phase::Running(replica);
    }

    fn take_step(&mut self, step: FoundingStep) {
        match step {
            FoundingStep::Wait => {}
            FoundingStep::Join(record) if !record.members.contains(&self.life()) => {
                self.phase = Phase::Refused;
                self.out.refused = Some(format!(
                    "the group {record} was founded with another life of {}: what this peer promised then is lost, and \
                     it may not vote with an empty memory",
                    self.settings.replica
                ));
            }
            FoundingStep::Join(record) => {
                let Phase::Founding(founding, _) = &mut self.phase else {
                    unreachable!("only a peer that is being founded joins");
                };
                founding.settle();
                self.identity.founding = Some(record.clone());
                self.out.identity = Some(self.identity.clone());
                let founded = PeerMessage::Founded { nonce: 0, record };
                let me = self.settings.replica;
                self.out.send_when_durable.push((me, founded));
            }
        }
    }

    /// Who it is, and in which life.
    fn life(&self) -> (ReplicaId, Incarnation) {
        (self.settings.replica, self.identity.incarnation)
    }

    /// The founding record is durable here.
    fn join(&mut self, message: PeerMessage) {
        if let PeerMessage::Founded { record, .. } = message {
            log::info!("the group {record} is founded");
            self.become_running(&record, Recovered::new());
        }
    }

    fn answer_unfounded(&mut self, from: ReplicaId, message: &PeerMessage) {
        if let Some(record) = &self.identity.founding {
            let mut out = NodeOutput::default();
            answer_unfounded(from, message, record, &mut out);
            self.out.send.extend(out.send);
        }
    }
}

/// The board lets no more in than the replica takes.
fn call_replica(replica: &mut Replica, call: Call) {
    match call {
        Call::Done(watermark) => replica.done(watermark),
        Call::Start(slot, command) => {
            if let Err(error) = replica.propose_at(slot, command) {
                log::error!("instance {slot} was not begun: {error:?}");
            }
        }
    }
}

/// Messages that bring a command, which a peer whose disk is far behind passes over.
pub(super) fn brings_commands(message: &PeerMessage) -> bool {
    matches!(
        message,
        PeerMessage::Agreement(
            Message::Accept { .. }
                | Message::ForwardInstance { .. }
                | Message::ChosenInstance { .. }
        )
    )
}
