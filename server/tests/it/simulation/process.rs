//! The process of a simulated server: its node, its journal, and what waits for the disk.

use std::collections::VecDeque;
use std::sync::Arc;

use kvpaxos_server::identity::Identity;
use kvpaxos_server::journal::{Disk, Journal};
use kvpaxos_server::node::{
    Node, Recovery, SnapshotProgress, SnapshotStep, TransferProgress, TransferStep,
};
use kvpaxos_server::peers::PeerMessage;
use kvpaxos_server::snapshot;
use kvpaxos_server::snapshot_thread::SnapshotWork;
use kvpaxos_server::ticker::Ticker;
use paxos::{Agent, Ballot, DurableState, Message, Persist, ReplicaId, Slot};

use super::bugs::Bug;

/// What dies with a crash.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) node: Node,
    pub(super) journal: Journal,
    pub(super) disk: Arc<dyn Disk>,
    /// Handed to the journal and not yet taken up.
    pub(super) waiting: Vec<Work>,
    /// What the sync under way covers.
    pub(super) syncing: Option<Vec<Work>>,
    pub(super) handed: u64,
    pub(super) durable: u64,
    /// Messages that wait until the work of this number is durable.
    pub(super) outbox: VecDeque<(u64, Vec<(ReplicaId, PeerMessage)>)>,
    pub(super) is_turn_due: bool,
    pub(super) ticker: Ticker,
    pub(super) snapshots: SnapshotWork,
    /// What the node wants done for a snapshot next.
    pub(super) snapshot_step: Option<SnapshotStep>,
    /// What it wants done for snapshots that travel, in order.
    pub(super) transfers: VecDeque<TransferStep>,
    pub(super) received: Option<Slot>,
    /// What the journal need not hold.
    pub(super) trim_below: Slot,
    /// It was told to stop.
    pub(super) is_stopping: bool,
    pub(super) away: Option<Away>,
}

/// An agent that failed and is not replaced yet (RULES R16).
#[derive(Debug)]
pub(super) struct Away {
    pub(super) agent: Agent,
    pub(super) since: u64,
    /// When its successor comes, if what it needs was read back by then.
    pub(super) until: u64,
    pub(super) read_back: Option<Recovery>,
}

/// One hand-over to the journal.
#[derive(Debug)]
pub(super) struct Work {
    number: u64,
    identity: Option<Identity>,
    persist: Option<Persist>,
    /// What is durable then is to be read back.
    read_back: bool,
}

impl Process {
    /// Hands work to the journal, and says whether a sync is to begin.
    pub(super) fn hand(&mut self, identity: Option<Identity>, persist: Option<Persist>) {
        if identity.is_some() || persist.is_some() {
            self.handed += 1;
            self.waiting.push(Work {
                number: self.handed,
                identity,
                persist,
                read_back: false,
            });
        }
    }

    /// Has the journal read back once all that was handed to it is durable.
    pub(super) fn hand_read_back(&mut self) {
        self.handed += 1;
        self.waiting.push(Work {
            number: self.handed,
            identity: None,
            persist: None,
            read_back: true,
        });
    }

    /// The acceptor failed: what it had not said it never says. That this replica's own writes are durable is still told.
    pub(super) fn forget_votes(&mut self) {
        let me = self.node.identity().replica;
        for (_, messages) in &mut self.outbox {
            messages.retain_mut(|(to, message)| match message {
                PeerMessage::Agreement(Message::Promise { .. }) => false,
                PeerMessage::Agreement(Message::Accepted { slots, .. }) => {
                    slots.clear();
                    *to == me
                }
                _ => true,
            });
        }
    }

    /// What the successor of the agent that is away is to start from.
    pub(super) fn expect_successor(&mut self, recovery: Recovery) {
        if let Some(away) = &mut self.away {
            away.read_back = Some(recovery);
        }
    }

    /// Under [`Bug::QueueDiesWithAgent`].
    pub(super) fn drop_queue(&mut self) {
        for work in &mut self.waiting {
            work.persist = None;
        }
    }

    /// What an opening would read now, and the promise in it; nothing is made durable first.
    pub(super) fn read_back(&self) -> Result<(Recovery, Ballot), String> {
        let founding = self.node.identity().founding.as_ref();
        let cluster = founding.map_or(0, |founding| founding.cluster);
        let loaded = snapshot::load(&*self.disk, cluster).map_err(|error| error.to_string())?;
        let settings = self.node.cluster_settings();
        let mut recovery = loaded
            .restored
            .map_or_else(|| Recovery::new(settings), Recovery::from_snapshot);
        let mut promised = Ballot::NONE;
        let mut replay = |state: DurableState, records| {
            promised = state.promised;
            recovery.batch(state, records);
        };
        self.journal
            .read_back(&mut replay)
            .map_err(|error| error.to_string())?;
        Ok((recovery, promised))
    }

    /// Whether all that was handed to the journal is durable.
    pub(super) fn is_durable(&self) -> bool {
        self.durable == self.handed
    }

