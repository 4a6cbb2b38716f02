//! One client's connection: turns bytes into checked requests and answers into bytes, within the limits of FAULTS 10.
//!
//! It owns no thread and decides nothing about other connections; the worker says when to read, to write and to look
//! at the clock, and lends it the desk. A quiet connection holds hardly any memory.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use common::codec::over_long_write_tag;
use common::frame::LENGTH_BYTES;
use common::{
    Answer, ClientFrame, FrameBuffer, FrameError, Greeting, Hello, Limit, Outcome,
    PROTOCOL_VERSION, Refusal, Request, RequestError,
};
use log::Level;
use mio::event::Event;

use super::desk::Desk;
use super::loss::Loss;
use super::progress::{FRAME_PROGRESS_BYTES, Progress};
use super::socket::Socket;
use crate::events::ClientEvent;
use crate::foreign::{self, Cause};
use crate::node::ConnectionId;

/// A connection and how far it has come.
#[derive(Debug)]
pub(super) struct Connection {
    id: ConnectionId,
    socket: Socket,
    stage: Stage,
    /// What has come and is not understood yet; `None` when nothing is left over.
    incoming: Option<FrameBuffer>,
    /// How much of a frame that is too long is still to be passed over.
    skipping_bytes: u64,
    /// Requests without an answer, with what each takes. Answers come nearly in order, so a search ends at once.
    outstanding: VecDeque<(u64, u32)>,
    /// It has a place among the connections that are counted.
    pub(super) counted: bool,
    /// The node has seen a request of this connection and must be told of its end.
    known_to_node: bool,
    /// In the worker's list of connections to be looked at.
    pub(super) queued: bool,
    /// Frames that came whole.
    frames: u64,
    reading: Progress,
    writing: Progress,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The client has not said hello.
    Hello,
    /// Requests and answers.
    Open,
    /// What is queued is written, what still comes is passed over, and at the deadline it ends in any case. Closing
    /// at once would make the system throw away what the client has not read yet.
    Leaving { deadline: Instant, ended: bool },
}

impl Connection {
    /// A client that has said nothing yet.
    pub(super) fn new(id: ConnectionId, socket: Socket, counted: bool) -> Self {
        Self {
            id,
            counted,
            socket,
            stage: Stage::Hello,
            incoming: None,
            skipping_bytes: 0,
            outstanding: VecDeque::new(),
            known_to_node: false,
            queued: false,
            frames: 0,
            reading: Progress::default(),
            writing: Progress::default(),
        }
    }

