//! What becomes of each datagram: a request for the replica thread, an answer of its own, or silence.
//!
//! It has no socket and no clock; its driver brings both. Two promises hold whatever comes: an address that has not
//! proved itself is never sent more bytes than the datagram had that is answered, and nothing is remembered of it but
//! the bounded table of requests that wait.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{
    Answer, ClientDatagram, ClientMessage, Cookie, DATAGRAM_BYTES_MAX_MAX, DatagramGreeting,
    DatagramHello, DecodeError, Limit, Outcome, Refusal, Request, RequestError, ServerDatagram,
    ServerMessage, WireLimits,
};
use log::Level;

use super::cookies::{Cookies, Proof};
use super::counters::DatagramCounters;
use super::in_flight::{InFlight, Waiting};
use crate::events::ClientEvent;
use crate::foreign::{self, Cause};
use crate::node::ConnectionId;
use crate::signboard::Signboard;
use crate::workers::Load;

/// What the datagram side is told when it starts.
#[derive(Clone, Debug)]
pub struct DatagramSettings {
    /// Which replica this is.
    pub replica: u8,
    /// The number that stands for it in [`ConnectionId::worker`], after those of the workers.
    pub worker: u16,
    /// What clients may send.
    pub limits: WireLimits,
    /// The longest datagram taken and sent, in bytes.
    pub datagram_bytes_max: usize,
    /// After this long no answer comes any more.
    pub answer_wait_max: Duration,
    /// Counted together with the workers and the replica thread.
    pub load: Arc<Load>,
    /// What greetings say of cluster and leader.
    pub signboard: Arc<Signboard>,
    /// Told to people by the replica thread.
    pub counters: Arc<DatagramCounters>,
}

/// Takes datagrams and answers, gives datagrams and requests.
#[derive(Debug)]
pub struct Exchange {
    settings: DatagramSettings,
    cookies: Cookies,
    in_flight: InFlight,
    batch: Vec<ClientEvent>,
}

/// A datagram and its sender, on its way through this file.
#[derive(Clone, Copy)]
struct Arrival {
    remote: SocketAddr,
    bytes: usize,
    now: Duration,
    /// How long an answer to it may be, in bytes.
    answer_bytes_max: usize,
    proof: Proof,
}

impl Exchange {
    /// Nothing has come. `draw` gives 128 random bits that nobody can guess.
    #[must_use]
    pub fn new(settings: DatagramSettings, draw: fn() -> u128) -> Self {
        Self {
            cookies: Cookies::new(settings.replica, draw),
            settings,
            in_flight: InFlight::default(),
            batch: Vec::new(),
        }
    }

    /// What is counted with the workers.
    pub(super) fn load(&self) -> &Load {
        &self.settings.load
    }

    /// Takes a datagram that came from `remote` at `now` since the start. Appends to `out` what is to be sent back, if
    /// anything is.
    pub fn receive(
        &mut self,
        datagram: &[u8],
        remote: SocketAddr,
        now: Duration,
        out: &mut Vec<u8>,
    ) {
        self.settings.counters.received.add_one();
        let opened = match ClientDatagram::open(datagram) {
            Ok(opened) => opened,
            Err(error) => return self.drop_silently(datagram.len(), remote, &error),
        };
        let proof = self.cookies.check(opened.cookie, remote, now);
        let bytes_max = self.settings.datagram_bytes_max;
        let arrival = Arrival {
            remote,
            bytes: datagram.len(),
            now,
            answer_bytes_max: if proof == Proof::Proved {
                bytes_max
            } else {
                bytes_max.min(datagram.len())
            },
            proof,
        };
        if datagram.len() > bytes_max {
            return self.refuse_over_long(&opened, arrival, out);
        }
        match opened.message(&self.settings.limits) {
            Ok(ClientMessage::Hello(hello)) => self.greet(&hello, arrival, out),
            Ok(ClientMessage::Request(request)) => self.take_request(request, arrival, out),
            Err(error) => self.refuse_malformed(&error, arrival, out),
        }
    }

