//! The node's side of snapshots: when one is taken, handing the state out in pieces (RULES R22), and what may be trimmed.
//!
//! One is taken when the journal has grown by more than a bound since the last, so that a start replays little and the disk
//! holds little; and when the replica is idle and the journal holds more than the state, which costs nobody anything.
//! The next piece is handed out when the one before it is written: at most one waits anywhere.
//!
//! The log is trimmed below the *older* of two snapshots, so that the older one and the log make the same state if the
//! newest turns out to be damaged. In an idle replica both become snapshots of the same slot.
//!
//! # How much disk a replica takes
//! With G, the growth that causes a snapshot (16 MiB, on a small disk less, or twice the state if that is more): the log
//! since the older snapshot is at most 2 G and what is written while two snapshots are; it begins and ends within segments,
//! and the next segment is there beside it, so that three segments (of 16 MiB) are not full; the room for the next opening
//! is that of a segment; and there are two snapshots and the room for the next, which is the one that is being written while
//! one is, each at most a quarter more than the state was when room was last made, and as much again after the state has
//! grown. A store of little data therefore takes less than 7 times 16 MiB, whatever is written to it.

use log::{info, warn};
use paxos::{Record, Replica, Slot};

use super::image::{Piece, SnapshotHead};
use super::{IDLE_TICKS, Node, Phase, TransferStep};
use crate::journal::segment_bytes_max;

/// What the driver is to do next for the snapshot that is being taken. It says how it went by
/// [`Node::snapshot_progress`].
#[derive(Debug)]
pub enum SnapshotStep {
    /// Begin a file. One that was begun before is given up.
    Begin {
        /// What it begins with.
        head: Box<SnapshotHead>,
        /// The hash of the state.
        state_hash: u128,
    },
    /// Add this.
    Piece(Piece),
    /// That was all: make it durable.
    Finish,
}

/// What became of a [`SnapshotStep`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotProgress {
    /// It was written: the next may come.
    Written,
    /// The snapshot is durable. These are kept, oldest first.
    Durable(Vec<Slot>),
    /// There is none, for the reason given.
    Failed(String),
}

/// When snapshots are taken, and what there is of them.
#[derive(Debug)]
pub(super) struct Snapshots {
    /// The slots of those that are durable, oldest first, each with what had been written to the journal before that
    /// slot.
    kept: Vec<(Slot, Written)>,
    written: Written,
    taking: Option<Taking>,
    /// Steps that were handed out and have not been answered: one of a snapshot that was given up may be among them.
    handed_out: usize,
    /// How long a snapshot there was asked to be room for, since the last one.
    reserved_bytes: u64,
    /// After a failure the next is taken no earlier than at this tick.
    retry_tick: u64,
    journal_bytes_min: u64,
}

/// How much was written to the journal, counted from some time on.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    /// Records alone.
    record_bytes: u64,
    /// With the padding of each batch, had every hand-over been one.
    padded_bytes: u64,
}

impl Written {
    fn add(&mut self, record_bytes: u64) {
        self.record_bytes += record_bytes;
        self.padded_bytes += (record_bytes + BATCH_HEADER_BYTES).next_multiple_of(BLOCK_BYTES);
    }
}

#[derive(Debug)]
struct Taking {
    slot: Slot,
    written: Written,
    /// The last step was written.
    is_due: bool,
}

impl Snapshots {
    pub(super) fn new() -> Self {
        Self {
            kept: Vec::new(),
            written: Written::default(),
            taking: None,
            handed_out: 0,
            reserved_bytes: 0,
            retry_tick: 0,
            journal_bytes_min: JOURNAL_BYTES_MIN,
        }
    }

    /// With what was found at the start, oldest first. All that is written from now on counts.
    pub(super) fn with_kept(kept: &[Slot]) -> Self {
        let mut snapshots = Self::new();
        snapshots.note_kept(kept);
        snapshots
    }

    /// The newest that is durable; 0 for none.
    pub(super) fn newest(&self) -> Slot {
        self.kept.last().map_or(Slot(0), |newest| newest.0)
    }

