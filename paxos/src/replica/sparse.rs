//! Sparse mode: instances that are agreed on one by one, in any order (SPEC E, RULES R20).
//!
//! It is the second mode of one [`Replica`]. Ballots, the acceptor, the election, heartbeats, Accept and Accepted are
//! those of the log; what differs is here: whoever begins an agreement names its slot, holes stay open, what is chosen
//! is told instance by instance, and what every program is done with is forgotten.
//!
//! ```text
//! an agreement, with a leader in place: 6 messages of three replicas when the leader begins it, 7 otherwise
//!
//! whoever begins   ForwardInstance ──▶ leader (again and again until it is chosen; the first command to come wins)
//! leader           Accept ──▶ all
//! acceptors        Accepted ──▶ leader
//! leader           ChosenInstance ──▶ all (until acknowledged)
//! all              EchoInstances ──▶ leader (the answer to a heartbeat; it brings the acknowledgements)
//! ```
//! A replica reports with Accepted and EchoInstances up to where its own program is done; the lowest of these reports
//! is `min`, which the leader's heartbeats carry to all. It is a fact that never ceases to be true, so whoever hears of
//! it, in whatever message, may forget what is below.

use super::{ProposeError, Replica, RoleState};
use crate::acceptor::Acceptor;
use crate::ballot::{Ballot, Incarnation, ReplicaId, Slot};
use crate::config::Config;
use crate::instances::{INSTANCES_IN_FLIGHT_MAX, Instances, report};
use crate::message::{Command, Message, SlotRange};
use crate::output::Record;
use crate::proposer::{InFlight, Leading, PromisePart};
use crate::quorum::{Configuration, ReplicaSet};
use crate::recovered::Recovered;
use crate::space::Space;

impl Replica {
    /// A replica in sparse mode, with what its journal kept. It takes [`propose_at`](Self::propose_at) and
    /// [`done`](Self::done) in the place of `propose` and `read`, and [`crate::Output::chosen`] names each instance once,
    /// in the order in which it became known; the first output names again those that the journal knew.
    ///
    /// # Panics
    /// When `config.me` is no member.
    #[must_use]
    pub fn sparse(config: Config, configuration: Configuration, recovered: Recovered) -> Self {
        let min = recovered.state.forget_watermark;
        let highest = |slot: Option<&Slot>| slot.copied();
        let max = highest(recovered.accepted.keys().next_back())
            .max(highest(recovered.learned.keys().next_back()))
            .max(min.0.checked_sub(1).map(Slot));
        let mut learned = recovered.learned;
        let chosen = learned.split_off(&min);
        let mut accepted = recovered.accepted;
        accepted.retain(|slot, _| *slot >= min && !chosen.contains_key(slot));
        let state = Recovered::of_state(recovered.state);
        let mut replica = Self::new(config, configuration, state);
        replica.acceptor = Acceptor::recovered(recovered.state.promised, accepted);
        replica.durable_watermark = min;
        replica.instances = Some(Box::new(Instances::recovered(chosen, max)));
        replica
    }

    /// Begins agreement on an instance, and goes on until a command is chosen there: this one, unless another came
    /// first. One that is known to be chosen, begun here before, or forgotten is left alone.
    ///
    /// # Errors
    /// [`ProposeError::WindowFull`], when [`INSTANCES_IN_FLIGHT_MAX`] that were begun here are still open.
    ///
    /// # Panics
    /// When the replica is not in sparse mode.
    pub fn propose_at(&mut self, slot: Slot, command: Command) -> Result<(), ProposeError> {
        let min = self.forget_watermark;
        let instances = self.instances.as_mut().expect(SPARSE);
        if slot < min || instances.wants(slot) || instances.chosen_in(slot).is_some() {
            return Ok(());
        }
        if instances.wanted_count() >= INSTANCES_IN_FLIGHT_MAX {
            return Err(ProposeError::WindowFull);
        }
        instances.hear_of(slot);
        instances.want(slot, command.clone());
        if matches!(self.role, RoleState::Leading(_)) {
            self.propose_instance(slot, command);
        } else {
            self.forward_due();
        }
        Ok(())
    }

    /// This replica's program needs nothing below `watermark` any more. Never falls.
    ///
    /// # Panics
    /// When the replica is not in sparse mode.
    pub fn done(&mut self, watermark: Slot) {
        assert!(self.instances.is_some(), "{SPARSE}");
        self.durable_watermark = self.durable_watermark.max(watermark);
    }

