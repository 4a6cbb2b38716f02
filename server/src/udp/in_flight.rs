//! Requests that came in a datagram and wait for an answer: the only thing that is remembered of a sender.
//!
//! Each is a connection of its own to the node, so that no order holds between datagrams (SPEC A6). It leaves with its
//! answer, or when no answer can come any more.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use common::Limit;

/// A request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Where the answer goes.
    pub(super) remote: SocketAddr,
    /// How long the answer may be, in bytes.
    pub(super) answer_bytes_max: usize,
    /// How long the request is, in bytes.
    pub(super) bytes: u32,
    /// When it came, since the start.
    pub(super) came: Duration,
}

/// All of them, by their serials.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    waiting: BTreeMap<u64, Waiting>,
    next_serial: u64,
    bytes: u64,
}

impl InFlight {
    /// Whether one of `bytes` more may be held.
    pub(super) fn check_room(&self, bytes: u32) -> Result<(), Limit> {
        if self.waiting.len() >= DATAGRAMS_IN_FLIGHT_MAX {
            Err(Limit::RequestsHeld)
        } else if self.bytes + u64::from(bytes) > DATAGRAM_BYTES_IN_FLIGHT_MAX {
            Err(Limit::BytesHeld)
        } else {
            Ok(())
        }
    }

    /// Holds one; gives its serial, which is never used twice.
    pub(super) fn hold(&mut self, waiting: Waiting) -> u64 {
        let serial = self.next_serial;
        self.next_serial += 1;
        self.bytes += u64::from(waiting.bytes);
        self.waiting.insert(serial, waiting);
        serial
    }

    /// Lets go of one, if it is there.
    pub(super) fn take(&mut self, serial: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&serial)?;
        self.bytes -= u64::from(waiting.bytes);
        Some(waiting)
    }

    /// Lets go of the next one that came before `came`, if there is one.
    pub(super) fn take_older(&mut self, came: Duration) -> Option<(u64, Waiting)> {
        let (serial, oldest) = self.waiting.first_key_value()?;
        if oldest.came >= came {
            return None;
        }
        let serial = *serial;
        self.take(serial).map(|waiting| (serial, waiting))
    }
}

/// A quarter of what the server holds for all its clients: a flood of datagrams, whose senders may all be forged,
/// leaves the larger part to connections.
pub const DATAGRAMS_IN_FLIGHT_MAX: usize = 4_096;

/// The same of their bytes.
pub const DATAGRAM_BYTES_IN_FLIGHT_MAX: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_in_number_and_in_bytes() {
        let one = |bytes| Waiting {
            remote: ([127, 0, 0, 1], 9).into(),
            answer_bytes_max: 100,
            bytes,
            came: Duration::ZERO,
        };
        let mut table = InFlight::default();
        for _ in 0..DATAGRAMS_IN_FLIGHT_MAX {
            table.check_room(100).unwrap();
            table.hold(one(100));
        }
        assert_eq!(table.check_room(100), Err(Limit::RequestsHeld));
        assert_eq!(table.take(0), Some(one(100)));
        assert_eq!(table.take(0), None);
        table.check_room(100).unwrap();
        let rest = DATAGRAM_BYTES_IN_FLIGHT_MAX - table.bytes;
        assert_eq!(
            table.check_room(u32::try_from(rest).unwrap() + 1),
            Err(Limit::BytesHeld)
        );
        assert_eq!(table.take_older(Duration::ZERO), None);
        while table.take_older(Duration::from_secs(1)).is_some() {}
        assert_eq!((table.waiting.len(), table.bytes), (0, 0));
    }
}
