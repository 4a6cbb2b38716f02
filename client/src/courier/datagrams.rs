//! Lanes over UDP: the same requests, one in each datagram, to a replica that nothing connects the client to.
//!
//! ```text
//! hello ──▶ greeting with a cookie ──▶ requests with the cookie ──▶ answers
//!   ▲ again after 125 ms or more, then after twice as long     │
//!   └── so do requests, until the attempt's time is over ◀─────┘   a Cookie in place of an answer: again at once
//! ```
//! Any datagram may be lost, come twice, late, or from somebody else. So what is sent again keeps its tag and name; the
//! tags of an opening are its own, so that what answered an earlier one, or another program that had this port, matches
//! nothing; and a refusal of a write never says that no other copy of it runs (RULES R15).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::codec::append_datagram;
use common::frame::{LENGTH_BYTES, append_frame};
use common::{
    Answer, Cookie, DATAGRAM_BYTES_MAX_MIN, DatagramGreeting, DatagramHello, Refusal, Request,
    ServerDatagram, ServerMessage, WireLimits,
};
use log::{debug, info, warn};

use super::lane::LaneState;
use super::{Courier, OPENING_TAG_MIN};
use crate::error::ClientError;
use crate::options::Transport;

/// When a datagram is first sent again: far above the time of an answer on a good network, and so far below that of an
/// attempt that a replica is given two more chances in it.
const RESEND_GAP_MIN: Duration = Duration::from_millis(125);

/// It is sent again no earlier than after twice the time that answers take of late, because a cluster that has much to
/// do is not given it twice; up to this, which leaves one more chance in an attempt.
const RESEND_GAP_MAX: Duration = Duration::from_millis(400);

/// How many requests may wait on a lane: their datagrams, sent at once, fit into a socket's default buffer.
const DATAGRAMS_OUTSTANDING_MAX: u32 = 64;

/// How often in an attempt a request is sent again because a cookie came in place of an answer. Once is usual; more
/// would be a replica that takes none.
const COOKIES_PER_ATTEMPT_MAX: u8 = 3;

/// The offset of tags is a multiple of it, so that a tag in a replica's log ends in the digits that the client's log
/// shows; 44 random bits are left.
const TAG_OFFSET_UNIT: u64 = 1_000_000;

/// What belongs to a lane over UDP alone.
#[derive(Debug)]
pub(super) struct DatagramLane {
    /// What is added to a tag on this lane. Drawn anew for each opening.
    tag_offset: u64,
    /// What the replica wants to see.
    cookie: Cookie,
    /// The longest datagram that the replica takes, in bytes.
    datagram_bytes_max: u32,
    /// How long answers take of late: each one counts for an eighth.
    answer_time: Duration,
    /// When the hello is sent again.
    pub(super) hello: Resend,
}

impl DatagramLane {
    pub(super) fn new() -> Self {
        Self {
            tag_offset: 0,
            cookie: Cookie::NONE,
            datagram_bytes_max: DATAGRAM_BYTES_MAX_MIN,
            answer_time: Duration::ZERO,
            hello: Resend::default(),
        }
    }

    /// Writes the hello of another opening.
    pub(super) fn open(&mut self, label: &str, outgoing: &mut Vec<u8>, now: Instant) {
        self.tag_offset = (rand::random::<u64>() >> 20) * TAG_OFFSET_UNIT;
        self.cookie = Cookie::NONE;
        self.hello = Resend::after(RESEND_GAP_MIN, now);
        self.say_hello(label, outgoing);
    }

    /// When what is sent now is sent again.
    pub(super) fn resend(&self, now: Instant) -> Resend {
        let gap = (self.answer_time * 2).clamp(RESEND_GAP_MIN, RESEND_GAP_MAX);
        Resend::after(gap, now)
    }

    /// Something that was sent once was answered.
    fn note_answer_time(&mut self, answer_time: Duration) {
        self.answer_time = (self.answer_time * 7 + answer_time) / 8;
    }

