//! What a snapshot and a journal tell a replica that starts.

use std::collections::BTreeMap;

use crate::ballot::{Ballot, Incarnation, ReplicaId, Slot};
use crate::message::Command;
use crate::output::{DurableState, Record};

/// Gathers the journal's batches, in the order in which they were written.
///
/// What it hands back as chosen is to be applied by the driver; a [`crate::Replica`] that starts with it delivers only
/// what comes after.
#[derive(Debug, Default)]
pub struct Recovered {
    pub(crate) state: DurableState,
    /// Accepted at or above the chosen watermark: what the acceptor remembered, learned since or not, so that a promise
    /// reports the same after a restart.
    pub(crate) accepted: BTreeMap<Slot, (Ballot, Command)>,
    /// Learned to be chosen, above a slot that was not.
    pub(crate) learned: BTreeMap<Slot, Command>,
    /// Chosen, and not forgotten by all.
    pub(crate) chosen: BTreeMap<Slot, Command>,
    /// Changes of the voters chosen below the chosen watermark.
    pub(crate) rejoins: Vec<(Slot, ReplicaId, Incarnation)>,
    /// The slot of the snapshot with which the replica starts: every slot below it is chosen, applied, and not held here.
    pub(crate) snapshot_slot: Slot,
}

impl Recovered {
    /// Nothing replayed yet: what a founded replica starts with.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A snapshot of `slot` is durable, and the driver has its state: every slot below it is chosen and applied. What the
    /// journal says of those slots is passed over, so that a journal that was trimmed, one that was not, and one that is
    /// empty all lead to the same. The configuration that the replica starts with is the snapshot's.
    #[must_use]
    pub fn from_snapshot(slot: Slot) -> Self {
        Self {
            state: DurableState {
                chosen_watermark: slot,
                ..DurableState::default()
            },
            snapshot_slot: slot,
            ..Self::default()
        }
    }

    /// Takes in one batch, and gives the commands that it shows to be chosen: consecutive slots, each exactly once.
    ///
    /// # Panics
    /// When the journal does not hold a command for a slot that it says is chosen: it is not this replica's journal.
    pub fn batch(&mut self, state: DurableState, records: Vec<Record>) -> Vec<(Slot, Command)> {
        for record in records {
            match record {
                Record::Accepted { slot, .. } | Record::Learned { slot, .. }
                    if slot < self.snapshot_slot => {}
                Record::Accepted {
                    slot,
                    ballot,
                    command,
                } => {
                    self.accepted.insert(slot, (ballot, command));
                }
                Record::Learned { slot, command } => {
                    self.learned.insert(slot, command);
                }
            }
        }
        let mut chosen = Vec::new();
        let mut slot = self.state.chosen_watermark;
        while slot < state.chosen_watermark {
            chosen.push((slot, self.take_chosen(slot)));
            slot = slot.next();
        }
        self.state = DurableState {
            chosen_watermark: slot,
            ..state
        };
        self.chosen.extend(chosen.iter().cloned());
        self.chosen = self.chosen.split_off(&state.forget_watermark);
        chosen
    }

    /// Every slot below it is chosen and has been handed back.
    #[must_use]
    pub fn chosen_watermark(&self) -> Slot {
        self.state.chosen_watermark
    }

    /// The slot of the snapshot with which the replica starts.
    pub(crate) fn snapshot_slot(&self) -> Slot {
        self.snapshot_slot
    }

    /// Commands below it are not held here: every replica's journal can replay them, or the snapshot covers them. So a
    /// slot below it is never taken for an empty one (RULES R5).
    pub(crate) fn trimmed_watermark(&self) -> Slot {
        self.state.forget_watermark.max(self.snapshot_slot)
    }

    /// Every change of the voters known to be chosen, those above the chosen watermark included.
    pub(crate) fn rejoins(&self) -> impl Iterator<Item = (Slot, ReplicaId, Incarnation)> {
        let learned = self
            .learned
            .iter()
            .filter_map(|(slot, command)| rejoin(*slot, command));
        self.rejoins.iter().copied().chain(learned)
    }

    fn take_chosen(&mut self, slot: Slot) -> Command {
        let accepted = self.accepted.remove(&slot).map(|(_, command)| command);
        let command = self.learned.remove(&slot).or(accepted).unwrap_or_else(|| {
            panic!("the journal says that slot {slot} is chosen, and holds no command for it")
        });
        self.rejoins.extend(rejoin(slot, &command));
        command
    }
}

fn rejoin(slot: Slot, command: &Command) -> Option<(Slot, ReplicaId, Incarnation)> {
    match command {
        Command::Rejoin {
            replica,
            incarnation,
        } => Some((slot, *replica, *incarnation)),
        Command::Noop | Command::Opaque(_) => None,
    }
}
