//! Room for values on their way to clients.
//!
//! A GET of a few bytes may be answered by megabytes, and many may become answerable at one moment. The driver says how
//! many bytes there is room for; reads that find none wait, in the order of their connections' first waiting, and are
//! answered when there is room again, from the store as it is then.

use std::collections::{BTreeSet, VecDeque};

use super::{ConnectionId, Node};

/// The room that is left, and who waits for more.
#[derive(Debug)]
pub(super) struct AnswerRoom {
    bytes: u64,
    /// Connections whose next read could be answered otherwise, the one that waits longest first; each once.
    waiting: VecDeque<ConnectionId>,
    in_waiting: BTreeSet<ConnectionId>,
}

impl Default for AnswerRoom {
    /// Without bound, until a driver says how much there is.
    fn default() -> Self {
        Self {
            bytes: u64::MAX,
            waiting: VecDeque::new(),
            in_waiting: BTreeSet::new(),
        }
    }
}

impl AnswerRoom {
    /// Whether a value may be answered, however long it is: so the longest finds room, too.
    pub(super) fn is_left(&self) -> bool {
        self.bytes > 0
    }

    /// A value of this length is answered.
    pub(super) fn take(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes as u64);
    }

    /// The connection has a read that waits for room.
    pub(super) fn wait(&mut self, connection: ConnectionId) {
        if self.in_waiting.insert(connection) {
            self.waiting.push_back(connection);
        }
    }

    fn next(&mut self) -> Option<ConnectionId> {
        let connection = self.waiting.pop_front()?;
        self.in_waiting.remove(&connection);
        Some(connection)
    }
}

impl Node {
    /// Values of so many bytes may be answered from now on, and one more. Reads that wait for it are answered, as far as
    /// it goes.
    pub fn note_answer_room(&mut self, bytes: u64) {
        self.answer_room.bytes = bytes;
        for _ in 0..self.answer_room.waiting.len() {
            if !self.answer_room.is_left() {
                return;
            }
            if let Some(connection) = self.answer_room.next() {
                self.settle(connection);
            }
        }
    }
}
