//! Carries the requests of one client to the cluster: numbers, retries, deadlines, and no socket.
//!
//! ```text
//! submit ──▶ queue ──▶ copy on the current lane ──answer──▶ completion
//!                          │ no answer in time, "no quorum", connection lost
//!                          └──▶ next lane becomes the current one; every unfinished request is sent there again,
//!                               in order, under the same name; the first answer from any lane counts
//! ```
//! A lane is a connection to one endpoint, or the exchange of datagrams with it. One lane is current: requests are sent there. A lane that was left stays
//! open while copies wait on it, because its answer ("no quorum" takes a server 5 s) may be the only one to come.
//!
//! Relies on its driver to connect, write, read and tell the time. It never repeats a write under another name, and
//! never takes an answer for a request that was not sent on the connection it came from (SPEC B4).

mod answers;
#[cfg(test)]
mod datagram_network_tests;
#[cfg(test)]
mod datagram_tests;
mod datagrams;
mod giving_up;
mod lane;
#[cfg(test)]
mod moving_tests;
mod queue;
#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod rig;
mod route;
mod session;
#[cfg(test)]
mod tests;

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::codec::{append_get, append_write, check_key, check_value};
use common::quote::Elided;
use common::{DecodeError, Limit, Refusal, Request, RequestError, WireLimits};
use log::debug;

use crate::directory::Directory;
use crate::error::ClientError;
use crate::operation::{Operation, Reply};
use crate::options::{ClientOptions, Endpoint};
use crate::throttle::Throttle;
use datagrams::Resend;
use lane::{Lane, LaneSet};
use queue::{Pending, Queue};
use session::{Opening, Session};

/// Names an operation that was submitted; unique for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u64);

/// What came of an operation.
#[derive(Debug)]
pub struct Completion {
    /// Which one.
    pub ticket: Ticket,
    /// The operation, with its bytes, for use again.
    pub operation: Operation,
    /// When it was submitted.
    pub submitted: Instant,
    /// What came of it.
    pub result: Result<Reply, ClientError>,
    /// It was sent once, on one connection: among the operations of this client of which that is true it takes effect in
    /// the order in which they were submitted (SPEC A6).
    pub in_order: bool,
}

/// Tags of session openings begin here, so that they never meet those of requests.
const OPENING_TAG_MIN: u64 = 1 << 63;

/// How fast a large value must at least get through, in bytes a second: an attempt is given this much longer.
const VALUE_BYTES_PER_S_MIN: u64 = 8 << 20;

/// Carries the requests of one client.
#[derive(Debug)]
pub(crate) struct Courier {
    options: Arc<ClientOptions>,
    directory: Arc<Directory>,
    lanes: Vec<Lane>,
    /// The lane on which requests are sent.
    current: usize,
    /// The lane that becomes current once nothing is outstanding on the current one; until then nothing is sent.
    moving_to: Option<usize>,
    queue: Queue,
    /// Every request with a lower tag is finished or has a copy on the current lane.
    cursor: u64,
    session: Session,
    next_opening_tag: u64,
    /// Nothing is sent before: replicas said "busy", or none was fit to be asked.
    paused_until: Option<Instant>,
    busy_in_a_row: u32,
    /// When [`Self::tick`] has something to do, at the earliest.
    wake: Option<Instant>,
    /// Bytes of the values in the queue.
    value_bytes: u64,
    completions: Vec<Completion>,
    to_close: Vec<usize>,
    /// The lane over UDP to which the client returns from a connection, made for what does not fit a datagram.
    detour_from: Option<usize>,
    /// Where a request is written before it is put into a datagram.
    scratch: Vec<u8>,
    unreadable: Throttle,
    unasked: Throttle,
    foreign: Throttle,
}

impl Courier {
    pub(crate) fn new(
        options: Arc<ClientOptions>,
        directory: Arc<Directory>,
        first: usize,
        now: Instant,
    ) -> Self {
        let lane = |endpoint: &Endpoint| Lane::new(endpoint.transport(), now);
        Self {
            lanes: options.endpoints.iter().map(lane).collect(),
            options,
            directory,
            current: first,
            moving_to: None,
            queue: Queue::new(),
            cursor: 1,
            session: Session::None,
            next_opening_tag: OPENING_TAG_MIN,
            paused_until: None,
            busy_in_a_row: 0,
            wake: None,
            value_bytes: 0,
            completions: Vec::new(),
            to_close: Vec::new(),
            detour_from: None,
            scratch: Vec::new(),
            unreadable: Throttle::default(),
            unasked: Throttle::default(),
            foreign: Throttle::default(),
        }
    }

