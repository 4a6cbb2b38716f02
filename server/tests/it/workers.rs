//! The workers over real sockets, with the test in the place of the replica thread: requests in order, answers by
//! tag, every limit of a connection, and everything that a client can do wrong.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Answer, Change, Limit, Outcome, Refusal, Request, SessionId, WireLimits, Write};
use kvpaxos_server::events::{ClientEvent, Event, ToWorker};
use kvpaxos_server::mailbox::{Inbox, mailbox};
use kvpaxos_server::node::ConnectionId;
use kvpaxos_server::signboard::Signboard;
use kvpaxos_server::workers::{
    Load, REQUEST_BYTES_HELD_MAX, REQUESTS_HELD_MAX, Workers, WorkersSettings,
};
use mio::{Events, Poll, Token};

use crate::raw_client::{RawClient, frame, get, hello};

/// The pool, and what the replica thread would have.
struct Pool {
    workers: Workers,
    address: SocketAddr,
    load: Arc<Load>,
    poll: Poll,
    inbox: Inbox<Event>,
    events: VecDeque<ClientEvent>,
    quiet_workers: usize,
}

impl Pool {
    fn start(connections_max: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let poll = Poll::new().unwrap();
        let (outside, inbox) = mailbox(poll.registry(), Token(0)).unwrap();
        let load = Arc::new(Load::default());
        let signboard = Arc::new(Signboard::default());
        signboard.show_cluster(0xc1);
        signboard.show_leader(Some(2));
        let settings = WorkersSettings {
            replica: 3,
            count: 2,
            limits: WireLimits::for_value_bytes_max(100_000),
            connections_max,
            load: Arc::clone(&load),
            signboard,
        };
        let listener = mio::net::TcpListener::from_std(listener);
        Self {
            workers: Workers::start(&settings, listener, &outside).unwrap(),
            address,
            load,
            poll,
            inbox,
            events: VecDeque::new(),
            quiet_workers: 0,
        }
    }

    /// Takes what the workers say for at most `wait`.
    fn listen(&mut self, wait: Duration) {
        let mut events = Events::with_capacity(8);
        self.inbox
            .wait(&mut self.poll, &mut events, Some(wait))
            .unwrap();
        while let Some(event) = self.inbox.take() {
            match event {
                Event::Clients(batch) => self.events.extend(batch),
                Event::WorkerQuiet => self.quiet_workers += 1,
                other => panic!("workers do not say {other:?}"),
            }
        }
    }

    fn next_event(&mut self) -> ClientEvent {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            assert!(Instant::now() < deadline, "waited for an event");
            self.listen(Duration::from_millis(100));
        }
    }

    fn next_request(&mut self) -> (ConnectionId, Request) {
        match self.next_event() {
            ClientEvent::Request {
                connection,
                request,
            } => (connection, request),
            closed => panic!("{closed:?} instead of a request"),
        }
    }

    fn answer(&self, connection: ConnectionId, tag: u64, outcome: Outcome) {
        let answer = Answer {
            tag,
            leader: Some(2),
            outcome,
        };
        self.load.send_value(&answer);
        let mailbox = &self.workers.mailboxes()[usize::from(connection.worker)];
        mailbox.send(ToWorker::Answers(vec![(connection, answer)]));
    }

    /// Serves one request of `client`: what says that the connection works.
    fn assert_served(&mut self, client: &mut RawClient) {
        client.ask(&get(77, b"k"));
        let (connection, request) = self.next_request();
        assert_eq!(request, get(77, b"k"));
        self.answer(connection, 77, Outcome::Absent { revision: 1 });
        let answer = client.hear_answer();
        assert_eq!(answer.tag, 77);
        assert_eq!(answer.outcome, Outcome::Absent { revision: 1 });
    }

    /// Says goodbye to everybody.
    fn stop(mut self) {
        for mailbox in self.workers.mailboxes() {
            mailbox.send(ToWorker::Quiesce);
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.quiet_workers < 2 {
            assert!(Instant::now() < deadline, "workers are not quiet");
            self.listen(Duration::from_millis(100));
        }
        for mailbox in self.workers.mailboxes() {
            mailbox.send(ToWorker::Finish);
        }
        self.workers.join();
        assert_eq!(self.load.connections(), 0);
    }
}

