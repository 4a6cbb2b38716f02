//! Agents that fail and are replaced, one of a replica at a time (SPEC D6, RULES R16).
//!
//! As in the server: what the agent had queued goes to the journal and what it had not said is never said; its successor
//! starts from what the journal reads back behind all that was queued.

use paxos::{Agent, ReplicaId, Slot};

use super::World;
use super::event::Event;
use crate::simulation::bugs::Bug;
use crate::simulation::faults::MS;
use crate::simulation::links::Links;
use crate::simulation::process::Away;
use crate::simulation::random::Random;

/// Which agents a run loses. It draws from a seed of its own, so that a run is the same but for them. Bugs that have
/// nothing to do with agents are looked for without these, which would only make rare interleavings rarer.
#[derive(Debug)]
pub(super) struct Failing {
    random: Random,
    /// The time between two failures in the cluster, at most; 0 for none.
    interval_us_max: u64,
    /// The next of the ambushes, which stop a cluster for long, is no earlier.
    ambush_at: u64,
    /// How long an agent is away, at most, where its journal is quick.
    lasts_us_max: u64,
}

impl Failing {
    /// Replicas without disks have no agents that fail: a successor starts from the disk.
    pub(super) fn draw(seed: u64, bug: Option<Bug>, diskless: bool) -> Self {
        let mut random = Random::new(seed.rotate_left(41) ^ 0x61_67_65_6e_74);
        let happens = bug.is_none_or(Bug::is_about_agents) && !diskless;
        let longest = random.pick(&[0, 0, 100 * MS, 400 * MS, 2_000 * MS]);
        Self {
            interval_us_max: if happens { longest } else { 0 },
            ambush_at: 0,
            lasts_us_max: random.pick(&[2 * MS, 20 * MS, 200 * MS, 1_000 * MS]),
            random,
        }
    }
}

impl World {
    pub(super) fn schedule_failure(&mut self) {
        if self.failing.interval_us_max > 0 && !self.calm {
            let after = self.failing.random.between(1, self.failing.interval_us_max);
            self.schedule(after, Event::Fail);
        }
    }

    /// An agent fails, of a leader half of the time.
    pub(super) fn draw_failure(&mut self) -> Result<(), String> {
        if self.calm {
            return Ok(());
        }
        self.schedule_failure();
        let count = self.replicas.len() as u64;
        let any = self.failing.random.between(0, count) as usize;
        let leader = self.leader().filter(|_| self.failing.random.chance(500));
        let replica = leader.unwrap_or(any);
        let agents = [Agent::Acceptor, Agent::Proposer, Agent::Learner];
        let agent = self.failing.random.pick(&agents);
        let is_paused = self.replicas[replica].paused_until > self.now;
        let process = self.replicas[replica].process.as_mut();
        if process
            .filter(|_| !is_paused)
            .is_some_and(|process| process.node.fail_agent(agent))
        {
            self.fail(replica, agent)?;
        }
        Ok(())
    }

    /// An acceptor fails while its disk hangs over what it alone has accepted of its leader, who stands still until a little
    /// later and hears nobody else. When it goes on, another may lead by the promise of the acceptor's successor, and the
    /// first still counts what votes there are.
    pub(super) fn ambush_acceptor(&mut self, replica: usize, slot: Slot) -> Result<(), String> {
        let is_due = self.failing.interval_us_max > 0 && self.now >= self.failing.ambush_at;
        let leader = self.leader().filter(|leader| *leader != replica);
        let Some(leader) = leader.filter(|_| is_due && !self.calm) else {
            return Ok(());
        };
        let is_alone = (0..self.replicas.len())
            .filter(|other| *other != replica && *other != leader)
            .all(|other| !self.replicas[other].accepted.contains_key(&slot));
        if !is_alone || !self.failing.random.chance(100) {
            return Ok(());
        }
        let node = &mut self.replicas[replica].running().node;
        if node.fail_agent(Agent::Acceptor) {
            let length = self.failing.random.between(300 * MS, 1_200 * MS);
            let longer = self.failing.random.between(MS, 100 * MS);
            self.failing.ambush_at = self.now + AMBUSH_INTERVAL_US;
            self.replicas[replica].disk_stalls_until = self.now + length;
            self.stand_still(leader, length + longer);
            self.set_links(Links::listening_to(self.replicas.len(), leader, replica));
            // What it sent last reaches nobody else.
            let sender = ReplicaId(leader as u8);
            self.events
                .retain(|_, event| !matches!(event, Event::Peer { from, .. } if *from == sender));
            self.fail(replica, Agent::Acceptor)?;
        }
        Ok(())
    }

    fn fail(&mut self, replica: usize, agent: Agent) -> Result<(), String> {
        self.trace(|| format!("> fail r{replica} {agent:?}"));
        self.report.role_failures += 1;
        let (bug, now) = (self.bug, self.now);
        let lasts = self.failing.random.between(1, self.failing.lasts_us_max);
        let process = self.replicas[replica].running();
        if agent == Agent::Acceptor && bug != Some(Bug::DeadAcceptorsOutboxSent) {
            process.forget_votes();
        }
        process.away = Some(Away {
            agent,
            since: now,
            until: now + lasts,
            read_back: None,
        });
        let output = process.node.take_output();
        self.handle(replica, output)?;
        let process = self.replicas[replica].running();
        match bug {
            _ if agent == Agent::Proposer => {}
            Some(Bug::SuccessorReadsEarly) => {
                let (early, _) = process.read_back()?;
                process.expect_successor(early);
            }
            Some(Bug::DeadAcceptorsOutboxSent) if agent == Agent::Acceptor => {
                let (early, promised) = process.read_back()?;
                // That a promise is missing the successor would see itself, and stop.
                if promised == process.node.promised() {
                    process.expect_successor(early);
                } else {
                    process.hand_read_back();
                }
            }
            Some(Bug::QueueDiesWithAgent) => {
                process.drop_queue();
                process.hand_read_back();
            }
            _ => process.hand_read_back(),
        }
        self.await_successor(replica);
        self.want_turn(replica);
        Ok(())
    }

    /// Has the successor come in time, if what it needs is there.
    pub(super) fn await_successor(&mut self, replica: usize) {
        let (life, now) = (self.replicas[replica].life, self.now);
        let away = self.replicas[replica].running().away.as_ref();
        let ready = away.filter(|away| away.agent == Agent::Proposer || away.read_back.is_some());
        if let Some(until) = ready.map(|away| away.until) {
            self.schedule(until.saturating_sub(now), Event::Succeed { replica, life });
        }
    }

    /// The successor takes its place.
    pub(super) fn succeed(&mut self, replica: usize, life: u64) {
        if self.replicas[replica].life != life {
            return;
        }
        let now = self.now;
        let birth = self.failing.random.draw();
        let process = self.replicas[replica].running();
        // Every sync while an agent is away makes such an event.
        let Some(away) = process.away.take_if(|away| away.until <= now) else {
            return;
        };
        let away_ms = (now - away.since) / MS;
        process
            .node
            .restore_agent(away.agent, away.read_back, birth, away_ms);
        self.trace(|| format!("> restore r{replica} {:?}", away.agent));
        self.want_turn(replica);
    }
}

const AMBUSH_INTERVAL_US: u64 = 2_000 * MS;
