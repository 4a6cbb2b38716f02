//! The courier against lanes over UDP that are played by hand.

use std::mem;

use common::frame::LENGTH_BYTES;
use common::{
    Answer, ClientDatagram, ClientMessage, Cookie, DatagramGreeting, FrameBuffer, Greeting,
    Outcome, ServerDatagram, ServerMessage, SessionId, WireLimits,
};

use super::*;

pub(super) const MS: Duration = Duration::from_millis(1);

/// Whom lanes get datagrams from.
const FROM: ([u8; 4], u16) = ([10, 0, 0, 1], 5555);

/// A courier and its clock.
pub(super) struct Rig {
    pub(super) courier: Courier,
    pub(super) now: Instant,
}

/// A request that was sent: its tag on the wire, the cookie with it, and what it is.
type Sent = (u64, Cookie, Request);

impl Rig {
    pub(super) fn new(list: &str) -> Self {
        let options = ClientOptions::parse(list).unwrap();
        let now = Instant::now();
        let directory = Arc::new(Directory::new(&options.endpoints));
        Self {
            courier: Courier::new(Arc::new(options), directory, 0, now),
            now,
        }
    }

    /// One whose lane 0 is greeted and whose session is open.
    fn with_session(list: &str) -> Self {
        let mut rig = Self::new(list);
        rig.put("first", 1);
        rig.greet(0);
        rig.open_session(0);
        let (tag, _, _) = rig.sent(0).remove(0);
        rig.answer(0, tag, Outcome::Put { revision: 9 });
        assert!(rig.done().remove(0).is_ok());
        rig
    }

    pub(super) fn put(&mut self, key: &str, value_bytes: usize) -> Ticket {
        let (key, value) = (key.into(), vec![b'v'; value_bytes]);
        self.courier.submit(Operation::Put { key, value }, self.now)
    }

    pub(super) fn get(&mut self, key: &str) -> Ticket {
        let key = key.into();
        self.courier.submit(Operation::Get { key }, self.now)
    }

    /// What was sent on a lane since the last look.
    pub(super) fn messages(&mut self, lane: usize) -> Vec<(Cookie, ClientMessage)> {
        let mut buffer = FrameBuffer::new(u32::MAX);
        buffer.extend(&mem::take(self.courier.outgoing(lane)));
        let mut messages = Vec::new();
        while let Some(bytes) = buffer.next_frame().unwrap() {
            let opened = ClientDatagram::open(bytes).unwrap();
            let message = opened.message(&WireLimits::default()).unwrap();
            messages.push((opened.cookie, message));
        }
        messages
    }

    fn sent(&mut self, lane: usize) -> Vec<Sent> {
        let request = |(cookie, message)| match message {
            ClientMessage::Request(request) => (request.tag(), cookie, request),
            ClientMessage::Hello(hello) => panic!("{hello} is no request"),
        };
        self.messages(lane).into_iter().map(request).collect()
    }

    /// The tag of the hello that was just sent on a lane.
    fn hello(&mut self, lane: usize) -> u64 {
        let messages = self.messages(lane);
        let [(Cookie::NONE, ClientMessage::Hello(hello))] = &messages[..] else {
            panic!("{messages:?} is no hello");
        };
        hello.tag
    }

    fn greet(&mut self, lane: usize) {
        assert_eq!(self.courier.next_connect(self.now), Some(lane));
        let tag = self.hello(lane);
        self.greet_with(lane, tag);
    }

    pub(super) fn greet_with(&mut self, lane: usize, tag: u64) {
        let greeting = DatagramGreeting {
            tag,
            cookie: cookie(lane),
            cluster: 5,
            leader: None,
            key_bytes_max: 4_096,
            value_bytes_max: 8 << 20,
            datagram_bytes_max: 1_200,
        };
        self.say(lane, ServerMessage::Greeting(greeting));
    }

    pub(super) fn say(&mut self, lane: usize, message: ServerMessage) {
        let mut bytes = Vec::new();
        let replica = lane as u8;
        ServerDatagram { replica, message }.append_to(&mut bytes);
        self.receive(lane, &bytes);
    }

