//! What a program and the thread of its peer share: calls on their way, and what is known, so that every question is
//! answered at once. The lock is held for moments only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};
use paxos::{Command, INSTANCES_IN_FLIGHT_MAX, Slot};
use thiserror::Error;

use super::Fate;
use crate::events::Event;
use crate::mailbox::Mailbox;

/// Why an agreement was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StartError {
    /// As many as a peer may have begun at a time are not decided yet.
    #[error("{INSTANCES_IN_FLIGHT_MAX} instances that were begun here are not decided yet")]
    TooManyInFlight,
    /// The value is too long to be agreed on.
    #[error("a value of {bytes} bytes is longer than {VALUE_BYTES_MAX}")]
    ValueTooLong {
        /// Its length.
        bytes: usize,
    },
    /// Instances are numbered below 2^62.
    #[error("instance {seq} is beyond 2^62")]
    SeqTooHigh {
        /// The number.
        seq: u64,
    },
    /// The peer has stopped; see [`super::Peer::failure`].
    #[error("this peer has stopped")]
    Stopped,
}

/// What the program asked for.
#[derive(Debug)]
pub(super) enum Call {
    /// Begin.
    Start(Slot, Command),
    /// Nothing below is needed.
    Done(Slot),
}

/// See the module.
pub(super) struct Board {
    known: Mutex<Known>,
    changed: Condvar,
    /// Rings for the thread when calls wait.
    thread: Mailbox<Event>,
}

#[derive(Debug, Default)]
struct Known {
    calls: Vec<Call>,
    decided: BTreeMap<u64, Arc<[u8]>>,
    /// Begun here and not decided; at most [`INSTANCES_IN_FLIGHT_MAX`].
    started: BTreeSet<u64>,
    min: u64,
    max: Option<u64>,
    failure: Option<String>,
}

impl Known {
    fn fate(&self, seq: u64) -> Fate {
        if seq < self.min {
            return Fate::Forgotten;
        }
        let value = self.decided.get(&seq);
        value.map_or(Fate::Pending, |value| Fate::Decided(Arc::clone(value)))
    }
}

impl Board {
    /// An empty board, between a program and this thread.
    pub(super) fn new(thread: Mailbox<Event>) -> Self {
        Self {
            known: Mutex::default(),
            changed: Condvar::new(),
            thread,
        }
    }

    pub(super) fn start(&self, seq: u64, value: Arc<[u8]>) -> Result<(), StartError> {
        let bytes = value.len();
        if bytes > VALUE_BYTES_MAX {
            return Err(StartError::ValueTooLong { bytes });
        }
        if seq >= SEQ_END {
            return Err(StartError::SeqTooHigh { seq });
        }
        let mut known = self.known.lock();
        if known.failure.is_some() {
            return Err(StartError::Stopped);
        }
        if known.fate(seq) != Fate::Pending || known.started.contains(&seq) {
            return Ok(());
        }
        if known.started.len() >= INSTANCES_IN_FLIGHT_MAX {
            return Err(StartError::TooManyInFlight);
        }
        known.started.insert(seq);
        known.max = known.max.max(Some(seq));
        self.call(known, Call::Start(Slot(seq), Command::Opaque(value)));
        Ok(())
    }

    pub(super) fn status(&self, seq: u64) -> Fate {
        self.known.lock().fate(seq)
    }

    pub(super) fn wait(&self, seq: u64, deadline: Instant) -> Fate {
        let mut known = self.known.lock();
        loop {
            let fate = known.fate(seq);
            let is_over = fate != Fate::Pending || known.failure.is_some();
            if is_over || self.changed.wait_until(&mut known, deadline).timed_out() {
                return known.fate(seq);
            }
        }
    }

    pub(super) fn done(&self, seq: u64) {
        let watermark = Slot(seq.min(SEQ_END - 2) + 1);
        self.call(self.known.lock(), Call::Done(watermark));
    }

    pub(super) fn max(&self) -> Option<u64> {
        self.known.lock().max
    }

    pub(super) fn min(&self) -> u64 {
        self.known.lock().min
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.known.lock().failure.clone()
    }

    /// The peer takes part no longer, for this reason.
    pub(super) fn fail(&self, why: &str) {
        log::error!("a peer stops taking part: {why}");
        let mut known = self.known.lock();
        known.failure.get_or_insert_with(|| why.to_owned());
        self.changed.notify_all();
    }

    /// What the program asked for since this was last called.
    pub(super) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.known.lock().calls)
    }

    /// What the thread found out.
    pub(super) fn tell(&self, decided: Vec<(Slot, Command)>, min: Slot, max: Option<Slot>) {
        let mut known = self.known.lock();
        let max = max.map(|max| max.0);
        if decided.is_empty() && known.min == min.0 && known.max >= max {
            return;
        }
        for (slot, command) in decided {
            known.started.remove(&slot.0);
            known.decided.insert(slot.0, value_of(command));
        }
        known.max = known.max.max(max);
        if known.min < min.0 {
            known.min = min.0;
            known.decided = known.decided.split_off(&min.0);
            known.started = known.started.split_off(&min.0);
        }
        self.changed.notify_all();
    }

    /// One ring is enough for all calls that wait.
    fn call(&self, mut known: MutexGuard<'_, Known>, call: Call) {
        let rings = known.calls.is_empty();
        known.calls.push(call);
        drop(known);
        if rings {
            self.thread.ring();
        }
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Board").field(&self.known).finish()
    }
}

/// Peers propose nothing but bytes.
fn value_of(command: Command) -> Arc<[u8]> {
    match command {
        Command::Opaque(bytes) => bytes,
        Command::Noop | Command::Rejoin { .. } => Arc::from([]),
    }
}

/// The longest value: that of a store, so that one frame holds it.
const VALUE_BYTES_MAX: usize = 8 << 20;
/// Beyond any count; the links refuse numbers from here on.
const SEQ_END: u64 = 1 << 62;
