//! What a candidate and a leader do: phase 1, phase 2, heartbeats, and confirming reads.

use super::{Replica, RoleState};
use crate::ballot::{Ballot, Incarnation, ReplicaId, Slot};
use crate::message::{Command, Message};
use crate::output::{Note, ReadReady};
use crate::proposer::{InFlight, LastEcho, Leading, PromisePart};
use crate::space::Space;

impl Replica {
    /// Sends again what was not answered, beats, and resigns when no majority answers.
    pub(super) fn tick_leading(&mut self) {
        match &self.role {
            RoleState::Follower | RoleState::Canvassing(_) => {}
            RoleState::Preparing(_) => self.tick_preparing(),
            RoleState::Leading(leading) => {
                let timeout = self.config.election_timeout_ticks_min;
                let slot = self.learner.chosen_watermark();
                if !leading.has_majority(&self.configuration, slot, self.now, timeout) {
                    self.become_follower_of_nobody();
                } else if !leading.phase_one_holds(&self.configuration) {
                    self.become_candidate();
                } else if self.learns_nothing() {
                    self.become_candidate_or_wait();
                } else {
                    self.survey_space();
                    self.resend_accepts();
                    self.beat_if_due();
                    self.tell_watermark_to_all();
                    self.leave_lead_to_roomier();
                }
            }
        }
    }

    /// Whether this leader still lacks commands that are chosen below its start, and has learned none for long. Who knew
    /// them may have forgotten in a crash, and nobody but a leader proposes them again: phase 1 tells what those who are
    /// here accepted there.
    fn learns_nothing(&mut self) -> bool {
        let chosen_watermark = self.learner.chosen_watermark();
        let RoleState::Leading(leading) = &mut self.role else {
            return false;
        };
        if chosen_watermark != leading.learned_watermark {
            leading.learned_watermark = chosen_watermark;
            leading.learned_tick = self.now;
        }
        let patience_ticks = self.config.election_timeout_ticks_max;
        let is_log = self.instances.is_none();
        is_log
            && chosen_watermark < leading.start
            && self.now >= leading.learned_tick + patience_ticks
    }

    fn tick_preparing(&mut self) {
        let RoleState::Preparing(preparing) = &mut self.role else {
            return;
        };
        if self.now >= preparing.started_tick + self.config.election_timeout_ticks_max {
            self.become_follower_of_nobody();
            return;
        }
        if self.now < preparing.sent_tick + self.config.retransmit_ticks {
            return;
        }
        preparing.sent_tick = self.now;
        let (ballot, from_slot) = (preparing.ballot, preparing.from_slot);
        let silent: Vec<ReplicaId> = self
            .configuration
            .members()
            .filter(|member| *member != self.config.me && !preparing.has_promise_of(*member))
            .collect();
        let prepare = self.prepare_message(ballot, from_slot);
        for member in silent {
            self.send(member, prepare.clone());
        }
    }

    pub(super) fn handle_promise(&mut self, from: ReplicaId, ballot: Ballot, part: PromisePart) {
        if from != self.config.me {
            self.catch_up.heard(from, part.chosen_watermark);
        }
        let RoleState::Preparing(preparing) = &mut self.role else {
            return;
        };
        if preparing.ballot != ballot {
            return;
        }
        preparing.take_in(from, part);
        if preparing.is_complete(&self.configuration) {
            self.become_leader();
        }
    }

    /// Phase 1 is done: proposes again what it found, fills the holes between, and tells everybody who leads.
    fn become_leader(&mut self) {
        let RoleState::Preparing(preparing) =
            std::mem::replace(&mut self.role, RoleState::Follower)
        else {
            unreachable!("only a candidate becomes leader");
        };
        let mut leading = preparing.into_leading(self.learner.chosen_watermark(), self.now);
        for ticket in self.queries.take_all() {
            leading.reads.take_in(ticket);
        }
        self.pending.notes.push(Note::Leading(leading.ballot));
        self.election.leads();
        self.role = RoleState::Leading(Box::new(leading));
        self.beat();
        self.begin_to_tell();
        self.propose_found();
        self.ask_to_catch_up();
    }

