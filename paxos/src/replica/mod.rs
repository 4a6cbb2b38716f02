//! One replica's agreement: proposer, acceptor and learner wired together.
//!
//! This file is the interface and the dispatch. What a message does stands in the file of the part that it is for:
//! `acting` (acceptor and learner: what every replica does), `leading` (phases 1 and 2, heartbeats, reads),
//! `electing` (whether to try to lead) and `sparse` (instances in the place of a log). A role changes only in a function named `become_...`.

mod acting;
mod agents;
mod electing;
mod leading;
mod persisting;
mod sending;
mod snapshots;
mod space;
mod sparse;
mod standing_down;

pub use self::agents::Agent;
use self::space::KnownSpace;
use crate::acceptor::Acceptor;
use crate::ballot::{Ballot, ReplicaId, Slot};
use crate::config::Config;
use crate::election::{Canvass, Election};
use crate::instances::Instances;
use crate::learner::{CatchUp, Learner};
use crate::message::{Command, Envelope, Message};
use crate::output::{DurableState, Note, Output, ReadReady, Record};
use crate::proposer::{Leading, Preparing};
use crate::quorum::Configuration;
use crate::read::ReadQueries;
use crate::recovered::Recovered;

/// One replica of the log: call [`step`](Self::step), [`tick`](Self::tick), [`propose`](Self::propose),
/// [`read`](Self::read), then [`take_output`](Self::take_output), and do what the output says in its order.
///
/// The same calls in the same order give the same outputs. Nothing here knows what a command means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    config: Config,
    configuration: Configuration,
    now: u64,
    /// The highest round seen anywhere; a new ballot goes above it.
    round_max: u64,
    acceptor: Acceptor,
    learner: Learner,
    /// In sparse mode, what is known of the instances; then the learner stays empty. None in dense mode.
    instances: Option<Box<Instances>>,
    catch_up: CatchUp,
    election: Election,
    role: RoleState,
    queries: ReadQueries,
    /// The process is about to stop: this replica proposes nothing and does not come to lead (RULES R26).
    stands_down: bool,
    /// The agent that ended and has no successor yet (RULES R16).
    away: Option<Agent>,
    /// Every slot below it can be replayed from this replica's own journal, for certain. In sparse mode: this replica's
    /// program is done with all below it.
    durable_watermark: Slot,
    /// Every replica's journal can replay all below it; as the leader said, or as this one computed leading. In sparse
    /// mode: every program is done with all below it.
    forget_watermark: Slot,
    /// A snapshot of this slot is durable here: every slot below it can be brought back without the journal.
    snapshot_watermark: Slot,
    /// The log from this slot on is kept for a peer that is being sent a snapshot.
    held_watermark: Option<Slot>,
    space: KnownSpace,
    /// What the journal was last told, and when.
    persisted: DurableState,
    persisted_tick: u64,
    pending: Pending,
}

/// What this turn has gathered for the next output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Pending {
    records: Vec<Record>,
    messages: Vec<Envelope>,
    messages_when_durable: Vec<Envelope>,
    /// Slots accepted in the ballot, to be confirmed to its leader in one message.
    accepted: Option<(Ballot, Vec<Slot>)>,
    reads: Vec<ReadReady>,
    notes: Vec<Note>,
}

/// What a replica does beside accepting and learning, which it always does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum RoleState {
    Follower,
    Canvassing(Canvass),
    Preparing(Preparing),
    Leading(Box<Leading>),
}

/// A replica's part in the election of a distinguished proposer, as shown to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It follows, or waits before it asks to lead.
    Follower,
    /// It asks whether a majority would follow, or asks a majority to promise.
    Candidate,
    /// It leads.
    Leader,
}

/// Why a command was not proposed. It was not sent to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProposeError {
    /// This replica does not lead, or has not yet proposed again all that it found.
    NotLeading,
    /// As many slots are in flight as the window allows; try again when the watermark has moved.
    WindowFull,
}