    fn receive(&mut self, lane: usize, bytes: &[u8]) {
        let from = FROM.into();
        self.courier.received_datagram(lane, bytes, from, self.now);
    }

    pub(super) fn answer(&mut self, lane: usize, tag: u64, outcome: Outcome) {
        let leader = None;
        self.say(
            lane,
            ServerMessage::Answer(Answer {
                tag,
                leader,
                outcome,
            }),
        );
    }

    fn open_session(&mut self, lane: usize) {
        let sent = self.sent(lane);
        let [(_, _, Request::OpenSession { tag, nonce })] = sent[..] else {
            panic!("{sent:?} is no opening");
        };
        let session = SessionId { revision: 1, nonce };
        self.answer(
            lane,
            tag,
            Outcome::SessionOpened {
                session,
                expiry_s: 3_600,
            },
        );
    }

    /// Greets a lane that is a connection and returns what is sent on it then.
    fn greet_stream(&mut self, lane: usize) -> Vec<Request> {
        assert_eq!(self.courier.next_connect(self.now), Some(lane));
        self.courier.outgoing(lane).clear();
        let mut bytes = Vec::new();
        Greeting {
            version: 1,
            cluster: 5,
            replica: 0,
            leader: None,
            limits: WireLimits::default(),
        }
        .append_to(&mut bytes);
        self.courier.received(lane, &bytes, self.now);
        let mut buffer = FrameBuffer::new(u32::MAX);
        buffer.extend(&mem::take(self.courier.outgoing(lane)));
        let mut requests = Vec::new();
        while let Some(payload) = buffer.next_frame().unwrap() {
            requests.push(Request::decode(payload, &WireLimits::default()).unwrap());
        }
        requests
    }

    pub(super) fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now += MS * 5;
            self.courier.tick(self.now);
        }
    }

    pub(super) fn done(&mut self) -> Vec<Result<Reply, ClientError>> {
        let done = self.courier.completions();
        done.map(|completion| completion.result).collect()
    }
}

pub(super) fn cookie(lane: usize) -> Cookie {
    Cookie([lane as u8 + 1; 16])
}

pub(super) fn absent() -> Outcome {
    Outcome::Absent { revision: 1 }
}

/// The write in a request.
fn write(request: &Request) -> &common::Write {
    match request {
        Request::Write { write, .. } => write,
        other => panic!("{other} is no write"),
    }
}

#[test]
fn a_hello_comes_first_and_its_cookie_goes_with_every_request() {
    let mut rig = Rig::new("udp://h:1");
    rig.get("a");
    rig.greet(0);
    let (tag, shown, _) = rig.sent(0).remove(0);
    assert_eq!(shown, cookie(0));
    assert_eq!(tag % 1_000_000, 1, "the log shows the same digits");
    rig.answer(0, tag, absent());
    assert!(rig.done()[0].is_ok());
}

#[test]
fn outstanding_writes_follow_no_other() {
    let mut rig = Rig::with_session("udp://h:1");
    rig.put("a", 1);
    rig.put("b", 1);
    let sent = rig.sent(0);
    let shown: Vec<(u64, u64)> = sent
        .iter()
        .map(|(_, _, request)| (write(request).sequence, write(request).after))
        .collect();
    assert_eq!(shown, [(2, 0), (3, 0)]);
}

#[test]
fn what_is_lost_is_sent_again_to_the_same_replica_and_then_to_the_next() {
    let mut rig = Rig::with_session("udp://h:1,udp://h:2");
    rig.put("a", 1);
    let first = rig.sent(0);
    rig.wait(MS * 490);
    let again = rig.sent(0);
    assert_eq!(
        again,
        [&first[..], &first[..]].concat(),
        "after 125 and 375 ms"
    );
    rig.wait(MS * 20);
    rig.greet(1);
    let (tag, shown, request) = rig.sent(1).remove(0);
    assert_eq!(shown, cookie(1));
    assert_eq!(write(&request), write(&first[0].2), "under the same name");
    assert_ne!(tag, first[0].0, "the tags of a lane are its own");
    // The first replica answers after all.
    rig.answer(0, first[0].0, Outcome::Put { revision: 10 });
    assert!(rig.done()[0].is_ok());
    rig.answer(1, tag, Outcome::Put { revision: 10 });
    assert!(rig.done().is_empty());
}