    /// Takes an answer of the node; appends it to `out` as a datagram and says where that goes. Nothing is due to
    /// whoever was given up.
    pub fn answer(
        &mut self,
        connection: ConnectionId,
        answer: Answer,
        out: &mut Vec<u8>,
    ) -> Option<SocketAddr> {
        let waiting = self.in_flight.take(connection.serial)?;
        self.settings.load.let_go(1, waiting.bytes.into());
        let message = ServerMessage::Answer(answer);
        self.say(message, waiting.remote, waiting.answer_bytes_max, out);
        Some(waiting.remote)
    }

    /// Gives up what no answer can come for any more.
    pub fn give_up_old(&mut self, now: Duration) {
        let came = now.saturating_sub(self.settings.answer_wait_max);
        while let Some((serial, waiting)) = self.in_flight.take_older(came) {
            self.batch.push(ClientEvent::Closed {
                connection: self.connection(serial),
                requests: 1,
                bytes: waiting.bytes.into(),
            });
        }
    }

    /// What was gathered for the replica thread.
    pub fn take_batch(&mut self) -> Vec<ClientEvent> {
        std::mem::take(&mut self.batch)
    }

    fn connection(&self, serial: u64) -> ConnectionId {
        ConnectionId {
            worker: self.settings.worker,
            serial,
        }
    }

    fn greet(&mut self, hello: &DatagramHello, arrival: Arrival, out: &mut Vec<u8>) {
        let Arrival { remote, now, .. } = arrival;
        log::debug!("udp {remote} -> {hello}");
        let limits = &self.settings.limits;
        let greeting = DatagramGreeting {
            tag: hello.tag,
            cookie: self.cookies.make(remote, now),
            cluster: self.settings.signboard.cluster(),
            leader: self.settings.signboard.leader(),
            key_bytes_max: limits.key_bytes_max,
            value_bytes_max: limits.value_bytes_max,
            datagram_bytes_max: u32::try_from(self.settings.datagram_bytes_max)
                .unwrap_or(DATAGRAM_BYTES_MAX_MAX),
        };
        let message = ServerMessage::Greeting(greeting);
        self.say(message, remote, arrival.answer_bytes_max, out);
    }

    fn take_request(&mut self, request: Request, arrival: Arrival, out: &mut Vec<u8>) {
        log::debug!("udp {} -> {request}", arrival.remote);
        if arrival.proof == Proof::Foreign {
            log_foreign_cookie(arrival);
        }
        if arrival.proof != Proof::Proved && needs_proof(&request) {
            let cookie = self.cookies.make(arrival.remote, arrival.now);
            return self.say_cookie(request.tag(), cookie, arrival, out);
        }
        let bytes = u32::try_from(arrival.bytes).expect("a datagram has at most 65,535 bytes");
        if let Err(limit) = self.take_in(bytes) {
            foreign::log(
                Cause::ClientLimit,
                Level::Warn,
                format_args!(
                    "a datagram of {bytes} bytes from {} is refused: the limit of {limit} is reached",
                    arrival.remote
                ),
            );
            return self.refuse(request.tag(), Refusal::Busy { limit }, arrival, out);
        }
        let serial = self.in_flight.hold(Waiting {
            remote: arrival.remote,
            answer_bytes_max: arrival.answer_bytes_max,
            bytes,
            came: arrival.now,
        });
        self.batch.push(ClientEvent::Request {
            connection: self.connection(serial),
            request,
        });
    }

    fn take_in(&self, bytes: u32) -> Result<(), Limit> {
        self.in_flight.check_room(bytes)?;
        self.settings.load.take_in(bytes.into())
    }

