//! Whether a journal holds every command that it says is chosen, as far as no snapshot covers it (RULES R5).

use std::collections::BTreeSet;

use paxos::{DurableState, Record, Slot};

/// Follows a replay.
#[derive(Debug)]
pub(super) struct Coverage {
    /// Every slot below it is covered: by the snapshot, or by commands that were replayed.
    covered: Slot,
    /// The slots at or above it for which a command was replayed.
    held: BTreeSet<Slot>,
    missing: Option<Slot>,
}

impl Coverage {
    /// A snapshot covers every slot below `base`.
    pub(super) fn above(base: Slot) -> Self {
        Self {
            covered: base,
            held: BTreeSet::new(),
            missing: None,
        }
    }

    /// Takes in the next batch; says whether everything is there up to its end.
    pub(super) fn note(&mut self, state: &DurableState, records: &[Record]) -> bool {
        for record in records {
            let (Record::Accepted { slot, .. } | Record::Learned { slot, .. }) = record;
            if *slot >= self.covered {
                self.held.insert(*slot);
            }
        }
        while self.missing.is_none() && self.covered < state.chosen_watermark {
            if !self.held.remove(&self.covered) {
                self.missing = Some(self.covered);
                break;
            }
            self.covered = self.covered.next();
        }
        self.missing.is_none()
    }

    /// The first slot that is said to be chosen and has no command.
    pub(super) fn missing(&self) -> Option<Slot> {
        self.missing
    }
}

#[cfg(test)]
mod tests {
    use paxos::Command;

    use super::*;

    fn learned(slots: &[u64]) -> Vec<Record> {
        let record = |slot: &u64| Record::Learned {
            slot: Slot(*slot),
            command: Command::Noop,
        };
        slots.iter().map(record).collect()
    }

    fn chosen(slot: u64) -> DurableState {
        DurableState {
            chosen_watermark: Slot(slot),
            ..DurableState::default()
        }
    }

    #[test]
    fn what_the_snapshot_covers_need_not_be_there() {
        let mut coverage = Coverage::above(Slot(5));
        assert!(coverage.note(&chosen(3), &[]));
        assert!(coverage.note(&chosen(5), &learned(&[2, 6])));
        assert!(coverage.note(&chosen(7), &learned(&[5])));
        assert_eq!(coverage.missing(), None);
    }

    #[test]
    fn a_command_that_is_chosen_and_not_there_is_missing() {
        let mut coverage = Coverage::above(Slot(5));
        assert!(coverage.note(&chosen(5), &learned(&[5, 7])));
        assert!(!coverage.note(&chosen(8), &[]));
        assert_eq!(coverage.missing(), Some(Slot(6)));
        assert!(!coverage.note(&chosen(8), &learned(&[6])), "too late");
    }
}
