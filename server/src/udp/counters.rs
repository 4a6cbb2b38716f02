//! How many datagrams there were: counted by the datagram thread, told to people by the replica thread.

use std::sync::atomic::{AtomicU64, Ordering};

use common::{DatagramCounts, ServerMessage};

/// See [`DatagramCounts`].
#[derive(Debug, Default)]
pub struct DatagramCounters {
    pub(super) received: Counter,
    answered: Counter,
    pub(super) junk: Counter,
    cookies: Counter,
}

/// Only ever grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl DatagramCounters {
    pub(super) fn note_said(&self, message: &ServerMessage) {
        match message {
            ServerMessage::Cookie { .. } => self.cookies.add_one(),
            ServerMessage::Greeting(_) | ServerMessage::Answer(_) => self.answered.add_one(),
        }
    }

    /// As they stand; of datagrams under way one may be in this and not yet in that.
    #[must_use]
    pub fn read(&self) -> DatagramCounts {
        DatagramCounts {
            received: self.received.read(),
            answered: self.answered.read(),
            junk: self.junk.read(),
            cookies: self.cookies.read(),
        }
    }
}
