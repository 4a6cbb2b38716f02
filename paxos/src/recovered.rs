//! What a snapshot and a journal tell a replica that starts.

use std::collections::BTreeMap;

use crate::ballot::{Ballot, Incarnation, ReplicaId, Slot};
use crate::message::Command;
use crate::output::{DurableState, Record};

/// Gathers the journal's batches, in the order in which they were written.
///
/// What it hands back as chosen is to be applied by the driver; a [`crate::Replica`] that starts with it delivers only
/// what comes after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
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
    /// The slot of the snapshot with which the replica starts: every slot below it is chosen and applied.
    pub(crate) snapshot_slot: Slot,
    /// The journal has the log from here to the snapshot; equal to it if that is not known.
    log_slot: Slot,
    /// The newest record of each slot between the two.
    below_snapshot: BTreeMap<Slot, Command>,
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
            log_slot: slot,
            ..Self::default()
        }
    }

    /// The same with an older snapshot beside it, of `older`, since when this replica has applied every slot from its own
    /// journal: what that still holds of the log between the two is kept for replicas that lag behind.
    #[must_use]
    pub fn from_snapshots(older: Slot, newest: Slot) -> Self {
        assert!(older <= newest, "{older} is not older than {newest}");
        Self {
            log_slot: older,
            ..Self::from_snapshot(newest)
        }
    }

    /// Takes in one batch, and gives the commands that it shows to be chosen: consecutive slots, each exactly once.
    ///
    /// # Panics
    /// When the journal does not hold a command for a slot that it says is chosen: it is not this replica's journal.
    pub fn batch(&mut self, state: DurableState, records: Vec<Record>) -> Vec<(Slot, Command)> {
        for record in records {
            self.take_record(record);
        }
        let mut chosen = Vec::new();
        let mut slot = self.state.chosen_watermark;
        while slot < state.chosen_watermark {
            chosen.push((slot, self.take_chosen(slot)));
            slot = slot.next();
        }
        if state.chosen_watermark >= self.snapshot_slot {
            // Only now does the journal itself say that what it holds below the snapshot is chosen.
            self.adopt_below_snapshot();
        }
        self.state = DurableState {
            chosen_watermark: slot,
            ..state
        };
        self.chosen.extend(chosen.iter().cloned());
        self.chosen = self.chosen.split_off(&state.forget_watermark);
        chosen
    }

    fn take_record(&mut self, record: Record) {
        let (Record::Accepted { slot, .. } | Record::Learned { slot, .. }) = record;
        match record {
            _ if slot < self.log_slot => {}
            Record::Accepted { command, .. } | Record::Learned { command, .. }
                if slot < self.snapshot_slot =>
            {
                self.below_snapshot.insert(slot, command);
            }
            Record::Accepted {
                ballot, command, ..
            } => {
                self.accepted.insert(slot, (ballot, command));
            }
            Record::Learned { command, .. } => {
                self.learned.insert(slot, command);
            }
        }
    }

    /// Every slot below it is chosen and has been handed back.
    #[must_use]
    pub fn chosen_watermark(&self) -> Slot {
        self.state.chosen_watermark
    }

    /// With the small part of the durable state alone.
    pub(crate) fn of_state(state: DurableState) -> Self {
        Self {
            state,
            ..Self::default()
        }
    }

    /// The slot of the snapshot with which the replica starts.
    pub(crate) fn snapshot_slot(&self) -> Slot {
        self.snapshot_slot
    }

    /// Commands below it are not held here: every replica's journal can replay them, or the snapshot covers them. So a
    /// slot below it is never taken for an empty one (RULES R5).
    pub(crate) fn trimmed_watermark(&self) -> Slot {
        let first = self.chosen.keys().next().copied();
        let held_from = first.unwrap_or(self.state.chosen_watermark);
        held_from.min(self.state.chosen_watermark)
    }

    /// Keeps the unbroken part of the log that ends where the snapshot does.
    fn adopt_below_snapshot(&mut self) {
        let mut first = self.snapshot_slot;
        while let Some((slot, command)) = self.below_snapshot.pop_last() {
            if slot.next() != first {
                break;
            }
            self.chosen.insert(slot, command);
            first = slot;
        }
        self.below_snapshot.clear();
        self.log_slot = self.snapshot_slot;
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
