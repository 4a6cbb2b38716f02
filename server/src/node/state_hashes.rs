//! Replicas agree on the hash of their state, so that one that went wrong stops before it answers much (RULES R21).
//!
//! ```text
//! every replica   applies a slot divisible by the interval, notes the hash, tells the leader, again until it is agreed
//! leader          hears the same from a majority, and logs it; or hears so much that no majority can agree, and logs that
//! every replica   applies the entry: if its own note differs, or nobody agrees, it stops serving
//! ```
//! Where nobody agrees the last replica may not hear of the entry; by then it has no majority to serve with.
//!
//! The majority decides, not the leader: a leader that went wrong alone must not stop the others. A replica that stops is
//! started again by a person or a supervisor and replays its log: where only its memory was damaged, the replay makes the
//! right state, and is held against the same entries.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use paxos::{ReplicaId, Slot};

use super::{Node, Phase, batch};
use crate::peers::PeerMessage;

/// What a replica noted of its own state, and what the log said of it.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// The last notes, in order of slots.
    notes: VecDeque<(Slot, u128)>,
    /// The highest slot whose hash the log has.
    agreed: Slot,
    difference: Option<Difference>,
}

/// This replica's state is not the one that the log names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    slot: Slot,
    own: u128,
    /// What a majority has; `None` where there is no majority.
    agreed: Option<u128>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slot, own, .. } = self;
        match self.agreed {
            Some(agreed) => write!(
                f,
                "the state hash of this replica after {slot} slots is {own:032x}, and a majority has {agreed:032x}: it \
                 does not serve what differs from the others. Start it again, so that it makes its state anew from the \
                 log; should it stop with these words once more, keep its directory for an inquiry and start it with an \
                 empty one"
            ),
            None => write!(
                f,
                "no majority of the replicas has the same state hash after {slot} slots (here it is {own:032x}): all of \
                 them stop, because nobody can say which state is right"
            ),
        }
    }
}

impl Checks {
    /// The hash of the state after every slot below `slot`.
    pub(crate) fn note(&mut self, slot: Slot, hash: u128) {
        if self.notes.len() == NOTES_MAX {
            self.notes.pop_front();
        }
        self.notes.push_back((slot, hash));
    }

    /// The log says what a majority noted at a slot, or that there is no majority. A slot of which there is no note any
    /// more is passed over: the next one tells.
    pub(crate) fn check(&mut self, slot: Slot, agreed: Option<u128>) {
        self.agreed = self.agreed.max(slot);
        let note = self.notes.iter().find(|(noted, _)| *noted == slot);
        if let Some((_, own)) = note.filter(|(_, own)| Some(*own) != agreed) {
            let own = *own;
            self.difference = self.difference.or(Some(Difference { slot, own, agreed }));
        }
    }

    /// The first difference that was found.
    pub(crate) fn difference(&self) -> Option<Difference> {
        self.difference
    }

    /// The last note, unless the log has its hash.
    fn unreported(&self) -> Option<(Slot, u128)> {
        self.notes
            .back()
            .copied()
            .filter(|(slot, _)| *slot > self.agreed)
    }
}

/// What a leader heard of the others' states.
#[derive(Debug, Default)]
pub(super) struct HashReports {
    by_slot: BTreeMap<Slot, BTreeMap<ReplicaId, u128>>,
    /// The highest slot whose entry this leader has proposed.
    proposed: Slot,
}

impl HashReports {
    fn take(&mut self, from: ReplicaId, slot: Slot, hash: u128) {
        self.by_slot.entry(slot).or_default().insert(from, hash);
        if self.by_slot.len() > SLOTS_REPORTED_MAX {
            self.by_slot.pop_first();
        }
    }

    /// The highest slot that can be decided and is not, with what a majority of `members` noted there, or `None` if no
    /// majority can come about any more.
    fn decided(&self, members: usize) -> Option<(Slot, Option<u128>)> {
        let majority = members / 2 + 1;
        self.by_slot
            .range(self.proposed.next()..)
            .rev()
            .find_map(|(slot, reports)| {
                let count = |hash| reports.values().filter(|other| **other == hash).count();
                let most = reports.values().copied().max_by_key(|hash| count(*hash))?;
                let missing = members - reports.len();
                if count(most) >= majority {
                    Some((*slot, Some(most)))
                } else if count(most) + missing < majority {
                    Some((*slot, None))
                } else {
                    None
                }
            })
    }
}