    fn refuse_over_long(&self, datagram: &ClientDatagram<'_>, arrival: Arrival, out: &mut Vec<u8>) {
        let (bytes, bytes_max) = (arrival.bytes, self.settings.datagram_bytes_max);
        let too_long = format_args!("{bytes_max} bytes are allowed");
        log_refused(Level::Warn, arrival, too_long);
        let Some(tag) = datagram.tag() else {
            self.settings.counters.junk.add_one();
            return;
        };
        let refusal = Refusal::TooLargeForDatagram {
            bytes: bytes as u64,
            bytes_max: bytes_max as u64,
        };
        self.refuse(tag, refusal, arrival, out);
    }

    /// A limit that is passed is said to everybody who shows a tag; what cannot be understood is explained to nobody
    /// who might be somebody else.
    fn refuse_malformed(&self, error: &RequestError, arrival: Arrival, out: &mut Vec<u8>) {
        let refusal = error.refusal();
        let is_limit = !matches!(refusal, Refusal::Malformed { .. });
        let Some(tag) = error
            .tag
            .filter(|_| is_limit || arrival.proof == Proof::Proved)
        else {
            return self.drop_silently(arrival.bytes, arrival.remote, &error.error);
        };
        let level = if is_limit { Level::Debug } else { Level::Warn };
        log_refused(level, arrival, format_args!("it {error}"));
        self.refuse(tag, refusal, arrival, out);
    }

    fn drop_silently(&self, bytes: usize, remote: SocketAddr, error: &DecodeError) {
        self.settings.counters.junk.add_one();
        foreign::log(
            Cause::DatagramMalformed,
            Level::Warn,
            format_args!("a datagram of {bytes} bytes from {remote} is passed over: it {error}"),
        );
    }

    fn refuse(&self, tag: u64, refusal: Refusal, arrival: Arrival, out: &mut Vec<u8>) {
        let message = ServerMessage::Answer(Answer {
            tag,
            leader: self.settings.signboard.leader(),
            outcome: Outcome::Refused(refusal),
        });
        self.say(message, arrival.remote, arrival.answer_bytes_max, out);
    }

    fn say_cookie(&self, tag: u64, cookie: Cookie, arrival: Arrival, out: &mut Vec<u8>) {
        let message = ServerMessage::Cookie { tag, cookie };
        self.say(message, arrival.remote, arrival.answer_bytes_max, out);
    }

    fn say(&self, message: ServerMessage, remote: SocketAddr, bytes_max: usize, out: &mut Vec<u8>) {
        let datagram = ServerDatagram {
            replica: self.settings.replica,
            message,
        };
        if datagram.append_within(bytes_max, out) {
            self.settings.counters.note_said(&datagram.message);
            log::debug!("udp {remote} <- {datagram}");
        } else {
            log::debug!("udp {remote} is not told: {bytes_max} bytes are too few for {datagram}");
        }
    }
}

/// Whether a request is done only for an address that has proved itself: its answer might be longer than it is, or it
/// leaves something behind in the cluster (RULES R24, R25). The answer of a write is always shorter than the write.
fn needs_proof(request: &Request) -> bool {
    match request {
        Request::Write { .. } => false,
        Request::OpenSession { .. } | Request::Get { .. } | Request::Status { .. } => true,
    }
}

fn log_refused(level: Level, arrival: Arrival, why: std::fmt::Arguments<'_>) {
    let Arrival { remote, bytes, .. } = arrival;
    foreign::log(
        Cause::DatagramMalformed,
        level,
        format_args!("a datagram of {bytes} bytes from {remote} is refused: {why}"),
    );
}

/// Clients come with one after every restart of this replica, so that it is no reason to warn.
fn log_foreign_cookie(arrival: Arrival) {
    let Arrival { remote, bytes, .. } = arrival;
    foreign::log(
        Cause::DatagramCookie,
        Level::Info,
        format_args!(
            "a datagram of {bytes} bytes from {remote} has a cookie that was not made for it, or before this replica \
             started"
        ),
    );
}
