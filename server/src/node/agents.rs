//! A node whose agents fail on purpose, one at a time, and are replaced (SPEC D6, RULES R16).
//!
//! The learner is the chosen log and all that was applied from it: store and sessions. Requests that wait belong to
//! connections, not to any agent: they are put again under their own ids.

use log::{info, warn};
use paxos::{Agent, Slot};

use super::{Node, Phase, Recovery, State};
use crate::identity::ClusterSettings;

impl Node {
    /// An agent ends. `false`, and nothing happens, while this replica takes no part, stops, or another agent is away; nor
    /// does a learner end that is being given a snapshot: its successor would come back with what the disk held before.
    pub fn fail_agent(&mut self, agent: Agent) -> bool {
        let Phase::Running(replica) = &mut self.phase else {
            return false;
        };
        let is_receiving = agent == Agent::Learner && self.transfers.is_receiving();
        if replica.away().is_some() || self.stopping.is_some() || is_receiving {
            return false;
        }
        replica.fail(agent);
        if agent == Agent::Learner {
            self.give_up_snapshot();
            self.reads.wait_for(self.state.applied());
            self.state = State::new(self.cluster_settings());
        }
        warn!("{}: the {} failed", self.settings.replica, name(agent));
        self.agent_remark = format!("the {} failed and is not replaced yet", name(agent));
        true
    }

    /// A successor takes the place of the agent that is away. `recovery` is what the journal held after all that was
    /// queued when the agent failed; a proposer needs none, and takes `birth`, 64 random bits. `away_ms` is for people.
    ///
    /// # Panics
    /// When that agent is not away, or what it needs is missing.
    pub fn restore_agent(
        &mut self,
        agent: Agent,
        recovery: Option<Recovery>,
        birth: u64,
        away_ms: u64,
    ) {
        let Phase::Running(replica) = &mut self.phase else {
            unreachable!("only a running replica's agents fail");
        };
        let read_back = || recovery.expect("the journal was read back");
        let recovered = match agent {
            Agent::Acceptor => {
                replica.restore_acceptor(read_back().log);
                format!("promised {}", replica.promised())
            }
            Agent::Proposer => {
                replica.restore_proposer(birth);
                "leads nobody, and uses no ballot of its predecessor again".to_owned()
            }
            Agent::Learner => {
                let Recovery { log, state, .. } = read_back();
                replica.restore_learner(log);
                self.state = state;
                applied(self.state.applied())
            }
        };
        self.held.hand_over_again();
        let remark = format!(
            "the {} failed for {away_ms} ms; its successor recovered: {recovered}",
            name(agent)
        );
        info!("{}: {remark}", self.settings.replica);
        self.agent_remark = remark;
    }

    /// The settings under which the journal is replayed: those of the cluster.
    #[must_use]
    pub fn cluster_settings(&self) -> ClusterSettings {
        let founding = self.identity.founding.as_ref();
        founding.map_or(self.settings.cluster, |founding| founding.settings)
    }

    /// Whether nothing may be said of what is applied, because nobody knows what is chosen.
    pub(super) fn learns_not(&self) -> bool {
        self.replica()
            .is_some_and(|replica| replica.away() == Some(Agent::Learner))
    }
}

fn applied(slot: Slot) -> String {
    format!("{slot} slots applied")
}

fn name(agent: Agent) -> &'static str {
    match agent {
        Agent::Acceptor => "acceptor",
        Agent::Proposer => "proposer",
        Agent::Learner => "learner",
    }
}
