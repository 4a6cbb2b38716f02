//! One connection to one endpoint, or what stands for one over UDP, as far as it needs no socket.

use std::time::{Duration, Instant};

use common::{FrameBuffer, Hello, PROTOCOL_VERSION, Refusal, WireLimits};

use super::datagrams::{DatagramLane, Resend};
use crate::options::Transport;

/// How long an endpoint is left alone after its first failure in a row; doubled for each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// The longest it is left alone: a replica that comes back is found again within this time.
const BACKOFF_MAX: Duration = Duration::from_millis(200);

/// How long a hint "this one leads" is not followed to an endpoint that just failed: the hint is older than the
/// failure, most likely.
const DISTRUST: Duration = Duration::from_secs(1);

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneState {
    /// There is none.
    Closed,
    /// One is to be made, once the back-off is over.
    Wanted,
    /// It is being made, or the greeting is awaited.
    Opening {
        /// Since when.
        since: Instant,
    },
    /// Greeted.
    Open {
        /// Who is there.
        replica: u8,
        /// What it takes.
        limits: WireLimits,
    },
}

/// One connection to one endpoint.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) state: LaneState,
    /// What is to be written to the socket. Over UDP each datagram stands in a frame, which is not sent.
    pub(super) outgoing: Vec<u8>,
    /// What belongs to a lane over UDP; `None` for a connection.
    pub(super) datagrams: Option<DatagramLane>,
    /// What came from it.
    pub(super) frames: FrameBuffer,
    /// How many copies of requests wait for an answer here.
    pub(super) outstanding: u32,
    /// When anything came last, or the connection was made.
    pub(super) heard: Instant,
    /// Not to be connected to before.
    pub(super) not_before: Instant,
    /// Not to be taken for the leader's before.
    pub(super) distrusted_until: Instant,
    /// What was last wrong here; `None` since it greeted or served.
    pub(super) trouble: Option<String>,
    /// The connection stands, as far as the driver knows; over UDP there is none.
    pub(super) is_connected: bool,
    /// Its name could not be looked up the last time.
    pub(super) is_unresolved: bool,
    /// It greeted at least once.
    pub(super) has_greeted: bool,
    failures_in_a_row: u32,
}

impl Lane {
    pub(super) fn new(transport: Transport, now: Instant) -> Self {
        Self {
            state: LaneState::Closed,
            outgoing: Vec::new(),
            datagrams: (transport == Transport::Udp).then(DatagramLane::new),
            frames: FrameBuffer::new(WireLimits::default().frame_bytes_max),
            outstanding: 0,
            heard: now,
            not_before: now,
            distrusted_until: now,
            trouble: None,
            is_connected: false,
            is_unresolved: false,
            has_greeted: false,
            failures_in_a_row: 0,
        }
    }

    /// A connection is being made: what is written first is the hello.
    pub(super) fn open(&mut self, label: &str, now: Instant) {
        assert_eq!(self.outstanding, 0, "a connection begins with nothing owed");
        self.state = LaneState::Opening { since: now };
        self.is_connected = false;
        self.is_unresolved = false;
        self.frames = FrameBuffer::new(WireLimits::default().frame_bytes_max);
        self.heard = now;
        if let Some(datagrams) = &mut self.datagrams {
            datagrams.open(label, &mut self.outgoing, now);
            return;
        }
        let hello = Hello {
            version: PROTOCOL_VERSION,
            label: label.to_owned(),
        };
        hello.append_to(&mut self.outgoing);
    }

    /// The tag under which a request goes out here.
    pub(super) fn wire_tag(&self, tag: u64) -> u64 {
        match &self.datagrams {
            Some(datagrams) => datagrams.wire_tag(tag),
            None => tag,
        }
    }

    /// When what is sent here now is sent again: never on a connection.
    pub(super) fn resend(&self, now: Instant) -> Resend {
        let datagrams = self.datagrams.as_ref();
        datagrams.map_or_else(Resend::default, |datagrams| datagrams.resend(now))
    }

    /// Writes a request that stands in a frame.
    ///
    /// # Errors
    /// It does not fit a datagram; nothing is written.
    pub(super) fn put(&mut self, frame: &[u8]) -> Result<(), Refusal> {
        match &self.datagrams {
            Some(datagrams) => datagrams.put(frame, &mut self.outgoing),
            None => {
                self.outgoing.extend_from_slice(frame);
                Ok(())
            }
        }
    }

    /// The replica greeted.
    pub(super) fn greeted(&mut self, replica: u8, limits: WireLimits) {
        self.state = LaneState::Open { replica, limits };
        self.frames.set_frame_bytes_max(limits.frame_bytes_max);
        self.failures_in_a_row = 0;
        self.trouble = None;
        self.has_greeted = true;
    }

    /// The connection is gone, or to be dropped.
    pub(super) fn reset(&mut self) {
        self.state = LaneState::Closed;
        self.outgoing = Vec::new();
        self.outstanding = 0;
    }

    /// It did not serve: leave it alone for a while.
    pub(super) fn note_failure(&mut self, now: Instant) {
        let doublings = self.failures_in_a_row.min(8);
        self.failures_in_a_row += 1;
        self.not_before = now + (BACKOFF_MIN * (1 << doublings)).min(BACKOFF_MAX);
        self.distrusted_until = now + DISTRUST;
    }

    /// Whether it failed last time too.
    pub(super) fn failed_before(&self) -> bool {
        self.failures_in_a_row > 0
    }

    /// It answered as it should.
    pub(super) fn served(&mut self) {
        self.failures_in_a_row = 0;
        self.trouble = None;
    }

    /// What is wrong when no greeting comes.
    pub(super) fn no_greeting(&self) -> &'static str {
        match (&self.datagrams, self.is_connected) {
            (Some(_), _) => "no datagram comes back",
            (None, true) => "connected, but nobody greets as a replica does",
            (None, false) => "cannot connect in time",
        }
    }

    /// What is wrong when no answer comes.
    pub(super) fn no_answer(&self) -> &'static str {
        match self.datagrams {
            Some(_) => "greeted, but does not answer",
            None => "connected, but does not answer",
        }
    }

    pub(super) fn replica(&self) -> Option<u8> {
        match self.state {
            LaneState::Open { replica, .. } => Some(replica),
            _ => None,
        }
    }

    pub(super) fn limits(&self) -> Option<WireLimits> {
        match self.state {
            LaneState::Open { limits, .. } => Some(limits),
            _ => None,
        }
    }
}

/// A set of lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LaneSet(u64);

impl LaneSet {
    pub(super) fn insert(&mut self, lane: usize) {
        self.0 |= 1 << lane;
    }

    /// Whether it was in.
    pub(super) fn remove(&mut self, lane: usize) -> bool {
        let was_in = self.contains(lane);
        self.0 &= !(1 << lane);
        was_in
    }

    pub(super) fn contains(self, lane: usize) -> bool {
        self.0 & (1 << lane) != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        (0..64).filter(move |lane| self.contains(*lane))
    }
}