    /// This was handed to the journal, or found in it.
    pub(super) fn note_persist(&mut self, records: &[Record]) {
        self.written.add(records.iter().map(record_bytes).sum());
    }

    /// Found in the journal at the start. What the older snapshot covers does not count.
    pub(super) fn note_replayed(&mut self, records: &[Record]) {
        let highest = records.iter().map(slot_of).max();
        if highest < self.trimmable() {
            return;
        }
        self.note_persist(records);
        if highest < Some(self.newest())
            && let Some(newest) = self.kept.last_mut()
        {
            newest.1 = self.written;
        }
    }

    /// None is kept any more, unless one is being taken; says whether that is news.
    pub(super) fn drop_kept(&mut self) -> bool {
        let drops = self.taking.is_none() && !self.kept.is_empty();
        if drops {
            self.kept.clear();
        }
        drops
    }

    /// Those that are durable, oldest first.
    pub(super) fn slots(&self) -> Vec<Slot> {
        self.kept.iter().map(|(slot, _)| *slot).collect()
    }

    /// One came from another replica: these are kept, and none is being taken.
    pub(super) fn replace_kept(&mut self, slots: &[Slot]) {
        self.taking = None;
        self.note_kept(slots);
    }

    /// What the journal need not hold: nothing, as long as there are not two snapshots.
    fn trimmable(&self) -> Option<Slot> {
        match self.kept[..] {
            [(older, _), _] => Some(older),
            _ => None,
        }
    }

    fn note_kept(&mut self, slots: &[Slot]) {
        let taken = self.taking.take();
        let written_before = |slot: &Slot| {
            let known = self.kept.iter().find(|(kept, _)| kept == slot);
            let taken = taken.as_ref().filter(|taken| taken.slot == *slot);
            taken
                .map(|taken| taken.written)
                .or_else(|| known.map(|known| known.1))
                .unwrap_or_default()
        };
        self.kept = slots
            .iter()
            .map(|slot| (*slot, written_before(slot)))
            .collect();
    }

    /// Whether one is to be taken of a state of so many bytes, at this slot, for the reason that the journal has grown by
    /// `growth_bytes_max`, or that nothing was applied for a while.
    fn is_due(
        &self,
        now: u64,
        applied: Slot,
        state_bytes: u64,
        growth_bytes_max: u64,
        is_idle: bool,
    ) -> bool {
        if self.taking.is_some() || now < self.retry_tick {
            return false;
        }
        let since = self.kept.last().map(|newest| newest.1).unwrap_or_default();
        let grown_bytes = self.written.padded_bytes - since.padded_bytes;
        if applied > self.newest() && grown_bytes >= growth_bytes_max {
            return true;
        }
        let trimmable = self.trimmable().map(|_| self.kept[0].1);
        let live_bytes = self.written.record_bytes - trimmable.unwrap_or_default().record_bytes;
        let is_worthwhile = live_bytes > (state_bytes / 2).max(IDLE_JOURNAL_BYTES_MIN);
        is_idle && is_worthwhile && self.trimmable() != Some(applied)
    }
}

impl Node {
    /// Begins a snapshot of the state as it stands, and gives its head and the hash of the state; one that was being taken
    /// is given up. `None` while this replica takes no part in a cluster: then there is nothing to keep.
    pub fn begin_snapshot(&mut self) -> Option<(SnapshotHead, u128)> {
        let Phase::Running(replica) = &self.phase else {
            return None;
        };
        let cluster = self.identity.founding.as_ref()?.cluster;
        Some(self.state.begin_snapshot(cluster, replica.configuration()))
    }

    /// The next piece of the snapshot that was begun, of that slot whatever was applied meanwhile. `None` when there are no
    /// more.
    pub fn snapshot_step(&mut self) -> Option<Piece> {
        self.state.snapshot_step(PIECE_BYTES_MAX)
    }

    /// Takes snapshots whenever the journal has grown by so much, for tests that write little. The least is otherwise
    /// 16 MiB.
    pub fn take_snapshots_every(&mut self, journal_bytes: u64) {
        self.snapshots.journal_bytes_min = journal_bytes;
    }