    /// Takes an operation; its completion comes later, at the latest with its deadline.
    pub(crate) fn submit(&mut self, operation: Operation, now: Instant) -> Ticket {
        let deadline = now + self.options.timeout;
        self.value_bytes += operation.value().len() as u64;
        let tag = self.queue.push(Pending {
            operation,
            name: None,
            submitted: now,
            deadline,
            copies: LaneSet::default(),
            asked: now,
            resend: Resend::default(),
            needs_stream: false,
            maybe_proposed: false,
            is_sent: false,
            in_order: false,
            last_refusal: None,
        });
        self.wake_by(deadline);
        self.ensure_lane(now);
        self.pump(now);
        Ticket(tag)
    }

    /// How many operations are not finished.
    pub(crate) fn unfinished(&self) -> usize {
        self.queue.len()
    }

    /// The replica at the other end of the current lane, once it greeted.
    pub(crate) fn replica(&self) -> Option<u8> {
        self.lanes[self.current].replica()
    }

    /// When [`Self::tick`] must be called.
    pub(crate) fn wake(&self) -> Option<Instant> {
        self.wake
    }

    /// What is to be written to a lane's connection; the driver removes what it has written.
    pub(crate) fn outgoing(&mut self, lane: usize) -> &mut Vec<u8> {
        &mut self.lanes[lane].outgoing
    }

    /// What has come of operations since the last call.
    pub(crate) fn completions(&mut self) -> impl Iterator<Item = Completion> {
        self.completions.drain(..)
    }

