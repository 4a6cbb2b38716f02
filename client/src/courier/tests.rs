//! The courier against lanes that are played by hand: every byte it sends is looked at, every byte it gets is chosen.

use std::mem;

use common::frame::LENGTH_BYTES;
use common::{Answer, ClientFrame, FrameBuffer, Greeting, Outcome, SessionId, Write};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::lane::LaneState;
use super::*;

const MS: Duration = Duration::from_millis(1);

/// A courier, its clock, and what it said last on each lane.
struct Rig {
    courier: Courier,
    now: Instant,
    /// What openings of sessions are answered.
    expiry_s: u32,
}

impl Rig {
    fn new(endpoints: usize) -> Self {
        Self::with(endpoints, |_| {})
    }

    fn with(endpoints: usize, adjust: impl FnOnce(&mut ClientOptions)) -> Self {
        let list: Vec<String> = (1..=endpoints).map(|port| format!("h:{port}")).collect();
        let mut options = ClientOptions::parse(&list.join(",")).unwrap();
        adjust(&mut options);
        let now = Instant::now();
        let directory = Arc::new(Directory::new(&options.endpoints));
        Self {
            courier: Courier::new(Arc::new(options), directory, 0, now),
            now,
            expiry_s: 3_600,
        }
    }

    /// A courier whose current lane 0 is greeted and whose session is open.
    fn with_session(endpoints: usize) -> Self {
        let mut rig = Self::new(endpoints);
        rig.begin_session();
        rig
    }

    fn begin_session(&mut self) {
        let ticket = self.put("first");
        self.greet(0);
        self.open_session(0);
        self.sent(0);
        self.answer(0, ticket.0, put_done());
        assert!(self.done()[0].1.is_ok());
    }

    fn put(&mut self, key: &str) -> Ticket {
        let (key, value) = (key.into(), b"v".to_vec());
        self.courier.submit(Operation::Put { key, value }, self.now)
    }

    fn get(&mut self, key: &str) -> Ticket {
        let key = key.into();
        self.courier.submit(Operation::Get { key }, self.now)
    }

    /// Lets the courier connect to the lane it wants, and greets it there.
    fn greet(&mut self, lane: usize) {
        self.connect(lane);
        self.greet_only(lane, None);
    }

    fn connect(&mut self, lane: usize) {
        assert_eq!(self.courier.next_connect(self.now), Some(lane));
        let ClientFrame::Hello(_) = &self.frames(lane)[0] else {
            panic!("a connection opens with a hello");
        };
    }

    fn greet_only(&mut self, lane: usize, leader: Option<u8>) {
        let greeting = Greeting {
            version: 1,
            cluster: 5,
            replica: lane as u8,
            leader,
            limits: WireLimits::default(),
        };
        let mut bytes = Vec::new();
        greeting.append_to(&mut bytes);
        self.courier.received(lane, &bytes, self.now);
    }

    /// Answers the opening of a session that was just sent.
    fn open_session(&mut self, lane: usize) {
        let frames = self.frames(lane);
        let [ClientFrame::Request(Request::OpenSession { tag, nonce })] = frames[..] else {
            panic!("{frames:?} is no opening");
        };
        let revision = self.courier.next_opening_tag - OPENING_TAG_MIN;
        let session = SessionId { revision, nonce };
        let expiry_s = self.expiry_s;
        self.answer(lane, tag, Outcome::SessionOpened { session, expiry_s });
    }

    /// What was sent on a lane since the last look.
    fn frames(&mut self, lane: usize) -> Vec<ClientFrame> {
        let mut buffer = FrameBuffer::new(u32::MAX);
        buffer.extend(&mem::take(self.courier.outgoing(lane)));
        let mut frames = Vec::new();
        while let Some(payload) = buffer.next_frame().unwrap() {
            frames.push(ClientFrame::decode(payload, &WireLimits::default()).unwrap());
        }
        frames
    }

    /// The same, as lines.
    fn sent(&mut self, lane: usize) -> Vec<String> {
        let line = |frame: ClientFrame| match frame {
            ClientFrame::Request(request) => request.to_string(),
            ClientFrame::Hello(hello) => hello.to_string(),
        };
        self.frames(lane).into_iter().map(line).collect()
    }