    /// Keeps at most so much of the log in memory for a replica that is away, for tests that write little.
    pub fn keep_log_bytes(&mut self, bytes_max: usize) {
        self.kept_log_bytes_max = Some(bytes_max);
        if let Phase::Running(replica) = &mut self.phase {
            replica.keep_log_bytes(bytes_max);
        }
    }

    /// A [`SnapshotStep`] was done, or could not be: they are answered in the order in which they were handed out.
    pub fn snapshot_progress(&mut self, progress: SnapshotProgress) {
        let handed_out = self.snapshots.handed_out.saturating_sub(1);
        self.snapshots.handed_out = handed_out;
        match progress {
            SnapshotProgress::Written => {
                if let Some(taking) = &mut self.snapshots.taking {
                    // What was written may belong to a snapshot that was given up; this one's own step comes after it.
                    taking.is_due = handed_out == 0 && self.out.snapshot.is_none();
                }
            }
            SnapshotProgress::Durable(kept) => {
                self.state.end_snapshot();
                self.snapshots.reserved_bytes = 0;
                self.snapshots.note_kept(&kept);
                info!(
                    "a snapshot of slot {} is complete, of {} keys",
                    self.snapshots.newest(),
                    self.state.store.len()
                );
                let newest = self.snapshots.newest();
                if let Phase::Running(replica) = &mut self.phase {
                    replica.snapshot_durable(newest);
                }
                self.trim_journal();
            }
            SnapshotProgress::Failed(why) => {
                warn!("no snapshot was taken: {why}");
                self.state.end_snapshot();
                self.snapshots.taking = None;
                self.snapshots.retry_tick = self.now + RETRY_TICKS;
            }
        }
    }

    /// Tells the journal what it need not hold.
    pub(super) fn trim_journal(&mut self) {
        self.out.trim_below = self.snapshots.trimmable().or(self.out.trim_below);
    }

    /// Begins a snapshot if one is due. One that a peer is receiving is not lost for another, unless the log in memory
    /// has grown too long meanwhile.
    pub(super) fn tick_snapshots(&mut self) {
        if self.learns_not() {
            return;
        }
        if !self.has_disk {
            self.tick_without_disk();
            return;
        }
        let is_idle = self.now >= self.applied_tick + IDLE_TICKS;
        let applied = self.state.applied();
        let state_bytes = self.state.image_bytes();
        self.reserve_for_snapshot(state_bytes);
        let growth_bytes_max = self.journal_growth_bytes_max(state_bytes);
        let is_due =
            self.snapshots
                .is_due(self.now, applied, state_bytes, growth_bytes_max, is_idle);
        let older = self.snapshots.trimmable();
        let is_wanted = older.is_some_and(|older| self.transfers.sends(older));
        if is_due && !(is_wanted && self.holds_log()) {
            self.begin_taking();
        }
    }

    /// Sees to it that a state of so many bytes finds room when it is taken. There is always some more, so that it is asked
    /// for seldom.
    fn reserve_for_snapshot(&mut self, state_bytes: u64) {
        if state_bytes > self.snapshots.reserved_bytes {
            let bytes = state_bytes + state_bytes / 4 + RESERVE_BYTES_MIN;
            self.snapshots.reserved_bytes = bytes;
            self.out.transfers.push(TransferStep::Reserve { bytes });
        }
    }

    /// By how much the journal may grow before a snapshot is taken of a state of so many bytes. On a disk that is nearly full
    /// what is not trimmed soon cannot be; on a small one the journal has to leave room for data.
    fn journal_growth_bytes_max(&self, state_bytes: u64) -> u64 {
        if self.is_short_of_space() {
            return SHORT_JOURNAL_BYTES_MIN.max(state_bytes / 2);
        }
        let possible = segment_bytes_max(self.writable_bytes());
        self.snapshots
            .journal_bytes_min
            .min(possible)
            .max(2 * state_bytes)
    }

    fn holds_log(&self) -> bool {
        self.replica().is_some_and(Replica::holds_log)
    }