    /// Proposes what phase 1 found, in order, no-ops in the holes, as far as the window allows.
    fn propose_found(&mut self) {
        if self.instances.is_some() {
            self.propose_found_instances();
            return;
        }
        while let RoleState::Leading(leading) = &mut self.role {
            let slot = leading.next_slot;
            if slot >= leading.adopted_end {
                break;
            }
            let found = leading.adopted.remove(&slot);
            if self.window_left() == 0 {
                if let (RoleState::Leading(leading), Some(command)) = (&mut self.role, found) {
                    leading.adopted.insert(slot, command);
                }
                return;
            }
            let known = self.learner.command(slot).cloned();
            self.propose_in(slot, known.or(found).unwrap_or(Command::Noop));
        }
        self.fill_until_settled();
    }

    /// A change of the voters that is chosen comes into force a window later, and until then a replica lacks its vote.
    /// No-ops bring that slot near at once, however little the clients write (RULES R1).
    fn fill_until_settled(&mut self) {
        let end = self.configuration.settled_from();
        while let RoleState::Leading(leading) = &self.role {
            let slot = leading.next_slot;
            if slot >= end || self.window_room(leading) == 0 {
                return;
            }
            self.propose_in(slot, Command::Noop);
        }
    }

    /// How many slots the window leaves open: nobody proposes in a slot before every slot a window below it is known to
    /// be chosen, nor where the promises of phase 1 are no quorum any more (RULES R1). None while enough bytes are in
    /// flight.
    pub(super) fn window_room(&self, leading: &Leading) -> u64 {
        if !leading.phase_one_holds(&self.configuration) {
            return 0;
        }
        if leading.in_flight_bytes() >= self.config.in_flight_bytes_max {
            return 0;
        }
        let end = self.learner.chosen_watermark().plus(self.config.window);
        end.0.saturating_sub(leading.next_slot.0)
    }

    fn window_left(&self) -> u64 {
        match &self.role {
            RoleState::Leading(leading) => self.window_room(leading),
            RoleState::Follower | RoleState::Canvassing(_) | RoleState::Preparing(_) => 0,
        }
    }

    /// Phase 2a. The leader's own acceptor accepts first; its vote counts when it is durable, and meanwhile the Accepts
    /// are on their way.
    pub(super) fn propose_in(&mut self, slot: Slot, command: Command) {
        let chosen_watermark = self.learner.chosen_watermark();
        let RoleState::Leading(leading) = &mut self.role else {
            unreachable!("only a leader proposes");
        };
        assert!(
            leading.next_slot == slot,
            "slot {slot} proposed after {}",
            leading.next_slot
        );
        leading.next_slot = slot.next();
        leading.told_watermark = chosen_watermark;
        let ballot = leading.ballot;
        let in_flight = InFlight {
            command: command.clone(),
            votes: crate::quorum::ReplicaSet::default(),
            sent_tick: self.now,
        };
        leading.in_flight.insert(slot, in_flight);
        if self.votes_in(slot) {
            self.accept(ballot, slot, &command)
                .expect("a leader has promised nothing above its own ballot");
        }
        self.send_to_others(&Message::Accept {
            ballot,
            slot,
            command,
            chosen_watermark,
        });
    }