#[test]
fn who_answers_slowly_is_not_asked_twice() {
    let mut rig = Rig::with_session("udp://h:1");
    let mut sent_each = Vec::new();
    for _ in 0..40 {
        rig.get("a");
        let (tag, _, _) = rig.sent(0).remove(0);
        rig.wait(MS * 120);
        rig.answer(0, tag, absent());
        rig.get("b");
        let (tag, _, _) = rig.sent(0).remove(0);
        rig.wait(MS * 150);
        sent_each.push(1 + rig.sent(0).len());
        rig.answer(0, tag, absent());
    }
    assert_eq!(sent_each[0], 2, "125 ms at first");
    assert_eq!(sent_each[39], 1, "later twice what it takes");
}

#[test]
fn a_hello_is_sent_again_until_the_time_of_an_attempt_is_over() {
    let mut rig = Rig::new("udp://h:1,udp://h:2");
    rig.get("a");
    assert_eq!(rig.courier.next_connect(rig.now), Some(0));
    let tag = rig.hello(0);
    rig.wait(MS * 130);
    assert_eq!(rig.hello(0), tag);
    rig.wait(MS * 380);
    assert_eq!(rig.courier.next_close(), Some(0));
    rig.greet_with(0, tag);
    assert!(rig.courier.outgoing(0).is_empty(), "it came too late");
    rig.greet(1);
    assert_eq!(rig.sent(1).len(), 1);
}

#[test]
fn an_only_replica_is_asked_again_and_again() {
    let mut rig = Rig::with_session("udp://h:1");
    rig.put("a", 1);
    rig.wait(MS * 3_000);
    let sent = rig.sent(0).len();
    assert!((10..25).contains(&sent), "{sent} datagrams in 3 s");
}

#[test]
fn a_cookie_in_place_of_an_answer_sends_the_request_again_but_not_for_ever() {
    let mut rig = Rig::with_session("udp://h:1");
    rig.get("a");
    let (tag, _, _) = rig.sent(0).remove(0);
    let mut asked = 1;
    for number in 10..20 {
        let cookie = Cookie([number; 16]);
        rig.say(0, ServerMessage::Cookie { tag, cookie });
        let sent = rig.sent(0);
        asked += sent.len();
        assert!(sent.iter().all(|(_, shown, _)| *shown == cookie));
    }
    assert_eq!(asked, 4);
    rig.answer(0, tag, absent());
    assert!(rig.done()[0].is_ok());
}

#[test]
fn what_was_not_asked_for_is_passed_over() {
    let mut rig = Rig::with_session("udp://h:1,udp://h:2");
    rig.get("a");
    let (tag, _, _) = rig.sent(0).remove(0);
    let put = Outcome::Put { revision: 1 };
    rig.answer(0, tag.wrapping_add(1), put.clone());
    rig.answer(0, 2, put.clone());
    rig.answer(1, tag, put);
    let cookie = Cookie([9; 16]);
    rig.say(0, ServerMessage::Cookie { tag: 7, cookie });
    rig.greet_with(0, tag);
    for junk in [&b""[..], &[1, 2, 3], &[0xff; 1_500], b"KVPR\0\x01\0"] {
        rig.receive(0, junk);
    }
    let from = ([10, 0, 0, 9], 1).into();
    rig.courier.foreign_datagram(0, 3, from, rig.now);
    let mut request = Vec::new();
    Request::Status { tag }.append_datagram_to(&mut request, Cookie::NONE);
    rig.receive(0, &request);
    assert!(rig.done().is_empty());
    assert!(rig.sent(0).is_empty() && rig.courier.next_close().is_none());
    rig.answer(0, tag, absent());
    assert!(rig.done()[0].is_ok());
}