    /// The slot of the snapshot that is being taken, begun for this purpose if need be; `None` if none can be.
    pub(super) fn take_snapshot(&mut self) -> Option<Slot> {
        match &self.snapshots.taking {
            Some(taking) => Some(taking.slot),
            None if self.now < self.snapshots.retry_tick => None,
            None => self.begin_taking(),
        }
    }

    /// Gives up the snapshot that is being taken, if one is.
    pub(super) fn give_up_snapshot(&mut self) {
        self.state.end_snapshot();
        self.snapshots.taking = None;
    }

    fn begin_taking(&mut self) -> Option<Slot> {
        if self.transfers.is_finishing() || self.learns_not() {
            return None;
        }
        let (head, state_hash) = self.begin_snapshot()?;
        let slot = head.slot;
        self.snapshots.taking = Some(Taking {
            slot,
            written: self.snapshots.written,
            is_due: false,
        });
        self.out.snapshot = Some(SnapshotStep::Begin {
            head: Box::new(head),
            state_hash,
        });
        Some(slot)
    }

    /// Hands out the next piece, if the one before it was written. Another state in the place of this one ends a snapshot.
    pub(super) fn continue_snapshot(&mut self) {
        if !self.state.is_taking() {
            self.snapshots.taking = None;
        }
        let Some(taking) = self
            .snapshots
            .taking
            .as_mut()
            .filter(|taking| taking.is_due)
        else {
            return;
        };
        let slot = taking.slot;
        let step = match self.state.snapshot_step(PIECE_BYTES_MAX) {
            Some(piece) => SnapshotStep::Piece(piece),
            None if self.replays_below(slot) => SnapshotStep::Finish,
            None => return,
        };
        if let Some(taking) = &mut self.snapshots.taking {
            taking.is_due = false;
        }
        self.out.snapshot = Some(step);
    }

    /// The step that this turn hands out, if any, will be answered.
    pub(super) fn count_snapshot_step(&mut self) {
        self.snapshots.handed_out += usize::from(self.out.snapshot.is_some());
    }

    /// Whether the journal holds the log below `slot` for certain. A snapshot counts no earlier: if it turned out to be
    /// damaged, the older one and the log must make the same state.
    fn replays_below(&self, slot: Slot) -> bool {
        self.replica()
            .is_some_and(|replica| replica.durable_watermark() >= slot)
    }
}

fn slot_of(record: &Record) -> Slot {
    let (Record::Accepted { slot, .. } | Record::Learned { slot, .. }) = record;
    *slot
}

/// What a record takes in a journal, within a few bytes.
fn record_bytes(record: &Record) -> u64 {
    let (Record::Accepted { command, .. } | Record::Learned { command, .. }) = record;
    command.size_bytes() as u64 + RECORD_FIELDS_BYTES
}

/// The journal may grow by so much, or by twice the state if that is more, before a snapshot is taken. Two times this is
/// replayed in a fraction of a second, and a snapshot costs at most half of what the journal costs anyway.
const JOURNAL_BYTES_MIN: u64 = 16 << 20;

/// What is reserved for the next snapshot beyond a quarter more than the state: one that is nearly empty grows by more.
const RESERVE_BYTES_MIN: u64 = 64 << 10;

/// On a disk that is nearly full the journal is trimmed as soon as that can free a segment or so.
const SHORT_JOURNAL_BYTES_MIN: u64 = 1 << 20;

/// An idle replica with no more than this in its journal takes no snapshot.
const IDLE_JOURNAL_BYTES_MIN: u64 = 1 << 10;

/// After a failure, on a full disk for example, the next attempt is made ten seconds later.
const RETRY_TICKS: u64 = 1_000;

/// What is copied in one turn, unless one entry is longer: some 50 us.
const PIECE_BYTES_MAX: usize = 256 << 10;

const BLOCK_BYTES: u64 = crate::journal::BLOCK_BYTES as u64;
/// A batch's own fields and its sectors' labels, for a short one.
const BATCH_HEADER_BYTES: u64 = 256;
/// Kind, slot, ballot and the command's own fields.
const RECORD_FIELDS_BYTES: u64 = 31;