    /// Phase 2b has come: a majority of voters in the slot's configuration makes the command chosen.
    pub(super) fn handle_accepted(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        incarnation: Incarnation,
        slots: &[Slot],
        durable_watermark: Slot,
    ) {
        if from == self.config.me {
            self.durable_watermark = self.durable_watermark.max(durable_watermark);
        }
        let majority = self.configuration.majority();
        let RoleState::Leading(leading) = &mut self.role else {
            return;
        };
        if self.configuration.last_life(from) == Some(incarnation) {
            leading.note_durable(from, incarnation, durable_watermark);
        }
        if leading.ballot != ballot {
            return;
        }
        let mut chosen = Vec::new();
        for slot in slots {
            let Some(in_flight) = leading.in_flight.get_mut(slot) else {
                continue;
            };
            if self.configuration.counts(from, incarnation, *slot) {
                in_flight.votes.insert(from);
            }
            if in_flight.votes.len() >= majority {
                let done = leading.in_flight.remove(slot).expect("it was just found");
                chosen.push((*slot, done.command));
            }
        }
        for (slot, command) in chosen {
            self.choose(slot, command);
        }
        self.propose_found();
    }

    /// Drops from flight what has been learned another way.
    pub(super) fn settle_in_flight(&mut self) {
        if let RoleState::Leading(leading) = &mut self.role {
            leading
                .in_flight
                .retain(|slot, _| !self.learner.knows(*slot));
            self.propose_found();
        }
    }

    /// Whether a command said to be chosen cannot be, if this leader's ballot were the highest. Where it has proposed, or
    /// is about to propose what phase 1 found, only that can be chosen; elsewhere nothing yet.
    pub(super) fn contradicts_leadership(&self, slot: Slot, command: &Command) -> bool {
        let RoleState::Leading(leading) = &self.role else {
            return false;
        };
        if slot < leading.start || self.learner.knows(slot) {
            return false;
        }
        let proposed = leading.in_flight.get(&slot);
        let expected = proposed
            .map(|in_flight| &in_flight.command)
            .or_else(|| leading.adopted.get(&slot));
        expected != Some(command)
    }

    fn resend_accepts(&mut self) {
        let RoleState::Leading(leading) = &mut self.role else {
            return;
        };
        let ballot = leading.ballot;
        let mut again = Vec::new();
        for (slot, in_flight) in &mut leading.in_flight {
            if self.now < in_flight.sent_tick + self.config.retransmit_ticks {
                continue;
            }
            in_flight.sent_tick = self.now;
            for member in self.configuration.members() {
                if member != self.config.me && !in_flight.votes.contains(member) {
                    again.push((member, *slot, in_flight.command.clone()));
                }
            }
        }
        let chosen_watermark = self.learner.chosen_watermark();
        for (member, slot, command) in again {
            let accept = Message::Accept {
                ballot,
                slot,
                command,
                chosen_watermark,
            };
            self.send(member, accept);
        }
    }

    fn beat_if_due(&mut self) {
        let RoleState::Leading(leading) = &self.role else {
            return;
        };
        if self.now >= leading.heartbeat_tick + self.config.heartbeat_ticks {
            self.beat();
        }
    }

    /// A heartbeat: again that of the open round, or one without readers.
    fn beat(&mut self) {
        let RoleState::Leading(leading) = &mut self.role else {
            return;
        };
        if !leading.reads.is_open() {
            leading.reads.begin_without_readers();
        }
        self.send_heartbeat();
    }

    /// Begins a round for the reads that wait, once all that phase 1 found is chosen: before that, this leader may lack
    /// a write that was answered under the last one (RULES R10). Nor does it know all such writes where phase 1 counted
    /// the promise of a life that does not vote there: a lower ballot may go on choosing (RULES R1).
    pub(super) fn begin_read_round(&mut self) {
        let chosen_watermark = self.learner.chosen_watermark();
        let RoleState::Leading(leading) = &mut self.role else {
            return;
        };
        let knows_all_before =
            chosen_watermark >= leading.adopted_end && leading.phase_one_holds(&self.configuration);
        if leading.reads.wants_round() && knows_all_before {
            leading.reads.begin(chosen_watermark);
            self.send_heartbeat();
        }
    }

