//! One simulated server: the shipped node and journal, with the simulator as their driver.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Instant;

use kvpaxos_server::identity::{ClusterSettings, Identity};
use kvpaxos_server::journal::{Disk, JournalSettings, Storage, StorageError, StorageSettings};
use kvpaxos_server::node::{Node, NodeSettings, Recovery};
use kvpaxos_server::snapshot::{self, Loaded};
use kvpaxos_server::snapshot_thread::SnapshotWork;
use kvpaxos_server::ticker::Ticker;
use paxos::{Ballot, Command, Incarnation, Persist, Record, ReplicaId, Slot};

use super::bugs::{Bug, cut_batches};
use super::process::Process;
use super::random::Random;
use crate::faulty_disk::{Fault, FaultyDisk, Loss, Rng};

/// A server that is up or down.
#[derive(Debug)]
pub(super) struct SimReplica {
    pub(super) id: ReplicaId,
    pub(super) disk: FaultyDisk,
    /// Counts starts: what was scheduled for an earlier life comes to nothing.
    pub(super) life: u64,
    pub(super) process: Option<Process>,
    /// It does not start again.
    pub(super) is_gone: bool,
    /// Why it has lost its acceptor's memory, as it said when it last started.
    pub(super) lost: Option<String>,
    /// Whom it took for the leader and how many slots it had applied, when that was last printed.
    pub(super) traced: (Option<ReplicaId>, Slot),
    pub(super) paused_until: u64,
    /// Until then nothing that others send reaches it.
    pub(super) deaf_until: u64,
    /// Until then no sync ends.
    pub(super) disk_stalls_until: u64,
    /// How far its clock is ahead.
    pub(super) clock_ahead_us: u64,
    /// What each slot was last accepted to hold, as the planted bugs need to know it.
    pub(super) accepted: BTreeMap<Slot, Command>,
    /// Above all slots that it ever accepted anything in or learned, trimmed or not.
    pub(super) reached: Slot,
    /// The last snapshot that came from another replica. Only the newer one is of use then, because the log between an
    /// older one and it is not here; it does not rot.
    received: Option<Slot>,
    /// The snapshot that rotted.
    rotten: Option<String>,
    /// How often one did: a snapshot that was written again under its name may rot again.
    pub(super) times_rotten: u64,
    /// The incarnation that the next start takes instead of drawing one, for the planted bugs.
    pub(super) revived: Option<u64>,
}

/// A disk as it once was, and what is known of its snapshots.
#[derive(Debug)]
pub(super) struct DiskCopy {
    disk: FaultyDisk,
    received: Option<Slot>,
    rotten: Option<String>,
}

/// What a start is told.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) members: Vec<ReplicaId>,
    pub(super) reads_through_log: bool,
    /// Snapshots are taken when the journal has grown by so much.
    pub(super) snapshot_journal_bytes: u64,
    /// So much of the log is kept in memory for a replica that is away.
    pub(super) kept_log_bytes: usize,
    /// Nothing survives a crash.
    pub(super) diskless: bool,
    /// The longest that a segment of the journal becomes.
    pub(super) segment_bytes_max: u64,
    pub(super) bug: Option<Bug>,
    pub(super) session_expiry_s: u32,
    /// What the replica's clock says.
    pub(super) now: Instant,
    /// The newest of two snapshots may rot.
    pub(super) may_rot: bool,
}

impl SimReplica {
    pub(super) fn new(id: ReplicaId) -> Self {
        Self {
            id,
            disk: FaultyDisk::new(),
            life: 0,
            process: None,
            is_gone: false,
            lost: None,
            traced: (None, Slot(0)),
            paused_until: 0,
            deaf_until: 0,
            disk_stalls_until: 0,
            clock_ahead_us: 0,
            accepted: BTreeMap::new(),
            reached: Slot(0),
            received: None,
            rotten: None,
            times_rotten: 0,
            revived: None,
        }
    }

