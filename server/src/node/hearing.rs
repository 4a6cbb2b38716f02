//! Which members this replica hears, so that people are told why it does not serve. Nothing in agreement depends on it.

use std::collections::BTreeMap;

use paxos::ReplicaId;

use super::{Node, Phase};

/// When each other member said anything last.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    last_tick: BTreeMap<ReplicaId, u64>,
}

impl Node {
    pub(super) fn note_heard(&mut self, from: ReplicaId) {
        self.hearing.last_tick.insert(from, self.now);
    }

    /// Why this replica does not serve, as far as hearing others goes; empty where it does.
    pub(super) fn silence_remark(&self) -> String {
        if self.leader().is_some() {
            return String::new();
        }
        let count = self.settings.members.len();
        let (heard, majority) = (self.members_heard(), count / 2 + 1);
        match &self.phase {
            Phase::Unfit(_) => String::new(),
            Phase::Founding(_) => format!(
                "the cluster begins when all {count} members have heard of each other; this one hears {heard}, itself \
                 included"
            ),
            Phase::Running(_) if heard < majority => {
                format!("hears {heard} of {count} members, itself included; {majority} are needed")
            }
            Phase::Running(_) => format!("hears {heard} of {count} members, and no leader yet"),
        }
    }

    /// This one included.
    fn members_heard(&self) -> usize {
        let is_recent = |tick: &u64| self.now <= tick + SILENT_TICKS;
        let others = self.hearing.last_tick.iter();
        let others = others.filter(|(id, tick)| **id != self.settings.replica && is_recent(tick));
        others.count() + 1
    }
}

/// Who says nothing for so long is not heard: a few elections, in which everybody speaks.
const SILENT_TICKS: u64 = 200;
