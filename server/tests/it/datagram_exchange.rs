//! What becomes of datagrams, without a socket and under a clock of the test's own: who must prove himself, what is
//! never sent, what is bounded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{
    Answer, Change, Cookie, DatagramCounts, DatagramHello, Limit, Outcome, Refusal, Request,
    ServerDatagram, ServerMessage, SessionId, WireLimits, Write,
};
use kvpaxos_server::events::ClientEvent;
use kvpaxos_server::node::ConnectionId;
use kvpaxos_server::signboard::Signboard;
use kvpaxos_server::udp::{DATAGRAMS_IN_FLIGHT_MAX, DatagramCounters, DatagramSettings, Exchange};
use kvpaxos_server::workers::Load;
use proptest::prelude::*;

use crate::raw_client::get;
use crate::raw_datagrams::datagram;

const WORKER: u16 = 2;

struct Side {
    exchange: Exchange,
    load: Arc<Load>,
    counters: Arc<DatagramCounters>,
    now: Duration,
}

impl Side {
    fn new(datagram_bytes_max: usize) -> Self {
        let load = Arc::new(Load::default());
        let counters = Arc::<DatagramCounters>::default();
        let settings = DatagramSettings {
            replica: 3,
            worker: WORKER,
            limits: WireLimits::for_value_bytes_max(100_000),
            datagram_bytes_max,
            answer_wait_max: Duration::from_secs(10),
            load: Arc::clone(&load),
            signboard: Arc::new(Signboard::default()),
            counters: Arc::clone(&counters),
        };
        Self {
            exchange: Exchange::new(settings, || 0x5eed),
            load,
            counters,
            now: Duration::from_secs(1),
        }
    }

    /// What is sent back at once, and what is handed to the replica thread.
    fn receive(&mut self, bytes: &[u8], remote: SocketAddr) -> (Vec<u8>, Vec<ClientEvent>) {
        let mut out = Vec::new();
        self.exchange.receive(bytes, remote, self.now, &mut out);
        (out, self.exchange.take_batch())
    }

    fn ask(&mut self, request: &Request, cookie: Cookie) -> Step {
        step(self.receive(&datagram(request, cookie), client()))
    }

    fn answer(
        &mut self,
        connection: ConnectionId,
        tag: u64,
        outcome: Outcome,
    ) -> Option<(SocketAddr, Vec<u8>)> {
        let mut out = Vec::new();
        let answer = Answer {
            tag,
            leader: Some(2),
            outcome,
        };
        let remote = self.exchange.answer(connection, answer, &mut out)?;
        Some((remote, out))
    }

    fn cookie_for(&mut self, remote: SocketAddr) -> Cookie {
        let (out, _) = self.receive(&hello(), remote);
        match message(&out) {
            ServerMessage::Greeting(greeting) => greeting.cookie,
            other => panic!("{other:?}"),
        }
    }

    fn answered_later(&mut self, connection: ConnectionId, outcome: Outcome) -> Outcome {
        let (remote, out) = self.answer(connection, 7, outcome).unwrap();
        assert_eq!(remote, client());
        match message(&out) {
            ServerMessage::Answer(answer) => answer.outcome,
            other => panic!("{other:?}"),
        }
    }
}

/// What became of one datagram.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    HandedOver(ConnectionId),
    Cookie(Cookie),
    Said(Outcome),
    Silence,
}

fn step((out, events): (Vec<u8>, Vec<ClientEvent>)) -> Step {
    if let [ClientEvent::Request { connection, .. }] = events[..] {
        assert!(out.is_empty());
        return Step::HandedOver(connection);
    }
    assert!(events.is_empty());
    if out.is_empty() {
        return Step::Silence;
    }
    match message(&out) {
        ServerMessage::Cookie { tag: 7, cookie } => Step::Cookie(cookie),
        ServerMessage::Answer(answer) if answer.tag == 7 => Step::Said(answer.outcome),
        other => panic!("{other:?}"),
    }
}

fn handed_over(step: &Step) -> ConnectionId {
    match step {
        Step::HandedOver(connection) => *connection,
        other => panic!("{other:?}"),
    }
}

fn message(out: &[u8]) -> ServerMessage {
    let datagram = ServerDatagram::decode(out).unwrap();
    assert_eq!(datagram.replica, 3);
    datagram.message
}

fn client() -> SocketAddr {
    ([10, 0, 0, 1], 1_000).into()
}

fn hello() -> Vec<u8> {
    let mut out = Vec::new();
    DatagramHello {
        tag: 7,
        label: "test".into(),
    }
    .append_to(&mut out, Cookie::NONE);
    out
}

fn write(change: Change) -> Request {
    Request::Write {
        tag: 7,
        write: Write {
            session: SessionId::default(),
            sequence: 1,
            floor: 1,
            after: 0,
            change,
        },
    }
}

fn put(value: Vec<u8>) -> Request {
    let key = b"k".to_vec();
    write(Change::Put { key, value })
}

fn delete() -> Request {
    write(Change::Delete { key: b"k".to_vec() })
}