    /// The hello has the tag that no request has.
    fn say_hello(&self, label: &str, outgoing: &mut Vec<u8>) {
        let hello = DatagramHello {
            tag: self.wire_tag(0),
            label: label.to_owned(),
        };
        append_frame(outgoing, |out| hello.append_to(out, Cookie::NONE));
    }

    /// The tag under which a request goes out.
    pub(super) fn wire_tag(&self, tag: u64) -> u64 {
        tag.wrapping_add(self.tag_offset)
    }

    fn own_tag(&self, wire_tag: u64) -> u64 {
        wire_tag.wrapping_sub(self.tag_offset)
    }

    /// Writes a datagram with a request.
    ///
    /// # Errors
    /// It would be longer than the replica takes; nothing is written.
    pub(super) fn put(&self, frame: &[u8], outgoing: &mut Vec<u8>) -> Result<(), Refusal> {
        let start = outgoing.len();
        append_frame(outgoing, |out| {
            append_datagram(out, self.cookie, &frame[LENGTH_BYTES..]);
        });
        let bytes = outgoing.len() - start - LENGTH_BYTES;
        if bytes <= self.datagram_bytes_max as usize {
            return Ok(());
        }
        outgoing.truncate(start);
        Err(Refusal::TooLargeForDatagram {
            bytes: bytes as u64,
            bytes_max: self.datagram_bytes_max.into(),
        })
    }
}

/// When a copy that went in a datagram is sent to the same replica again. One on a connection never is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Resend {
    due: Option<Instant>,
    gap: Duration,
    /// Whether it was sent again, so that nobody knows which of its copies is answered.
    was_sent_again: bool,
    cookies: u8,
}

impl Resend {
    /// The copy was just sent for the first time in this attempt.
    fn after(gap: Duration, now: Instant) -> Self {
        Self {
            due: Some(now + gap),
            gap,
            was_sent_again: false,
            cookies: 0,
        }
    }