    fn answer(&mut self, lane: usize, tag: u64, outcome: Outcome) {
        self.answer_with_leader(lane, tag, outcome, None);
    }

    fn refuse(&mut self, lane: usize, ticket: Ticket, refusal: Refusal) {
        self.answer(lane, ticket.0, Outcome::Refused(refusal));
    }

    fn answer_with_leader(&mut self, lane: usize, tag: u64, outcome: Outcome, leader: Option<u8>) {
        let answer = Answer {
            tag,
            leader,
            outcome,
        };
        let mut bytes = Vec::new();
        answer.append_to(&mut bytes);
        self.courier.received(lane, &bytes, self.now);
        self.check();
    }

    /// Time passes, in steps, as a driver would let it.
    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now += MS * 10;
            self.courier.tick(self.now);
            self.check();
        }
    }

    fn done(&mut self) -> Vec<(Ticket, Result<Reply, ClientError>)> {
        let done = self.courier.completions();
        done.map(|completion| (completion.ticket, completion.result))
            .collect()
    }

    fn error(&mut self) -> ClientError {
        let mut done = self.done();
        assert_eq!(done.len(), 1, "one operation is finished");
        done.remove(0).1.unwrap_err()
    }

    /// What must hold after every step.
    fn check(&self) {
        let courier = &self.courier;
        for (number, lane) in courier.lanes.iter().enumerate() {
            let copies = courier.queue.iter();
            let here = copies
                .filter(|(_, pending)| pending.copies.contains(number))
                .count();
            let opening = courier.session.opening();
            let opening_here = opening.is_some_and(|opening| opening.copies.contains(number));
            assert_eq!(
                lane.outstanding as usize,
                here + usize::from(opening_here),
                "lane {number}"
            );
            if lane.outstanding > 0 {
                assert!(
                    matches!(lane.state, LaneState::Open { .. }),
                    "lane {number}: {lane:?}"
                );
            }
            if matches!(lane.state, LaneState::Wanted | LaneState::Opening { .. }) {
                assert_eq!(
                    number, courier.current,
                    "only the current lane is being opened"
                );
            }
        }
        if !courier.queue.is_empty() {
            assert!(courier.wake.is_some(), "what is unfinished has a deadline");
        }
    }
}

fn put_done() -> Outcome {
    Outcome::Put { revision: 9 }
}

#[test]
fn the_first_write_opens_a_session_and_a_read_behind_it_keeps_its_place() {
    let mut rig = Rig::new(1);
    rig.put("a");
    rig.get("a");
    rig.greet(0);
    rig.open_session(0);
    assert_eq!(
        rig.sent(0),
        [
            "Write tag=1 session=1 seq=1 floor=1 after=0 PUT a 1 bytes",
            "Get tag=2 GET a"
        ]
    );
}

#[test]
fn a_client_that_only_reads_opens_no_session() {
    let mut rig = Rig::new(1);
    rig.get("a");
    rig.greet(0);
    assert_eq!(rig.sent(0), ["Get tag=1 GET a"]);
}

#[test]
fn pipelined_writes_say_what_they_follow_and_what_is_still_wanted() {
    let mut rig = Rig::with_session(1);
    let (second, third) = (rig.put("b"), rig.put("c"));
    assert_eq!(
        rig.sent(0),
        [
            "Write tag=2 session=1 seq=2 floor=2 after=0 PUT b 1 bytes",
            "Write tag=3 session=1 seq=3 floor=2 after=2 PUT c 1 bytes"
        ]
    );
    rig.answer(0, third.0, put_done());
    rig.put("d");
    assert_eq!(
        rig.sent(0),
        ["Write tag=4 session=1 seq=4 floor=2 after=2 PUT d 1 bytes"]
    );
    rig.answer(0, second.0, put_done());
    rig.put("e");
    assert_eq!(
        rig.sent(0),
        ["Write tag=5 session=1 seq=5 floor=4 after=4 PUT e 1 bytes"]
    );
}

#[test]
fn what_is_late_is_asked_of_the_next_replica_under_the_same_name() {
    let mut rig = Rig::with_session(2);
    let ticket = rig.put("a");
    let sent = rig.sent(0);
    rig.wait(MS * 500);
    rig.greet(1);
    assert_eq!(rig.sent(1), sent);
    rig.answer(1, ticket.0, put_done());
    assert!(rig.done()[0].1.is_ok());
}

