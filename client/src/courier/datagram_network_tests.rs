//! The courier over UDP against a network that loses, repeats and reorders at random.

use common::{Answer, ClientMessage, Cookie, Outcome, ServerMessage, SessionId};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::datagram_tests::{MS, Rig, absent, cookie};
use super::*;

/// A store behind lanes over UDP that runs each write once, behind a network that does everything a network may do.
#[derive(Default)]
struct Network {
    /// Writes that ran, each with the revision that answers it.
    ran: Vec<(u64, u64)>,
    to_replica: Vec<(usize, Cookie, Request)>,
    to_client: Vec<(usize, ServerMessage)>,
    hellos: Vec<(usize, u64)>,
}

impl Network {
    fn message(&mut self, lane: usize, shown: Cookie, request: &Request) -> ServerMessage {
        let tag = request.tag();
        if shown != cookie(lane) {
            let cookie = cookie(lane);
            return ServerMessage::Cookie { tag, cookie };
        }
        let outcome = match request {
            Request::OpenSession { nonce, .. } => {
                let (revision, nonce) = (1, *nonce);
                let session = SessionId { revision, nonce };
                Outcome::SessionOpened {
                    session,
                    expiry_s: 3_600,
                }
            }
            Request::Write { write, .. } => self.run(write.session.nonce, write.sequence),
            Request::Get { .. } | Request::Status { .. } => absent(),
        };
        ServerMessage::Answer(Answer {
            tag,
            leader: None,
            outcome,
        })
    }

    /// The answer of a write is its place in the order of all.
    fn run(&mut self, nonce: u64, sequence: u64) -> Outcome {
        let name = (nonce, sequence);
        let ran = self.ran.iter().position(|found| *found == name);
        let place = ran.unwrap_or_else(|| {
            self.ran.push(name);
            self.ran.len() - 1
        });
        Outcome::Put {
            revision: place as u64,
        }
    }

    /// Carries what there is, in any order, some of it twice and some of it never.
    fn carry(&mut self, rig: &mut Rig, random: &mut SmallRng) {
        for lane in 0..LANES {
            for (shown, message) in rig.messages(lane) {
                match message {
                    ClientMessage::Hello(hello) => self.hellos.push((lane, hello.tag)),
                    ClientMessage::Request(request) => {
                        self.to_replica.push((lane, shown, request));
                    }
                }
            }
        }
        while let Some((lane, tag)) = draw(&mut self.hellos, random) {
            rig.greet_with(lane, tag);
        }
        while let Some((lane, shown, request)) = draw(&mut self.to_replica, random) {
            // What a replica restarted forgets.
            let shown = if random.random_bool(0.1) {
                Cookie::NONE
            } else {
                shown
            };
            let message = self.message(lane, shown, &request);
            self.to_client.push((lane, message));
        }
        while let Some((lane, message)) = draw(&mut self.to_client, random) {
            rig.say(lane, message);
        }
    }
}

/// How many lanes the random test has.
const LANES: usize = 3;

/// One of them: taken, or left to come again, or lost. None when what is left comes later.
fn draw<T: Clone>(waiting: &mut Vec<T>, random: &mut SmallRng) -> Option<T> {
    while !waiting.is_empty() && random.random_bool(0.8) {
        let place = random.random_range(0..waiting.len());
        if random.random_bool(0.1) {
            return Some(waiting[place].clone());
        }
        let taken = waiting.swap_remove(place);
        if random.random_bool(0.9) {
            return Some(taken);
        }
    }
    None
}

#[test]
fn whatever_the_network_does_every_operation_ends_once_with_its_own_answer() {
    for seed in 0..150 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut rig = Rig::new("udp://h:1,udp://h:2,udp://h:3");
        let mut network = Network::default();
        let (mut submitted, mut ended) = (0, 0);
        let mut revisions = Vec::new();
        for _ in 0..1_000 {
            if submitted < 60 && random.random_bool(0.3) {
                submitted += 1;
                if random.random() {
                    rig.put("k", 1);
                } else {
                    rig.get("k");
                }
            }
            while rig.courier.next_close().is_some() {}
            rig.courier.next_connect(rig.now);
            network.carry(&mut rig, &mut random);
            let pause_ms = [0, 5, 10, 50, 300][random.random_range(0..5)];
            rig.wait(MS * pause_ms);
            for result in rig.done() {
                ended += 1;
                if let Reply::Put { revision } = result.unwrap() {
                    revisions.push(revision);
                }
            }
        }
        assert_eq!((submitted, ended), (60, 60), "seed {seed}");
        revisions.sort_unstable();
        let writes = 0..network.ran.len() as u64;
        assert!(
            revisions.iter().copied().eq(writes),
            "seed {seed}: each write ran once and its answer is its own: {revisions:?}"
        );
    }
}
