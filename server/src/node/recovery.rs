//! What a node starts with: the state of a snapshot, and what the journal replays above it.

use paxos::{Configuration, DurableState, Record, Recovered, Slot};

use super::snapshots::Snapshots;
use super::state::State;
use crate::identity::ClusterSettings;
use crate::snapshot::Restored;

/// Gathers what the journal replays, and becomes a [`Node`](super::Node).
#[derive(Debug)]
pub struct Recovery {
    pub(super) log: Recovered,
    pub(super) state: State,
    /// Who votes where, by the snapshot; by the founding record if there is none.
    pub(super) configuration: Option<Configuration>,
    pub(super) snapshots: Snapshots,
}

impl Recovery {
    /// Nothing replayed yet. `settings` are those of the cluster, if it is founded.
    #[must_use]
    pub fn new(settings: ClusterSettings) -> Self {
        Self {
            log: Recovered::new(),
            state: State::new(settings),
            configuration: None,
            snapshots: Snapshots::new(),
        }
    }

    /// With what a snapshot held: of the journal only what is above it counts.
    #[must_use]
    pub fn from_snapshot(restored: Restored) -> Self {
        Self {
            log: Recovered::from_snapshot(restored.head.slot),
            state: restored.state,
            configuration: Some(restored.head.configuration),
            snapshots: Snapshots::with_kept(&[restored.head.slot]),
        }
    }

    /// With what a directory had: `kept` are the slots of all snapshots there, oldest first, of which the newest was
    /// restored.
    #[must_use]
    pub fn with_snapshots(
        settings: ClusterSettings,
        restored: Option<Restored>,
        kept: &[Slot],
    ) -> Self {
        let mut recovery = match restored {
            Some(restored) => Self::from_snapshot(restored),
            None => Self::new(settings),
        };
        if let [older, newest] = *kept {
            recovery.log = Recovered::from_snapshots(older, newest);
            recovery.snapshots = Snapshots::with_kept(kept);
        }
        recovery
    }

    /// Every slot below it is applied: by the snapshot, and by what was replayed so far.
    #[must_use]
    pub fn applied(&self) -> Slot {
        self.state.applied()
    }

    /// One batch of the journal, in the order of its serials.
    ///
    /// # Panics
    /// When the batch does not follow from those before it: the journal's checksums hold and its content does not.
    pub fn batch(&mut self, durable: DurableState, records: Vec<Record>) {
        self.snapshots.note_replayed(&records);
        for (slot, command) in self.log.batch(durable, records) {
            self.state.apply(slot, &command, |_| {});
        }
    }
}
