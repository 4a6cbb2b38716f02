//! The thread that writes snapshots, reads those that are sent, and receives others, apart from the journal's, so that they never queue before a sync.
//!
//! It does one step after the other and says when each is done; the replica thread hands out no piece before.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender};
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
    while let Ok(job) = waiting.recv() {
        match job {
            SnapshotJob::Take(step) => match work.take(step) {
                Ok(progress) => replica_thread.send(Event::Snapshot(progress)),
                Err(broken) => {
                    fatal.end(&broken.to_string());
                    return;
                }
            },
            SnapshotJob::Transfer(step) => {
                if let Some(progress) = work.transfer(step) {
                    replica_thread.send(Event::Transfer(progress));
                }
            }
        }
    }
}

/// The steps of snapshots, one after the other, on whatever thread.
#[derive(Debug)]
pub struct SnapshotWork {
    disk: Arc<dyn Disk>,
    kept: Vec<Kept>,
    writer: Option<Writer>,
    incoming: Option<Incoming>,
}

impl SnapshotWork {
    /// `kept` are the snapshots in the directory, oldest first.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, kept: Vec<Kept>) -> Self {
        Self {
            disk,
            kept,
            writer: None,
            incoming: None,
        }
    }

    /// Does a step of a transfer, and says how that went, if somebody waits for it. A disk that does not take what comes
    /// fails the transfer and nothing else.
    pub fn transfer(&mut self, step: TransferStep) -> Option<TransferProgress> {
        let done = match step {
            TransferStep::Read { to, slot, offset } => {
                let piece = self.read(slot, offset);
                return Some(TransferProgress::Read {
                    to,
                    slot,
                    offset,
                    piece,
                });
            }
            TransferStep::GiveUp => {
                if let Some(incoming) = self.incoming.take() {
                    incoming.give_up();
                }
                return None;
            }
            TransferStep::DropKept => {
                snapshot::drop_all(&*self.disk, &mut self.kept);
                return None;
            }
            TransferStep::Take {
                slot,
                offset,
                bytes,
            } => self.receive(slot, offset, &bytes),
            TransferStep::Finish { slot, cluster } => self.finish_receiving(slot, cluster),
        };
        Some(done.unwrap_or_else(|error| {
            self.incoming = None;
            TransferProgress::Failed(error.to_string())
        }))
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
        let offset = incoming.take(offset, bytes)?;
        self.incoming = Some(incoming);
        Ok(TransferProgress::Taken { slot, offset })
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

    /// Does a step. A disk that does not take it fails the snapshot and nothing else.
    ///
    /// # Errors
    /// [`SnapshotError::OtherHash`]: the process must stop.
    pub fn take(&mut self, step: SnapshotStep) -> Result<SnapshotProgress, SnapshotError> {
        match self.try_step(step) {
            Ok(progress) => Ok(progress),
            Err(broken @ SnapshotError::OtherHash { .. }) => Err(broken),
            Err(error) => {
                if let Some(writer) = self.writer.take() {
                    writer.give_up();
                }
                Ok(SnapshotProgress::Failed(error.to_string()))
            }
        }
    }

    fn try_step(&mut self, step: SnapshotStep) -> Result<SnapshotProgress, SnapshotError> {
        match step {
            SnapshotStep::Begin { head, state_hash } => {
                self.writer = None;
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
                }
                let kept: Vec<Slot> = self.kept.iter().map(|kept| kept.slot).collect();
                return Ok(SnapshotProgress::Durable(kept));
            }
        }
        Ok(SnapshotProgress::Written)
    }
}

/// What is sent at once: long enough that a disk and a network are kept busy, short enough that a heartbeat that comes
/// behind it leaves within a millisecond or so.
const PIECE_BYTES_MAX: usize = 256 << 10;
