//! The acceptor: the only memory of agreement that must survive a crash.
//!
//! "Paxos Made Simple", section 2.2. It promises to accept nothing below a ballot, and it accepts. One promise covers
//! every slot. What it accepted in slots that are known to be chosen has passed to the learner, so this memory holds
//! what is still open: at most a window, and what lies above a hole.

use std::collections::BTreeMap;

use crate::ballot::{Ballot, Slot};
use crate::message::{AcceptedCommand, Command};

/// Promises and accepts. It never decides whether its word counts: the configuration does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Acceptor {
    /// Nothing below it is promised or accepted any more. Never falls.
    promised: Ballot,
    /// By slot, what was accepted in the highest ballot there.
    accepted: BTreeMap<Slot, (Ballot, Command)>,
}

/// What an acceptor did with an Accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Acceptance {
    /// It is to be written to the journal.
    Fresh,
    /// The same was accepted before: there is nothing to write, only to say again.
    Repeated,
}

impl Acceptor {
    /// With what a journal kept.
    pub(crate) fn recovered(promised: Ballot, accepted: BTreeMap<Slot, (Ballot, Command)>) -> Self {
        Self { promised, accepted }
    }

    /// The highest ballot promised.
    pub(crate) fn promised(&self) -> Ballot {
        self.promised
    }

    /// Phase 1: promises `ballot`, or names the higher one that stands in its way. A repeated Prepare is promised
    /// again.
    pub(crate) fn promise(&mut self, ballot: Ballot) -> Result<(), Ballot> {
        if ballot < self.promised {
            return Err(self.promised);
        }
        self.promised = ballot;
        Ok(())
    }

    /// Phase 2: accepts unless a higher ballot is promised. Accepting promises, too: "Paxos Made Simple" needs only
    /// that no lower ballot is accepted after this one was answered.
    pub(crate) fn accept(
        &mut self,
        ballot: Ballot,
        slot: Slot,
        command: &Command,
    ) -> Result<Acceptance, Ballot> {
        self.promise(ballot)?;
        match self.accepted.get(&slot) {
            Some((before, held)) if *before == ballot => {
                assert!(
                    held == command,
                    "{ballot} proposed two commands in slot {slot}: {held} and {command}"
                );
                Ok(Acceptance::Repeated)
            }
            Some(_) | None => {
                self.accepted.insert(slot, (ballot, command.clone()));
                Ok(Acceptance::Fresh)
            }
        }
    }

    /// Remembers again what it had forgotten because a learner knew it; what it accepted since is newer.
    pub(crate) fn unite(&mut self, accepted: BTreeMap<Slot, (Ballot, Command)>) {
        for (slot, (ballot, command)) in accepted {
            let newest = self.accepted.get(&slot).map(|(ballot, _)| *ballot);
            if newest.is_none_or(|newest| newest < ballot) {
                self.accepted.insert(slot, (ballot, command));
            }
        }
    }

    /// What was accepted in `slot`, if that is still open.
    pub(crate) fn accepted_in(&self, slot: Slot) -> Option<&(Ballot, Command)> {
        self.accepted.get(&slot)
    }

    /// The open slots at or above `from_slot` in which something was accepted.
    pub(crate) fn accepted_from(&self, from_slot: Slot) -> impl Iterator<Item = AcceptedCommand> {
        self.accepted
            .range(from_slot..)
            .map(|(slot, (ballot, command))| AcceptedCommand {
                slot: *slot,
                ballot: *ballot,
                command: command.clone(),
            })
    }

    /// The slots below `watermark` in which the accepted command came in `ballot`.
    pub(crate) fn accepted_in_ballot_below(
        &self,
        ballot: Ballot,
        watermark: Slot,
    ) -> Vec<(Slot, Command)> {
        self.accepted
            .range(..watermark)
            .filter(|(_, (accepted, _))| *accepted == ballot)
            .map(|(slot, (_, command))| (*slot, command.clone()))
            .collect()
    }

    /// The command of this slot is known to be chosen: whoever learns keeps it.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.accepted.remove(&slot);
    }

    /// Every slot below `watermark` is known to be chosen: the learner keeps those.
    pub(crate) fn forget_below(&mut self, watermark: Slot) {
        while let Some(first) = self.accepted.first_entry() {
            if *first.key() >= watermark {
                break;
            }
            first.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ballot::ReplicaId;

    fn ballot(round: u64) -> Ballot {
        Ballot {
            round,
            replica: ReplicaId(1),
            birth: 5,
        }
    }

    #[test]
    fn what_is_accepted_again_in_one_ballot_is_not_written_again() {
        let mut acceptor = Acceptor::default();
        let mut accept = |round| acceptor.accept(ballot(round), Slot(0), &Command::Noop);
        assert_eq!(accept(1), Ok(Acceptance::Fresh));
        assert_eq!(accept(1), Ok(Acceptance::Repeated));
        assert_eq!(accept(2), Ok(Acceptance::Fresh));
    }

    /// RULES R16: what a learner that ended knew to be chosen may be open again, but never in an older ballot.
    #[test]
    fn of_what_is_remembered_again_the_newest_stays() {
        let held = |rounds: &[u64]| {
            let slots = (0..).map(Slot).zip(rounds);
            let accepted = slots.map(|(slot, &round)| (slot, (ballot(round), Command::Noop)));
            accepted.collect::<BTreeMap<_, _>>()
        };
        let mut acceptor = Acceptor::recovered(ballot(3), held(&[3, 1]));

        acceptor.unite(held(&[2, 2, 2]));

        assert_eq!(acceptor, Acceptor::recovered(ballot(3), held(&[3, 2, 2])));
    }

    #[test]
    fn what_the_learner_keeps_takes_no_memory_here() {
        let mut acceptor = Acceptor::default();
        for slot in 0..5 {
            let accepted = acceptor.accept(ballot(1), Slot(slot), &Command::Noop);
            assert_eq!(accepted, Ok(Acceptance::Fresh));
        }

        acceptor.forget_below(Slot(2));
        acceptor.forget(Slot(3));

        let left = acceptor.accepted_from(Slot(0)).map(|entry| entry.slot);
        assert_eq!(left.collect::<Vec<_>>(), [Slot(2), Slot(4)]);
    }
}
