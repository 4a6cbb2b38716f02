//! The process of a simulated server: its node, its journal, and what waits for the disk.

use std::collections::VecDeque;
use std::sync::Arc;

use kvpaxos_server::identity::Identity;
use kvpaxos_server::journal::{Disk, Journal, JournalError};
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
    pub(super) syncing: Option<VecDeque<Work>>,
    /// The number of the last piece of work that it covers, of which some may be written already.
    pub(super) syncing_last: u64,
    /// The disk has no room for what is being synced: it is tried again.
    pub(super) is_stalled: bool,
    pub(super) handed: u64,
    pub(super) durable: u64,
    /// Messages that wait until the work of this number is durable.
    pub(super) outbox: VecDeque<(u64, Vec<(ReplicaId, PeerMessage)>)>,
    pub(super) is_turn_due: bool,
    pub(super) ticker: Ticker,
    pub(super) snapshots: SnapshotWork,
    /// What the node wants done for a snapshot next.
    pub(super) snapshot_steps: VecDeque<SnapshotStep>,
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
        self.syncing_last = self.waiting.last().map_or(self.durable, |work| work.number);
        self.syncing = Some(std::mem::take(&mut self.waiting).into());
        true
    }

    /// The sync under way ends, or finds the disk full and is to be tried again: says which.
    pub(super) fn end_sync(&mut self, bug: Option<Bug>) -> Result<bool, String> {
        let mut works = self.syncing.take().expect("a sync ends after it began");
        if bug == Some(Bug::SyncSkipped) {
            self.durable = self.syncing_last;
            return Ok(true);
        }
        self.is_stalled = !self.write(&mut works)?;
        if self.is_stalled {
            // What is appended may be staged only: none of it counts before all is synced.
            self.syncing = Some(works);
        } else {
            self.durable = self.syncing_last;
            if self.waiting.is_empty() {
                unless_full(self.journal.seal())?;
            }
        }
        self.keep_house()?;
        Ok(!self.is_stalled)
    }

    /// What nobody waits for.
    fn keep_house(&mut self) -> Result<(), String> {
        if let Some(trimmed) = unless_full(self.journal.trim_below(self.trim_below))? {
            trimmed
                .remove(&*self.disk)
                .map_err(|error| error.to_string())?;
        }
        // Without room there is no reserve, and the next opening needs what is free then.
        let _ = self.journal.reserve_for_opening();
        if let Some(order) = self.journal.order_spare() {
            let made = order.make(&*self.disk);
            unless_full(self.journal.take_spare(made))?;
        }
        self.node.note_journal_bytes(self.journal.disk_bytes());
        Ok(())
    }

    /// Tells the node how much more the disk takes. A byte of a simulated disk stands for some of a real one.
    pub(super) fn look_at_disk(&mut self, bug: Option<Bug>) {
        if bug == Some(Bug::ProposesIntoFullDisks) {
            return;
        }
        let writable = self.writable_bytes().saturating_mul(BYTES_PER_BYTE);
        self.node.note_room(writable, self.is_stalled);
    }

    /// What the journal has set aside, and what is free.
    pub(super) fn writable_bytes(&self) -> u64 {
        let free = self.disk.free_bytes().unwrap_or(u64::MAX);
        self.journal.writable_bytes().saturating_add(free)
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
                || self.snapshot_steps.is_empty()
                || matches!(step, Some(SnapshotStep::Begin { .. })),
            "a step is handed out before the last was done"
        );
        self.snapshot_steps.extend(step);
        is_new
    }

    /// The step of a snapshot that waits is done; says whether it made one durable.
    pub(super) fn end_snapshot_step(&mut self) -> Result<bool, String> {
        let Some(progress) = self.write_snapshot()? else {
            return Ok(false);
        };
        if let SnapshotProgress::Failed(why) = &progress
            && !self.is_full()
        {
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
        while !self.snapshot_steps.is_empty() {
            self.end_snapshot_step()?;
        }
        let Some(step) = self.transfers.pop_front() else {
            return Ok(false);
        };
        let progress = self.snapshots.transfer(step);
        let Some(progress) = progress.map_err(|error| error.to_string())? else {
            return Ok(false);
        };
        if let TransferProgress::Failed(why) = &progress
            && !self.is_full()
        {
            return Err(format!("a transfer failed: {why}"));
        }
        let has_come = matches!(progress, TransferProgress::Received { .. });
        self.node.transfer_progress(progress);
        Ok(has_come)
    }

    pub(super) fn write_snapshot(&mut self) -> Result<Option<SnapshotProgress>, String> {
        let Some(step) = self.snapshot_steps.pop_front() else {
            return Ok(None);
        };
        let progress = self.snapshots.take(step);
        progress.map(Some).map_err(|error| error.to_string())
    }

    /// Whether the disk has a bound that may have been met.
    fn is_full(&self) -> bool {
        self.disk
            .free_bytes()
            .is_ok_and(|bytes| bytes < FREE_BYTES_MIN)
    }

    /// Writes and syncs these in their order, as far as there is room: says whether there was. What is appended and does
    /// not fit is staged in the journal, and nothing more is until it does.
    pub(super) fn write(&mut self, works: &mut VecDeque<Work>) -> Result<bool, String> {
        if self.is_stalled && unless_full(self.journal.sync())?.is_none() {
            return Ok(false);
        }
        while let Some(work) = works.front_mut() {
            if let Some(identity) = &work.identity {
                if unless_full(self.journal.sync())?.is_none() {
                    return Ok(false);
                }
                match identity.store(&*self.disk) {
                    Err(error) if error.is_disk_full() => return Ok(false),
                    stored => stored.map_err(|error| error.to_string())?,
                }
                work.identity = None;
            }
            if let Some(persist) = work.persist.take()
                && unless_full(self.journal.append(&persist))?.is_none()
                && unless_full(self.journal.sync())?.is_none()
            {
                return Ok(false);
            }
            if work.read_back {
                if unless_full(self.journal.sync())?.is_none() {
                    return Ok(false);
                }
                let (recovery, _) = self.read_back()?;
                self.expect_successor(recovery);
            }
            works.pop_front();
        }
        Ok(unless_full(self.journal.sync())?.is_some())
    }
}

/// What came of it; none if the disk was full, which breaks nothing.
fn unless_full<T>(result: Result<T, JournalError>) -> Result<Option<T>, String> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.is_disk_full() => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Runs are short and write little. More, and what is left for agreement itself were a few blocks only, which are as long
/// here as they are in the product.
const BYTES_PER_BYTE: u64 = 8;

/// The longest file that is made here is shorter.
const FREE_BYTES_MIN: u64 = 1 << 20;