    /// Every program is done with all below it; what is there is forgotten. In dense mode: every journal can replay it.
    #[must_use]
    pub fn min(&self) -> Slot {
        self.forget_watermark
    }

    /// The highest instance that this replica has heard of; none in dense mode.
    #[must_use]
    pub fn max(&self) -> Option<Slot> {
        self.instances
            .as_ref()
            .and_then(|instances| instances.max())
    }

    /// Whether this mode knows the message. A peer in the other mode belongs to another cluster, and the links refuse it
    /// before; here its words mean nothing.
    pub(super) fn understands(&self, message: &Message) -> bool {
        match message {
            Message::Canvass { .. }
            | Message::CanvassReply { .. }
            | Message::Accept { .. }
            | Message::Accepted { .. }
            | Message::Refused { .. }
            | Message::Heartbeat { .. } => true,
            Message::Prepare { .. }
            | Message::Promise { .. }
            | Message::Echo { .. }
            | Message::Advance { .. }
            | Message::TakeOver { .. }
            | Message::CatchUp { .. }
            | Message::Chosen { .. }
            | Message::ReadQuery { .. }
            | Message::ReadAnswer { .. } => self.instances.is_none(),
            Message::PrepareInstances { .. }
            | Message::PromiseInstances { .. }
            | Message::EchoInstances { .. }
            | Message::ForwardInstance { .. }
            | Message::ChosenInstance { .. }
            | Message::ForgottenInstances { .. } => self.instances.is_some(),
        }
    }

    /// The Prepare of this mode, for the ballot of a candidate.
    pub(super) fn prepare_message(&self, ballot: Ballot, from_slot: Slot) -> Message {
        match &self.instances {
            None => Message::Prepare { ballot, from_slot },
            Some(instances) => Message::PrepareInstances {
                ballot,
                min: self.forget_watermark,
                chosen: instances.chosen_ranges(),
            },
        }
    }

    /// A candidate asks its own acceptor; the promise comes back when it is durable.
    pub(super) fn prepare_own(&mut self, ballot: Ballot, from_slot: Slot) {
        let me = self.config.me;
        let Some(instances) = &mut self.instances else {
            self.handle_prepare(me, ballot, from_slot);
            return;
        };
        instances.reported.clear();
        let known = instances.chosen_ranges();
        self.handle_prepare_instances(me, ballot, self.forget_watermark, &known);
    }

    /// Phase 1b. The report leaves out what the candidate knows, and names what is known here to be chosen.
    pub(super) fn handle_prepare_instances(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        min: Slot,
        known: &[SlotRange],
    ) {
        self.forget_below(min);
        if !self.promise_to(from, ballot) {
            return;
        }
        let min = self.forget_watermark;
        let instances = self.instances.as_mut().expect(SPARSE);
        instances.promises_sent += 1;
        let sending = self.config.birth.wrapping_add(instances.promises_sent);
        let mut chosen = instances.chosen_ranges();
        let accepted = report(self.acceptor.accepted_from(min), instances, ballot, known);
        let parts = super::acting::split_in_parts(accepted, self.config.message_bytes_max);
        let count = u32::try_from(parts.len()).expect("a promise has fewer than 2^32 parts");
        for (part, accepted) in (0..count).zip(parts) {
            let promise = Message::PromiseInstances {
                ballot,
                incarnation: self.config.incarnation,
                sending,
                part,
                parts: count,
                min,
                chosen: std::mem::take(&mut chosen),
                accepted,
            };
            self.send_when_durable(from, promise);
        }
    }

    /// A part of a promise. Its first part says what the sender need not be told.
    pub(super) fn handle_promise_instances(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        chosen: Vec<SlotRange>,
        part: PromisePart,
    ) {
        self.forget_below(part.chosen_watermark);
        let instances = self.instances.as_mut().expect(SPARSE);
        for entry in &part.accepted {
            instances.hear_of(entry.slot);
        }
        if part.part == 0
            && matches!(&self.role, RoleState::Preparing(preparing) if preparing.ballot == ballot)
        {
            instances.reported.insert(from, chosen);
        }
        self.handle_promise(from, ballot, part);
    }

    /// A leader begins in sparse mode: the others are told what they did not report to know.
    pub(super) fn begin_to_tell(&mut self) {
        let me = self.config.me;
        let members = self.configuration.members();
        if let Some(instances) = &mut self.instances {
            instances.begin_to_tell(members.filter(|member| *member != me));
        }
    }