    /// Keeps messages until all that was handed over is durable.
    pub(super) fn keep(&mut self, messages: Vec<(ReplicaId, PeerMessage)>) {
        if !messages.is_empty() {
            self.outbox.push_back((self.handed, messages));
        }
    }

    /// The messages that may leave.
    pub(super) fn take_sendable(&mut self) -> Vec<(ReplicaId, PeerMessage)> {
        let mut sendable = Vec::new();
        while let Some((_, messages)) = self
            .outbox
            .pop_front_if(|(number, _)| *number <= self.durable)
        {
            sendable.extend(messages);
        }
        sendable
    }

    /// Takes up what waits, if no sync is under way; says whether one began.
    pub(super) fn begin_sync(&mut self) -> bool {
        if self.syncing.is_some() || self.waiting.is_empty() {
            return false;
        }
        self.syncing = Some(std::mem::take(&mut self.waiting));
        true
    }

    /// The sync under way ends.
    pub(super) fn end_sync(&mut self, bug: Option<Bug>) -> Result<(), String> {
        let works = self.syncing.take().expect("a sync ends after it began");
        let last = works.last().expect("a sync covers something").number;
        if bug == Some(Bug::SyncSkipped) {
            self.durable = last;
            return Ok(());
        }
        self.write(works)?;
        self.durable = last;
        if self.waiting.is_empty() {
            self.journal.seal().map_err(|error| error.to_string())?;
        }
        let trimmed = self
            .journal
            .trim_below(self.trim_below)
            .map_err(|error| error.to_string())?;
        trimmed
            .remove(&*self.disk)
            .map_err(|error| error.to_string())?;
        if let Some(order) = self.journal.order_spare() {
            let made = order.make(&*self.disk);
            self.journal
                .take_spare(made)
                .map_err(|error| error.to_string())?;
        }
        self.node.note_journal_bytes(self.journal.disk_bytes());
        Ok(())
    }

    /// Takes up what is to be done for snapshots; says whether there is a step to be done.
    pub(super) fn begin_snapshot_step(
        &mut self,
        step: Option<SnapshotStep>,
        trim_below: Option<Slot>,
    ) -> bool {
        self.trim_below = trim_below.unwrap_or(self.trim_below);
        let is_new = step.is_some();
        assert!(
            !is_new
                || self.snapshot_step.is_none()
                || matches!(step, Some(SnapshotStep::Begin { .. })),
            "a step is handed out before the last was done"
        );
        self.snapshot_step = step.or_else(|| self.snapshot_step.take());
        is_new
    }

    /// The step of a snapshot that waits is done; says whether it made one durable.
    pub(super) fn end_snapshot_step(&mut self) -> Result<bool, String> {
        let Some(progress) = self.write_snapshot()? else {
            return Ok(false);
        };
        if let SnapshotProgress::Failed(why) = &progress {
            return Err(format!("a snapshot failed: {why}"));
        }
        let is_durable = matches!(progress, SnapshotProgress::Durable(_));
        self.node.snapshot_progress(progress);
        Ok(is_durable)
    }

    /// Takes up what is to be done for snapshots that travel; says how many steps there are.
    pub(super) fn begin_transfers(&mut self, steps: Vec<TransferStep>) -> usize {
        let count = steps.len();
        for step in &steps {
            if let TransferStep::Finish { slot, .. } = step {
                self.received = Some(*slot);
            }
        }
        self.transfers.extend(steps);
        count
    }

    /// The first of these steps is done, after whatever the same thread was given before; says whether a snapshot came.
    pub(super) fn end_transfer(&mut self) -> Result<bool, String> {
        self.end_snapshot_step()?;
        let Some(step) = self.transfers.pop_front() else {
            return Ok(false);
        };
        let Some(progress) = self.snapshots.transfer(step) else {
            return Ok(false);
        };
        if let TransferProgress::Failed(why) = &progress {
            return Err(format!("a transfer failed: {why}"));
        }
        let has_come = matches!(progress, TransferProgress::Received { .. });
        self.node.transfer_progress(progress);
        Ok(has_come)
    }

    pub(super) fn write_snapshot(&mut self) -> Result<Option<SnapshotProgress>, String> {
        let Some(step) = self.snapshot_step.take() else {
            return Ok(None);
        };
        let progress = self.snapshots.take(step);
        progress.map(Some).map_err(|error| error.to_string())
    }

    pub(super) fn write(&mut self, works: Vec<Work>) -> Result<(), String> {
        for work in works {
            if let Some(identity) = work.identity {
                identity
                    .store(&*self.disk)
                    .map_err(|error| error.to_string())?;
            }
            if let Some(persist) = work.persist {
                self.journal
                    .append(&persist)
                    .map_err(|error| error.to_string())?;
            }
            if work.read_back {
                self.journal.sync().map_err(|error| error.to_string())?;
                let (recovery, _) = self.read_back()?;
                self.expect_successor(recovery);
            }
        }
        self.journal.sync().map_err(|error| error.to_string())?;
        Ok(())
    }
}
