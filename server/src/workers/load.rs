//! What all workers and the replica thread count together: connections, and the requests that wait for an answer.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use common::{Answer, Limit, Outcome};

/// The counters. All are estimates within a few requests: they are limits, not accounts.
#[derive(Debug, Default)]
pub struct Load {
    connections: AtomicUsize,
    requests: AtomicU64,
    bytes: AtomicU64,
    value_bytes: AtomicU64,
}

/// Requests that wait for an answer, of all clients together. At 20,000 requests a second, which two cores do, the
/// last of them waits less than a second; whoever comes after them is better told to ask elsewhere.
pub const REQUESTS_HELD_MAX: u64 = 16_384;

/// What those requests may take together, in bytes: four values of the ordinary greatest length, and one more. Two
/// thousand requests with 16 KiB each are far below it; a disk needs a tenth of a second for it.
pub const REQUEST_BYTES_HELD_MAX: u64 = 32 << 20;

/// Bytes of values that the replica thread may have handed to workers which these have not taken: what a GET asks for may be
/// a million times longer than the GET. Eight values of the ordinary greatest length; two workers copy it in some tens
/// of milliseconds.
pub const VALUE_BYTES_ON_THE_WAY_MAX: u64 = 64 << 20;

/// How many bytes of a value an answer carries.
#[must_use]
pub fn value_bytes(answer: &Answer) -> u64 {
    match &answer.outcome {
        Outcome::Value { value, .. } => value.len() as u64,
        _ => 0,
    }
}

impl Load {
    /// Takes in a request of `bytes`, if the limits allow it.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn take_in(&self, bytes: u64) -> Result<(), Limit> {
        if self.requests.load(Ordering::Relaxed) >= REQUESTS_HELD_MAX {
            return Err(Limit::RequestsHeld);
        }
        if self.bytes.load(Ordering::Relaxed) >= REQUEST_BYTES_HELD_MAX {
            return Err(Limit::BytesHeld);
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Lets go of answered requests, or of those of a connection that is gone.
    pub fn let_go(&self, requests: u64, bytes: u64) {
        self.requests.fetch_sub(requests, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// An answer is on its way to a worker.
    pub fn send_value(&self, answer: &Answer) {
        self.value_bytes
            .fetch_add(value_bytes(answer), Ordering::Relaxed);
    }

    /// Values of so many bytes have reached their worker, which has passed them on or dropped them.
    pub fn let_values_go(&self, bytes: u64) {
        self.value_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// How many bytes of values may be sent to workers.
    #[must_use]
    pub fn value_room(&self) -> u64 {
        VALUE_BYTES_ON_THE_WAY_MAX.saturating_sub(self.value_bytes.load(Ordering::Relaxed))
    }

    /// Counts one more connection, if there are fewer than `connections_max`.
    #[must_use]
    pub fn connect(&self, connections_max: usize) -> bool {
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        if before >= connections_max {
            self.disconnect();
        }
        before < connections_max
    }

    /// Counts one connection less.
    pub fn disconnect(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many requests wait for an answer, and how many bytes they take.
    #[must_use]
    pub fn held(&self) -> (u64, u64) {
        (
            self.requests.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_a_limit_is_refused_until_something_is_let_go() {
        let load = Load::default();
        for _ in 0..REQUESTS_HELD_MAX {
            load.take_in(1).unwrap();
        }
        assert_eq!(load.take_in(1), Err(Limit::RequestsHeld));
        load.let_go(2, 2);
        load.take_in(REQUEST_BYTES_HELD_MAX).unwrap();
        assert_eq!(load.take_in(1), Err(Limit::BytesHeld));
        assert!(load.connect(1));
        assert!(!load.connect(1));
        load.disconnect();
        assert!(load.connect(1));
    }
}
