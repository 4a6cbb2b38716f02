//! The thread that writes the journal, and the only one that does.
//!
//! It takes all work that waits, appends it as one batch, syncs once, and says how far it came; what comes meanwhile
//! is the next batch. Beside it a helper makes the file for the next segment and removes those that are trimmed, which
//! takes too long to wait for. A failed write or sync ends the process before anything is said that rests on it.
//!
//! On a full disk it waits for room (RULES R18): nothing is lost, and nothing that rests on what waits is said. Meanwhile it
//! gives up what snapshots cover, takes the segments that the helper makes, and ends when it is told to: what is not durable
//! was never claimed. How much room there is it tells the replica thread all the time.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use paxos::Slot;
use thiserror::Error;

use crate::events::{Durable, Event, Work};
use crate::identity::{ClusterSettings, Identity, IdentityError};
use crate::journal::{Disk, Journal, JournalError, Serial, Spare, SpareOrder, TrimmedSegments};
use crate::mailbox::Mailbox;
use crate::node::Recovery;
use crate::room::RoomWatch;
use crate::snapshot::{self, SnapshotError};

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
        mut journal: Journal,
        disk: Arc<dyn Disk>,
        replica_thread: Mailbox<Event>,
        fatal: Fatal,
    ) -> io::Result<Self> {
        let (work, waiting) = crossbeam_channel::unbounded();
        let helper = Helper::start(Arc::clone(&disk), work.clone())?;
        let mut room = RoomWatch::new(Arc::clone(&disk), replica_thread.clone());
        // Opening used what was kept for it: before anybody takes the room that became free.
        room.keep_reserve(&mut journal);
        let writer = Writer {
            room,
            journal,
            disk,
            waiting,
            set_aside: VecDeque::new(),
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
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// There was no room until the end. Nobody was told that what waits is durable.
    #[error("the disk is full, and the process stops")]
    StoppedWhileFull,
}

impl WriteError {
    fn is_disk_full(&self) -> bool {
        match self {
            Self::Journal(error) => error.is_disk_full(),
            Self::Identity(error) => error.is_disk_full(),
            Self::Snapshot(_) | Self::StoppedWhileFull => false,
        }
    }
}

struct Writer {
    journal: Journal,
    disk: Arc<dyn Disk>,
    waiting: Receiver<Work>,
    /// What came while the disk was full and is to be done in its turn.
    set_aside: VecDeque<Work>,
    replica_thread: Mailbox<Event>,
    room: RoomWatch,
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
        match self.serve() {
            Ok(()) => {}
            Err(error @ WriteError::StoppedWhileFull) => log::warn!("{error}"),
            Err(error) => return Err(error),
        }
        self.finish()
    }

    fn serve(&mut self) -> Result<(), WriteError> {
        while !self.finishing {
            let Some(first) = self.next_work()? else {
                break;
            };
            self.append(first)?;
            // What comes while this is taken may be taken too: an append is quicker than a hand-over.
            while let Some(work) = self.more_work() {
                self.append(work)?;
            }
            self.sync()?;
            self.keep_house()?;
            self.room.note(&self.journal);
        }
        Ok(())
    }

    /// The next piece of work. When there is none for a moment, the journal is sealed, and the room on the disk watched.
    /// `None` when nobody is left to give any.
    fn next_work(&mut self) -> Result<Option<Work>, WriteError> {
        if let Some(work) = self.set_aside.pop_front() {
            return Ok(Some(work));
        }
        if let Ok(work) = self.waiting.recv_timeout(SEAL_AFTER) {
            return Ok(Some(work));
        }
        match self.journal.seal() {
            Ok(()) | Err(JournalError::DiskFull { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        loop {
            self.keep_house()?;
            self.room.look(&self.journal, false);
            match self.waiting.recv_timeout(LOOK_INTERVAL) {
                Ok(work) => return Ok(Some(work)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn more_work(&mut self) -> Option<Work> {
        let set_aside = self.set_aside.pop_front();
        set_aside.or_else(|| self.waiting.try_recv().ok())
    }

    /// What nobody waits for. It is tried again when there is nothing else to do: others may have made room.
    fn keep_house(&mut self) -> Result<(), WriteError> {
        let trimmed = self.trim()?;
        if !trimmed.is_empty() {
            let _ = self.helper.chores.send(Chore::Remove(trimmed));
        }
        self.room.keep_reserve(&mut self.journal);
        self.order_spare();
        Ok(())
    }

    fn append(&mut self, work: Work) -> Result<(), WriteError> {
        match work {
            Work::Persist(persist) => {
                let appended = self.journal.append(&persist);
                self.work_done += 1;
                match appended {
                    // What does not fit is staged, and more is not to be.
                    Err(JournalError::DiskFull { .. }) => self.sync()?,
                    appended => appended?,
                }
            }
            Work::Identity(identity) => {
                self.store_identity(&identity)?;
                self.work_done += 1;
            }
            Work::Spare(spare) => self.take_spare(spare)?,
            Work::Trim(slot) => self.trim_below = slot.max(self.trim_below),
            Work::ReadBack { cluster, settings } => self.read_back(cluster, settings)?,
            Work::Finish => self.finishing = true,
        }
        Ok(())
    }

    /// What was queued before is durable, and then read from the disk: no memory of the agent that failed is used. It is
    /// the replay of a start, and the replica thread goes on meanwhile.
    fn read_back(&mut self, cluster: u64, settings: ClusterSettings) -> Result<(), WriteError> {
        self.sync()?;
        let snapshot = snapshot::load(&*self.disk, cluster)?.restored;
        let mut recovery =
            snapshot.map_or_else(|| Recovery::new(settings), Recovery::from_snapshot);
        self.journal
            .read_back(&mut |state, records| recovery.batch(state, records))?;
        self.replica_thread
            .send(Event::ReadBack(Box::new(recovery)));
        Ok(())
    }

    /// Work before it must be durable before it, as work after it must be durable after.
    fn store_identity(&mut self, identity: &Identity) -> Result<(), WriteError> {
        self.sync_journal()?;
        self.with_room(|writer| Ok(identity.store(&*writer.disk)?))?;
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

    fn sync_journal(&mut self) -> Result<Serial, WriteError> {
        self.with_room(|writer| Ok(writer.journal.sync()?))
    }

    /// Does what may find the disk full, and then waits for room and does it again.
    fn with_room<T>(
        &mut self,
        attempt: impl Fn(&mut Self) -> Result<T, WriteError>,
    ) -> Result<T, WriteError> {
        let mut is_stalled = false;
        loop {
            match attempt(self) {
                Err(error) if error.is_disk_full() => {
                    if self.finishing {
                        return Err(WriteError::StoppedWhileFull);
                    }
                    self.room.say_full(&error);
                    self.room.look(&self.journal, true);
                    is_stalled = true;
                    self.wait_for_room()?;
                }
                done => {
                    if is_stalled && done.is_ok() {
                        log::info!("there is room on the disk again");
                        self.room.look(&self.journal, false);
                    }
                    return done;
                }
            }
        }
    }

    /// Waits a little, until there may be room or the process is to stop.
    fn wait_for_room(&mut self) -> Result<(), WriteError> {
        let until = Instant::now() + FULL_WAIT;
        loop {
            let trimmed = self.trim()?;
            if !trimmed.is_empty() {
                remove(trimmed, &*self.disk);
                return Ok(());
            }
            match self.waiting.recv_deadline(until) {
                Ok(Work::Trim(slot)) => self.trim_below = slot.max(self.trim_below),
                Ok(Work::Spare(spare)) => return self.take_spare(spare),
                Ok(Work::Finish) | Err(RecvTimeoutError::Disconnected) => {
                    self.finishing = true;
                    return Ok(());
                }
                Ok(work) => self.set_aside.push_back(work),
                Err(RecvTimeoutError::Timeout) => return Ok(()),
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
    fn trim(&mut self) -> Result<TrimmedSegments, WriteError> {
        match self.journal.trim_below(self.trim_below) {
            Err(JournalError::DiskFull { .. }) => Ok(TrimmedSegments::default()),
            trimmed => Ok(trimmed?),
        }
    }

    fn take_spare(&mut self, spare: Result<Spare, JournalError>) -> Result<(), WriteError> {
        match self.journal.take_spare(spare) {
            Err(error) if error.is_disk_full() => {
                self.room.say_unready("the next segment", &error);
                self.order_at = Instant::now() + ORDER_AGAIN_AFTER;
                Ok(())
            }
            taken => Ok(taken?),
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
                    Chore::Remove(trimmed) => remove(trimmed, &*disk),
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

fn remove(trimmed: TrimmedSegments, disk: &dyn Disk) {
    if let Err(error) = trimmed.remove(disk) {
        log::warn!("{error}: the next start tries again");
    }
}

/// A journal that had nothing to do for so long is sealed. Short, because a flipped bit in an unsealed last batch makes
/// the replica blank; long enough that a client that writes one value after the other does not cause a seal for each.
const SEAL_AFTER: Duration = Duration::from_millis(20);
/// How often a full disk is looked at: somebody may have made room.
const FULL_WAIT: Duration = Duration::from_millis(100);
/// How often the room on the disk is looked at while there is nothing to do.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const ORDER_AGAIN_AFTER: Duration = Duration::from_secs(1);