fn put(tag: u64, key: &[u8], value: Vec<u8>) -> Request {
    let change = Change::Put {
        key: key.to_vec(),
        value,
    };
    Request::Write {
        tag,
        write: Write {
            session: SessionId::default(),
            sequence: 1,
            floor: 1,
            after: 0,
            change,
        },
    }
}

#[test]
fn a_client_is_greeted_and_its_requests_come_in_order() {
    let mut pool = Pool::start(100);
    let mut client = RawClient::connect(pool.address);
    client.send(&hello());
    let greeting = client.hear_greeting();
    assert_eq!(
        (greeting.cluster, greeting.replica, greeting.leader),
        (0xc1, 3, Some(2))
    );
    assert_eq!(greeting.limits.value_bytes_max, 100_000);
    let many: Vec<u8> = (0..500).flat_map(|tag| frame(&get(tag, b"key"))).collect();
    client.send(&many);
    let mut connections = Vec::new();
    for tag in 0..500 {
        let (connection, request) = pool.next_request();
        assert_eq!(request.tag(), tag);
        connections.push(connection);
    }
    assert_eq!(pool.load.held().0, 500);
    for tag in (0..500).rev() {
        pool.answer(connections[0], tag, Outcome::Absent { revision: tag });
    }
    for tag in (0..500).rev() {
        assert_eq!(client.hear_answer().tag, tag);
    }
    assert_eq!(pool.load.held(), (0, 0));
    pool.stop();
}

#[test]
fn what_is_too_large_or_empty_gets_a_typed_answer_and_the_connection_survives() {
    let mut pool = Pool::start(100);
    let mut client = RawClient::greeted(pool.address);
    let refused = |outcome: Outcome| match outcome {
        Outcome::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    };
    let just_too_large = client.outcome(&put(1, b"k", vec![0; 100_001]));
    assert_eq!(
        refused(just_too_large),
        Refusal::TooLarge {
            limit: Limit::ValueBytes,
            bytes: 100_001,
            bytes_max: 100_000
        }
    );
    for length in [166_000, 300_000, 5_000_000] {
        let far_too_large = refused(client.outcome(&put(2, b"k", vec![0; length])));
        let names_the_limit = matches!(
            far_too_large,
            Refusal::TooLarge {
                limit: Limit::ValueBytes,
                bytes_max: 100_000,
                ..
            }
        );
        assert!(names_the_limit, "{far_too_large:?}");
    }
    let long_key = refused(client.outcome(&get(3, &[7; 4_097])));
    assert!(
        matches!(
            long_key,
            Refusal::TooLarge {
                limit: Limit::KeyBytes,
                bytes: 4_097,
                ..
            }
        ),
        "{long_key:?}"
    );
    assert_eq!(refused(client.outcome(&get(4, b""))), Refusal::EmptyKey);
    pool.assert_served(&mut client);
    pool.stop();
}

#[test]
fn a_frame_that_makes_no_sense_is_refused_and_the_connection_survives() {
    let mut pool = Pool::start(100);
    let mut client = RawClient::greeted(pool.address);
    let mut answer = Vec::new();
    Answer {
        tag: 5,
        leader: None,
        outcome: Outcome::Absent { revision: 1 },
    }
    .append_to(&mut answer);
    let truncated = [0, 0, 0, 10, 4, 0, 0, 0, 0, 0, 0, 0, 9, 0];
    for (bytes, tag) in [
        (answer.as_slice(), 0),
        (&truncated, 9),
        (&[0, 0, 0, 1, 0x33], 0),
    ] {
        client.send(bytes);
        let heard = client.hear_answer();
        assert_eq!(heard.tag, tag);
        let is_malformed = matches!(heard.outcome, Outcome::Refused(Refusal::Malformed { .. }));
        assert!(is_malformed, "{heard:?}");
    }
    pool.assert_served(&mut client);
    pool.stop();
}

