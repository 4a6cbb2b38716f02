//! One link to a peer: which of two connections it is, when to dial again, and what the log says of it.

use std::time::{Duration, Instant};

use log::Level;
use mio::Token;
use paxos::ReplicaId;

use super::connection::{Connection, Loss, Stage};
use super::greeting::PeerGreeting;
use crate::foreign::{self, Cause};

/// The connection that is the link to a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// The connection's token.
    pub(super) token: Token,
    /// Which start of the peer's process it leads to.
    pub(super) birth: u64,
    /// When it came up.
    pub(super) since: Instant,
    /// Whether the replica with the higher id dialed.
    pub(super) dialed_by_higher: bool,
}

/// Which of two connections to one peer stays. Both sides must come to the same answer, or they would close one each:
/// a later start of the peer's process beats an earlier one; two that came up at the same time are told apart by who
/// dialed; otherwise the later one stays, because whoever dialed it had lost the earlier.
pub(super) fn keeps_new(old: &Link, new: &Link) -> bool {
    old.birth != new.birth
        || new.since.duration_since(old.since) >= SAME_TIME
        || old.dialed_by_higher == new.dialed_by_higher
        || new.dialed_by_higher
}

/// How long the one with the lower id leaves the dialing to the other.
pub(super) fn head_start(own: ReplicaId, peer: ReplicaId) -> Duration {
    if own > peer {
        Duration::ZERO
    } else {
        HEAD_START
    }
}

/// How long to wait after a failed attempt.
pub(super) fn redial_after(loss: &Loss, own: ReplicaId, peer: ReplicaId) -> Duration {
    match loss {
        Loss::Greeting(_) | Loss::Framing(_) => REFUSED_INTERVAL,
        Loss::Closed => CLOSED_INTERVAL,
        _ => REDIAL_INTERVAL + head_start(own, peer),
    }
}

pub(super) fn log_up(connection: &Connection, greeting: &PeerGreeting) {
    let how = if connection.dialed.is_some() {
        "dialed"
    } else {
        "accepted"
    };
    let (id, remote, life) = (greeting.replica, connection.remote, greeting.incarnation);
    foreign::log(
        Cause::PeerLink,
        Level::Info,
        format_args!("link to {id} is up ({how}, {remote}, incarnation {life})"),
    );
}

pub(super) fn log_loss(connection: &Connection, loss: &Loss) {
    let (remote, bytes) = (connection.remote, connection.received_bytes);
    let (cause, level) = match (connection.stage, loss) {
        (Stage::Up { .. }, Loss::Framing(_) | Loss::Message(_)) => {
            (Cause::PeerMalformed, Level::Warn)
        }
        (Stage::Up { .. }, Loss::Duplicate) | (_, Loss::Duplicate | Loss::Itself) => {
            (Cause::PeerLink, Level::Debug)
        }
        (Stage::Up { .. }, _) => (Cause::PeerLink, Level::Info),
        (_, Loss::Greeting(_) | Loss::Framing(_)) => (Cause::PeerStranger, Level::Warn),
        _ if connection.dialed.is_none() => (Cause::PeerStranger, Level::Warn),
        _ => (Cause::PeerLink, Level::Debug),
    };
    match (connection.stage, connection.dialed) {
        (Stage::Up { peer }, _) => foreign::log(
            cause,
            level,
            format_args!("link to {peer} ({remote}) is down after {bytes} bytes: {loss}"),
        ),
        (_, Some(peer)) => foreign::log(
            cause,
            level,
            format_args!("no link to {peer} at {remote}: {loss}"),
        ),
        (_, None) => foreign::log(
            cause,
            level,
            format_args!("{remote} on the peer port is refused after {bytes} bytes: {loss}"),
        ),
    }
}

/// How long to wait before dialing again one that cannot be reached: a replica that comes back is found at once.
pub(super) const REDIAL_INTERVAL: Duration = Duration::from_millis(50);
/// The same for one that was reached and closed the connection without a word.
const CLOSED_INTERVAL: Duration = Duration::from_millis(250);
/// The same for one that was reached and is not whom we want, or cannot be looked up: a person must see to it.
pub(super) const REFUSED_INTERVAL: Duration = Duration::from_secs(1);
/// Long enough that usually the first attempt of the other side succeeds before.
const HEAD_START: Duration = Duration::from_millis(100);
/// Two connections that came up within this time may have been dialed by both sides at once.
const SAME_TIME: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn link(birth: u64, since: Instant, dialed_by_higher: bool) -> Link {
        Link {
            token: Token(0),
            birth,
            since,
            dialed_by_higher,
        }
    }

    #[test]
    fn of_two_at_the_same_time_both_sides_keep_the_one_that_the_higher_id_dialed() {
        let now = Instant::now();
        let (by_lower, by_higher) = (link(1, now, false), link(1, now, true));
        assert!(keeps_new(&by_lower, &by_higher));
        assert!(!keeps_new(&by_higher, &by_lower));
    }

    #[test]
    fn a_later_dial_and_a_later_start_beat_what_was_there() {
        let now = Instant::now();
        let old = link(1, now, true);
        assert!(keeps_new(&old, &link(1, now + SAME_TIME, false)));
        assert!(keeps_new(&old, &link(2, now, false)));
        assert!(keeps_new(&old, &link(1, now, true)));
    }
}
