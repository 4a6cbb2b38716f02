//! A courier for tests, with lanes that are played by hand: every byte it sends is looked at, every byte it gets is chosen.

use std::mem;

use common::{Answer, ClientFrame, FrameBuffer, Greeting, Outcome, SessionId};

use super::lane::LaneState;
use super::*;

pub(super) const MS: Duration = Duration::from_millis(1);

/// A courier, its clock, and what it said last on each lane.
pub(super) struct Rig {
    pub(super) courier: Courier,
    pub(super) now: Instant,
    /// What openings of sessions are answered.
    pub(super) expiry_s: u32,
}

impl Rig {
    pub(super) fn new(endpoints: usize) -> Self {
        Self::with(endpoints, |_| {})
    }

    pub(super) fn with(endpoints: usize, adjust: impl FnOnce(&mut ClientOptions)) -> Self {
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
    pub(super) fn with_session(endpoints: usize) -> Self {
        let mut rig = Self::new(endpoints);
        rig.begin_session();
        rig
    }

    pub(super) fn begin_session(&mut self) {
        let ticket = self.put("first");
        self.greet(0);
        self.open_session(0);
        self.sent(0);
        self.answer(0, ticket.0, put_done());
        assert!(self.done()[0].1.is_ok());
    }

    pub(super) fn put(&mut self, key: &str) -> Ticket {
        let (key, value) = (key.into(), b"v".to_vec());
        self.courier.submit(Operation::Put { key, value }, self.now)
    }

    pub(super) fn get(&mut self, key: &str) -> Ticket {
        let key = key.into();
        self.courier.submit(Operation::Get { key }, self.now)
    }

    /// Lets the courier connect to the lane it wants, and greets it there.
    pub(super) fn greet(&mut self, lane: usize) {
        self.connect(lane);
        self.greet_only(lane, None);
    }

    pub(super) fn connect(&mut self, lane: usize) {
        assert_eq!(self.courier.next_connect(self.now), Some(lane));
        let ClientFrame::Hello(_) = &self.frames(lane)[0] else {
            panic!("a connection opens with a hello");
        };
    }

    pub(super) fn greet_only(&mut self, lane: usize, leader: Option<u8>) {
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
    pub(super) fn open_session(&mut self, lane: usize) {
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
    pub(super) fn frames(&mut self, lane: usize) -> Vec<ClientFrame> {
        let mut buffer = FrameBuffer::new(u32::MAX);
        buffer.extend(&mem::take(self.courier.outgoing(lane)));
        let mut frames = Vec::new();
        while let Some(payload) = buffer.next_frame().unwrap() {
            frames.push(ClientFrame::decode(payload, &WireLimits::default()).unwrap());
        }
        frames
    }

    /// The same, as lines.
    pub(super) fn sent(&mut self, lane: usize) -> Vec<String> {
        let line = |frame: ClientFrame| match frame {
            ClientFrame::Request(request) => request.to_string(),
            ClientFrame::Hello(hello) => hello.to_string(),
        };
        self.frames(lane).into_iter().map(line).collect()
    }

    pub(super) fn answer(&mut self, lane: usize, tag: u64, outcome: Outcome) {
        self.answer_with_leader(lane, tag, outcome, None);
    }

    pub(super) fn refuse(&mut self, lane: usize, ticket: Ticket, refusal: Refusal) {
        self.answer(lane, ticket.0, Outcome::Refused(refusal));
    }

    pub(super) fn answer_with_leader(
        &mut self,
        lane: usize,
        tag: u64,
        outcome: Outcome,
        leader: Option<u8>,
    ) {
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
    pub(super) fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now += MS * 10;
            self.courier.tick(self.now);
            self.check();
        }
    }

    pub(super) fn done(&mut self) -> Vec<(Ticket, Result<Reply, ClientError>)> {
        let done = self.courier.completions();
        done.map(|completion| (completion.ticket, completion.result))
            .collect()
    }

    pub(super) fn error(&mut self) -> ClientError {
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

pub(super) fn put_done() -> Outcome {
    Outcome::Put { revision: 9 }
}
