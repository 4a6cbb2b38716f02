//! A proxy that does to traffic what a bad network does, because the kernel of a test machine may have nothing for it.
//!
//! It stands before one address, a replica's for clients or for its peers. On TCP it knows frames: it drops, doubles,
//! delays and swaps whole ones, and cuts connections; on UDP it does the same to datagrams. Each direction has rates of
//! its own, and its faults are drawn from a seed. [`Proxy::counts`] says what was done, so that a test can fail when
//! nothing was.
//!
//! ```text
//! sender ──parcel──▶ Line: dropped? doubled? late? behind the next one? ──▶ receiver
//! ```

mod datagrams;
mod line;
mod stream;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How often each fault happens to a parcel: a frame or a datagram. Probabilities, which are drawn one by one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rates {
    /// It never arrives.
    pub(crate) drop: f64,
    /// It arrives twice.
    pub(crate) double: f64,
    /// It arrives late. On TCP what follows it waits too.
    pub(crate) delay: f64,
    /// How late at most.
    pub(crate) delay_max: Duration,
    /// It arrives behind the one that follows it.
    pub(crate) swap: f64,
    /// The connection breaks instead; on UDP nothing does.
    pub(crate) cut: f64,
}

impl Rates {
    /// A good network.
    pub(crate) const NONE: Self = Self {
        drop: 0.0,
        double: 0.0,
        delay: 0.0,
        delay_max: Duration::ZERO,
        swap: 0.0,
        cut: 0.0,
    };

    /// A fifth of the traffic suffers: each fault in the same part.
    pub(crate) const FIFTH: Self = Self {
        drop: 0.05,
        double: 0.05,
        delay: 0.05,
        delay_max: Duration::from_millis(200),
        swap: 0.05,
        cut: 0.0,
    };
}

/// What a proxy does to traffic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    /// All its draws come from it.
    pub(crate) seed: u64,
    /// To what goes to the address that it stands before.
    pub(crate) inward: Rates,
    /// To what comes from there.
    pub(crate) outward: Rates,
}

impl Faults {
    /// The same both ways.
    pub(crate) fn both_ways(seed: u64, rates: Rates) -> Self {
        Self {
            seed,
            inward: rates,
            outward: rates,
        }
    }
}

/// Stands before one address. Its threads end with it.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

impl Proxy {
    /// For connections to `target`, which need not listen yet.
    pub(crate) fn stream(target: SocketAddr, faults: Faults) -> Self {
        let state = Arc::new(State::new(target, faults));
        let address = stream::start(&state);
        Self { address, state }
    }

    /// For datagrams to `target`.
    pub(crate) fn datagrams(target: SocketAddr, faults: Faults) -> Self {
        let state = Arc::new(State::new(target, faults));
        let address = datagrams::start(&state);
        Self { address, state }
    }

    /// Where it is to be asked in place of its target.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has done.
    pub(crate) fn counts(&self) -> Counts {
        self.state.tally.counts()
    }

    /// Begins or ends the faults that are drawn. It begins with them.
    pub(crate) fn set_faulty(&self, faulty: bool) {
        self.state.faulty.store(faulty, Ordering::Relaxed);
    }

    /// Nothing passes any more, either way, or all does again. What senders say meanwhile is lost, as on a cable that
    /// is pulled: no connection is closed.
    pub(crate) fn set_unreachable(&self, unreachable: bool) {
        self.set_deaf(unreachable);
        self.set_mute(unreachable);
    }

    /// Nothing that the target says goes out any more, or all does again; it hears everything.
    pub(crate) fn set_mute(&self, mute: bool) {
        self.state.mute.store(mute, Ordering::Relaxed);
    }

    /// Nothing reaches the target any more, or all does again; what it says goes out.
    pub(crate) fn set_deaf(&self, deaf: bool) {
        self.state.deaf.store(deaf, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
    }
}

/// What all threads of a proxy share.
#[derive(Debug)]
struct State {
    target: SocketAddr,
    faults: Faults,
    faulty: AtomicBool,
    deaf: AtomicBool,
    mute: AtomicBool,
    ended: AtomicBool,
    tally: Tally,
}

impl State {
    fn new(target: SocketAddr, faults: Faults) -> Self {
        Self {
            target,
            faults,
            faulty: AtomicBool::new(true),
            deaf: AtomicBool::new(false),
            mute: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            tally: Tally::default(),
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// The rates of a direction at this moment.
    fn rates(&self, direction: Direction) -> Rates {
        match direction {
            _ if !self.faulty.load(Ordering::Relaxed) => Rates::NONE,
            Direction::Inward => self.faults.inward,
            Direction::Outward => self.faults.outward,
        }
    }

    fn is_blocked(&self, direction: Direction) -> bool {
        match direction {
            Direction::Inward => self.deaf.load(Ordering::Relaxed),
            Direction::Outward => self.mute.load(Ordering::Relaxed),
        }
    }
}

/// Which way something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// To the target.
    Inward,
    /// From the target.
    Outward,
}

/// How often each thing happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Parcels that came.
    pub(crate) came: u64,
    pub(crate) dropped: u64,
    pub(crate) doubled: u64,
    pub(crate) delayed: u64,
    pub(crate) swapped: u64,
    /// Connections that were cut.
    pub(crate) cut: u64,
    /// Parcels that were lost because the target was deaf or unreachable.
    pub(crate) blocked: u64,
}

impl Counts {
    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            came: self.came + other.came,
            dropped: self.dropped + other.dropped,
            doubled: self.doubled + other.doubled,
            delayed: self.delayed + other.delayed,
            swapped: self.swapped + other.swapped,
            cut: self.cut + other.cut,
            blocked: self.blocked + other.blocked,
        }
    }

    /// Fails unless each of the four faults happened.
    pub(crate) fn assert_faulty(&self) {
        let each = [self.dropped, self.doubled, self.delayed, self.swapped];
        assert!(each.iter().all(|count| *count > 0), "too quiet: {self}");
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "of {} parcels {} dropped, {} doubled, {} delayed, {} swapped, {} blocked; {} connections cut",
            self.came,
            self.dropped,
            self.doubled,
            self.delayed,
            self.swapped,
            self.blocked,
            self.cut
        )
    }
}

#[derive(Debug, Default)]
struct Tally {
    came: AtomicU64,
    dropped: AtomicU64,
    doubled: AtomicU64,
    delayed: AtomicU64,
    swapped: AtomicU64,
    cut: AtomicU64,
    blocked: AtomicU64,
}

impl Tally {
    fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            came: read(&self.came),
            dropped: read(&self.dropped),
            doubled: read(&self.doubled),
            delayed: read(&self.delayed),
            swapped: read(&self.swapped),
            cut: read(&self.cut),
            blocked: read(&self.blocked),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