    /// Notes what the poll reported.
    pub(super) fn note_event(&mut self, event: &Event) {
        self.socket.note_event(event);
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Leaving { .. })
    }

    /// Reads and hands requests to the desk, a turn's worth at most. Returns whether more could be done at once.
    pub(super) fn serve(&mut self, desk: &mut Desk) -> Result<bool, Loss> {
        if self.is_leaving() {
            return self.pass_over(desk);
        }
        let mut buffer = match self.incoming.take() {
            Some(buffer) => buffer,
            None => desk.take_buffer(self.frame_bytes_max(desk)),
        };
        let served = self.serve_from(&mut buffer, desk);
        if buffer.buffered_bytes() > 0 {
            self.incoming = Some(buffer);
        } else {
            desk.put_back(buffer);
        }
        served
    }

    /// Queues an answer of the node.
    pub(super) fn deliver(&mut self, answer: &Answer, desk: &Desk) {
        let is_this = |(tag, _): &(u64, u32)| *tag == answer.tag;
        let place = self.outstanding.iter().position(is_this);
        let Some((_, bytes)) = place.and_then(|place| self.outstanding.remove(place)) else {
            return; // It is leaving: what it asked was given up.
        };
        desk.load.let_go(1, bytes.into());
        if self.socket.unsent_bytes() <= desk.unsent_bytes_max() {
            self.answer(answer);
        } // Else the next flush finds out and ends it: no more memory is spent on it.
        if self.socket.unsent_bytes() > UNSENT_BYTES_PAUSE {
            // What is broken is found out by the flush of this turn; here it only makes room for large answers.
            let _ = self.socket.write();
        }
    }

    /// Writes what waits, as far as the socket takes it, and finds out whether the end has come.
    pub(super) fn flush(&mut self, desk: &Desk) -> Result<(), Loss> {
        self.socket.write()?;
        let unsent = self.socket.unsent_bytes();
        if unsent > desk.unsent_bytes_max() {
            return Err(Loss::TooMuchUnread(unsent));
        }
        if let Stage::Leaving { ended, .. } = &mut self.stage {
            if unsent == 0 && !std::mem::replace(ended, true) {
                self.socket.end_writing();
            }
            let has_left = unsent == 0 && self.socket.has_ended();
            return if has_left { Err(Loss::Left) } else { Ok(()) };
        }
        let is_idle = unsent == 0 && self.outstanding.is_empty() && self.incoming.is_none();
        if self.socket.has_ended() && is_idle {
            return Err(Loss::Closed);
        }
        Ok(())
    }

    /// Looks at the clock.
    pub(super) fn check_progress(&mut self, now: Instant, desk: &Desk) -> Result<(), Loss> {
        if let Stage::Leaving { deadline, .. } = self.stage {
            return if now >= deadline {
                Err(Loss::Left)
            } else {
                Ok(())
            };
        }
        let frame_begun = self.incoming.is_some() || self.skipping_bytes > 0;
        if frame_begun && self.takes_requests(desk) {
            // A frame that ends counts as much as one that gains.
            let done = self.socket.received_bytes + self.frames * FRAME_PROGRESS_BYTES;
            if self.reading.is_stuck(now, done, FRAME_PROGRESS_BYTES) {
                return Err(Loss::SlowFrame);
            }
        } else {
            self.reading.rest();
        }
        if self.socket.unsent_bytes() == 0 {
            self.writing.rest();
        } else if self.writing.is_stuck(now, self.socket.sent_bytes, 1) {
            return Err(Loss::NotReading);
        }
        Ok(())
    }

    /// Begins to leave: what is queued, and this refusal, are the last that is written.
    pub(super) fn leave(&mut self, refusal: Option<Refusal>, now: Instant, desk: &mut Desk) {
        self.give_up(desk);
        if let Some(refusal) = refusal {
            self.refuse(0, refusal, desk);
        }
        self.incoming = None;
        self.stage = Stage::Leaving {
            deadline: now + LEAVING_WAIT_MAX,
            ended: false,
        };
    }

    /// Tells the node, if it knows this connection, that nothing more is to be answered here.
    pub(super) fn give_up(&mut self, desk: &mut Desk) {
        if !std::mem::take(&mut self.known_to_node) {
            return;
        }
        let requests = self.outstanding.len() as u64;
        let bytes = self
            .outstanding
            .drain(..)
            .map(|(_, bytes)| u64::from(bytes));
        desk.batch.push(ClientEvent::Closed {
            connection: self.id,
            requests,
            bytes: bytes.sum(),
        });
    }

    /// Says in the log why it ends.
    pub(super) fn log_loss(&self, loss: &Loss) {
        let (remote, bytes) = (self.socket.remote, self.socket.received_bytes);
        let (cause, level) = loss.logged_as(!self.outstanding.is_empty());
        foreign::log(
            cause,
            level,
            format_args!("client {remote} is closed after {bytes} bytes: {loss}"),
        );
    }

    fn serve_from(&mut self, buffer: &mut FrameBuffer, desk: &mut Desk) -> Result<bool, Loss> {
        let mut frames = 0;
        for _ in 0..READS_PER_TURN {
            while self.takes_requests(desk) && self.take_frame(buffer, desk)? {
                frames += 1;
                if frames == FRAMES_PER_TURN {
                    return Ok(true);
                }
            }
            if !self.takes_requests(desk) {
                return Ok(false); // It is looked at again when an answer makes room.
            }
            if !self.read(buffer, desk)? {
                let in_a_frame = buffer.buffered_bytes() > 0 || self.skipping_bytes > 0;
                return if self.socket.has_ended() && in_a_frame {
                    Err(Loss::Vanished)
                } else {
                    Ok(false)
                };
            }
        }
        Ok(true)
    }

    /// Whether there is room for another request and its answer.
    fn takes_requests(&self, desk: &Desk) -> bool {
        !desk.quiet
            && self.outstanding.len() < desk.limits.outstanding_max as usize
            && self.socket.unsent_bytes() <= UNSENT_BYTES_PAUSE
    }

    /// Reads once. Returns whether bytes came.
    fn read(&mut self, buffer: &mut FrameBuffer, desk: &mut Desk) -> Result<bool, Loss> {
        let bytes = self.socket.read(&mut desk.scratch)?;
        let skipped = self.skipping_bytes.min(bytes as u64);
        self.skipping_bytes -= skipped;
        let skipped = usize::try_from(skipped).expect("at most what one read brought");
        buffer.extend(&desk.scratch[skipped..bytes]);
        Ok(bytes > 0)
    }

    /// Passes over what a connection that leaves still sends.
    fn pass_over(&mut self, desk: &mut Desk) -> Result<bool, Loss> {
        for _ in 0..READS_PER_TURN {
            if self.socket.read(&mut desk.scratch)? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Before a hello no long frame is taken from anybody.
    fn frame_bytes_max(&self, desk: &Desk) -> u32 {
        if self.stage == Stage::Hello {
            HELLO_BYTES_MAX
        } else {
            desk.limits.frame_bytes_max
        }
    }

    /// Takes one frame. Returns whether one was there.
    fn take_frame(&mut self, buffer: &mut FrameBuffer, desk: &mut Desk) -> Result<bool, Loss> {
        match buffer.next_frame() {
            Ok(None) => return Ok(false),
            Ok(Some(payload)) if self.stage == Stage::Hello => {
                self.open(payload, desk)?;
                buffer.set_frame_bytes_max(desk.limits.frame_bytes_max);
            }
            Ok(Some(payload)) => self.take_request(payload, desk)?,
            Err(FrameError::OverLong { bytes, .. }) if self.stage == Stage::Open => {
                return self.refuse_over_long(bytes, buffer, desk);
            }
            Err(error) => return Err(error.into()),
        }
        self.frames += 1;
        Ok(true)
    }

    fn open(&mut self, payload: &[u8], desk: &Desk) -> Result<(), Loss> {
        let hello = match ClientFrame::decode(payload, &desk.limits) {
            Ok(ClientFrame::Hello(hello)) => hello,
            Ok(ClientFrame::Request(_)) => return Err(Loss::NoHello),
            Err(error) => return Err(Loss::Hello(error)),
        };
        log::debug!("{} -> {hello}", self.socket.remote);
        self.greet(&hello, desk);
        self.stage = Stage::Open;
        Ok(())
    }

    fn greet(&mut self, hello: &Hello, desk: &Desk) {
        let greeting = Greeting {
            version: hello.version.min(PROTOCOL_VERSION),
            cluster: desk.signboard.cluster(),
            replica: desk.replica,
            leader: desk.signboard.leader(),
            limits: desk.limits,
        };
        log::debug!("{} <- {greeting}", self.socket.remote);
        greeting.append_to(self.socket.outgoing());
    }

    fn take_request(&mut self, payload: &[u8], desk: &mut Desk) -> Result<(), Loss> {
        match ClientFrame::decode(payload, &desk.limits) {
            Ok(ClientFrame::Request(request)) => self.hand_over(request, payload.len(), desk),
            Ok(ClientFrame::Hello(_)) => return Err(Loss::SecondHello),
            Err(error) => self.refuse_malformed(payload.len(), &error, desk),
        }
        Ok(())
    }

    fn hand_over(&mut self, request: Request, frame_bytes: usize, desk: &mut Desk) {
        let remote = self.socket.remote;
        log::debug!("{remote} -> {request}");
        let tag = request.tag();
        let bytes = u32::try_from(frame_bytes).expect("a frame's length fits its four bytes");
        if let Err(limit) = desk.load.take_in(bytes.into()) {
            foreign::log(
                Cause::ClientLimit,
                Level::Warn,
                format_args!("a request of {remote} is refused: the limit of {limit} is reached"),
            );
            self.refuse(tag, Refusal::Busy { limit }, desk);
            return;
        }
        self.outstanding.push_back((tag, bytes));
        self.known_to_node = true;
        desk.batch.push(ClientEvent::Request {
            connection: self.id,
            request,
        });
    }

    fn refuse_malformed(&mut self, frame_bytes: usize, error: &RequestError, desk: &Desk) {
        let refusal = error.refusal();
        let level = if matches!(refusal, Refusal::Malformed { .. }) {
            Level::Warn
        } else {
            Level::Debug
        };
        let remote = self.socket.remote;
        foreign::log(
            Cause::ClientMalformed,
            level,
            format_args!("a frame of {frame_bytes} bytes from {remote} is refused: it {error}"),
        );
        self.refuse(error.tag.unwrap_or(0), refusal, desk);
    }

    /// A write with a value far beyond the limit is refused like one just beyond it, and the connection survives: its
    /// frame is passed over (SPEC A2). Anything else of that length is junk. Returns whether a frame was dealt with.
    fn refuse_over_long(
        &mut self,
        bytes: u32,
        buffer: &mut FrameBuffer,
        desk: &Desk,
    ) -> Result<bool, Loss> {
        let bytes_max = desk.limits.frame_bytes_max;
        let come = &buffer.pending()[LENGTH_BYTES..];
        if come.len() < KIND_AND_TAG_BYTES {
            return Ok(false);
        }
        let Some(tag) = over_long_write_tag(come) else {
            return Err(FrameError::OverLong { bytes, bytes_max }.into());
        };
        let passed = come.len().min(bytes as usize);
        let rest = come[passed..].to_vec();
        self.skipping_bytes = u64::from(bytes) - passed as u64;
        *buffer = FrameBuffer::new(bytes_max);
        buffer.extend(&rest);
        self.frames += 1;
        let remote = self.socket.remote;
        foreign::log(
            Cause::ClientMalformed,
            Level::Warn,
            format_args!(
                "a frame of {bytes} bytes from {remote} is passed over: {bytes_max} are allowed"
            ),
        );
        let refusal = Refusal::TooLarge {
            limit: Limit::ValueBytes,
            bytes: bytes.into(),
            bytes_max: desk.limits.value_bytes_max.into(),
        };
        self.refuse(tag, refusal, desk);
        Ok(true)
    }

    fn refuse(&mut self, tag: u64, refusal: Refusal, desk: &Desk) {
        self.answer(&Answer {
            tag,
            leader: desk.signboard.leader(),
            outcome: Outcome::Refused(refusal),
        });
    }

    fn answer(&mut self, answer: &Answer) {
        log::debug!("{} <- {answer}", self.socket.remote);
        answer.append_to(self.socket.outgoing());
    }
}

/// Frames of one connection in a turn, so that others get theirs.
const FRAMES_PER_TURN: usize = 64;
/// Reads of one connection in a turn.
const READS_PER_TURN: usize = 8;
/// With so many bytes of answers unsent no more requests are read.
const UNSENT_BYTES_PAUSE: usize = 1 << 20;
/// Several times the longest hello of this version, so that a later one may say more.
const HELLO_BYTES_MAX: u32 = 1_024;
/// What must have come of a frame that is too long, so that it can be told what it is.
const KIND_AND_TAG_BYTES: usize = 9;
/// How long a client that is refused, or that a stopping server leaves, may take to read what was sent last.
const LEAVING_WAIT_MAX: Duration = Duration::from_millis(300);
