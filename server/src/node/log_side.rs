//! The node's side of the log: proposing and forwarding what is held, applying what is chosen.

use log::{debug, info, warn};
use paxos::{Command, Note, Output, ReplicaId};

use super::{Node, Phase, batch};
use crate::peers::PeerMessage;

impl Node {
    /// Requests that a follower holds for its clients. A replica that does not lead drops them: the follower hears of
    /// the next leader by itself.
    pub(super) fn take_forwarded(&mut self, from: ReplicaId, requests: Vec<u8>) {
        if let Some(error) = batch::Items::new(&requests).find_map(Result::err) {
            warn!(
                "a forward of {} bytes from {from} {error}: dropped",
                requests.len()
            );
            return;
        }
        if requests.len()
            > FORWARD_BYTES_MAX
                + self.settings.cluster.value_bytes_max as usize
                + ITEM_FIELDS_BYTES_MAX
        {
            warn!(
                "a forward of {} bytes from {from} is longer than any replica makes: dropped",
                requests.len()
            );
            return;
        }
        let leads = self.leader() == Some(self.settings.replica);
        if !leads || self.forwarded_bytes + requests.len() > FORWARDED_BYTES_MAX {
            debug!(
                "a forward of {} bytes from {from} is dropped",
                requests.len()
            );
            return;
        }
        let requests = self.without_what_lacks_space(requests);
        if requests.is_empty() {
            return;
        }
        self.forwarded_bytes += requests.len();
        self.forwarded.push_back(requests);
        if let Phase::Running(replica) = &mut self.phase {
            replica.hurry(from);
        }
    }

    /// One ticket for all reads of this turn.
    pub(super) fn ask_reads(&mut self) {
        if let Phase::Running(replica) = &mut self.phase
            && let Some(ticket) = self.reads.take_ticket()
        {
            replica.read(ticket);
        }
    }

    /// Proposes what is held, when leading, or forwards it to whoever leads.
    pub(super) fn hand_over(&mut self) {
        let Phase::Running(replica) = &self.phase else {
            return;
        };
        let under = (replica.leader(), replica.promised());
        if under != self.handed_under {
            self.handed_under = under;
            self.held.hand_over_again();
            self.forwarded.clear();
            self.forwarded_bytes = 0;
            self.forget_hash_reports();
            self.report_hash();
            self.rejoins.forget_proposals();
        }
        self.refuse_for_space();
        match under.0 {
            None => {}
            Some(leader) if leader == self.settings.replica => {
                self.propose_rejoins();
                self.propose_held();
            }
            Some(leader) => self.forward_held(leader),
        }
    }

    /// Everything that waits goes into as few slots as their size allows. While nothing waits, log time goes on all the
    /// same, or sessions would be kept for ever.
    fn propose_held(&mut self) {
        self.propose_log_time();
        self.propose_hash();
        while self.held.has_outgoing() || !self.forwarded.is_empty() {
            let Phase::Running(replica) = &self.phase else {
                return;
            };
            if replica.room() == 0 {
                return;
            }
            let mut bytes = batch::begin(self.stamp());
            self.held
                .hand_over(self.now, BATCH_BYTES_MAX / 2, &mut bytes);
            while bytes.len() < BATCH_BYTES_MAX {
                let Some(requests) = self.forwarded.pop_front() else {
                    break;
                };
                self.forwarded_bytes -= requests.len();
                bytes.extend_from_slice(&requests);
            }
            self.held.hand_over(self.now, BATCH_BYTES_MAX, &mut bytes);
            self.propose(bytes);
        }
    }

    /// A batch without requests, once a minute while there are sessions that grow old (RULES R13).
    fn propose_log_time(&mut self) {
        let is_due = self.now >= self.stamped.0 + STAMP_STEP_MS_MAX / TICK_MS
            && self.state.sessions.len() > 0
            && !self.held.has_outgoing()
            && self.forwarded.is_empty();
        let has_room = self.replica().is_some_and(|replica| replica.room() > 0);
        if is_due && has_room {
            let bytes = batch::begin(self.stamp());
            self.propose(bytes);
        }
    }

    pub(super) fn propose(&mut self, bytes: Vec<u8>) {
        if let Phase::Running(replica) = &mut self.phase {
            replica
                .propose(Command::Opaque(bytes.into()))
                .expect("there was room a moment ago");
        }
    }