#[test]
fn who_breaks_framing_or_does_not_greet_is_closed_and_others_are_unaffected() {
    let mut pool = Pool::start(100);
    let mut bystander = RawClient::greeted(pool.address);
    let mut peer_greeting = vec![0, 0, 0, 9, 0x40];
    peer_greeting.extend(b"KVPPxxxx");
    let openings: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 5_000],
        &[0, 0, 0, 0, 1, 2, 3],
        &frame(&get(1, b"k")),
        &peer_greeting,
    ];
    for opening in openings {
        let mut stranger = RawClient::connect(pool.address);
        stranger.send(opening);
        let heard = stranger.hear_answer();
        let is_malformed = matches!(heard.outcome, Outcome::Refused(Refusal::Malformed { .. }));
        assert!(is_malformed, "{heard:?}");
        stranger.assert_end();
    }
    for breach in [&[0xff; 5_000][..], &[0, 0, 0, 0], &hello()] {
        let mut client = RawClient::greeted(pool.address);
        pool.assert_served(&mut client);
        client.send(breach);
        let heard = client.hear_answer();
        assert_eq!(heard.tag, 0);
        client.assert_end();
        let event = pool.next_event();
        let is_closed = matches!(
            event,
            ClientEvent::Closed {
                requests: 0,
                bytes: 0,
                ..
            }
        );
        assert!(is_closed, "{event:?}");
    }
    pool.assert_served(&mut bystander);
    pool.stop();
}

#[test]
fn with_1024_requests_unanswered_no_more_are_read() {
    let mut pool = Pool::start(100);
    let mut client = RawClient::greeted(pool.address);
    let many: Vec<u8> = (0..1_500).flat_map(|tag| frame(&get(tag, b"k"))).collect();
    client.send(&many);
    let mut connection = None;
    for _ in 0..1_024 {
        connection = Some(pool.next_request().0);
    }
    pool.listen(Duration::from_millis(200));
    assert_eq!(pool.events, []);
    for tag in 0..10 {
        pool.answer(connection.unwrap(), tag, Outcome::Absent { revision: 1 });
    }
    for tag in 1_024..1_034 {
        assert_eq!(pool.next_request().1.tag(), tag);
    }
    pool.listen(Duration::from_millis(200));
    assert_eq!(pool.events, []);
    pool.stop();
}

#[test]
fn a_client_that_vanishes_gives_back_what_it_held() {
    let mut pool = Pool::start(100);
    let mut client = RawClient::greeted(pool.address);
    let request = put(1, b"k", vec![0; 1_000]);
    client.ask(&request);
    let (connection, _) = pool.next_request();
    let begun = frame(&put(2, b"k", vec![0; 1_000]));
    client.send(&begun[..500]);
    drop(client);
    let expected = ClientEvent::Closed {
        connection,
        requests: 1,
        bytes: frame(&request).len() as u64 - 4,
    };
    assert_eq!(pool.next_event(), expected);
    pool.answer(connection, 1, Outcome::Put { revision: 1 });
    let mut next = RawClient::greeted(pool.address);
    pool.assert_served(&mut next);
    pool.stop();
}

#[test]
fn a_client_that_ends_its_half_still_gets_its_answers() {
    let mut pool = Pool::start(100);
    let mut client = RawClient::connect(pool.address);
    client.send(&[hello(), frame(&get(1, b"k"))].concat());
    client.end_sending();
    client.hear_greeting();
    let (connection, _) = pool.next_request();
    pool.answer(connection, 1, Outcome::Absent { revision: 1 });
    assert_eq!(client.hear_answer().tag, 1);
    client.assert_end();
    pool.stop();
}