#[test]
fn answers_of_an_earlier_opening_match_nothing() {
    let mut rig = Rig::with_session("udp://h:1");
    rig.get("a");
    let (old, _, _) = rig.sent(0).remove(0);
    rig.wait(MS * 7_000);
    assert_eq!(rig.courier.next_close(), Some(0), "silent for 6 s");
    rig.courier.outgoing(0).clear();
    assert_eq!(rig.courier.next_connect(rig.now), Some(0));
    let tag = rig.hello(0);
    rig.greet_with(0, tag);
    rig.answer(0, old, absent());
    assert!(rig.done().is_empty());
    let (new, _, _) = rig.sent(0).remove(0);
    rig.answer(0, new, absent());
    assert!(rig.done()[0].is_ok());
}

#[test]
fn a_refused_write_may_have_run_because_its_datagram_may_have_come_twice() {
    let mut rig = Rig::with_session("udp://h:1");
    rig.put("a", 1);
    let (tag, _, _) = rig.sent(0).remove(0);
    rig.answer(0, tag, Outcome::Refused(Refusal::Closed));
    let error = rig.done().remove(0).unwrap_err();
    assert!(matches!(error, ClientError::RefusedRetry(_)), "{error}");
}

#[test]
fn what_does_not_fit_a_datagram_is_refused_where_no_connection_can_be_made() {
    let mut rig = Rig::with_session("udp://h:1");
    rig.put("a", 1_200);
    rig.put("b", 1_000);
    let error = rig.done().remove(0).unwrap_err();
    let too_large = matches!(
        error,
        ClientError::Refused(Refusal::TooLargeForDatagram {
            bytes_max: 1_200,
            ..
        })
    );
    assert!(too_large, "{error}");
    assert!(error.to_string().ends_with("use TCP"), "{error}");
    assert_eq!(rig.sent(0).len(), 1, "what follows it is sent");
}

#[test]
fn what_does_not_fit_a_datagram_goes_over_a_connection_and_the_client_returns() {
    let mut rig = Rig::with_session("udp://h:1,udp://h:2,h:3");
    rig.put("a", 1);
    let first = rig.sent(0).remove(0);
    rig.put("b", 5_000);
    let requests = rig.greet_stream(2);
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert_eq!(write(&requests[0]), write(&first.2));
    assert_eq!(write(&requests[1]).after, 2, "on a connection order holds");
    for request in &requests {
        let mut bytes = Vec::new();
        Answer {
            tag: request.tag(),
            leader: None,
            outcome: Outcome::Put { revision: 5 },
        }
        .append_to(&mut bytes);
        rig.courier.received(2, &bytes, rig.now);
    }
    assert_eq!(rig.done().len(), 2);
    assert_eq!(rig.courier.next_close(), Some(2));
    rig.put("c", 1);
    assert_eq!(rig.sent(0).len(), 1);
}

#[test]
fn an_answer_that_does_not_fit_is_asked_for_over_a_connection() {
    let mut rig = Rig::with_session("udp://h:1,h:2");
    rig.get("a");
    let (tag, _, _) = rig.sent(0).remove(0);
    let refusal = Refusal::TooLargeForDatagram {
        bytes: 5_000,
        bytes_max: 1_200,
    };
    rig.answer(0, tag, Outcome::Refused(refusal));
    let requests = rig.greet_stream(1);
    assert!(matches!(requests[..], [Request::Get { .. }]));
    // A connection that fails is not left for UDP, which would be of no use.
    rig.courier.closed(1, "gone", rig.now);
    rig.wait(MS * 60);
    assert_eq!(rig.greet_stream(1).len(), 1);
}

#[test]
fn a_burst_fits_a_socket() {
    let mut rig = Rig::with_session("udp://h:1");
    for _ in 0..200 {
        rig.get("a");
    }
    let bytes = rig.courier.outgoing(0).len();
    assert_eq!(rig.sent(0).len(), 64);
    assert!(bytes < 64 * (1_200 + LENGTH_BYTES));
}