    /// The copy is to be sent at once, as the first of an attempt.
    pub(super) fn at_once(now: Instant) -> Self {
        Self {
            due: Some(now),
            gap: RESEND_GAP_MIN / 2,
            was_sent_again: true,
            cookies: 0,
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// It was sent again; the next time comes after twice as long.
    fn note_sent(&mut self, now: Instant) {
        self.gap *= 2;
        self.was_sent_again = true;
        self.due = Some(now + self.gap);
    }

    /// A cookie came in place of an answer. False if that happened too often.
    fn take_cookie(&mut self) -> bool {
        self.was_sent_again = true;
        self.cookies += 1;
        self.cookies <= COOKIES_PER_ATTEMPT_MAX
    }
}

impl Courier {
    /// A datagram came from the address that a lane's requests go to.
    pub(crate) fn received_datagram(
        &mut self,
        lane: usize,
        datagram: &[u8],
        from: SocketAddr,
        now: Instant,
    ) {
        if matches!(
            self.lanes[lane].state,
            LaneState::Closed | LaneState::Wanted
        ) {
            return;
        }
        let bytes = datagram.len();
        match ServerDatagram::decode(datagram) {
            Ok(ServerDatagram { replica, message }) => {
                self.handle_message(lane, replica, message, now);
            }
            Err(error) => {
                if let Some(skipped) = self.unreadable.admit(now) {
                    warn!(
                        "a datagram of {bytes} bytes from {from} {error} ({skipped} such lines skipped)"
                    );
                }
            }
        }
        self.move_if_drained(now);
        self.pump(now);
    }

    /// A datagram came from somebody who was not asked.
    pub(crate) fn foreign_datagram(
        &mut self,
        lane: usize,
        bytes: usize,
        from: SocketAddr,
        now: Instant,
    ) {
        if let Some(skipped) = self.foreign.admit(now) {
            let endpoint = &self.options.endpoints[lane];
            warn!(
                "a datagram of {bytes} bytes from {from}, not from {endpoint}, is passed over ({skipped} such lines \
                 skipped)"
            );
        }
    }

    fn handle_message(&mut self, lane: usize, replica: u8, message: ServerMessage, now: Instant) {
        let opening = matches!(self.lanes[lane].state, LaneState::Opening { .. });
        match message {
            ServerMessage::Greeting(greeting) if opening => {
                self.handle_datagram_greeting(lane, replica, &greeting, now);
            }
            // Another copy of the hello was answered before.
            ServerMessage::Greeting(_) => {}
            _ if opening => {}
            ServerMessage::Cookie { tag, cookie } => self.handle_cookie(lane, tag, cookie, now),
            ServerMessage::Answer(answer) => {
                let tag = self.datagram_lane(lane).own_tag(answer.tag);
                if self.is_asked(lane, tag) {
                    self.lanes[lane].heard = now;
                    self.note_replica(lane, replica);
                    self.note_answer_time(lane, tag, now);
                }
                self.handle_answer(lane, Answer { tag, ..answer }, now);
            }
        }
    }

    fn datagram_lane(&self, lane: usize) -> &DatagramLane {
        let found = self.lanes[lane].datagrams.as_ref();
        found.expect("only a lane over UDP gets datagrams")
    }

    fn handle_datagram_greeting(
        &mut self,
        lane: usize,
        replica: u8,
        greeting: &DatagramGreeting,
        now: Instant,
    ) {
        let endpoint = &self.options.endpoints[lane];
        let found = &mut self.lanes[lane];
        let Some(datagrams) = &mut found.datagrams else {
            return;
        };
        if greeting.tag != datagrams.wire_tag(0) {
            if let Some(skipped) = self.unasked.admit(now) {
                warn!(
                    "{endpoint}: a greeting that was not asked for: {greeting} ({skipped} such lines skipped)"
                );
            }
            return;
        }
        info!("{endpoint}: replica {replica} answers; {greeting}");
        datagrams.cookie = greeting.cookie;
        datagrams.datagram_bytes_max = greeting.datagram_bytes_max.max(DATAGRAM_BYTES_MAX_MIN);
        found.heard = now;
        let limits = WireLimits {
            key_bytes_max: greeting.key_bytes_max,
            value_bytes_max: greeting.value_bytes_max,
            frame_bytes_max: datagrams.datagram_bytes_max,
            outstanding_max: DATAGRAMS_OUTSTANDING_MAX,
        };
        found.greeted(replica, limits);
        self.directory.note(lane, replica);
        self.consider_leader(lane, greeting.leader, now);
    }

    /// The request was not done, because the replica takes no older cookie: it is sent again with this one.
    fn handle_cookie(&mut self, lane: usize, wire_tag: u64, cookie: Cookie, now: Instant) {
        let tag = self.datagram_lane(lane).own_tag(wire_tag);
        if !self.is_asked(lane, tag) {
            debug!(
                "{}: a cookie, not needed any more",
                self.options.endpoints[lane]
            );
            return;
        }
        let found = &mut self.lanes[lane];
        found.heard = now;
        if let Some(datagrams) = &mut found.datagrams {
            datagrams.cookie = cookie;
        }
        if lane != self.current {
            return;
        }
        if tag < OPENING_TAG_MIN {
            let pending = self.queue.get_mut(tag).expect("it was just found");
            if pending.resend.take_cookie() {
                self.encode_again(tag);
            }
        } else if let Some(opening) = self.session.opening_mut()
            && opening.resend.take_cookie()
        {
            self.encode_opening();
        }
    }

    /// Whether a request with this tag waits on the lane.
    fn is_asked(&mut self, lane: usize, tag: u64) -> bool {
        if let Some(opening) = self.session.opening()
            && opening.tag == tag
        {
            return opening.copies.contains(lane);
        }
        let pending = self.queue.get_mut(tag);
        pending.is_some_and(|pending| pending.copies.contains(lane))
    }

    fn note_answer_time(&mut self, lane: usize, tag: u64, now: Instant) {
        let pending = self.queue.get_mut(tag);
        let sent_once = pending.filter(|pending| !pending.resend.was_sent_again);
        if let Some(pending) = sent_once
            && lane == self.current
            && let Some(datagrams) = &mut self.lanes[lane].datagrams
        {
            datagrams.note_answer_time(now.duration_since(pending.asked));
        }
    }

    /// The replica at an address may be another one than before, when servers were started anew.
    fn note_replica(&mut self, lane: usize, replica: u8) {
        if let LaneState::Open { limits, .. } = self.lanes[lane].state
            && self.lanes[lane].replica() != Some(replica)
        {
            self.lanes[lane].state = LaneState::Open { replica, limits };
            self.directory.note(lane, replica);
        }
    }

    /// Sends again, on the current lane, what was not answered for a while.
    pub(super) fn resend_due(&mut self, now: Instant) {
        let label = &self.options.label;
        let lane = &mut self.lanes[self.current];
        let Some(datagrams) = &mut lane.datagrams else {
            return;
        };
        if matches!(lane.state, LaneState::Opening { .. }) && datagrams.hello.is_due(now) {
            datagrams.hello.note_sent(now);
            datagrams.say_hello(label, &mut lane.outgoing);
        }
        let current = self.current;
        if let Some(opening) = self.session.opening_mut()
            && opening.copies.contains(current)
            && opening.resend.is_due(now)
        {
            opening.resend.note_sent(now);
            self.encode_opening();
        }
        for tag in self
            .queue
            .tags_where(|pending| pending.copies.contains(current) && pending.resend.is_due(now))
        {
            let pending = self.queue.get_mut(tag).expect("it was just found");
            pending.resend.note_sent(now);
            self.encode_again(tag);
        }
    }

    /// A request that fitted once fits again: nothing but its cookie and its floor has changed.
    fn encode_again(&mut self, tag: u64) {
        if let Err(refusal) = self.encode(tag) {
            debug!("tag={tag} is not sent again: {refusal}");
        }
    }

    /// Writes a copy of the opening of a session for the current lane.
    pub(super) fn encode_opening(&mut self) {
        let Some(opening) = self.session.opening() else {
            return;
        };
        let lane = &mut self.lanes[self.current];
        let request = Request::OpenSession {
            tag: lane.wire_tag(opening.tag),
            nonce: opening.nonce,
        };
        let mut frame = Vec::new();
        request.append_to(&mut frame);
        match lane.put(&frame) {
            Ok(()) => debug!("-> {} {request}", self.options.endpoints[self.current]),
            Err(refusal) => debug!("no session is asked for: {refusal}"),
        }
    }

    /// A request or its answer does not fit a datagram: it and all that is unfinished goes to a connection, if one may
    /// be made. Afterwards the client returns.
    pub(super) fn move_to_stream(&mut self, tag: u64, refusal: Refusal, now: Instant) {
        let pending = self.queue.get_mut(tag).expect("it is unfinished");
        if !self.lanes.iter().any(|lane| lane.datagrams.is_none()) {
            let error = if pending.outcome_unknown() {
                ClientError::RefusedRetry(refusal)
            } else {
                ClientError::Refused(refusal)
            };
            self.complete(tag, Err(error));
            return;
        }
        debug!("tag={tag} {refusal}");
        pending.needs_stream = true;
        pending.last_refusal = Some(refusal);
        if self.lanes[self.current].datagrams.is_none() {
            self.cursor = self.cursor.min(tag);
            return;
        }
        self.detour_from = Some(self.current);
        let here = self.lanes[self.current].replica();
        let same = here.and_then(|replica| self.directory.at(replica, Transport::Tcp));
        self.leave(same, now);
    }

    /// Whether what is unfinished has to go over a connection.
    pub(super) fn needs_stream(&self) -> bool {
        self.detour_from.is_some() && self.queue.iter().any(|(_, pending)| pending.needs_stream)
    }

    /// Arranges to return to UDP once nothing needs a connection any more.
    pub(super) fn end_detour(&mut self) {
        if self.detour_from.is_some() && !self.needs_stream() {
            self.moving_to = self.detour_from.take();
        }
    }
}
