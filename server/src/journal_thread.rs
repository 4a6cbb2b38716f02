//! The thread that writes the journal, and the only one that does.
//!
//! It takes all work that waits, appends it as one batch, syncs once, and says how far it came; what comes meanwhile
//! is the next batch. Beside it a helper makes the file for the next segment and removes those that are trimmed, which
//! takes too long to wait for. A failed write or sync ends the process before anything is said that rests on it (DESIGN 6).

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use paxos::Slot;
use thiserror::Error;

use crate::events::{Durable, Event, Work};
use crate::identity::{Identity, IdentityError};
use crate::journal::{Disk, Journal, JournalError, SpareOrder, TrimmedSegments};
use crate::mailbox::Mailbox;

/// What ends the process, with a sentence that says why. In a test it may return.
#[derive(Clone)]
pub struct Fatal(Arc<dyn Fn(&str) + Send + Sync>);

impl Fatal {
    /// Ends the process as `end` does.
    pub fn new(end: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(end))
    }

    pub(crate) fn end(&self, why: &str) {
        (self.0)(why);
    }
}

impl fmt::Debug for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fatal")
    }
}

/// The running thread.
#[derive(Debug)]
pub struct JournalThread {
    work: Sender<Work>,
    thread: JoinHandle<()>,
}

impl JournalThread {
    /// Starts it. `disk` is where the identity and the journal are.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(
        journal: Journal,
        disk: Arc<dyn Disk>,
        replica_thread: Mailbox<Event>,
        fatal: Fatal,
    ) -> io::Result<Self> {
        let (work, waiting) = crossbeam_channel::unbounded();
        let helper = Helper::start(Arc::clone(&disk), work.clone())?;
        let writer = Writer {
            journal,
            disk,
            waiting,
            replica_thread,
            helper,
            work_done: 0,
            finishing: false,
            order_at: Instant::now(),
            trim_below: Slot(0),
        };
        let run = move || {
            if let Err(error) = writer.run() {
                fatal.end(&format!(
                    "the journal failed, so this replica stops: {error}"
                ));
            }
        };
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(run)?;
        Ok(Self { work, thread })
    }

    /// Where work goes, in the order in which it must become durable.
    #[must_use]
    pub fn work(&self) -> Sender<Work> {
        self.work.clone()
    }

    /// Waits for the end, which [`Work::Finish`] brings about.
    ///
    /// # Panics
    /// When the thread did.
    pub fn join(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

#[derive(Debug, Error)]
enum WriteError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

struct Writer {
    journal: Journal,
    disk: Arc<dyn Disk>,
    waiting: Receiver<Work>,
    replica_thread: Mailbox<Event>,
    helper: Helper,
    /// Pieces of work that are appended.
    work_done: u64,
    finishing: bool,
    /// After a failure the next file for a segment is ordered no earlier.
    order_at: Instant,
    /// What snapshots cover.
    trim_below: Slot,
}

/// Makes and removes files for segments.
struct Helper {
    chores: Sender<Chore>,
    thread: JoinHandle<()>,
}

/// What the helper does.
enum Chore {
    Make(SpareOrder),
    Remove(TrimmedSegments),
}

impl Writer {
    fn run(mut self) -> Result<(), WriteError> {
        while !self.finishing {
            let Some(first) = self.next_work()? else {
                break;
            };
            self.append(first)?;
            // What comes while this is taken may be taken too: an append is quicker than a hand-over.
            while let Ok(work) = self.waiting.try_recv() {
                self.append(work)?;
            }
            self.sync()?;
            self.trim()?;
            self.order_spare();
        }
        self.finish()
    }

    /// The next piece of work; seals the journal when there is none for a moment. `None` when nobody is left to give
    /// any.
    fn next_work(&mut self) -> Result<Option<Work>, WriteError> {
        if let Ok(work) = self.waiting.recv_timeout(SEAL_AFTER) {
            return Ok(Some(work));
        }
        match self.journal.seal() {
            Ok(()) | Err(JournalError::DiskFull { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.waiting.recv().ok())
    }

    fn append(&mut self, work: Work) -> Result<(), WriteError> {
        match work {
            Work::Persist(persist) => {
                match self.journal.append(&persist) {
                    // What does not fit is staged, and the sync waits for room.
                    Ok(()) | Err(JournalError::DiskFull { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
                self.work_done += 1;
            }
            Work::Identity(identity) => {
                self.store_identity(&identity)?;
                self.work_done += 1;
            }
            Work::Spare(spare) => self.take_spare(spare)?,
            Work::Trim(slot) => self.trim_below = slot.max(self.trim_below),
            Work::Finish => self.finishing = true,
        }
        Ok(())
    }

    /// Work before it must be durable before it, as work after it must be durable after.
    fn store_identity(&mut self, identity: &Identity) -> Result<(), WriteError> {
        self.sync_journal()?;
        identity.store(&*self.disk)?;
        log::info!("this replica is {identity}");
        Ok(())
    }

    fn sync(&mut self) -> Result<(), WriteError> {
        let durable = Durable {
            serial: self.sync_journal()?,
            work: self.work_done,
            journal_bytes: self.journal.disk_bytes(),
        };
        self.replica_thread.send(Event::Durable(durable));
        Ok(())
    }

    /// Syncs, and on a full disk waits for room: nothing is lost, and nothing is answered meanwhile.
    fn sync_journal(&mut self) -> Result<crate::journal::Serial, WriteError> {
        let mut said_at: Option<Instant> = None;
        loop {
            match self.journal.sync() {
                Ok(serial) => return Ok(serial),
                Err(error @ JournalError::DiskFull { .. }) => {
                    if said_at.is_none_or(|said| said.elapsed() >= FULL_SAY_INTERVAL) {
                        log::error!("{error}: this replica is silent until there is room");
                        said_at = Some(Instant::now());
                    }
                    thread::sleep(FULL_WAIT);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn order_spare(&mut self) {
        if Instant::now() < self.order_at {
            return;
        }
        if let Some(order) = self.journal.order_spare() {
            // The helper takes orders for as long as this thread lives.
            let _ = self.helper.chores.send(Chore::Make(order));
        }
    }

    /// Gives up what snapshots cover. A full disk leaves it for later.
    fn trim(&mut self) -> Result<(), WriteError> {
        match self.journal.trim_below(self.trim_below) {
            Ok(trimmed) if trimmed.is_empty() => {}
            Ok(trimmed) => {
                let _ = self.helper.chores.send(Chore::Remove(trimmed));
            }
            Err(JournalError::DiskFull { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn take_spare(
        &mut self,
        spare: Result<crate::journal::Spare, JournalError>,
    ) -> Result<(), WriteError> {
        let was_made = spare.is_ok();
        match self.journal.take_spare(spare) {
            Ok(()) => Ok(()),
            Err(error) if was_made => Err(error.into()),
            Err(error) => {
                log::warn!("the next segment of the journal is not ready: {error}");
                self.order_at = Instant::now() + ORDER_AGAIN_AFTER;
                Ok(())
            }
        }
    }

    fn finish(mut self) -> Result<(), WriteError> {
        match self.journal.seal() {
            Ok(()) | Err(JournalError::DiskFull { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.helper.finish();
        Ok(())
    }
}

impl Helper {
    fn start(disk: Arc<dyn Disk>, made: Sender<Work>) -> io::Result<Self> {
        let (chores, taken) = crossbeam_channel::unbounded();
        let work = move || {
            while let Ok(chore) = taken.recv() {
                match chore {
                    Chore::Make(order) => {
                        // When the journal thread is gone, the next start removes the file.
                        let _ = made.send(Work::Spare(order.make(&*disk)));
                    }
                    Chore::Remove(trimmed) => {
                        if let Err(error) = trimmed.remove(&*disk) {
                            log::warn!("{error}: the next start tries again");
                        }
                    }
                }
            }
        };
        let thread = thread::Builder::new()
            .name("segments".to_owned())
            .spawn(work)?;
        Ok(Self { chores, thread })
    }

    /// Waits for what is under way: whoever opens the directory next must find it unused.
    fn finish(self) {
        drop(self.chores);
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// A journal that had nothing to do for so long is sealed. Short, because a flipped bit in an unsealed last batch makes
/// the replica blank; long enough that a client that writes one value after the other does not cause a seal for each.
const SEAL_AFTER: Duration = Duration::from_millis(20);
const FULL_WAIT: Duration = Duration::from_millis(100);
const FULL_SAY_INTERVAL: Duration = Duration::from_secs(10);
const ORDER_AGAIN_AFTER: Duration = Duration::from_secs(1);
