//! The courier before a cluster that loses, delays and refuses at random.

use common::{ClientFrame, Outcome, SessionId, Write};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::lane::LaneState;
use super::rig::{MS, Rig, put_done};
use super::*;

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