impl Replica {
    /// A replica with what its journal kept. `configuration` is that of the founding record; changes that the journal
    /// replayed are applied to it here.
    ///
    /// # Panics
    /// When `config.me` is no member, or the window is 0.
    #[must_use]
    pub fn new(config: Config, mut configuration: Configuration, recovered: Recovered) -> Self {
        assert!(
            configuration.members().any(|member| member == config.me),
            "{} is not a member",
            config.me
        );
        assert!(config.window > 0, "a window of 0 slots proposes nothing");
        for (slot, replica, incarnation) in recovered.rejoins() {
            configuration.rejoin(slot, config.window, replica, incarnation);
        }
        let state = recovered.state;
        let trimmed_watermark = recovered.trimmed_watermark();
        let snapshot_watermark = recovered.snapshot_slot();
        let mut commands = recovered.chosen;
        commands.extend(recovered.learned);
        let mut acceptor = Acceptor::recovered(state.promised, recovered.accepted);
        let learner = Learner::recovered(commands, state.chosen_watermark, trimmed_watermark);
        acceptor.forget_below(learner.chosen_watermark());
        Self {
            now: 0,
            round_max: state.promised.round,
            acceptor,
            learner,
            instances: None,
            catch_up: CatchUp::default(),
            election: Election::new(&config),
            role: RoleState::Follower,
            queries: ReadQueries::new(config.seed),
            stands_down: false,
            away: None,
            durable_watermark: state.chosen_watermark,
            forget_watermark: state.forget_watermark,
            snapshot_watermark,
            held_watermark: None,
            space: KnownSpace::default(),
            persisted: state,
            persisted_tick: 0,
            pending: Pending::default(),
            config,
            configuration,
        }
    }

    /// Takes in one message. It may be old, repeated, or from before a restart of either side.
    pub fn step(&mut self, envelope: Envelope) {
        let Envelope { from, to, message } = envelope;
        assert!(
            to == self.config.me,
            "a message to {to} reached {}",
            self.config.me
        );
        let is_member = self.configuration.members().any(|member| member == from);
        if !is_member || !self.understands(&message) {
            return;
        }
        match message {
            Message::Canvass {
                nonce,
                chosen_watermark,
            } => self.handle_canvass(from, nonce, chosen_watermark),
            Message::CanvassReply {
                nonce,
                follow,
                incarnation,
                leader,
                chosen_watermark,
            } => {
                self.catch_up.heard(from, chosen_watermark);
                self.handle_canvass_reply(from, nonce, follow.then_some(incarnation), leader);
            }
            Message::Prepare { ballot, from_slot } => self.handle_prepare(from, ballot, from_slot),
            Message::Promise {
                ballot,
                incarnation,
                from_slot: _,
                part,
                parts,
                accepted,
                chosen_watermark,
                trimmed_watermark,
            } => {
                self.note_forgotten(from, trimmed_watermark);
                let part = crate::proposer::PromisePart {
                    incarnation,
                    sending: 0,
                    part,
                    parts,
                    accepted,
                    chosen_watermark,
                };
                self.handle_promise(from, ballot, part);
            }
            Message::Accept {
                ballot,
                slot,
                command,
                chosen_watermark,
            } => self.handle_accept(from, ballot, slot, &command, chosen_watermark),
            Message::Accepted {
                ballot,
                incarnation,
                slots,
                durable_watermark,
            } => self.handle_accepted(from, ballot, incarnation, &slots, durable_watermark),
            Message::Refused {
                ballot,
                promised,
                hears_leader,
            } => self.handle_refused(ballot, promised, hears_leader),
            Message::Heartbeat {
                ballot,
                nonce,
                chosen_watermark,
                forget_watermark,
                has_majority,
                space,
            } => {
                if self.handle_leader(from, ballot, has_majority) {
                    self.hear_space(space);
                    self.echo(from, ballot, nonce);
                    self.handle_watermark(from, ballot, chosen_watermark);
                    self.forget_below(forget_watermark);
                }
            }
            Message::Echo {
                ballot,
                nonce,
                incarnation,
                durable_watermark,
                space,
            } => self.handle_echo(from, ballot, nonce, incarnation, durable_watermark, space),
            Message::Advance {
                ballot,
                chosen_watermark,
            } => self.handle_watermark(from, ballot, chosen_watermark),
            Message::TakeOver { ballot } => self.handle_take_over(from, ballot),
            Message::CatchUp { from_slot } => self.handle_catch_up(from, from_slot),
            Message::Chosen {
                from_slot,
                commands,
                chosen_watermark,
                trimmed_watermark,
            } => {
                self.note_forgotten(from, trimmed_watermark);
                self.handle_chosen(from, from_slot, commands, chosen_watermark);
            }
            Message::ReadQuery { nonce } => self.handle_read_query(from, nonce),
            Message::ReadAnswer {
                nonce,
                read_watermark,
            } => self.handle_read_answer(nonce, read_watermark),
            Message::PrepareInstances {
                ballot,
                min,
                chosen,
            } => self.handle_prepare_instances(from, ballot, min, &chosen),
            Message::PromiseInstances {
                ballot,
                incarnation,
                sending,
                part,
                parts,
                min,
                chosen,
                accepted,
            } => {
                let part = crate::proposer::PromisePart {
                    incarnation,
                    sending,
                    part,
                    parts,
                    accepted,
                    chosen_watermark: min,
                };
                self.handle_promise_instances(from, ballot, chosen, part);
            }
            Message::EchoInstances {
                ballot,
                nonce,
                incarnation,
                done_watermark,
                learned,
            } => {
                let echo = (ballot, nonce, incarnation, done_watermark);
                self.handle_echo_instances(from, echo, &learned);
            }
            Message::ForwardInstance {
                slot,
                relayed,
                command,
            } => self.handle_forward_instance(from, slot, relayed, command),
            Message::ChosenInstance { slot, command } => self.handle_chosen_instance(slot, command),
            Message::ForgottenInstances { min } => self.forget_below(min),
        }
    }