#[test]
fn a_late_answer_lands_on_nothing_else() {
    let mut rig = Rig::with_session(2);
    let late = rig.get("a");
    rig.wait(MS * 500);
    rig.greet(1);
    let value = |value: &[u8]| Outcome::Value {
        revision: 1,
        value: value.to_vec(),
    };
    rig.answer(1, late.0, value(b"first"));
    let next = rig.get("b");
    rig.answer(1, late.0, value(b"late"));
    assert_eq!(rig.done().len(), 1);
    rig.answer(1, next.0, value(b"second"));
    let [(ticket, Ok(Reply::Value { value, .. }))] = &rig.done()[..] else {
        panic!("one value is awaited");
    };
    assert_eq!((*ticket, &value[..]), (next, &b"second"[..]));
}

#[test]
fn an_answer_counts_only_on_a_connection_that_was_asked() {
    let mut rig = Rig::with_session(2);
    let old = rig.get("a");
    rig.wait(MS * 500);
    rig.greet(1);
    rig.answer(1, old.0, Outcome::Absent { revision: 1 });
    assert_eq!(rig.done().len(), 1);
    // The lane that was left owes nothing any more and is closed; what it still says is not heard.
    assert_eq!(rig.courier.next_close(), Some(0));
    let next = rig.get("b");
    rig.answer(0, next.0, Outcome::Absent { revision: 1 });
    assert!(rig.done().is_empty());
}

#[test]
fn the_answer_of_a_replica_that_was_left_still_counts() {
    let mut rig = Rig::with_session(2);
    let ticket = rig.put("a");
    rig.wait(MS * 500);
    rig.greet(1);
    rig.answer(0, ticket.0, put_done());
    assert!(rig.done()[0].1.is_ok());
}

#[test]
fn a_lost_connection_is_replaced_and_all_is_sent_again_in_order() {
    let mut rig = Rig::with_session(2);
    for key in ["a", "b", "c"] {
        rig.put(key);
    }
    let sent = rig.sent(0);
    rig.courier.closed(0, "gone", rig.now);
    rig.greet(1);
    assert_eq!(rig.sent(1), sent);
}

#[test]
fn no_quorum_is_the_reason_when_that_is_all_that_was_heard() {
    let mut rig = Rig::with_session(2);
    let ticket = rig.put("a");
    rig.wait(MS * 500);
    rig.greet(1);
    rig.wait(MS * 4_500);
    rig.refuse(0, ticket, Refusal::NoQuorum { proposed: true });
    assert!(rig.done().is_empty(), "it is tried until the deadline");
    rig.wait(MS * 5_100);
    assert!(matches!(
        rig.error(),
        ClientError::NoQuorum {
            outcome_unknown: true
        }
    ));
}

#[test]
fn a_write_that_is_given_up_is_below_the_floor_of_the_next() {
    let mut rig = Rig::with_session(1);
    rig.put("a");
    rig.wait(MS * 9_000);
    rig.sent(0);
    rig.put("b");
    rig.wait(MS * 1_100);
    let error = rig.error();
    assert!(error.outcome_unknown());
    assert!(
        error.to_string().starts_with("no answer within 100"),
        "{error}"
    );
    rig.put("c");
    // The connection was silent for so long that it was made anew.
    rig.greet(0);
    assert_eq!(
        rig.sent(0),
        [
            "Write tag=3 session=1 seq=3 floor=3 after=0 PUT b 1 bytes",
            "Write tag=4 session=1 seq=4 floor=3 after=3 PUT c 1 bytes"
        ]
    );
}

#[test]
fn an_expired_session_takes_its_writes_with_it_and_none_runs_again() {
    let mut rig = Rig::with_session(2);
    let (first, _second) = (rig.put("a"), rig.put("b"));
    rig.sent(0);
    rig.refuse(0, first, Refusal::SessionExpired);
    let unknown: Vec<bool> = rig
        .done()
        .into_iter()
        .map(|(_, result)| result.unwrap_err().outcome_unknown())
        .collect();
    assert_eq!(unknown, [false, true]);
    assert!(rig.sent(0).is_empty());
    rig.put("c");
    rig.open_session(0);
    assert_eq!(
        rig.sent(0),
        ["Write tag=4 session=2 seq=1 floor=1 after=0 PUT c 1 bytes"]
    );
}

