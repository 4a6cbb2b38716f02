//! Snapshots of the driver in `cluster`: what a replica has applied, kept beside its journal.

use paxos::{Command, Configuration, ReplicaId, Slot, SnapshotWanted};

use crate::cluster::Cluster;

/// Everything below a slot, durable.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) configuration: Configuration,
    /// What was applied, from slot 0 on.
    pub(crate) applied: Vec<Command>,
}

impl Snapshot {
    pub(crate) fn slot(&self) -> Slot {
        Slot(self.applied.len() as u64)
    }
}

impl Cluster {
    /// A replica makes what it has applied durable, and gives up the part of its journal that this covers.
    pub(crate) fn take_snapshot(&mut self, id: ReplicaId) {
        let node = self.node_mut(id);
        let Some(replica) = &mut node.replica else {
            return;
        };
        let snapshot = Snapshot {
            configuration: replica.configuration().clone(),
            applied: node.applied.clone(),
        };
        replica.snapshot_durable(snapshot.slot());
        node.snapshot = Some(snapshot);
        self.trim(id);
        self.turn(id, |_| {});
    }

    /// A replica is given the snapshot that another has made. `false` if it had applied as much.
    pub(crate) fn transfer(&mut self, from: ReplicaId, to: ReplicaId) -> bool {
        let Some(snapshot) = self.node(from).snapshot.clone() else {
            return false;
        };
        let node = self.node_mut(to);
        let replica = node.replica.as_mut();
        let is_installed =
            replica.is_some_and(|to| to.install(snapshot.slot(), &snapshot.configuration));
        if is_installed {
            node.applied.clone_from(&snapshot.applied);
            node.snapshot = Some(snapshot);
            self.trim(to);
            self.turn(to, |_| {});
        }
        is_installed
    }

    /// A snapshot arrives and is durable, and the process dies before it makes use of it.
    pub(crate) fn transfer_and_crash(&mut self, from: ReplicaId, to: ReplicaId) {
        let snapshot = self.node(from).snapshot.clone();
        let slot = |snapshot: &Option<Snapshot>| snapshot.as_ref().map(Snapshot::slot);
        self.crash(to);
        let node = self.node_mut(to);
        if slot(&snapshot) > slot(&node.snapshot) {
            node.snapshot = snapshot;
        }
    }

    /// What a replica wants, if it is up and wants a snapshot.
    pub(crate) fn wanted(&self, id: ReplicaId) -> Option<SnapshotWanted> {
        self.node(id).replica.as_ref()?.snapshot_wanted()
    }

    /// The sender's part of a transfer: whether `from` has a snapshot that serves, made for the purpose if need be.
    pub(crate) fn offers(&mut self, from: ReplicaId, wanted: &SnapshotWanted) -> bool {
        let Some(replica) = &self.node(from).replica else {
            return false;
        };
        let least = replica.trimmed_watermark().max(wanted.from_slot.next());
        let has = |cluster: &Self| {
            let snapshot = cluster.node(from).snapshot.as_ref();
            snapshot.is_some_and(|snapshot| snapshot.slot() >= least)
        };
        if !has(self) {
            self.take_snapshot(from);
        }
        has(self)
    }

    fn trim(&mut self, id: ReplicaId) {
        let node = self.node_mut(id);
        let slot = node.snapshot.as_ref().map(Snapshot::slot);
        for batch in &mut node.journal[..node.durable] {
            batch.records.retain(|record| {
                let (paxos::Record::Accepted { slot: of, .. }
                | paxos::Record::Learned { slot: of, .. }) = record;
                Some(*of) >= slot
            });
        }
    }
}