    fn send_heartbeat(&mut self) {
        let chosen_watermark = self.learner.chosen_watermark();
        let RoleState::Leading(leading) = &mut self.role else {
            return;
        };
        let (ballot, nonce) = (leading.ballot, leading.reads.nonce());
        leading.heartbeat_tick = self.now;
        leading.told_watermark = chosen_watermark;
        let timeout = self.config.election_timeout_ticks_min;
        leading.rounds.left(nonce, self.now, timeout);
        let has_majority =
            leading.has_majority(&self.configuration, chosen_watermark, self.now, timeout / 2);
        let everywhere = leading.durable_everywhere(&self.configuration);
        self.forget_below(everywhere);
        self.send_to_others(&Message::Heartbeat {
            ballot,
            nonce,
            chosen_watermark,
            forget_watermark: self.forget_watermark,
            has_majority,
            space: self.space.of_majority,
        });
        if self.can_vote() {
            let (me, incarnation) = (self.config.me, self.config.incarnation);
            let (watermark, space) = (self.durable_watermark, self.space.own);
            self.handle_echo(me, ballot, nonce, incarnation, watermark, space);
        }
    }

    pub(super) fn handle_echo(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        nonce: u64,
        incarnation: Incarnation,
        durable_watermark: Slot,
        space: Space,
    ) {
        let slot = self.learner.chosen_watermark();
        let RoleState::Leading(leading) = &mut self.role else {
            return;
        };
        if leading.ballot != ballot || !self.configuration.counts(from, incarnation, slot) {
            return;
        }
        if self.configuration.last_life(from) == Some(incarnation) {
            leading.note_durable(from, incarnation, durable_watermark);
        }
        if let Some(tick) = leading.rounds.tick_of(nonce) {
            let tick = tick.max(leading.echoed.get(&from).map_or(0, |echo| echo.tick));
            let echo = LastEcho {
                tick,
                incarnation,
                space,
            };
            leading.echoed.insert(from, echo);
        }
        let confirmed = leading
            .reads
            .echo(from, incarnation, nonce)
            .is_some_and(|echoes| self.configuration.is_quorum(slot, echoes));
        if !confirmed {
            return;
        }
        let released = leading.reads.release().expect("a confirmed round is open");
        for ticket in released.tickets {
            self.release_read(ticket, released.watermark);
        }
        for (follower, nonce) in released.queries {
            let read_watermark = released.watermark;
            self.send(
                follower,
                Message::ReadAnswer {
                    nonce,
                    read_watermark,
                },
            );
        }
    }

    pub(super) fn handle_read_query(&mut self, from: ReplicaId, nonce: u64) {
        if let RoleState::Leading(leading) = &mut self.role {
            leading.reads.take_in_query(from, nonce);
        }
    }

    pub(super) fn release_read(&mut self, ticket: u64, watermark: Slot) {
        self.pending.reads.push(ReadReady { ticket, watermark });
    }

    /// Followers that wait for an outcome hear of it at once, unless an Accept just told all. They hear
    /// of the next one too only if something of theirs may still be in flight.
    pub(super) fn tell_watermark(&mut self) {
        let chosen_watermark = self.learner.chosen_watermark();
        let RoleState::Leading(leading) = &mut self.role else {
            return;
        };
        let behind = leading.told_watermark.max(leading.hurried_watermark) < chosen_watermark;
        if leading.hurried.is_empty() || !behind {
            return;
        }
        leading.hurried_watermark = chosen_watermark;
        let hurried = leading.hurried;
        if leading.in_flight.is_empty() {
            leading.hurried = crate::quorum::ReplicaSet::default();
        }
        let ballot = leading.ballot;
        for follower in hurried.iter() {
            let advance = Message::Advance {
                ballot,
                chosen_watermark,
            };
            self.send(follower, advance);
        }
    }

    pub(super) fn tell_watermark_to_all(&mut self) {
        let chosen_watermark = self.learner.chosen_watermark();
        let RoleState::Leading(leading) = &mut self.role else {
            return;
        };
        if leading.told_watermark < chosen_watermark {
            leading.told_watermark = chosen_watermark;
            let ballot = leading.ballot;
            self.send_to_others(&Message::Advance {
                ballot,
                chosen_watermark,
            });
        }
    }
}
