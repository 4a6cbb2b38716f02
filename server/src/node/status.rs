//! What a node says of itself to people.

use common::{DatagramCounts, Role, StatusReport};
use paxos::{Replica, Slot};

use super::{IDLE_TICKS, Node, Phase};

impl Node {
    /// How many bytes of disk the journal takes, for the status report.
    pub fn note_journal_bytes(&mut self, bytes: u64) {
        self.journal_bytes = bytes;
    }

    /// What became of datagrams, for the status report.
    pub fn note_datagrams(&mut self, counts: DatagramCounts) {
        self.datagrams = counts;
    }

    pub(super) fn status(&self) -> StatusReport {
        let (hash_slot, state_hash) = if self.now >= self.applied_tick + IDLE_TICKS {
            (self.state.applied(), self.state.hash())
        } else {
            self.state.noted_hash()
        };
        let promised = self.promised();
        let role = match &self.phase {
            Phase::Founding(_) => Role::Founding,
            Phase::Unfit(_) => Role::Blank,
            Phase::Running(replica) if !replica.votes() => Role::Blank,
            Phase::Running(replica) => match replica.role() {
                paxos::Role::Follower => Role::Follower,
                paxos::Role::Candidate => Role::Candidate,
                paxos::Role::Leader => Role::Leader,
            },
        };
        StatusReport {
            replica: self.settings.replica.0,
            cluster: self
                .identity
                .founding
                .as_ref()
                .map_or(0, |founding| founding.cluster),
            serving: self.leader().is_some(),
            role,
            leader: self.leader().map(|leader| leader.0),
            ballot_round: promised.round,
            ballot_replica: promised.replica.0,
            chosen: self.replica().map_or(Slot(0), Replica::chosen_watermark).0,
            applied: self.state.applied().0,
            hash_slot: hash_slot.0,
            state_hash,
            keys: self.state.store.len() as u64,
            sessions: self.state.sessions.len() as u64,
            journal_bytes: self.journal_bytes,
            snapshot_slot: self.snapshots.newest().0,
            revision: self.state.revision(),
            datagrams: self.datagrams,
            remark: self.remark(),
        }
    }

    /// What a person should know: the gravest of what there is to say, and whether this replica has a disk.
    fn remark(&self) -> String {
        let grave = match &self.phase {
            Phase::Unfit(reason) => reason.clone(),
            Phase::Founding(founding) => founding.remark(&self.settings),
            Phase::Running(_) => self.why_no_vote(),
        };
        let parts = [
            self.loss_remark(),
            grave,
            self.silence_remark(),
            self.disk_space_remark(),
            self.agent_remark.clone(),
        ];
        let gravest = parts.into_iter().find(|part| !part.is_empty());
        let parts = [gravest.unwrap_or_default(), self.disk_remark().to_owned()];
        let said: Vec<&str> = parts
            .iter()
            .map(String::as_str)
            .filter(|part| !part.is_empty())
            .collect();
        said.join("; ")
    }
}