    /// One unit of time has passed.
    pub fn tick(&mut self) {
        self.now += 1;
        self.tick_election();
        self.tick_leading();
        self.tick_instances();
        self.ask_to_catch_up();
    }

    /// Proposes a command in the next slot, and says which. It is chosen, or not, as later outputs tell; one that is
    /// lost with this leader may still be chosen under the next.
    ///
    /// # Errors
    /// [`ProposeError`], when nothing was proposed.
    pub fn propose(&mut self, command: Command) -> Result<Slot, ProposeError> {
        let room = self.room();
        let RoleState::Leading(leading) = &self.role else {
            return Err(ProposeError::NotLeading);
        };
        if leading.next_slot < leading.adopted_end || self.stands_down {
            return Err(ProposeError::NotLeading);
        }
        if room == 0 {
            return Err(ProposeError::WindowFull);
        }
        let slot = leading.next_slot;
        self.propose_in(slot, command);
        Ok(slot)
    }

    /// How many commands could be proposed now.
    #[must_use]
    pub fn room(&self) -> u64 {
        match &self.role {
            RoleState::Leading(_) if self.stands_down => 0,
            RoleState::Leading(leading) if leading.next_slot >= leading.adopted_end => {
                self.window_room(leading)
            }
            RoleState::Leading(_)
            | RoleState::Follower
            | RoleState::Canvassing(_)
            | RoleState::Preparing(_) => 0,
        }
    }

    /// Asks for the watermark that a linearizable read must see. The answer comes as [`Output::reads`], perhaps never:
    /// while no majority can be reached there is none. Tickets must grow.
    pub fn read(&mut self, ticket: u64) {
        match &mut self.role {
            RoleState::Leading(leading) => leading.reads.take_in(ticket),
            RoleState::Follower | RoleState::Canvassing(_) | RoleState::Preparing(_) => {
                self.queries.take_in(ticket);
            }
        }
    }

