//! Which members this replica hears, so that people are told why it does not serve, and nobody is asked for a snapshot who
//! is not there. Nothing in agreement depends on it.

use std::collections::BTreeMap;

use paxos::ReplicaId;

use super::{Node, Phase};
use crate::peers::PeerMessage;

/// When each other member said anything last.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    last_tick: BTreeMap<ReplicaId, u64>,
    /// The same of agreement alone: who asks about the founding has nothing to give.
    last_agreement_tick: BTreeMap<ReplicaId, u64>,
}

impl Hearing {
    /// Those of `members` that take part and said something lately; all of them if none did.
    pub(super) fn heard_of(&self, members: Vec<ReplicaId>, now: u64) -> Vec<ReplicaId> {
        let is_heard = |member: &ReplicaId| {
            let tick = self.last_agreement_tick.get(member);
            tick.is_some_and(|tick| now <= tick + LATELY_TICKS)
        };
        if !members.iter().any(is_heard) {
            return members;
        }
        members.into_iter().filter(is_heard).collect()
    }
}

impl Node {
    pub(super) fn note_heard(&mut self, from: ReplicaId, message: &PeerMessage) {
        self.hearing.last_tick.insert(from, self.now);
        if matches!(message, PeerMessage::Agreement(_)) {
            self.hearing.last_agreement_tick.insert(from, self.now);
        }
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

/// Who is there and is asked for the log says more often that it has not got it.
const LATELY_TICKS: u64 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_were_heard_lately_come_before_those_who_may_be_gone() {
        let [one, other] = [1, 2].map(ReplicaId);
        let mut hearing = Hearing::default();
        let both = || vec![one, other];
        assert_eq!(hearing.heard_of(both(), 10), both());
        hearing.last_agreement_tick.insert(one, 10);
        hearing.last_agreement_tick.insert(other, 20);
        let until = 10 + LATELY_TICKS;
        assert_eq!(hearing.heard_of(both(), until), both());
        assert_eq!(hearing.heard_of(both(), until + 1), [other]);
        assert_eq!(hearing.heard_of(both(), until + 11), both());
    }
}