impl Node {
    /// Tells the leader the last hash that was noted, until the log has it.
    pub(super) fn report_hash(&mut self) {
        let Some((slot, hash)) = self.state.checks.unreported() else {
            return;
        };
        let me = self.settings.replica;
        match self.leader() {
            Some(leader) if leader == me => self.take_hash_report(me, slot, hash),
            Some(leader) => {
                let report = PeerMessage::HashReport { slot, hash };
                self.out.send.push((leader, report));
            }
            None => {}
        }
    }

    /// A report may be lost, and so may the entry that it led to.
    pub(super) fn tick_hashes(&mut self) {
        if self.now.is_multiple_of(REPORT_TICKS) {
            self.report_hash();
        }
    }

    /// A replica noted this hash. One that does not lead drops it: the report comes again, to whoever leads then.
    pub(super) fn take_hash_report(&mut self, from: ReplicaId, slot: Slot, hash: u128) {
        if self.leader() == Some(self.settings.replica) && slot > self.state.checks.agreed {
            self.hash_reports.take(from, slot, hash);
        }
    }

    /// What was reported to a leader of before, or proposed by it, may come to nothing.
    pub(super) fn forget_hash_reports(&mut self) {
        self.hash_reports = HashReports::default();
    }

    /// Proposes the entry of a slot that can be decided.
    pub(super) fn propose_hash(&mut self) {
        let members = self.settings.members.len();
        let Some((slot, agreed)) = self.hash_reports.decided(members) else {
            return;
        };
        if self.replica().is_some_and(|replica| replica.room() > 0) {
            let mut bytes = batch::begin(self.stamp());
            batch::put_hash(&mut bytes, slot.0, agreed);
            self.propose(bytes);
            self.hash_reports.proposed = slot;
            self.hash_reports.by_slot.retain(|other, _| *other > slot);
        }
    }

    /// Once the log names another state than this replica's, nothing that follows from the state may leave. What agreement
    /// says of the log is as true as before, and without it the others might not learn of the entry.
    pub(super) fn stop_if_state_differs(&mut self) {
        let Some(difference) = self.state.checks.difference() else {
            return;
        };
        if matches!(self.phase, Phase::Running(_)) {
            let reason = difference.to_string();
            self.out.stop = Some(reason.clone());
            self.become_unfit(reason);
        }
        self.out.answers.clear();
    }
}

/// A replica may be this many intervals ahead of the entry: more than the window of slots in flight, at the shortest
/// interval that can be set.
const NOTES_MAX: usize = 16;

/// Replicas that lag report of earlier slots; what is older than this is not decided any more, and need not be.
const SLOTS_REPORTED_MAX: usize = 16;

/// A second: a report that was lost is no hurry.
const REPORT_TICKS: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(members: usize, hashes: &[u128]) -> Option<(Slot, Option<u128>)> {
        let mut reports = HashReports::default();
        for (replica, hash) in (0..).zip(hashes) {
            reports.take(ReplicaId(replica), Slot(64), *hash);
        }
        reports.decided(members)
    }

    #[test]
    fn r21_a_majority_of_all_members_decides_and_nobody_waits_for_the_rest() {
        assert_eq!(decided(5, &[7, 7]), None);
        assert_eq!(decided(5, &[7, 8, 7, 7]), Some((Slot(64), Some(7))));
        assert_eq!(decided(5, &[7, 7, 8, 9]), None, "the last may agree");
        assert_eq!(decided(5, &[7, 7, 8, 9, 9]), Some((Slot(64), None)));
        assert_eq!(decided(5, &[1, 2, 3, 4]), Some((Slot(64), None)));
        assert_eq!(decided(4, &[7, 7, 8, 8]), Some((Slot(64), None)));
        assert_eq!(decided(1, &[7]), Some((Slot(64), Some(7))));
    }

    #[test]
    fn r21_a_note_is_held_against_its_own_slot() {
        let mut checks = Checks::default();
        for slot in 1..=20 {
            checks.note(Slot(slot * 64), u128::from(slot));
        }
        checks.check(Slot(64), Some(99));
        checks.check(Slot(21 * 64), Some(99));
        checks.check(Slot(20 * 64), Some(20));
        assert_eq!(checks.difference(), None);
        assert_eq!(checks.unreported(), None);
        checks.check(Slot(10 * 64), Some(99));
        let said = checks.difference().unwrap().to_string();
        assert!(said.contains("after 640 slots"), "{said}");
    }
}