    /// The reads with a ticket below this are no longer wanted.
    pub fn cancel_reads_below(&mut self, ticket: u64) {
        self.queries.cancel_below(ticket);
        if let RoleState::Leading(leading) = &mut self.role {
            leading.reads.cancel_below(ticket);
        }
    }

    /// `follower` holds requests that it forwarded here: it is sent the watermark as soon as that moves, rather than
    /// with the next message that happens to leave.
    pub fn hurry(&mut self, follower: ReplicaId) {
        if let RoleState::Leading(leading) = &mut self.role {
            leading.hurried.insert(follower);
        }
    }

    /// What is to be done now; see [`crate::output`] for the order.
    pub fn take_output(&mut self) -> Output {
        self.ask_to_read();
        self.begin_read_round();
        self.tell_watermark();
        let chosen = match &mut self.instances {
            None => self.learner.take_deliverable(),
            Some(instances) => instances.take_news(),
        };
        if self.instances.is_none() {
            self.forget();
        }
        let persist = self.take_persist();
        self.confirm_accepted(persist.is_some());
        let pending = std::mem::take(&mut self.pending);
        Output {
            persist,
            messages: pending.messages,
            messages_when_durable: pending.messages_when_durable,
            chosen,
            reads: pending.reads,
            notes: pending.notes,
        }
    }

    /// Which replica leads, as far as this one hears.
    #[must_use]
    pub fn leader(&self) -> Option<ReplicaId> {
        match &self.role {
            RoleState::Leading(_) => Some(self.config.me),
            RoleState::Follower | RoleState::Canvassing(_) | RoleState::Preparing(_) => self
                .election
                .leader(self.now, &self.config)
                .map(|ballot| ballot.replica),
        }
    }

    /// A leader that other replicas hear and this one has not heard lately.
    #[must_use]
    pub fn leader_elsewhere(&self) -> Option<ReplicaId> {
        self.election.elsewhere(self.now, &self.config)
    }

    /// What it does.
    #[must_use]
    pub fn role(&self) -> Role {
        match &self.role {
            RoleState::Follower => Role::Follower,
            RoleState::Canvassing(_) | RoleState::Preparing(_) => Role::Candidate,
            RoleState::Leading(_) => Role::Leader,
        }
    }

    /// The highest ballot that it promised.
    #[must_use]
    pub fn promised(&self) -> Ballot {
        self.acceptor.promised()
    }

    /// Every slot below it is known here to be chosen.
    #[must_use]
    pub fn chosen_watermark(&self) -> Slot {
        self.learner.chosen_watermark()
    }

    /// Who votes.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Whether this replica's acceptor votes in the first slot that it does not know to be chosen.
    #[must_use]
    pub fn votes(&self) -> bool {
        let slot = self.learner.chosen_watermark();
        self.configuration
            .counts(self.config.me, self.config.incarnation, slot)
    }

    /// From which slot on this life votes, as far as is known here; `None` while no chosen command names it.
    #[must_use]
    pub fn votes_from(&self) -> Option<Slot> {
        self.configuration
            .in_force_from(self.config.me, self.config.incarnation)
    }

    /// How many slots others said that they know to be chosen and this replica does not.
    #[must_use]
    pub fn slots_behind(&self) -> u64 {
        let claimed = self.catch_up.claimed().unwrap_or_default();
        claimed.0.saturating_sub(self.learner.chosen_watermark().0)
    }

    /// Whether it votes, and its acceptor is not away.
    fn can_vote(&self) -> bool {
        self.votes_in(self.learner.chosen_watermark())
    }

    fn votes_in(&self, slot: Slot) -> bool {
        self.away != Some(Agent::Acceptor)
            && self
                .configuration
                .counts(self.config.me, self.config.incarnation, slot)
    }
}
