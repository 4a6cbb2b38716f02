//! What every replica does, whoever leads: accept, learn, catch up, and help others to.

use super::{Agent, Replica, RoleState};
use crate::acceptor::Acceptance;
use crate::ballot::{Ballot, ReplicaId, Slot};
use crate::learner::Addressee;
use crate::message::{AcceptedCommand, Command, Message};
use crate::output::Record;

impl Replica {
    /// Phase 1b. The promise leaves when it is durable, with all that was accepted in slots that are still open here.
    pub(super) fn handle_prepare(&mut self, from: ReplicaId, ballot: Ballot, from_slot: Slot) {
        if !self.promise_to(from, ballot) {
            return;
        }
        let chosen_watermark = self.learner.chosen_watermark();
        let accepted = self
            .acceptor
            .accepted_from(from_slot.max(chosen_watermark))
            .collect();
        let parts = split_in_parts(accepted, self.config.message_bytes_max);
        let count = u32::try_from(parts.len()).expect("a promise has fewer than 2^32 parts");
        for (part, accepted) in (0..count).zip(parts) {
            let promise = Message::Promise {
                ballot,
                incarnation: self.config.incarnation,
                from_slot,
                part,
                parts: count,
                accepted,
                chosen_watermark,
                trimmed_watermark: self.learner.trimmed_watermark(),
            };
            self.send_when_durable(from, promise);
        }
    }

    /// Promises to a candidate, or refuses it; says whether it promised.
    pub(super) fn promise_to(&mut self, from: ReplicaId, ballot: Ballot) -> bool {
        self.see(ballot);
        if ballot.replica != from || !self.can_vote() {
            return false;
        }
        let news = ballot > self.acceptor.promised();
        if let Err(promised) = self.acceptor.promise(ballot) {
            self.refuse(from, ballot, promised);
            return false;
        }
        if news && from != self.config.me {
            self.become_follower_of(ballot);
        }
        true
    }

    /// Phase 2b. A slot that is known here to be chosen needs no vote any more: it is confirmed without a write,
    /// because no proposer can have another command for it.
    pub(super) fn handle_accept(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        slot: Slot,
        command: &Command,
        chosen_watermark: Slot,
    ) {
        self.see(ballot);
        if ballot.replica != from || self.refuses_as_forgotten(from, slot) {
            return;
        }
        if self.votes_in(slot) && self.accept(ballot, slot, command).is_err() {
            self.refuse(from, ballot, self.acceptor.promised());
            return;
        }
        if self.proposes_below(ballot) {
            self.become_follower_of(ballot);
        }
        self.handle_watermark(from, ballot, chosen_watermark);
    }

    /// Accepts in this replica's own acceptor, to be confirmed when durable.
    ///
    /// # Errors
    /// The higher ballot that is promised.
    pub(super) fn accept(
        &mut self,
        ballot: Ballot,
        slot: Slot,
        command: &Command,
    ) -> Result<(), Ballot> {
        if self.knows(slot) {
            self.acceptor.promise(ballot)?;
        } else if self.acceptor.accept(ballot, slot, command)? == Acceptance::Fresh {
            self.pending.records.push(Record::Accepted {
                slot,
                ballot,
                command: command.clone(),
            });
        }
        match &mut self.pending.accepted {
            Some((confirmed, slots)) if *confirmed == ballot => slots.push(slot),
            accepted => *accepted = Some((ballot, vec![slot])),
        }
        Ok(())
    }

    /// Says aloud that a higher ballot is promised, and whether its leader is heard (RULES R17).
    pub(super) fn refuse(&mut self, from: ReplicaId, ballot: Ballot, promised: Ballot) {
        if from == self.config.me {
            return;
        }
        let hears_leader = match &self.role {
            RoleState::Leading(leading) => leading.ballot == promised,
            RoleState::Follower | RoleState::Canvassing(_) | RoleState::Preparing(_) => self
                .election
                .leader(self.now, &self.config)
                .is_some_and(|heard| heard >= promised),
        };
        let refused = Message::Refused {
            ballot,
            promised,
            hears_leader,
        };
        self.send(from, refused);
    }

    /// The leader of `ballot` knows every slot below the watermark to be chosen. Only what was accepted here in that
    /// very ballot is surely the same; the rest is asked for (RULES R6).
    pub(super) fn handle_watermark(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        chosen_watermark: Slot,
    ) {
        if chosen_watermark <= self.learner.chosen_watermark() || self.learns_not() {
            return;
        }
        for (slot, command) in self
            .acceptor
            .accepted_in_ballot_below(ballot, chosen_watermark)
        {
            self.choose(slot, command);
        }
        self.settle_in_flight();
        self.catch_up.heard(from, chosen_watermark);
        self.ask_to_catch_up();
    }

    /// Learns that `command` is chosen in `slot`. One that was not accepted here is written to the journal, so that
    /// whatever this replica reports as applied its own journal can replay (RULES R7).
    pub(super) fn choose(&mut self, slot: Slot, command: Command) {
        if self.learns_not() {
            return;
        }
        if self.instances.is_some() {
            self.choose_instance(slot, command);
            return;
        }
        if self.learner.knows(slot) {
            return;
        }
        let held = self
            .acceptor
            .accepted_in(slot)
            .is_some_and(|(_, held)| *held == command);
        if !held {
            self.pending.records.push(Record::Learned {
                slot,
                command: command.clone(),
            });
        }
        if let Command::Rejoin {
            replica,
            incarnation,
        } = command
        {
            self.configuration
                .rejoin(slot, self.config.window, replica, incarnation);
        }
        self.learner.choose(slot, command);
        self.acceptor.forget_below(self.learner.chosen_watermark());
    }