#[test]
fn a_session_that_was_idle_for_long_is_not_used_again() {
    for expiry_s in [2, 3_600] {
        let mut rig = Rig::new(1);
        rig.expiry_s = expiry_s;
        rig.begin_session();
        let half = Duration::from_secs(expiry_s.into()) / 2;
        rig.now += half - Duration::from_millis(1);
        let ticket = rig.put("a");
        assert_eq!(
            rig.sent(0),
            ["Write tag=2 session=1 seq=2 floor=2 after=0 PUT a 1 bytes"]
        );
        rig.answer(0, ticket.0, put_done());
        rig.now += half;
        rig.put("b");
        rig.open_session(0);
        assert_eq!(
            rig.sent(0),
            ["Write tag=3 session=2 seq=1 floor=1 after=0 PUT b 1 bytes"]
        );
    }
}

#[test]
fn what_is_too_large_is_refused_before_it_is_sent() {
    let mut rig = Rig::with_session(1);
    let key = vec![b'k'; 4_097];
    rig.courier.submit(Operation::Get { key }, rig.now);
    let too_large = matches!(rig.error(), ClientError::Refused(Refusal::TooLarge { .. }));
    assert!(too_large);
    rig.get("");
    assert!(matches!(
        rig.error(),
        ClientError::Refused(Refusal::EmptyKey)
    ));
    assert!(rig.sent(0).is_empty());
}

#[test]
fn a_refusal_after_a_lost_copy_is_not_certain() {
    let mut rig = Rig::with_session(2);
    let ticket = rig.put("a");
    rig.courier.closed(0, "gone", rig.now);
    rig.greet(1);
    rig.refuse(1, ticket, Refusal::Closed);
    assert!(matches!(rig.error(), ClientError::RefusedRetry(_)));
}

#[test]
fn a_full_store_is_the_answer_of_every_copy() {
    let mut rig = Rig::with_session(2);
    let ticket = rig.put("a");
    rig.courier.closed(0, "gone", rig.now);
    rig.greet(1);
    rig.refuse(1, ticket, Refusal::StoreFull { bytes_max: 1 });
    assert!(matches!(rig.error(), ClientError::Refused(_)));
}

#[test]
fn a_full_disk_is_said_at_once_and_what_was_sent_before_stays_unknown() {
    let refusal = Refusal::DiskFull {
        refuses_deletes: false,
    };
    let mut rig = Rig::with_session(2);
    let ticket = rig.put("a");
    rig.refuse(0, ticket, refusal.clone());
    assert!(matches!(rig.error(), ClientError::Refused(_)));
    let ticket = rig.put("a");
    rig.courier.closed(0, "gone", rig.now);
    rig.greet(1);
    rig.refuse(1, ticket, refusal);
    assert!(matches!(rig.error(), ClientError::RefusedRetry(_)));
}

#[test]
fn a_busy_replica_is_asked_again_after_a_pause_and_no_other_is_burdened() {
    let mut rig = Rig::with_session(2);
    let ticket = rig.put("a");
    let sent = rig.sent(0);
    let limit = Limit::RequestsHeld;
    rig.refuse(0, ticket, Refusal::Busy { limit });
    assert!(rig.sent(0).is_empty());
    rig.wait(MS * 20);
    assert_eq!(rig.sent(0), sent);
    assert_eq!(rig.courier.next_connect(rig.now), None);
}

#[test]
fn busy_to_the_end_is_a_refusal_if_no_copy_is_about() {
    let mut rig = Rig::with(1, |options| options.timeout = MS * 10);
    let ticket = rig.get("a");
    rig.greet(0);
    let limit = Limit::RequestsHeld;
    rig.refuse(0, ticket, Refusal::Busy { limit });
    rig.wait(MS * 20);
    assert!(matches!(
        rig.error(),
        ClientError::Refused(Refusal::Busy { .. })
    ));
}

