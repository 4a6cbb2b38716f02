//! One simulated server: the shipped node and journal, with the simulator as their driver.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use kvpaxos_server::identity::{ClusterSettings, Identity};
use kvpaxos_server::journal::{Disk, Journal, JournalSettings, Storage, StorageSettings};
use kvpaxos_server::node::{Node, NodeSettings, Recovery};
use kvpaxos_server::peers::PeerMessage;
use kvpaxos_server::ticker::Ticker;
use paxos::{Ballot, Command, Persist, Record, ReplicaId, Slot};

use super::bugs::Bug;
use super::random::Random;
use crate::faulty_disk::{Fault, FaultyDisk, Rng};

/// A server that is up or down.
#[derive(Debug)]
pub(super) struct SimReplica {
    pub(super) id: ReplicaId,
    pub(super) disk: FaultyDisk,
    /// Counts starts: what was scheduled for an earlier life comes to nothing.
    pub(super) life: u64,
    pub(super) process: Option<Process>,
    pub(super) paused_until: u64,
    /// Until then nothing that others send reaches it.
    pub(super) deaf_until: u64,
    /// Until then no sync ends.
    pub(super) disk_stalls_until: u64,
    /// How far its clock is ahead.
    pub(super) clock_ahead_us: u64,
    /// What each slot was last accepted to hold, as the planted bugs need to know it.
    pub(super) accepted: BTreeMap<Slot, Command>,
    /// The incarnation that the next start takes instead of drawing one, for the planted bugs.
    pub(super) revived: Option<u64>,
}

/// What dies with a crash.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) node: Node,
    journal: Journal,
    disk: Arc<dyn Disk>,
    /// Handed to the journal and not yet taken up.
    waiting: Vec<Work>,
    /// What the sync under way covers.
    syncing: Option<Vec<Work>>,
    handed: u64,
    durable: u64,
    /// Messages that wait until the work of this number is durable.
    outbox: VecDeque<(u64, Vec<(ReplicaId, PeerMessage)>)>,
    pub(super) is_turn_due: bool,
    pub(super) ticker: Ticker,
    /// It was told to stop.
    pub(super) is_stopping: bool,
}

/// One hand-over to the journal.
#[derive(Debug)]
struct Work {
    number: u64,
    identity: Option<Identity>,
    persist: Option<Persist>,
}

/// What a start is told.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) members: Vec<ReplicaId>,
    pub(super) reads_through_log: bool,
    pub(super) bug: Option<Bug>,
    pub(super) session_expiry_s: u32,
    /// What the replica's clock says.
    pub(super) now: Instant,
}

impl SimReplica {
    pub(super) fn new(id: ReplicaId) -> Self {
        Self {
            id,
            disk: FaultyDisk::new(),
            life: 0,
            process: None,
            paused_until: 0,
            deaf_until: 0,
            disk_stalls_until: 0,
            clock_ahead_us: 0,
            accepted: BTreeMap::new(),
            revived: None,
        }
    }

    /// Starts the process on what is on the disk.
    pub(super) fn start(&mut self, start: &Start, random: &mut Random) -> Result<(), String> {
        assert!(self.process.is_none(), "{} is started twice", self.id);
        let cluster = ClusterSettings {
            window: 8,
            hash_interval: 64,
            value_bytes_max: 1 << 20,
            session_expiry_s: start.session_expiry_s,
            ..ClusterSettings::default()
        };
        let settings = StorageSettings {
            replica: self.id,
            members: start.members.clone(),
            journal: JournalSettings {
                first_segment_bytes: 64 << 10,
                segment_bytes_max: 256 << 10,
            },
        };
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let mut batches = Vec::new();
        let mut revived = self.revived.take();
        let storage = Storage::open(
            &disk,
            &settings,
            &mut || revived.take().unwrap_or_else(|| random.draw()),
            &mut |state, records| batches.push((state, records)),
        )
        .map_err(|error| format!("{} does not start: {error}", self.id))?;
        if storage.damage.is_some() {
            // As the server does: what was read belongs to a journal that was moved aside.
            batches.clear();
        }
        if start.bug == Some(Bug::LastBatchCut) {
            let last = batches.iter().rposition(|(_, records)| !records.is_empty());
            batches.truncate(last.unwrap_or(batches.len()));
        }
        let mut recovery = Recovery::new(cluster);
        self.accepted.clear();
        for (state, records) in batches {
            note_accepted(&mut self.accepted, &records);
            recovery.batch(state, records);
        }
        let birth = if start.bug == Some(Bug::BallotReused) {
            u64::from(self.id.0) + 1
        } else {
            random.draw()
        };
        let node_settings = NodeSettings {
            replica: self.id,
            members: start.members.clone(),
            cluster,
            no_quorum_after_ticks: 500,
            reads_through_log: start.reads_through_log,
            birth,
        };
        self.life += 1;
        self.process = Some(Process {
            node: Node::new(node_settings, storage.identity, recovery, storage.blank),
            journal: storage.journal,
            disk,
            waiting: Vec::new(),
            syncing: None,
            handed: 0,
            durable: 0,
            outbox: VecDeque::new(),
            is_turn_due: false,
            ticker: Ticker::new(start.now),
            is_stopping: false,
        });
        Ok(())
    }

    /// Whether the disk says to which cluster it belongs: a cluster is founded once all its members were there.
    pub(super) fn is_founded(&self) -> bool {
        let identity = Identity::load(&self.disk);
        identity.is_ok_and(|identity| identity.is_some_and(|identity| identity.founding.is_some()))
    }

    /// Ends the process. What it was writing may be there in part; with the power gone, what was not synced may be lost.
    pub(super) fn crash(&mut self, power: bool, random: &mut Random) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        if let Some(works) = process.syncing.take().filter(|_| random.chance(700)) {
            self.disk.plan(random.between(0, 3), Fault::Stop);
            let _ = process.write(works);
            self.disk.plan(1 << 60, Fault::Stop);
        }
        if power {
            self.disk.crash(&mut Rng::new(random.draw()));
        } else {
            self.disk.kill();
        }
        self.paused_until = 0;
        self.deaf_until = 0;
        self.life += 1;
    }
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
            });
        }
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
        if let Some(order) = self.journal.order_spare() {
            let made = order.make(&*self.disk);
            self.journal
                .take_spare(made)
                .map_err(|error| error.to_string())?;
        }
        self.node.note_journal_bytes(self.journal.disk_bytes());
        Ok(())
    }

    fn write(&mut self, works: Vec<Work>) -> Result<(), String> {
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
        }
        self.journal.sync().map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// Remembers what records say was accepted.
pub(super) fn note_accepted(accepted: &mut BTreeMap<Slot, Command>, records: &[Record]) {
    for record in records {
        match record {
            Record::Accepted { slot, command, .. } | Record::Learned { slot, command } => {
                accepted.insert(*slot, command.clone());
            }
        }
    }
}

/// What the journal is told under [`Bug::PromiseNotPersisted`].
pub(super) fn without_promise(mut persist: Persist) -> Persist {
    persist.state.promised = Ballot::NONE;
    persist
}
