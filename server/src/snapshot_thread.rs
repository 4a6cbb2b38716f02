//! The thread that writes snapshots, reads those that are sent, and receives others, apart from the journal's, so that they never queue before a sync.
//!
//! It does one step after the other and says when each is done; the replica thread hands out no piece before. When there is
//! nothing to do, it sees to it that the next snapshot finds room.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use paxos::Slot;

use crate::events::Event;
use crate::journal::Disk;
use crate::journal_thread::Fatal;
use crate::mailbox::Mailbox;
use crate::node::{SnapshotProgress, SnapshotStep, TransferProgress, TransferStep};
use crate::snapshot::{self, Incoming, Kept, SnapshotError, Writer};

/// What the thread is to do.
#[derive(Debug)]
pub enum SnapshotJob {
    /// For a snapshot of this replica's own state.
    Take(SnapshotStep),
    /// For one that travels.
    Transfer(TransferStep),
}

/// The running thread.
#[derive(Debug)]
pub struct SnapshotThread {
    steps: Sender<SnapshotJob>,
    thread: JoinHandle<()>,
}

impl SnapshotThread {
    /// Starts it. `kept` are the snapshots in the directory, oldest first.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(
        disk: Arc<dyn Disk>,
        kept: Vec<Kept>,
        replica_thread: Mailbox<Event>,
        fatal: Fatal,
    ) -> io::Result<Self> {
        let (steps, waiting) = crossbeam_channel::unbounded();
        let work = SnapshotWork::new(disk, kept);
        let run = move || run(&waiting, work, &replica_thread, &fatal);
        let thread = thread::Builder::new()
            .name("snapshots".to_owned())
            .spawn(run)?;
        Ok(Self { steps, thread })
    }

    /// Where steps go. The thread ends when nobody can give any more, at the end of the step that it is at.
    #[must_use]
    pub fn steps(&self) -> Sender<SnapshotJob> {
        self.steps.clone()
    }

    /// Waits for the end; whoever got [`SnapshotThread::steps`] has let go of it.
    ///
    /// # Panics
    /// When the thread did.
    pub fn join(self) {
        drop(self.steps);
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

fn run(
    waiting: &Receiver<SnapshotJob>,
    mut work: SnapshotWork,
    replica_thread: &Mailbox<Event>,
    fatal: &Fatal,
) {
    loop {
        let job = match waiting.recv_timeout(RESERVE_INTERVAL) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => {
                work.keep_reserve();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        match job {
            SnapshotJob::Take(step) => match work.take(step) {
                Ok(progress) => replica_thread.send(Event::Snapshot(progress)),
                Err(broken) => return fatal.end(&why(&broken)),
            },
            SnapshotJob::Transfer(step) => match work.transfer(step) {
                Ok(Some(progress)) => replica_thread.send(Event::Transfer(progress)),
                Ok(None) => {}
                Err(broken) => return fatal.end(&why(&broken)),
            },
        }
    }
}

/// What is said of what ends the process.
fn why(broken: &SnapshotError) -> String {
    match broken {
        SnapshotError::Disk { .. } => {
            format!("the disk failed a snapshot, so this replica stops: {broken}")
        }
        _ => broken.to_string(),
    }
}

/// The steps of snapshots, one after the other, on whatever thread.
#[derive(Debug)]
pub struct SnapshotWork {
    disk: Arc<dyn Disk>,
    kept: Vec<Kept>,
    writer: Option<Writer>,
    incoming: Option<Incoming>,
    /// How long the next one may be, as was said since the last.
    expected_bytes: u64,
    /// It was said that there may be no room for the next.
    is_reserve_missing: bool,
}

impl SnapshotWork {
    /// `kept` are the snapshots in the directory, oldest first. What an earlier process left half-made there is given up.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, kept: Vec<Kept>) -> Self {
        if let Err(error) = snapshot::give_up_leftovers(&*disk, &kept) {
            log::warn!("what an earlier process left of snapshots takes room: {error}");
        }
        let mut work = Self {
            disk,
            kept,
            writer: None,
            incoming: None,
            expected_bytes: 0,
            is_reserve_missing: false,
        };
        work.keep_reserve();
        work
    }

    /// Sees to it that the next snapshot finds room, unless it is being made already.
    fn keep_reserve(&mut self) {
        if self.writer.is_some() || self.incoming.is_some() {
            return;
        }
        let kept = snapshot::keep_reserve(&*self.disk, &self.kept, self.expected_bytes);
        if let Err(error) = &kept
            && !self.is_reserve_missing
        {
            log::warn!("there may be no room for the next snapshot: {error}");
        }
        self.is_reserve_missing = kept.is_err();
    }

    /// Does a step of a transfer, and says how that went, if somebody waits for it. A full disk fails the transfer and
    /// nothing else.
    ///
    /// # Errors
    /// One that [is fatal](SnapshotError::is_fatal): the process must stop.
    pub fn transfer(
        &mut self,
        step: TransferStep,
    ) -> Result<Option<TransferProgress>, SnapshotError> {
        let done = match step {
            TransferStep::Read { to, slot, offset } => {
                let piece = self.read(slot, offset);
                return Ok(Some(TransferProgress::Read {
                    to,
                    slot,
                    offset,
                    piece,
                }));
            }
            TransferStep::GiveUp => {
                if let Some(incoming) = self.incoming.take() {
                    incoming.give_up();
                }
                self.keep_reserve();
                return Ok(None);
            }
            TransferStep::Reserve { bytes } => {
                self.expected_bytes = bytes;
                self.keep_reserve();
                return Ok(None);
            }
            TransferStep::DropKept => {
                snapshot::drop_all(&*self.disk, &mut self.kept);
                return Ok(None);
            }
            TransferStep::Take {
                slot,
                offset,
                bytes,
            } => self.receive(slot, offset, &bytes),
            TransferStep::Finish { slot, cluster } => self.finish_receiving(slot, cluster),
        };
        let done = match done {
            Err(error) if error.is_fatal() => return Err(error),
            done => done.unwrap_or_else(|error| TransferProgress::Failed(error.to_string())),
        };
        self.keep_reserve();
        Ok(Some(done))
    }

    /// A snapshot that cannot be read is none: the receiver will ask for another.
    fn read(&self, slot: Slot, offset: u64) -> Option<(u64, Vec<u8>)> {
        let kept = self.kept.iter().find(|kept| kept.slot == slot)?;
        let piece = snapshot::read_piece(&*self.disk, slot, offset, PIECE_BYTES_MAX);
        match piece {
            Ok(piece) => Some((kept.bytes, piece?)),
            Err(error) => {
                log::warn!("a snapshot cannot be sent: {error}");
                None
            }
        }
    }

    fn receive(
        &mut self,
        slot: Slot,
        offset: u64,
        bytes: &[u8],
    ) -> Result<TransferProgress, SnapshotError> {
        let open = self.incoming.take();
        let mut incoming = match open.filter(|incoming| incoming.slot() == slot) {
            Some(incoming) => incoming,
            None => Incoming::open(Arc::clone(&self.disk), slot)?,
        };
        match incoming.take(offset, bytes) {
            Ok(offset) => {
                self.incoming = Some(incoming);
                Ok(TransferProgress::Taken { slot, offset })
            }
            Err(error) => {
                incoming.give_up();
                Err(error)
            }
        }
    }

    fn finish_receiving(
        &mut self,
        slot: Slot,
        cluster: u64,
    ) -> Result<TransferProgress, SnapshotError> {
        let incoming = match self.incoming.take() {
            Some(incoming) => incoming,
            None => Incoming::open(Arc::clone(&self.disk), slot)?,
        };
        if let Some(newest) = self.kept.last().filter(|newest| newest.slot >= slot) {
            // The log between an older snapshot and the own ones may be trimmed: it may not take their place.
            let newest = newest.slot;
            incoming.give_up();
            return Ok(TransferProgress::Failed(format!(
                "a snapshot of slot {newest} is here already"
            )));
        }
        let restored = incoming.finish(cluster, &mut self.kept)?;
        // One of the state before, finished later, would stand beside it as if the log between the two were here.
        if let Some(writer) = self.writer.take() {
            writer.give_up();
        }
        Ok(TransferProgress::Received {
            restored: Box::new(restored),
            kept: self.kept.iter().map(|kept| kept.slot).collect(),
        })
    }

    /// Does a step. A full disk fails the snapshot and nothing else.
    ///
    /// # Errors
    /// One that [is fatal](SnapshotError::is_fatal): the process must stop.
    pub fn take(&mut self, step: SnapshotStep) -> Result<SnapshotProgress, SnapshotError> {
        match self.try_step(step) {
            Ok(progress) => Ok(progress),
            Err(error) if error.is_fatal() => Err(error),
            Err(error) => {
                if let Some(writer) = self.writer.take() {
                    writer.give_up();
                }
                self.keep_reserve();
                Ok(SnapshotProgress::Failed(error.to_string()))
            }
        }
    }

    fn try_step(&mut self, step: SnapshotStep) -> Result<SnapshotProgress, SnapshotError> {
        match step {
            SnapshotStep::Begin { head, state_hash } => {
                if let Some(writer) = self.writer.take() {
                    writer.give_up();
                }
                let disk = Arc::clone(&self.disk);
                self.writer = Some(Writer::begin(disk, *head, state_hash)?);
            }
            SnapshotStep::Piece(piece) => {
                if let Some(writer) = &mut self.writer {
                    writer.add(&piece)?;
                }
            }
            SnapshotStep::Finish => {
                if let Some(writer) = self.writer.take() {
                    writer.finish(&mut self.kept)?;
                    self.expected_bytes = 0;
                    self.keep_reserve();
                }
                let kept: Vec<Slot> = self.kept.iter().map(|kept| kept.slot).collect();
                return Ok(SnapshotProgress::Durable(kept));
            }
        }
        Ok(SnapshotProgress::Written)
    }
}

/// How often room for the next snapshot is sought that was not there, while there is nothing to do.
const RESERVE_INTERVAL: Duration = Duration::from_secs(10);

/// What is sent at once: long enough that a disk and a network are kept busy, short enough that a heartbeat that comes
/// behind it leaves within a millisecond or so.
const PIECE_BYTES_MAX: usize = 256 << 10;
