//! Agents that fail and are replaced, as a driver does it: what an agent had not said is never said, and a successor
//! starts from the journal after all that was queued is durable.

use paxos::{Agent, Message, Recovered, Replica};

use crate::cluster::{Cluster, Node};
use paxos::ReplicaId;

impl Cluster {
    /// An agent ends, unless another is away.
    pub(crate) fn fail(&mut self, id: ReplicaId, agent: Agent) {
        if self.replica(id).away().is_some() {
            return;
        }
        if agent == Agent::Acceptor {
            self.node_mut(id).forget_votes();
        }
        self.turn(id, |replica| replica.fail(agent));
    }

    /// The agent that is away, if one is, is replaced.
    pub(crate) fn replace(&mut self, id: ReplicaId) {
        let Some(agent) = self.replica(id).away() else {
            return;
        };
        self.sync(id);
        let node = self.node_mut(id);
        let recovered = node.read_back(agent == Agent::Learner);
        let birth = node.next_birth();
        self.turn(id, |replica: &mut Replica| match agent {
            Agent::Acceptor => replica.restore_acceptor(recovered),
            Agent::Proposer => replica.restore_proposer(birth),
            Agent::Learner => replica.restore_learner(recovered),
        });
    }
}

impl Node {
    /// What waits for the disk and is the acceptor's own word.
    fn forget_votes(&mut self) {
        let id = self.id;
        self.waiting
            .retain_mut(|(_, envelope)| match &mut envelope.message {
                Message::Promise { .. } => false,
                Message::Accepted { slots, .. } => {
                    slots.clear();
                    envelope.to == id
                }
                _ => true,
            });
    }

    /// The journal from its beginning, or from the snapshot on. With it goes what the driver had applied, if that is lost.
    fn read_back(&mut self, applied_is_lost: bool) -> Recovered {
        let mut recovered = self.recovered();
        let mut applied = self
            .snapshot
            .as_ref()
            .map_or_else(Vec::new, |snapshot| snapshot.applied.clone());
        for batch in &self.journal {
            for (_, command) in recovered.batch(batch.state, batch.records.clone()) {
                applied.push(command);
            }
        }
        if applied_is_lost {
            self.applied = applied;
        }
        recovered
    }

    fn next_birth(&mut self) -> u64 {
        self.lives += 1;
        1000 * self.lives + u64::from(self.id.0)
    }
}