#[test]
fn who_names_another_replica_is_left_for_it() {
    let mut rig = Rig::with_session(3);
    rig.courier.directory.note(2, 2);
    let ticket = rig.put("a");
    let sent = rig.sent(0);
    let replica = 2;
    rig.refuse(
        0,
        ticket,
        Refusal::AskReplica {
            replica,
            proposed: false,
        },
    );
    rig.greet(2);
    assert_eq!(rig.sent(2), sent);
}

#[test]
fn the_leader_is_followed_once_nothing_is_outstanding() {
    let mut rig = Rig::with(2, |options| options.follow_leader = true);
    let (first, second) = (rig.get("a"), rig.get("b"));
    rig.greet(0);
    let absent = || Outcome::Absent { revision: 1 };
    rig.answer_with_leader(0, first.0, absent(), Some(1));
    rig.sent(0);
    let third = rig.get("c");
    assert!(rig.sent(0).is_empty(), "what comes later waits");
    rig.answer_with_leader(0, second.0, absent(), Some(1));
    rig.greet(1);
    assert_eq!(rig.sent(1), ["Get tag=3 GET c"]);
    rig.answer_with_leader(1, third.0, absent(), Some(1));
    assert_eq!(rig.courier.next_connect(rig.now), None);
    assert_eq!(rig.done().len(), 3);
}

#[test]
fn a_leader_that_just_failed_is_not_followed() {
    let mut rig = Rig::with(2, |options| options.follow_leader = true);
    let first = rig.get("a");
    rig.greet(0);
    rig.courier.closed(0, "killed", rig.now);
    rig.greet(1);
    let absent = Outcome::Absent { revision: 1 };
    rig.answer_with_leader(1, first.0, absent, Some(0));
    assert_eq!(rig.courier.moving_to, None);
}

#[test]
fn a_replica_that_takes_no_connections_is_passed_over() {
    let mut rig = Rig::new(2);
    rig.get("a");
    rig.connect(0);
    let limit = Limit::Connections;
    rig.answer(0, 0, Outcome::Refused(Refusal::Busy { limit }));
    assert_eq!(rig.courier.next_close(), Some(0));
    rig.greet(1);
    assert_eq!(rig.sent(1), ["Get tag=1 GET a"]);
}

#[test]
fn frames_that_are_no_answers_are_skipped_and_broken_framing_ends_the_connection() {
    let mut rig = Rig::with_session(2);
    let ticket = rig.get("a");
    let mut bytes = Vec::new();
    Request::Status { tag: ticket.0 }.append_to(&mut bytes);
    bytes.extend_from_slice(&[0, 0, 0, 3, 0xfe, 1, 2]);
    rig.courier.received(0, &bytes, rig.now);
    assert!(rig.done().is_empty());
    assert_eq!(rig.courier.next_close(), None);
    rig.courier.received(0, &[0xff; LENGTH_BYTES], rig.now);
    assert_eq!(rig.courier.next_close(), Some(0));
    rig.greet(1);
    assert_eq!(rig.sent(1).last().unwrap(), "Get tag=2 GET a");
}

#[test]
fn an_answer_of_another_kind_is_an_error_and_no_answer() {
    let mut rig = Rig::with_session(1);
    let ticket = rig.get("a");
    rig.answer(0, ticket.0, put_done());
    assert!(matches!(rig.error(), ClientError::WrongAnswer { .. }));
}

#[test]
fn no_more_is_outstanding_than_the_replica_allows() {
    let mut rig = Rig::with_session(1);
    let tickets: Vec<Ticket> = (0..1_100).map(|_| rig.put("a")).collect();
    assert_eq!(rig.sent(0).len(), 1_024);
    rig.answer(0, tickets[0].0, put_done());
    assert_eq!(rig.sent(0).len(), 1);
}

#[test]
fn when_all_replicas_are_down_they_are_tried_again_and_again_but_not_without_pause() {
    let mut rig = Rig::new(3);
    rig.get("a");
    let mut attempts = 0;
    for _ in 0..100 {
        while let Some(lane) = rig.courier.next_connect(rig.now) {
            attempts += 1;
            rig.courier.closed(lane, "refused", rig.now);
        }
        rig.wait(MS * 10);
    }
    assert!(
        (9..60).contains(&attempts),
        "{attempts} attempts in a second"
    );
}

