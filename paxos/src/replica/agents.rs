//! The three agents of a replica (proposer, acceptor, learner) fail one at a time and are replaced (SPEC D6, RULES R16).
//!
//! What an agent knew is gone with it, and so is what it had not sent. Its successor knows what is on the disk: the driver
//! reads the journal back after everything that was queued for it is durable, and that is all an acceptor said or a learner
//! reported. While an agent is away the others go on.

use std::collections::BTreeMap;

use super::{Replica, RoleState};
use crate::acceptor::Acceptor;
use crate::learner::{CatchUp, Learner};
use crate::message::Message;
use crate::output::ResignReason;
use crate::recovered::Recovered;

/// One of the three classes of agents ("Paxos Made Simple", section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Agent {
    /// Promises and accepts.
    Acceptor,
    /// Leads, or tries to.
    Proposer,
    /// Knows what is chosen.
    Learner,
}

impl Replica {
    /// An agent ends. What it had queued for the journal comes with the next output; messages of its own that the driver
    /// keeps until that is durable must not leave any more.
    ///
    /// # Panics
    /// When another agent is away: only one may be at a time.
    pub fn fail(&mut self, agent: Agent) {
        assert!(
            self.away.is_none(),
            "{agent:?} fails while {:?} is away",
            self.away
        );
        assert!(self.instances.is_none(), "agents fail in dense mode only");
        self.away = Some(agent);
        match agent {
            Agent::Acceptor => {
                // The promise is on its way to the journal, whose headers repeat it: it is not this memory's any more.
                self.acceptor = Acceptor::recovered(self.acceptor.promised(), BTreeMap::new());
                self.pending.accepted = None;
                self.pending.messages_when_durable.clear();
            }
            Agent::Proposer => self.end_proposing(),
            Agent::Learner => {
                self.end_proposing();
                // A number alone is left: the acceptor has forgotten what is chosen below it, and its promises say so.
                self.learner = Learner::recovered(
                    BTreeMap::new(),
                    self.learner.chosen_watermark(),
                    self.learner.trimmed_watermark(),
                );
                self.catch_up = CatchUp::default();
            }
        }
        self.pending
            .messages
            .retain(|envelope| speaker(&envelope.message) != Some(agent));
    }

    /// Whether an agent is away, and which.
    #[must_use]
    pub fn away(&self) -> Option<Agent> {
        self.away
    }

    /// An acceptor takes the place of the one that ended, with what the journal held after all that was queued.
    ///
    /// # Panics
    /// When no acceptor is away, or the journal was read too early.
    pub fn restore_acceptor(&mut self, recovered: Recovered) {
        self.begin_again(Agent::Acceptor);
        let promised = recovered.state.promised;
        assert!(
            promised >= self.acceptor.promised(),
            "the journal was read at {promised}, before {} was durable",
            self.acceptor.promised()
        );
        self.see(promised);
        self.acceptor = Acceptor::recovered(promised, recovered.accepted);
        self.acceptor.forget_below(self.learner.chosen_watermark());
        self.ask_own_acceptor();
    }

    /// A proposer takes the place of the one that ended. `birth` is 64 random bits that no other life of it has used, so
    /// that no ballot is used twice (RULES R2).
    ///
    /// # Panics
    /// When no proposer is away.
    pub fn restore_proposer(&mut self, birth: u64) {
        self.begin_again(Agent::Proposer);
        self.config.birth = birth;
        self.round_max = self.acceptor.promised().round;
        self.election.postpone(self.now, &self.config);
    }

    /// A learner takes the place of the one that ended, with what snapshot and journal held after all that was queued.
    /// The driver has brought its state there too; what comes after is delivered again.
    ///
    /// # Panics
    /// When no learner is away, or the journal was read too early.
    pub fn restore_learner(&mut self, recovered: Recovered) {
        self.begin_again(Agent::Learner);
        let trimmed_watermark = recovered.trimmed_watermark();
        let state = recovered.state;
        assert!(
            state.chosen_watermark >= self.persisted.chosen_watermark,
            "the journal was read at {}, before {} was durable",
            state.chosen_watermark,
            self.persisted.chosen_watermark
        );
        let mut commands = recovered.chosen;
        commands.extend(recovered.learned);
        self.learner = Learner::recovered(commands, state.chosen_watermark, trimmed_watermark);
        // The learner may know less than the one before. What is open for it again, the acceptor must remember again.
        self.acceptor.unite(recovered.accepted);
        self.acceptor.forget_below(self.learner.chosen_watermark());
        self.election.postpone(self.now, &self.config);
        self.ask_to_catch_up();
    }

    fn begin_again(&mut self, agent: Agent) {
        assert!(
            self.away == Some(agent),
            "{agent:?} comes back while {:?} is away",
            self.away
        );
        self.away = None;
    }

    /// The proposer's memory goes. Reads wait for whoever leads next.
    fn end_proposing(&mut self) {
        self.leave_leading(ResignReason::Failed);
        self.role = RoleState::Follower;
    }

    /// A proposer whose acceptor was away asks it for what it missed.
    fn ask_own_acceptor(&mut self) {
        let me = self.config.me;
        match &self.role {
            RoleState::Follower | RoleState::Canvassing(_) => {}
            RoleState::Preparing(preparing) => {
                if !preparing.has_promise_of(me) {
                    let (ballot, from_slot) = (preparing.ballot, preparing.from_slot);
                    self.prepare_own(ballot, from_slot);
                }
            }
            RoleState::Leading(leading) => {
                let ballot = leading.ballot;
                let open: Vec<_> = leading
                    .in_flight
                    .iter()
                    .map(|(slot, in_flight)| (*slot, in_flight.command.clone()))
                    .collect();
                for (slot, command) in open {
                    if self.votes_in(slot)
                        && let Err(promised) = self.accept(ballot, slot, &command)
                    {
                        self.become_follower_of(promised);
                        return;
                    }
                }
            }
        }
    }
}

/// The agent that says this of its own; what is left belongs to the replica as a whole.
fn speaker(message: &Message) -> Option<Agent> {
    match message {
        Message::Promise { .. }
        | Message::Accepted { .. }
        | Message::Refused { .. }
        | Message::Echo { .. }
        | Message::PromiseInstances { .. }
        | Message::EchoInstances { .. }
        | Message::ForgottenInstances { .. } => Some(Agent::Acceptor),
        Message::Canvass { .. }
        | Message::Prepare { .. }
        | Message::Accept { .. }
        | Message::Heartbeat { .. }
        | Message::Advance { .. }
        | Message::TakeOver { .. }
        | Message::ReadAnswer { .. }
        | Message::PrepareInstances { .. } => Some(Agent::Proposer),
        Message::CatchUp { .. } | Message::Chosen { .. } | Message::ChosenInstance { .. } => {
            Some(Agent::Learner)
        }
        Message::CanvassReply { .. }
        | Message::ReadQuery { .. }
        | Message::ForwardInstance { .. } => None,
    }
}