    /// Asks whoever is known to be ahead, if nothing is asked yet. Instances need no asking: a leader tells them until
    /// they are acknowledged.
    pub(super) fn ask_to_catch_up(&mut self) {
        if self.learns_not() {
            return;
        }
        if self.instances.is_some() {
            return;
        }
        let from_slot = self.learner.chosen_watermark();
        let question = self
            .catch_up
            .question(from_slot, self.now, self.config.retransmit_ticks);
        match question {
            None => {}
            Some(Addressee::One(peer)) => self.send(peer, Message::CatchUp { from_slot }),
            Some(Addressee::All) => self.send_to_others(&Message::CatchUp { from_slot }),
        }
    }

    pub(super) fn handle_catch_up(&mut self, from: ReplicaId, from_slot: Slot) {
        if self.learns_not() {
            return;
        }
        let commands = self
            .learner
            .chosen_from(from_slot, self.config.message_bytes_max);
        let chosen = Message::Chosen {
            from_slot,
            commands,
            chosen_watermark: self.learner.chosen_watermark(),
            trimmed_watermark: self.learner.trimmed_watermark(),
        };
        self.send(from, chosen);
    }

    /// What a peer knows to be chosen is chosen, in whatever ballot. A leader that finds there another command than it
    /// proposed has been deposed without noticing, and must not announce a watermark above it (RULES R6).
    pub(super) fn handle_chosen(
        &mut self,
        from: ReplicaId,
        from_slot: Slot,
        commands: Vec<Command>,
        chosen_watermark: Slot,
    ) {
        if self.learns_not() {
            return;
        }
        self.catch_up.heard(from, chosen_watermark);
        if !commands.is_empty() {
            self.catch_up.answered(from, from_slot);
        }
        let mut slot = from_slot;
        for command in commands {
            if self.contradicts_leadership(slot, &command) {
                self.become_follower_of(Ballot::NONE);
            }
            self.choose(slot, command);
            slot = slot.next();
        }
        self.settle_in_flight();
        self.ask_to_catch_up();
    }

    /// Every replica's journal can replay all below the watermark; or every program is done with it.
    pub(super) fn forget_below(&mut self, watermark: Slot) {
        if watermark > self.forget_watermark {
            self.forget_watermark = watermark;
            if self.instances.is_some() {
                self.forget_instances_below(watermark);
            }
        }
    }

    /// Confirms to a leader that nothing above its ballot is promised here. Not a claim about this replica's disk.
    pub(super) fn echo(&mut self, leader: ReplicaId, ballot: Ballot, nonce: u64) {
        if !self.can_vote() {
            return;
        }
        if self.instances.is_some() {
            self.echo_instances(leader, ballot, nonce);
            return;
        }
        let echo = Message::Echo {
            ballot,
            nonce,
            incarnation: self.config.incarnation,
            durable_watermark: self.durable_watermark,
            space: self.space.own,
        };
        self.send(leader, echo);
    }

    /// Sends the reads that wait to the leader, if one is heard.
    pub(super) fn ask_to_read(&mut self) {
        let Some(leader) = self.leader().filter(|leader| *leader != self.config.me) else {
            return;
        };
        if let Some(nonce) = self
            .queries
            .question(leader, self.now, self.config.retransmit_ticks)
        {
            self.send(leader, Message::ReadQuery { nonce });
        }
    }

    pub(super) fn handle_read_answer(&mut self, nonce: u64, read_watermark: Slot) {
        for ticket in self.queries.answer(nonce) {
            self.release_read(ticket, read_watermark);
        }
    }

    /// Whether this replica leads, or tries to, in a ballot lower than this one.
    fn proposes_below(&self, ballot: Ballot) -> bool {
        match &self.role {
            RoleState::Leading(leading) => leading.ballot < ballot,
            RoleState::Preparing(preparing) => preparing.ballot < ballot,
            RoleState::Follower | RoleState::Canvassing(_) => false,
        }
    }

    /// Whether nobody learns here: the learner has ended, and its successor is not there yet.
    fn learns_not(&self) -> bool {
        self.away == Some(Agent::Learner)
    }

    /// Remembers the round, so that this replica's next ballot is above it.
    pub(super) fn see(&mut self, ballot: Ballot) {
        self.round_max = self.round_max.max(ballot.round);
    }
}

/// Cuts what a promise reports into parts of at most `bytes_max`, at least one part, none empty but a lone one.
pub(super) fn split_in_parts(
    accepted: Vec<AcceptedCommand>,
    bytes_max: usize,
) -> Vec<Vec<AcceptedCommand>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = 0;
    for entry in accepted {
        let size_bytes = entry.command.size_bytes();
        let part = parts.last().expect("there is always a part");
        if !part.is_empty() && bytes + size_bytes > bytes_max {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += size_bytes;
        parts
            .last_mut()
            .expect("there is always a part")
            .push(entry);
    }
    parts
}