    /// Starts the process on what is on the disk; says whether there was room for that.
    pub(super) fn start(
        &mut self,
        start: &Start,
        random: &mut Random,
        rot: &mut Random,
    ) -> Result<bool, String> {
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
                segment_bytes_max: start.segment_bytes_max,
            },
        };
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let loaded = self.load_snapshot(start.may_rot, rot)?;
        let kept_slots = loaded.kept_slots();
        let mut recovery = Recovery::with_snapshots(cluster, loaded.restored, &kept_slots);
        let mut batches = Vec::new();
        let mut revived = self.revived.take();
        let opened = Storage::open_above(
            recovery.applied(),
            &disk,
            &settings,
            &mut || revived.take().unwrap_or_else(|| random.draw()),
            &mut |state, records| batches.push((state, records)),
        );
        let storage = match opened {
            Err(StorageError::Journal(error)) if error.is_disk_full() => return Ok(false),
            Err(StorageError::Identity(error)) if error.is_disk_full() => return Ok(false),
            opened => opened.map_err(|error| format!("{} does not start: {error}", self.id))?,
        };
        self.lost = storage.damage.clone().or_else(|| storage.blank.clone());
        if storage.damage.is_some() {
            // As the server does: what was read belongs to a journal that was moved aside.
            batches.clear();
        }
        cut_batches(start.bug, &mut batches, random);
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
        let mut node = Node::new(node_settings, storage.identity, recovery, storage.blank);
        node.take_snapshots_every(start.snapshot_journal_bytes);
        node.keep_log_bytes(start.kept_log_bytes);
        if start.diskless {
            node.run_without_disk();
        }
        self.process = Some(Process {
            node,
            journal: storage.journal,
            snapshots: SnapshotWork::new(Arc::clone(&disk), loaded.kept),
            snapshot_steps: VecDeque::new(),
            transfers: VecDeque::new(),
            received: None,
            trim_below: Slot(0),
            disk,
            waiting: Vec::new(),
            syncing: None,
            syncing_last: 0,
            is_stalled: false,
            handed: 0,
            durable: 0,
            outbox: VecDeque::new(),
            is_turn_due: false,
            ticker: Ticker::new(start.now),
            is_stopping: false,
            away: None,
        });
        Ok(true)
    }

    /// The newest whole snapshot. A crash spoils none that counts; sometimes the newest of two rots.
    fn load_snapshot(&mut self, may_rot: bool, rot: &mut Random) -> Result<Loaded, String> {
        let identity = Identity::load(&self.disk).ok().flatten();
        let Some(founding) = identity.and_then(|identity| identity.founding) else {
            return Ok(Loaded::default());
        };
        let disk = self.disk.clone();
        let load = || snapshot::load(&disk, founding.cluster).map_err(|error| error.to_string());
        let loaded = load()?;
        if let Some(damage) = loaded.damage.first() {
            let rotten = self.rotten.as_deref();
            if !rotten.is_some_and(|rotten| damage.starts_with(rotten)) {
                return Err(format!("{}: {damage}", self.id));
            }
        }
        let newest = self
            .disk
            .names()
            .into_iter()
            .filter(|name| snapshot::is_snapshot_name(name))
            .max();
        let is_received = loaded.kept_slots().last().copied() == self.received;
        let may_rot = may_rot && loaded.kept.len() == 2 && !is_received;
        let Some(newest) = newest.filter(|_| may_rot && rot.chance(100)) else {
            return Ok(loaded);
        };
        let bits = 8 * self.disk.content(&newest).len() as u64;
        self.disk.flip_bit(&newest, rot.between(0, bits) as usize);
        self.rotten = Some(newest);
        self.times_rotten += 1;
        load()
    }

    /// The life of the acceptor whose memory the disk has, if it belongs to a cluster: that is founded once all its members
    /// were there.
    pub(super) fn incarnation(&self) -> Option<Incarnation> {
        let identity = Identity::load(&self.disk).ok().flatten()?;
        identity.founding.map(|_| identity.incarnation)
    }

    /// The disk as it is while the replica is down.
    pub(super) fn copy_disk(&self) -> DiskCopy {
        DiskCopy {
            disk: self.disk.copy(),
            received: self.received,
            rotten: self.rotten.clone(),
        }
    }

    /// The disk is as it was.
    pub(super) fn put_disk(&mut self, copy: DiskCopy) {
        let DiskCopy {
            disk,
            received,
            rotten,
        } = copy;
        self.disk = disk;
        self.received = received;
        self.rotten = rotten;
    }

    /// The process of a replica that is known to be up.
    pub(super) fn running(&mut self) -> &mut Process {
        self.process.as_mut().expect("it is running")
    }

    /// Ends the process. What it was writing may be there in part; with the power gone, what was not synced may be lost.
    pub(super) fn crash(&mut self, power: bool, random: &mut Random) -> Loss {
        let Some(mut process) = self.process.take() else {
            return Loss::default();
        };
        self.received = process.received.or(self.received);
        if let Some(mut works) = process.syncing.take().filter(|_| random.chance(700)) {
            self.disk.plan(random.between(0, 3), Fault::Stop);
            let _ = process.write(&mut works);
            self.disk.plan(1 << 60, Fault::Stop);
        }
        if !process.snapshot_steps.is_empty() && random.chance(700) {
            self.disk.plan(random.between(0, 5), Fault::Stop);
            let _ = process.write_snapshot();
            self.disk.plan(1 << 60, Fault::Stop);
        }
        if !process.transfers.is_empty() && random.chance(700) {
            self.disk.plan(random.between(0, 5), Fault::Stop);
            let _ = process.end_transfer();
            self.disk.plan(1 << 60, Fault::Stop);
        }
        self.paused_until = 0;
        self.deaf_until = 0;
        self.life += 1;
        if power {
            self.disk.crash(&mut Rng::new(random.draw()))
        } else {
            self.disk.kill();
            Loss::default()
        }
    }

    /// A write or a sync of what the journal is about to sync fails; says whether there was one to fail.
    pub(super) fn fail_sync(&mut self, random: &mut Random) -> bool {
        let process = self.running();
        let Some(mut works) = process.syncing.take() else {
            return false;
        };
        self.disk
            .plan(random.between(0, 3), Fault::Fail(ErrorKind::Other));
        let process = self.running();
        let failed = process.write(&mut works).is_err();
        process.syncing = Some(works).filter(|_| !failed);
        self.disk.plan(1 << 60, Fault::Stop);
        failed
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

/// The slot that a record is about.
pub(super) fn slot_of(record: &Record) -> Slot {
    let (Record::Accepted { slot, .. } | Record::Learned { slot, .. }) = record;
    *slot
}

/// What the journal is told under [`Bug::PromiseNotPersisted`].
pub(super) fn without_promise(mut persist: Persist) -> Persist {
    persist.state.promised = Ballot::NONE;
    persist
}