/// A store behind all lanes that runs each write once, as a cluster does, with answers lost, late and refused at random.
#[derive(Default)]
struct Cluster {
    ran: Vec<(u64, u64)>,
    /// Requests that were sent and not yet looked at.
    waiting: Vec<(usize, Request)>,
}

impl Cluster {
    fn outcome(&mut self, request: &Request, random: &mut SmallRng) -> Outcome {
        if random.random_bool(0.1) {
            let proposed = random.random();
            return Outcome::Refused(match random.random_range(0..3) {
                0 => Refusal::NoQuorum { proposed },
                1 => Refusal::Busy {
                    limit: Limit::BytesHeld,
                },
                _ => Refusal::AskReplica {
                    replica: random.random_range(0..4),
                    proposed,
                },
            });
        }
        match request {
            Request::OpenSession { nonce, .. } => Outcome::SessionOpened {
                session: SessionId {
                    revision: random.random_range(1..1_000_000),
                    nonce: *nonce,
                },
                expiry_s: 3_600,
            },
            Request::Write { write, .. } => self.run(write),
            Request::Get { .. } => Outcome::Absent { revision: 1 },
            Request::Status { .. } => Outcome::Put { revision: 1 },
        }
    }

    fn run(&mut self, write: &Write) -> Outcome {
        let name = (write.session.revision, write.sequence);
        if !self.ran.contains(&name) {
            self.ran.push(name);
        }
        put_done()
    }
}

#[test]
fn whatever_happens_every_operation_ends_once_and_no_answer_is_made_up() {
    for seed in 0..150 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut rig = Rig::with(3, |options| {
            options.timeout = MS * 3_000;
            options.follow_leader = seed % 2 == 0;
        });
        let mut cluster = Cluster::default();
        let mut ended = Vec::new();
        let mut submitted = 0;
        for _ in 0..600 {
            if submitted < 100 && random.random_bool(0.3) {
                submitted += 1;
                if random.random() {
                    rig.put("k")
                } else {
                    rig.get("k")
                };
            }
            step(&mut rig, &mut cluster, &mut random);
            ended.extend(rig.done());
        }
        rig.wait(MS * 3_100);
        ended.extend(rig.done());
        ended.sort_by_key(|(ticket, _)| *ticket);
        let tickets: Vec<u64> = ended.iter().map(|(ticket, _)| ticket.0).collect();
        assert_eq!(tickets, (1..=submitted).collect::<Vec<_>>(), "seed {seed}");
        let puts = ended
            .iter()
            .filter(|(_, result)| matches!(result, Ok(Reply::Put { .. })));
        assert!(puts.count() <= cluster.ran.len(), "seed {seed}");
        assert!(
            ended.iter().any(|(_, result)| result.is_ok()),
            "seed {seed}"
        );
    }
}

fn step(rig: &mut Rig, cluster: &mut Cluster, random: &mut SmallRng) {
    while rig.courier.next_close().is_some() {}
    if let Some(lane) = rig.courier.next_connect(rig.now) {
        if random.random_bool(0.7) {
            rig.greet_only(lane, Some(random.random_range(0..4)));
        } else {
            rig.courier.closed(lane, "refused", rig.now);
        }
    }
    for lane in 0..3 {
        for frame in rig.frames(lane) {
            if let ClientFrame::Request(request) = frame {
                cluster.waiting.push((lane, request));
            }
        }
    }
    while !cluster.waiting.is_empty() && random.random_bool(0.8) {
        let (lane, request) = cluster.waiting.remove(0);
        if random.random_bool(0.1) {
            continue;
        }
        let outcome = cluster.outcome(&request, random);
        let leader = random.random_range(0..4);
        rig.answer_with_leader(lane, request.tag(), outcome, Some(leader));
    }
    if random.random_bool(0.02) {
        let lane = random.random_range(0..3);
        if matches!(rig.courier.lanes[lane].state, LaneState::Open { .. }) {
            rig.courier.closed(lane, "broken", rig.now);
        }
    }
    let pause_ms = [0, 10, 10, 50, 600][random.random_range(0..5)];
    rig.wait(MS * pause_ms);
}