    fn forward_held(&mut self, leader: ReplicaId) {
        while self.held.has_outgoing() {
            let mut requests = Vec::new();
            self.held
                .hand_over(self.now, FORWARD_BYTES_MAX, &mut requests);
            self.out
                .send
                .push((leader, PeerMessage::Forward { requests }));
        }
    }

    /// The log time to write on a batch: what was last applied or stamped, and the ticks since (RULES R13).
    pub(super) fn stamp(&mut self) -> u64 {
        let (tick, log_time_ms) = self.stamped;
        let passed_ms = ((self.now - tick) * TICK_MS).min(STAMP_STEP_MS_MAX);
        self.stamped = (
            self.now,
            log_time_ms.max(self.state.log_time_ms()) + passed_ms,
        );
        self.stamped.1
    }

    /// Takes agreement's output: what is to be persisted and sent goes on to the driver, what is chosen is applied.
    pub(super) fn run_agreement(&mut self) {
        let Phase::Running(replica) = &mut self.phase else {
            return;
        };
        let Output {
            persist,
            messages,
            messages_when_durable,
            chosen,
            reads,
            notes,
        } = replica.take_output();
        if let Some(persist) = &persist {
            self.snapshots.note_persist(&persist.records);
        }
        self.out.persist = persist;
        let addressed =
            |envelope: paxos::Envelope| (envelope.to, PeerMessage::Agreement(envelope.message));
        self.out.send.extend(messages.into_iter().map(addressed));
        self.out
            .send_when_durable
            .extend(messages_when_durable.into_iter().map(addressed));
        for note in notes {
            self.log_note(note);
        }
        for (slot, command) in chosen {
            self.apply(slot, &command);
        }
        for ready in reads {
            self.reads.confirm(ready.ticket, ready.watermark);
        }
        let applied = self.state.applied();
        if self.reads.take_caught_up(applied) {
            self.settle_all();
        }
        if !self.reads.may_answer(applied) {
            return;
        }
        for read in self.reads.take_ready(applied) {
            self.read_when_in_order(read);
        }
    }

    fn apply(&mut self, slot: paxos::Slot, command: &Command) {
        let mut effects = Vec::new();
        self.state
            .apply(slot, command, |effect| effects.push(effect));
        self.applied_tick = self.now;
        if self.state.noted_hash().0 == slot.next() {
            self.report_hash();
        }
        self.log_rejoin(slot, command);
        if self.state.log_time_ms() > self.stamped.1 {
            self.stamped = (self.now, self.state.log_time_ms());
        }
        for effect in effects {
            self.take_effect(effect);
        }
    }

    fn log_note(&self, note: Note) {
        let me = self.settings.replica;
        match note {
            Note::Canvassing => {
                info!("{me} hears no leader and asks whether a majority would follow it");
            }
            Note::Preparing(ballot) => info!("{me} asks a majority to promise {ballot}"),
            Note::Leading(ballot) => info!("{me} leads in {ballot}"),
            Note::Resigned(ballot, reason) => info!("{me} leads no longer in {ballot}: {reason}"),
            Note::ShortOfSpace(heir) => info!("{me} has less room on its disk than {heir}"),
            Note::HandedOver(ballot, heir) => info!("{me} hands {ballot} over to {heir}"),
            Note::TakingOver(ballot, leader) => {
                info!("{me} takes over from {leader}, which stops leading in {ballot}");
            }
            Note::Following(ballot, leader) => info!("{me} follows {leader} in {ballot}"),
        }
    }
}

/// A batch is closed at this size; a single longer request goes alone. Large enough to spread a sync over thousands of
/// small requests, small enough that one slot does not hold up the next for long.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// The same for what a follower forwards at once. A batch that is nearly full may be joined by one forward more: the
/// longest frame between replicas has room for that.
const FORWARD_BYTES_MAX: usize = 256 << 10;

/// What the last request of a forward may take beside its value: key and numbers.
const ITEM_FIELDS_BYTES_MAX: usize = 8 << 10;

/// What a leader keeps of its followers' requests before it drops more; they are sent again.
const FORWARDED_BYTES_MAX: usize = 64 << 20;

/// The length of a tick.
const TICK_MS: u64 = 10;

/// The furthest that one stamp moves log time, so that no clock can expire sessions by a jump; and how long a leader that
/// has nothing to propose waits before it stamps, so that none of that time is lost.
const STAMP_STEP_MS_MAX: u64 = 60_000;
