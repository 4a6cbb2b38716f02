//! What may leave only when the journal has it, and how far the journal is behind: shared by the threads that drive a store
//! and a library.

use std::collections::VecDeque;

use paxos::{Message, Persist, Record, ReplicaId};

use crate::events::Durable;
use crate::peers::PeerMessage;

/// Messages that claim that something is durable, and how far the journal is.
#[derive(Debug)]
pub(crate) struct Promises {
    /// Pieces of work that the journal was given.
    handed: u64,
    durable: Durable,
    /// Messages by the piece of work that must be durable before they leave.
    waiting: VecDeque<(u64, VecDeque<(ReplicaId, PeerMessage)>)>,
    /// What each piece of work that is not durable takes, in bytes, and all of them.
    sizes: VecDeque<usize>,
    backlog_bytes: usize,
}

impl Promises {
    pub(crate) fn new(durable: Durable) -> Self {
        Self {
            handed: durable.work,
            durable,
            waiting: VecDeque::new(),
            sizes: VecDeque::new(),
            backlog_bytes: 0,
        }
    }

    /// The journal was given a piece of work of so many bytes.
    pub(crate) fn hand_over(&mut self, bytes: usize) {
        self.handed += 1;
        self.sizes.push_back(bytes);
        self.backlog_bytes += bytes;
    }

    /// The journal came so far.
    pub(crate) fn note(&mut self, durable: Durable) {
        for _ in self.durable.work..durable.work {
            let bytes = self.sizes.pop_front();
            self.backlog_bytes -= bytes.expect("only work that was handed over becomes durable");
        }
        self.durable = durable;
    }

    /// These are to leave when all that was handed over so far is durable.
    pub(crate) fn make(&mut self, messages: Vec<(ReplicaId, PeerMessage)>) {
        if messages.is_empty() {
            return;
        }
        match self.waiting.back_mut() {
            Some((handed, waiting)) if *handed == self.handed => waiting.extend(messages),
            _ => self.waiting.push_back((self.handed, messages.into())),
        }
    }

    /// The next message that may leave.
    pub(crate) fn take_kept(&mut self) -> Option<(ReplicaId, PeerMessage)> {
        loop {
            let (handed, messages) = self.waiting.front_mut()?;
            if *handed > self.durable.work {
                return None;
            }
            if let Some(message) = messages.pop_front() {
                return Some(message);
            }
            self.waiting.pop_front();
        }
    }

    /// The journal's last durable batch.
    pub(crate) fn durable_serial(&self) -> u64 {
        self.durable.serial.0
    }

    /// What waits for the journal, in bytes.
    pub(crate) fn backlog_bytes(&self) -> usize {
        self.backlog_bytes
    }

    /// The acceptor failed: what it had not said it never says. That this replica's own writes are durable is still told.
    pub(crate) fn forget_votes(&mut self, replica: ReplicaId) {
        for (_, messages) in &mut self.waiting {
            messages.retain_mut(|(to, message)| match message {
                PeerMessage::Agreement(Message::Promise { .. }) => false,
                PeerMessage::Agreement(Message::Accepted { slots, .. }) => {
                    slots.clear();
                    *to == replica
                }
                _ => true,
            });
        }
    }

    /// Whether the journal keeps up.
    pub(crate) fn has_room(&self) -> bool {
        self.backlog_bytes < BACKLOG_BYTES_MAX
    }
}

/// What the journal will write for it, within a few bytes a record.
pub(crate) fn persist_bytes(persist: &Persist) -> usize {
    let record_bytes = |record: &Record| match record {
        Record::Accepted { command, .. } | Record::Learned { command, .. } => command.size_bytes(),
    };
    persist.records.iter().map(record_bytes).sum()
}

/// Work that may wait for the journal: about a second of a fast disk.
const BACKLOG_BYTES_MAX: usize = 64 << 20;
/// A leader proposes as fast as a majority of the others writes, and its own work would pile up without end where its
/// disk is full or stands still. Four times the ordinary bound, so that a moment's stall does not cost an election.
pub(crate) const LEADING_BACKLOG_BYTES_MAX: usize = 4 * BACKLOG_BYTES_MAX;