/// The shortest of each kind.
fn requests() -> Vec<Request> {
    vec![
        delete(),
        put(Vec::new()),
        write(Change::Append {
            key: b"k".to_vec(),
            value: Vec::new(),
        }),
        Request::OpenSession { tag: 7, nonce: 1 },
        get(7, b"k"),
        Request::Status { tag: 7 },
    ]
}

/// Whatever a node might answer, as long as it can be.
fn longest_outcomes() -> Vec<Outcome> {
    let number = u64::MAX;
    let sentence = "long ".repeat(300);
    let refusals = [
        Refusal::NoQuorum { proposed: true },
        Refusal::Busy {
            limit: Limit::BytesHeld,
        },
        Refusal::TooLarge {
            limit: Limit::ValueBytes,
            bytes: number,
            bytes_max: number,
        },
        Refusal::StoreFull { bytes_max: number },
        Refusal::DiskFull {
            refuses_deletes: true,
        },
        Refusal::SessionExpired,
        Refusal::Closed,
        Refusal::TooManyOutstanding { width: number },
        Refusal::NotServing {
            reason: sentence.clone(),
        },
        Refusal::AskReplica {
            replica: 4,
            proposed: true,
        },
        Refusal::Malformed { reason: sentence },
    ];
    let mut outcomes: Vec<Outcome> = refusals.into_iter().map(Outcome::Refused).collect();
    outcomes.push(Outcome::Put { revision: number });
    outcomes.push(Outcome::Appended {
        revision: number,
        length: number,
    });
    outcomes.push(Outcome::Deleted {
        revision: number,
        existed: true,
    });
    outcomes.push(Outcome::Value {
        revision: number,
        value: vec![0; 1_000],
    });
    outcomes
}

#[test]
fn an_unproved_address_is_never_sent_more_than_came_from_there() {
    let (mut bytes_in, mut bytes_out, mut answers) = (0, 0, 0);
    for request in requests() {
        for outcome in longest_outcomes() {
            let mut side = Side::new(1_200);
            let datagram = datagram(&request, Cookie::NONE);
            let (mut out, events) = side.receive(&datagram, client());
            if let Some(ClientEvent::Request { connection, .. }) = events.first() {
                (_, out) = side.answer(*connection, 7, outcome).unwrap();
            }
            assert!(!out.is_empty(), "{request} is answered");
            assert!(out.len() <= datagram.len(), "{request}: {out:?}");
            bytes_in += datagram.len();
            bytes_out += out.len();
            answers += 1;
        }
    }
    let mut side = Side::new(1_200);
    let (greeting, _) = side.receive(&hello(), client());
    assert!(!greeting.is_empty() && greeting.len() <= hello().len());
    println!("{answers} answers: {bytes_in} bytes came, {bytes_out} were sent");
}

proptest! {
    #[test]
    fn nothing_that_comes_is_answered_with_more(
        head in 0usize..24, kind in 0u8..8, rest in prop::collection::vec(any::<u8>(), 0..1_400),
    ) {
        let mut side = Side::new(1_200);
        let mut bytes = datagram(&Request::Status { tag: 7 }, Cookie::NONE);
        bytes.truncate(head);
        bytes.push(kind);
        bytes.extend(rest);
        let (out, _) = side.receive(&bytes, client());
        prop_assert!(out.len() <= bytes.len());
    }
}

proptest! {
    #[test]
    fn a_damaged_request_is_done_refused_or_passed_over(
        which in 0usize..6, place in any::<prop::sample::Index>(), byte in any::<u8>(), cut in 0usize..8,
        proved in any::<bool>(),
    ) {
        let mut side = Side::new(1_200);
        let cookie = if proved { side.cookie_for(client()) } else { Cookie::NONE };
        let mut bytes = datagram(&requests()[which], cookie);
        bytes.truncate(bytes.len() - cut);
        *place.get_mut(&mut bytes) = byte;
        let (out, events) = side.receive(&bytes, client());
        prop_assert!(out.is_empty() || events.is_empty());
        prop_assert!(out.len() <= bytes.len() || proved);
        if !out.is_empty() {
            ServerDatagram::decode(&out).unwrap();
        }
    }
}

#[test]
fn what_might_be_answered_at_length_is_not_done_before_the_address_is_proved() {
    let mut side = Side::new(1_200);
    for request in requests() {
        let is_write = matches!(request, Request::Write { .. });
        match side.ask(&request, Cookie::NONE) {
            Step::HandedOver(_) => assert!(is_write, "{request}"),
            Step::Cookie(cookie) => {
                assert!(!is_write, "{request}");
                handed_over(&side.ask(&request, cookie));
            }
            other => panic!("{request}: {other:?}"),
        }
    }
    assert_eq!(side.load.held().0, requests().len() as u64);
}