#[test]
fn connections_beyond_the_limit_are_told_so() {
    let mut pool = Pool::start(2);
    let mut first = RawClient::greeted(pool.address);
    let second = RawClient::greeted(pool.address);
    let mut third = RawClient::connect(pool.address);
    third.send(&hello());
    let busy = |limit| Outcome::Refused(Refusal::Busy { limit });
    let heard = third.hear_answer();
    assert_eq!((heard.tag, heard.outcome), (0, busy(Limit::Connections)));
    third.assert_end();
    drop(second);
    let deadline = Instant::now() + Duration::from_secs(10);
    while pool.load.connections() == 2 {
        assert!(
            Instant::now() < deadline,
            "the place of one who left is not free"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut fourth = RawClient::greeted(pool.address);
    pool.assert_served(&mut first);
    pool.assert_served(&mut fourth);
    pool.stop();
}

#[test]
fn beyond_what_is_held_for_all_clients_requests_are_refused() {
    let mut pool = Pool::start(100);
    let mut client = RawClient::greeted(pool.address);
    for (requests, bytes, limit) in [
        (REQUESTS_HELD_MAX, 0, Limit::RequestsHeld),
        (1, REQUEST_BYTES_HELD_MAX, Limit::BytesHeld),
    ] {
        for _ in 0..requests {
            pool.load.take_in(bytes).unwrap();
        }
        let outcome = client.outcome(&get(1, b"k"));
        assert_eq!(outcome, Outcome::Refused(Refusal::Busy { limit }));
        pool.load.let_go(requests, requests * bytes);
        pool.assert_served(&mut client);
    }
    pool.stop();
}

#[test]
fn a_client_that_reads_no_answers_is_closed_before_they_fill_the_memory() {
    let mut pool = Pool::start(100);
    let mut client = RawClient::greeted(pool.address);
    // The system's own buffers take some megabytes before the server notices.
    let many: Vec<u8> = (0..200).flat_map(|tag| frame(&get(tag, b"k"))).collect();
    client.send(&many);
    let mut closed = false;
    for tag in 0..200 {
        match pool.next_event() {
            ClientEvent::Request { connection, .. } => {
                let value = vec![0; 100_000];
                pool.answer(connection, tag, Outcome::Value { revision: 1, value });
            }
            ClientEvent::Closed { .. } => {
                closed = true;
                break;
            }
        }
        pool.listen(Duration::from_millis(1));
    }
    if !closed {
        let event = pool.next_event();
        assert!(matches!(event, ClientEvent::Closed { .. }), "{event:?}");
    }
    let mut next = RawClient::greeted(pool.address);
    pool.assert_served(&mut next);
    pool.stop();
}

#[test]
fn a_stop_sends_what_is_there_and_ends_every_connection() {
    let mut pool = Pool::start(100);
    let mut idle = RawClient::connect(pool.address);
    let mut waiting = RawClient::greeted(pool.address);
    waiting.ask(&get(1, b"k"));
    let (connection, _) = pool.next_request();
    for mailbox in pool.workers.mailboxes() {
        mailbox.send(ToWorker::Quiesce);
    }
    waiting.ask(&get(2, b"k"));
    while pool.quiet_workers < 2 {
        pool.listen(Duration::from_millis(100));
    }
    let refusal = Refusal::AskReplica {
        replica: 1,
        proposed: false,
    };
    pool.answer(connection, 1, Outcome::Refused(refusal));
    let began = Instant::now();
    for mailbox in pool.workers.mailboxes() {
        mailbox.send(ToWorker::Finish);
    }
    assert_eq!(waiting.hear_answer().tag, 1);
    waiting.assert_end();
    idle.assert_end();
    pool.workers.join();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "it took {took:?}");
}