    /// Proposes what phase 1 found, in order, as far as there is room. Holes stay holes.
    pub(super) fn propose_found_instances(&mut self) {
        while let RoleState::Leading(leading) = &mut self.role {
            if !has_room(leading, &self.config) {
                return;
            }
            let Some((slot, command)) = leading.adopted.pop_first() else {
                return;
            };
            self.propose_instance(slot, command);
        }
    }

    /// Phase 2a for one instance, unless it is forgotten, chosen, or under way; without room it is left for later.
    fn propose_instance(&mut self, slot: Slot, command: Command) {
        let instances = self.instances.as_ref().expect(SPARSE);
        if slot < self.forget_watermark || instances.chosen_in(slot).is_some() {
            return;
        }
        let RoleState::Leading(leading) = &mut self.role else {
            return;
        };
        let under_way =
            leading.in_flight.contains_key(&slot) || leading.adopted.contains_key(&slot);
        if under_way || !has_room(leading, &self.config) {
            return;
        }
        let ballot = leading.ballot;
        let in_flight = InFlight {
            command: command.clone(),
            votes: ReplicaSet::default(),
            sent_tick: self.now,
        };
        leading.in_flight.insert(slot, in_flight);
        self.accept(ballot, slot, &command)
            .expect("a leader has promised nothing above its own ballot");
        self.send_to_others(&Message::Accept {
            ballot,
            slot,
            command,
            chosen_watermark: Slot(0),
        });
    }

    /// Whether an Accept speaks of a forgotten instance: its sender is told so, and nothing else (RULES R20).
    pub(super) fn refuses_as_forgotten(&mut self, from: ReplicaId, slot: Slot) -> bool {
        let min = self.forget_watermark;
        let Some(instances) = &mut self.instances else {
            return false;
        };
        instances.hear_of(slot);
        if slot < min {
            self.send(from, Message::ForgottenInstances { min });
        }
        slot < min
    }

    /// Whether the command of this slot is known here to be chosen, so that confirming it takes no write.
    pub(super) fn knows(&self, slot: Slot) -> bool {
        self.instances.as_ref().map_or_else(
            || self.learner.knows(slot),
            |instances| instances.chosen_in(slot).is_some(),
        )
    }

    /// A peer that does not lead asks for a command to be proposed. The first to come wins, and whoever asks for what is
    /// decided is told. One that does not lead either passes it on, if it was not passed on before.
    pub(super) fn handle_forward_instance(
        &mut self,
        from: ReplicaId,
        slot: Slot,
        relayed: bool,
        command: Command,
    ) {
        if self.refuses_as_forgotten(from, slot) {
            return;
        }
        let instances = self.instances.as_ref().expect(SPARSE);
        if let Some(command) = instances.chosen_in(slot).cloned() {
            self.send(from, Message::ChosenInstance { slot, command });
        } else if matches!(self.role, RoleState::Leading(_)) {
            self.propose_instance(slot, command);
        } else if let Some(leader) = self.leader().filter(|leader| !relayed && *leader != from) {
            let relayed = true;
            let forward = Message::ForwardInstance {
                slot,
                relayed,
                command,
            };
            self.send(leader, forward);
        }
    }

    /// What a peer knows to be chosen is chosen, in whatever ballot.
    pub(super) fn handle_chosen_instance(&mut self, slot: Slot, command: Command) {
        self.choose_instance(slot, command);
        let leads = matches!(self.role, RoleState::Leading(_));
        let instances = self.instances.as_mut().expect(SPARSE);
        if !leads {
            instances.acknowledge(slot);
        }
    }

    /// Learns that `command` is chosen in `slot`. It is always written to the journal: what is acknowledged is known
    /// after a restart, and there is no watermark that would show it. A leader tells everybody.
    pub(super) fn choose_instance(&mut self, slot: Slot, command: Command) {
        if slot < self.forget_watermark {
            return;
        }
        let instances = self.instances.as_mut().expect(SPARSE);
        if !instances.choose(slot, &command) {
            return;
        }
        self.acceptor.forget(slot);
        self.pending.records.push(Record::Learned {
            slot,
            command: command.clone(),
        });
        let RoleState::Leading(leading) = &mut self.role else {
            return;
        };
        leading.in_flight.remove(&slot);
        leading.adopted.remove(&slot);
        let due = self.now + self.config.retransmit_ticks;
        for untold in instances.untold.values_mut() {
            untold.insert(slot, due);
        }
        self.send_to_others(&Message::ChosenInstance { slot, command });
    }