#[test]
fn a_cookie_is_of_use_to_one_address_for_two_minutes() {
    let mut side = Side::new(1_200);
    let cookie = side.cookie_for(client());
    let question = datagram(&get(7, b"k"), cookie);
    handed_over(&step(side.receive(&question, client())));
    let thief = ([10, 0, 0, 2], 1_000).into();
    let (out, events) = side.receive(&question, thief);
    assert!(events.is_empty() && out.len() <= question.len());
    assert!(matches!(message(&out), ServerMessage::Cookie { .. }));
    side.now += Duration::from_secs(120);
    handed_over(&side.ask(&get(7, b"k"), cookie));
    side.now += Duration::from_secs(31);
    let fresh = match side.ask(&get(7, b"k"), cookie) {
        Step::Cookie(fresh) => fresh,
        other => panic!("{other:?}"),
    };
    assert_ne!(fresh, cookie);
    handed_over(&side.ask(&get(7, b"k"), fresh));
}

#[test]
fn a_proved_address_gets_answers_of_any_length_that_fits_a_datagram() {
    let mut side = Side::new(1_200);
    let cookie = side.cookie_for(client());
    let value = |bytes| Outcome::Value {
        revision: 1,
        value: vec![7; bytes],
    };
    let read = handed_over(&side.ask(&get(7, b"k"), cookie));
    assert_eq!(side.answered_later(read, value(1_170)), value(1_170));
    let read = handed_over(&side.ask(&get(7, b"k"), cookie));
    let refused = Outcome::Refused(Refusal::TooLargeForDatagram {
        bytes: 1_201,
        bytes_max: 1_200,
    });
    assert_eq!(side.answered_later(read, value(1_171)), refused);
    assert_eq!(side.load.held(), (0, 0));
}

#[test]
fn too_large_for_a_datagram() {
    let mut side = Side::new(600);
    let bytes = datagram(&put(vec![0; 600]), Cookie::NONE).len() as u64;
    let refused = Step::Said(Outcome::Refused(Refusal::TooLargeForDatagram {
        bytes,
        bytes_max: 600,
    }));
    assert_eq!(side.ask(&put(vec![0; 600]), Cookie::NONE), refused);
    let cookie = side.cookie_for(client());
    assert_eq!(side.ask(&put(vec![0; 600]), cookie), refused);
    handed_over(&side.ask(&put(vec![0; 500]), cookie));
    let junk = vec![b'K'; 601];
    assert_eq!(step(side.receive(&junk, client())), Step::Silence);
}

#[test]
fn what_breaks_a_limit_is_told_and_what_cannot_be_read_is_explained_to_the_proved_only() {
    let mut side = Side::new(1_200);
    let cookie = side.cookie_for(client());
    let empty = Step::Said(Outcome::Refused(Refusal::EmptyKey));
    assert_eq!(side.ask(&get(7, b""), Cookie::NONE), empty);
    let mut contradicting = delete();
    if let Request::Write { write, .. } = &mut contradicting {
        write.floor = 2;
    }
    assert_eq!(side.ask(&contradicting, Cookie::NONE), Step::Silence);
    match side.ask(&contradicting, cookie) {
        Step::Said(Outcome::Refused(Refusal::Malformed { reason })) => {
            assert!(reason.contains("floor=2"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    side.ask(&get(7, b"k"), Cookie::NONE);
    let expected = DatagramCounts {
        received: 5,
        answered: 3,
        junk: 1,
        cookies: 1,
    };
    assert_eq!(side.counters.read(), expected);
}

#[test]
fn busy_when_too_much_is_in_flight_and_room_again_with_each_answer() {
    let mut side = Side::new(1_200);
    let connections: Vec<ConnectionId> = (0..DATAGRAMS_IN_FLIGHT_MAX)
        .map(|_| handed_over(&side.ask(&delete(), Cookie::NONE)))
        .collect();
    assert!(connections.iter().all(|id| id.worker == WORKER));
    let busy = Step::Said(Outcome::Refused(Refusal::Busy {
        limit: Limit::RequestsHeld,
    }));
    assert_eq!(side.ask(&delete(), Cookie::NONE), busy);
    let done = Outcome::Deleted {
        revision: 1,
        existed: false,
    };
    assert_eq!(side.answered_later(connections[5], done.clone()), done);
    assert_eq!(side.answer(connections[5], 7, done), None, "twice");
    handed_over(&side.ask(&delete(), Cookie::NONE));
    assert_eq!(side.ask(&delete(), Cookie::NONE), busy);
}

#[test]
fn what_no_answer_comes_for_is_given_up() {
    let mut side = Side::new(1_200);
    let connection = handed_over(&side.ask(&delete(), Cookie::NONE));
    side.now += Duration::from_secs(10);
    side.exchange.give_up_old(side.now);
    assert_eq!(side.exchange.take_batch(), []);
    side.now += Duration::from_secs(1);
    side.exchange.give_up_old(side.now);
    let bytes = datagram(&delete(), Cookie::NONE).len() as u64;
    let closed = ClientEvent::Closed {
        connection,
        requests: 1,
        bytes,
    };
    assert_eq!(side.exchange.take_batch(), [closed]);
    assert_eq!(side.load.held(), (1, bytes), "the replica thread lets go");
    let late = Outcome::Put { revision: 1 };
    assert_eq!(side.answer(connection, 7, late), None);
}