    /// Does what is due by time.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.wake.is_none_or(|wake| now < wake) {
            return;
        }
        self.wake = None;
        self.give_up_overdue(now);
        self.paused_until = self.paused_until.filter(|until| now < *until);
        self.check_current_lane(now);
        self.resend_due(now);
        self.move_if_drained(now);
        self.pump(now);
        self.note_wakes(now);
    }

    /// Sends what may be sent on the current lane, in order.
    fn pump(&mut self, now: Instant) {
        if self.moving_to.is_some() || self.paused_until.is_some() {
            return;
        }
        let Some(limits) = self.lanes[self.current].limits() else {
            return;
        };
        while self.cursor < self.queue.end() && self.send(self.cursor, &limits, now) {
            self.cursor += 1;
        }
    }

    /// Sends one request, unless a copy is on the lane already. False if it, and so what follows it, has to wait.
    fn send(&mut self, tag: u64, limits: &WireLimits, now: Instant) -> bool {
        let current = self.current;
        let Some(pending) = self.queue.get_mut(tag) else {
            return true;
        };
        if pending.copies.contains(current) {
            return true;
        }
        if self.lanes[current].outstanding >= limits.outstanding_max {
            return false;
        }
        if let Err(refusal) = check(&pending.operation, limits) {
            self.complete(tag, Err(ClientError::Refused(refusal)));
            return true;
        }
        if pending.operation.is_write() && pending.name.is_none() {
            pending.name = self.session.next_name(now);
            if pending.name.is_none() {
                self.open_session(now);
                return false;
            }
        }
        if let Err(refusal) = self.encode(tag) {
            self.move_to_stream(tag, refusal, now);
            return self.queue.get_mut(tag).is_none();
        }
        let is_datagram = self.lanes[current].datagrams.is_some();
        let pending = self.queue.get_mut(tag).expect("it is being sent");
        pending.copies.insert(current);
        pending.asked = now;
        pending.in_order = !is_datagram && !pending.is_sent;
        pending.is_sent = true;
        pending.resend = self.lanes[current].resend(now);
        pending.maybe_proposed |= is_datagram && pending.operation.is_write();
        let resend = pending.resend.due();
        self.lanes[current].outstanding += 1;
        self.wake_by(now + self.attempt_timeout());
        if let Some(resend) = resend {
            self.wake_by(resend);
        }
        true
    }

    /// Writes a copy for the current lane. Over UDP no order holds, so that a write follows no other there.
    ///
    /// # Errors
    /// It does not fit a datagram; nothing is written.
    fn encode(&mut self, tag: u64) -> Result<(), Refusal> {
        let pending = self.queue.get_mut(tag).expect("it is being sent");
        let lane = &mut self.lanes[self.current];
        let endpoint = &self.options.endpoints[self.current];
        let is_datagram = lane.datagrams.is_some();
        let wire_tag = lane.wire_tag(tag);
        let out = if is_datagram {
            self.scratch.clear();
            &mut self.scratch
        } else {
            &mut lane.outgoing
        };
        match (pending.name, &pending.operation) {
            (Some(name), _) => {
                let (floor, after) = self.session.bounds(name);
                let after = if is_datagram { 0 } else { after };
                let write = pending.write(floor, after).expect("it has a name");
                append_write(out, wire_tag, &write);
                debug!("-> {endpoint} Write tag={tag} {write}");
            }
            (None, Operation::Get { key }) => {
                append_get(out, wire_tag, key);
                debug!("-> {endpoint} Get tag={tag} GET {}", Elided(key));
            }
            (None, _) => {
                Request::Status { tag: wire_tag }.append_to(out);
                debug!("-> {endpoint} Status tag={tag}");
            }
        }
        if is_datagram {
            lane.put(&self.scratch)?;
        }
        Ok(())
    }

    /// Asks the current lane for a session, if none is open and no copy of the question is on that lane.
    fn open_session(&mut self, now: Instant) {
        if matches!(self.session, Session::Open { .. }) {
            return;
        }
        if matches!(self.session, Session::None) {
            self.session = Session::Opening(Opening {
                tag: self.next_opening_tag,
                nonce: rand::random(),
                copies: LaneSet::default(),
                asked: now,
                resend: Resend::default(),
            });
            self.next_opening_tag += 1;
        }
        let opening = self.session.opening_mut().expect("it was just made so");
        if opening.copies.contains(self.current) {
            return;
        }
        opening.copies.insert(self.current);
        opening.asked = now;
        opening.resend = self.lanes[self.current].resend(now);
        let resend = opening.resend.due();
        self.lanes[self.current].outstanding += 1;
        self.encode_opening();
        self.wake_by(now + self.attempt_timeout());
        if let Some(resend) = resend {
            self.wake_by(resend);
        }
    }

    /// An operation is finished: its answer came, or it is given up.
    fn complete(&mut self, tag: u64, result: Result<Reply, ClientError>) {
        let pending = self
            .queue
            .take(tag)
            .expect("only what is unfinished is completed");
        if let Some(name) = pending.name {
            self.session.finish(name, result.is_ok());
        }
        self.value_bytes -= pending.operation.value().len() as u64;
        self.release_copies(pending.copies);
        self.end_detour();
        self.completions.push(Completion {
            ticket: Ticket(tag),
            operation: pending.operation,
            submitted: pending.submitted,
            result,
            in_order: pending.in_order,
        });
    }

    /// Copies that nobody waits for any more.
    fn release_copies(&mut self, copies: LaneSet) {
        for lane in copies.iter() {
            self.release_copy(lane);
        }
    }

    fn release_copy(&mut self, lane: usize) {
        self.lanes[lane].outstanding -= 1;
        self.close_if_left(lane);
    }

    /// How long the current lane is given to answer: longer when much was sent to it.
    fn attempt_timeout(&self) -> Duration {
        let transfer_ms = self.value_bytes * 1_000 / VALUE_BYTES_PER_S_MIN;
        self.options.attempt_timeout + Duration::from_millis(transfer_ms)
    }

    fn wake_by(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Works out anew when something is due.
    fn note_wakes(&mut self, now: Instant) {
        let attempt_timeout = self.attempt_timeout();
        let current = self.current;
        let mut wakes: Vec<Instant> = Vec::new();
        for (_, pending) in self.queue.iter() {
            wakes.push(pending.deadline);
            if pending.copies.contains(current) {
                wakes.push(pending.asked + attempt_timeout);
                wakes.extend(pending.resend.due());
            }
        }
        if let Some(opening) = self.session.opening() {
            wakes.push(opening.asked + attempt_timeout);
            wakes.extend(opening.resend.due());
        }
        wakes.extend(self.paused_until);
        wakes.extend(self.lane_wake());
        // What is overdue and could not be helped is looked at again soon, and not at once.
        let soon = now + Duration::from_millis(10);
        for wake in wakes {
            self.wake_by(wake.max(soon));
        }
    }
}

/// Whether a replica with these limits would take the operation at all.
fn check(operation: &Operation, limits: &WireLimits) -> Result<(), Refusal> {
    let Some(key) = operation.key() else {
        return Ok(());
    };
    check_key(key, limits)
        .and_then(|()| check_value(operation.value(), limits))
        .map_err(|error: DecodeError| RequestError::from(error).refusal())
}

/// Whether a refusal is about what the server has in hand, and goes away by waiting.
fn is_busy(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Busy { limit } => !matches!(limit, Limit::KeyBytes | Limit::ValueBytes),
        Refusal::TooManyOutstanding { .. } => true,
        _ => false,
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        let unfinished = mem::replace(&mut self.queue, Queue::new());
        if !unfinished.is_empty() {
            debug!("{} requests are dropped unfinished", unfinished.len());
        }
    }
}