    /// The answer to a heartbeat. It leaves when all that was learned is durable, so that what it acknowledges is still
    /// known after a restart.
    pub(super) fn echo_instances(&mut self, leader: ReplicaId, ballot: Ballot, nonce: u64) {
        let done_watermark = self.durable_watermark;
        let instances = self.instances.as_mut().expect(SPARSE);
        let echo = Message::EchoInstances {
            ballot,
            nonce,
            incarnation: self.config.incarnation,
            done_watermark,
            learned: instances.take_acknowledgements(),
        };
        self.send_when_durable(leader, echo);
    }

    pub(super) fn handle_echo_instances(
        &mut self,
        from: ReplicaId,
        (ballot, nonce, incarnation, done_watermark): (Ballot, u64, Incarnation, Slot),
        learned: &[Slot],
    ) {
        if let RoleState::Leading(leading) = &self.role
            && leading.ballot == ballot
        {
            let instances = self.instances.as_mut().expect(SPARSE);
            instances.acknowledged(from, learned);
        }
        // Programs are told of a full disk by their drivers: here nothing is refused for it.
        let space = Space::Ample;
        self.handle_echo(from, ballot, nonce, incarnation, done_watermark, space);
    }

    /// Sends what is due: as leader what others were not told, otherwise what the leader is to propose.
    pub(super) fn tick_instances(&mut self) {
        if self.instances.is_none() {
            return;
        }
        if matches!(self.role, RoleState::Leading(_)) {
            self.propose_found_instances();
            self.propose_wanted();
            self.tell_untold();
        } else {
            self.forward_due();
        }
    }

    /// A leader's own program began these before it led, or when there was no room.
    fn propose_wanted(&mut self) {
        let RoleState::Leading(leading) = &self.role else {
            return;
        };
        let instances = self.instances.as_ref().expect(SPARSE);
        let idle: Vec<(Slot, Command)> = instances
            .wanted()
            .filter(|(slot, _)| !leading.in_flight.contains_key(slot))
            .map(|(slot, command)| (slot, command.clone()))
            .collect();
        for (slot, command) in idle {
            self.propose_instance(slot, command);
        }
    }

    fn tell_untold(&mut self) {
        let (now, retransmit_ticks) = (self.now, self.config.retransmit_ticks);
        let bytes_max = self.config.message_bytes_max;
        let instances = self.instances.as_mut().expect(SPARSE);
        let others: Vec<ReplicaId> = instances.untold.keys().copied().collect();
        for other in others {
            let instances = self.instances.as_mut().expect(SPARSE);
            for (slot, command) in instances.take_untold(other, now, retransmit_ticks, bytes_max) {
                self.send(other, Message::ChosenInstance { slot, command });
            }
        }
    }

    /// Asks the leader for what this replica's program began. Where only others hear a leader they are all asked: one
    /// that is cut off from the leader alone is to be served like any other.
    fn forward_due(&mut self) {
        let heard = self.leader();
        let Some(leader) = heard.or_else(|| self.leader_elsewhere()) else {
            return;
        };
        let (now, retransmit_ticks) = (self.now, self.config.retransmit_ticks);
        let bytes_max = self.config.message_bytes_max;
        let instances = self.instances.as_mut().expect(SPARSE);
        for (slot, command) in instances.take_due(leader, now, retransmit_ticks, bytes_max) {
            let forward = Message::ForwardInstance {
                slot,
                relayed: false,
                command,
            };
            match heard {
                Some(leader) => self.send(leader, forward),
                None => self.send_to_others(&forward),
            }
        }
    }

    /// Every program is done with all below `min`: memory of it is freed in every role.
    pub(super) fn forget_instances_below(&mut self, min: Slot) {
        let instances = self.instances.as_mut().expect(SPARSE);
        instances.forget_below(min);
        self.acceptor.forget_below(min);
        if let RoleState::Leading(leading) = &mut self.role {
            leading.in_flight = leading.in_flight.split_off(&min);
            leading.adopted = leading.adopted.split_off(&min);
        }
    }
}

/// Whether a leader may begin another agreement.
fn has_room(leading: &Leading, config: &Config) -> bool {
    leading.in_flight.len() < INSTANCES_IN_FLIGHT_MAX
        && leading.in_flight_bytes() < config.in_flight_bytes_max
}

const SPARSE: &str = "only a replica in sparse mode has instances";
