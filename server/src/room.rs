//! What the journal thread watches of the room on its disk, and says of it (RULES R18): to the replica thread, which
//! refuses writes in time, and to the log.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::events::{Event, RoomReport};
use crate::journal::{Disk, Journal};
use crate::mailbox::Mailbox;

/// Looks at the disk and tells what it sees.
#[derive(Debug)]
pub(crate) struct RoomWatch {
    disk: Arc<dyn Disk>,
    replica_thread: Mailbox<Event>,
    /// What the replica thread was told last.
    reported: Option<RoomReport>,
    /// When the log was last told that something waits, and that something is not ready.
    full_said: Rarely,
    unready_said: Rarely,
    /// After a failure the room for the next opening is sought no earlier; never, where the file system promises none.
    reserve_at: Option<Instant>,
}

impl RoomWatch {
    pub(crate) fn new(disk: Arc<dyn Disk>, replica_thread: Mailbox<Event>) -> Self {
        Self {
            disk,
            replica_thread,
            reported: None,
            full_said: Rarely::default(),
            unready_said: Rarely::default(),
            reserve_at: Some(Instant::now()),
        }
    }

    /// Looks, and tells what is much different from what was told before. To be called after each sync.
    pub(crate) fn note(&mut self, journal: &Journal) {
        let report = self.report(journal, false);
        let is_news = self.reported.is_none_or(|before| {
            let difference = before.writable_bytes.abs_diff(report.writable_bytes);
            difference > NEWS_BYTES.min(before.writable_bytes / 8)
        });
        if is_news {
            self.tell(report);
        }
    }

    /// Looks, and tells whatever is different. `is_stalled`: something waits for room.
    pub(crate) fn look(&mut self, journal: &Journal, is_stalled: bool) {
        let report = self.report(journal, is_stalled);
        if self.reported != Some(report) {
            self.tell(report);
        }
    }

    /// Sees to it that the next opening finds room.
    pub(crate) fn keep_reserve(&mut self, journal: &mut Journal) {
        if self.reserve_at.is_none_or(|at| Instant::now() < at) {
            return;
        }
        match journal.reserve_for_opening() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                self.reserve_at = None;
                log::info!(
                    "this file system keeps no room back: a start on a full disk needs some"
                );
            }
            Err(error) => {
                self.reserve_at = Some(Instant::now() + RESERVE_AGAIN_AFTER);
                self.say_unready("the room for the next start", &error);
            }
        }
    }

    /// Something waits until there is room.
    pub(crate) fn say_full(&mut self, error: &dyn fmt::Display) {
        if self.full_said.may_say() {
            log::error!("{error}: this replica is silent until there is room");
        }
    }

    /// Nothing waits for it yet.
    pub(crate) fn say_unready(&mut self, what: &str, error: &dyn fmt::Display) {
        if self.unready_said.may_say() {
            log::warn!("{what} is not ready: {error}");
        }
    }

    fn report(&self, journal: &Journal, is_stalled: bool) -> RoomReport {
        // A system that cannot tell what is free does not make a disk full; what happens then is seen when it does.
        let free_bytes = self.disk.free_bytes().unwrap_or(u64::MAX);
        RoomReport {
            writable_bytes: journal.writable_bytes().saturating_add(free_bytes),
            is_stalled,
        }
    }

    fn tell(&mut self, report: RoomReport) {
        self.reported = Some(report);
        self.replica_thread.send(Event::Room(report));
    }
}

/// Keeps the log short.
#[derive(Debug, Default)]
struct Rarely {
    said_at: Option<Instant>,
}

impl Rarely {
    fn may_say(&mut self) -> bool {
        let may = self
            .said_at
            .is_none_or(|said| said.elapsed() >= SAY_INTERVAL);
        if may {
            self.said_at = Some(Instant::now());
        }
        may
    }
}

/// A smaller difference than this is told when there is nothing to do, and so is one of less than an eighth.
const NEWS_BYTES: u64 = 1 << 20;
const SAY_INTERVAL: Duration = Duration::from_secs(10);
const RESERVE_AGAIN_AFTER: Duration = Duration::from_secs(1);
