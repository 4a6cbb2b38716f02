//! The thread that writes snapshots, apart from the journal's, so that they never queue before a sync.
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
use crate::node::{SnapshotProgress, SnapshotStep};
use crate::snapshot::{Kept, SnapshotError, Writer};

/// The running thread.
#[derive(Debug)]
pub struct SnapshotThread {
    steps: Sender<SnapshotStep>,
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
    pub fn steps(&self) -> Sender<SnapshotStep> {
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
    waiting: &Receiver<SnapshotStep>,
    mut work: SnapshotWork,
    replica_thread: &Mailbox<Event>,
    fatal: &Fatal,
) {
    while let Ok(step) = waiting.recv() {
        match work.take(step) {
            Ok(progress) => replica_thread.send(Event::Snapshot(progress)),
            Err(broken) => {
                fatal.end(&broken.to_string());
                return;
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
}

impl SnapshotWork {
    /// `kept` are the snapshots in the directory, oldest first.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, kept: Vec<Kept>) -> Self {
        Self {
            disk,
            kept,
            writer: None,
        }
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
