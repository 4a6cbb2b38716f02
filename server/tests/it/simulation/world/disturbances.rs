//! Faults as they come about: whom they befall, and what happens to it.

use kvpaxos_server::peers::PeerMessage;
use paxos::{Message, ReplicaId};

use super::World;
use super::event::Event;
use crate::simulation::faults::MS;
use crate::simulation::links::Links;

impl World {
    pub(super) fn draw_fault(&mut self) {
        if self.calm {
            return;
        }
        let next = self.random.between(1, 2 * self.faults.interval_us);
        self.schedule(next, Event::Fault);
        let replica = self.victim();
        match self.random.between(0, 12) {
            0..3 if self.faults.crashes => {
                if self.random.chance(300) {
                    self.stop(replica);
                } else {
                    self.crash(replica, false);
                }
            }
            3 if self.faults.power_cuts => self.stall_and_cut(replica),
            4 if self.faults.power_cuts => {
                for replica in 0..self.replicas.len() {
                    self.crash(replica, true);
                }
            }
            5..7 if self.faults.pauses => self.pause(replica),
            7..9 if self.faults.partitions => {
                self.report.partitions += 1;
                let links = Links::draw(self.replicas.len(), replica, &mut self.random);
                self.trace(|| format!("> partition {links:?}"));
                self.set_links(links);
            }
            9 if self.faults.link_stops => self.stop_links(),
            10 if self.faults.link_stops => self.flap(),
            _ => {
                self.trace(|| "> heal".to_owned());
                self.set_links(Links::whole(self.replicas.len()));
            }
        }
    }

    /// A process stops for a while and goes on as if nothing had happened. Sometimes its links break meanwhile, so that
    /// it finds there what came before, and no word of a new leader. Sometimes all others start anew just then.
    fn pause(&mut self, replica: usize) {
        let length = self.random.between(MS, self.random_pause_max());
        self.report.pauses += 1;
        self.stand_still(replica, length);
        let is_deaf = self.random.chance(500);
        self.trace(|| format!("> pause r{replica} {length} us, deaf={is_deaf}"));
        if is_deaf {
            self.replicas[replica].deaf_until = self.now + length;
        }
        if self.faults.crashes && self.random.chance(500) {
            for other in (0..self.replicas.len()).filter(|other| *other != replica) {
                let early = self.random.between(0, 20 * MS);
                let power = self.faults.power_cuts;
                self.schedule(
                    length.saturating_sub(early),
                    Event::Blink {
                        replica: other,
                        power,
                    },
                );
            }
        }
    }

    /// A pause within another does not end that one: what waits for its end stays in order.
    pub(super) fn stand_still(&mut self, replica: usize, length: u64) {
        let paused_until = &mut self.replicas[replica].paused_until;
        *paused_until = (*paused_until).max(self.now + length);
    }

    fn random_pause_max(&self) -> u64 {
        if self.scheduled.is_multiple_of(2) {
            700 * MS
        } else {
            5_000 * MS
        }
    }

    /// A disk takes long over one sync, and before it is done the power goes. Sometimes the leader dies first, so that
    /// the replica may come to lead with a promise that its own disk does not hold.
    fn stall_and_cut(&mut self, replica: usize) {
        let length = self.random.between(MS, 400 * MS);
        self.replicas[replica].disk_stalls_until = self.now + 4 * length + 1_200 * MS;
        if let Some(leader) = self.leader().filter(|leader| *leader != replica) {
            self.crash(leader, true);
            self.schedule(
                length + 500 * MS,
                Event::Blink {
                    replica,
                    power: true,
                },
            );
        } else {
            self.schedule(
                length,
                Event::Blink {
                    replica,
                    power: true,
                },
            );
        }
    }

    /// A candidate's disk hangs over its own promise, and when it has begun to lead by the promises of others the power
    /// goes: it comes back without a trace of the ballot in which it spoke (RULES R2). What it proposed in that ballot
    /// reaches one other at most.
    pub(super) fn ambush(&mut self, replica: usize, send: &mut Vec<(ReplicaId, PeerMessage)>) {
        let prepares = send
            .iter()
            .any(|(_, message)| matches!(message, PeerMessage::Agreement(Message::Prepare { .. })));
        if !self.calm && self.replicas[replica].disk_stalls_until > self.now {
            let heard = self.ambush_random.between(0, self.replicas.len() as u64) as u8;
            let is_proposal = |message: &PeerMessage| {
                matches!(message, PeerMessage::Agreement(Message::Accept { .. }))
            };
            send.retain(|(to, message)| to.0 == heard || !is_proposal(message));
        }
        let is_due = prepares && !self.calm && self.faults.power_cuts;
        if is_due && self.ambush_random.chance(200) {
            let length = self.ambush_random.between(2 * MS, 100 * MS);
            self.trace(|| {
                format!("> ambush r{replica}: its disk hangs, and the power goes in {length} us")
            });
            self.replicas[replica].disk_stalls_until = self.now + length + MS;
            let power = true;
            self.schedule(length, Event::Blink { replica, power });
        }
    }

    /// A replica that believes that it leads.
    pub(super) fn leader(&self) -> Option<usize> {
        self.replicas.iter().position(|replica| {
            let process = replica.process.as_ref();
            process.is_some_and(|process| process.node.leader() == Some(replica.id))
        })
    }

    /// Whom the next fault befalls: half of the time a leader, because most of what can go wrong goes wrong around one.
    fn victim(&mut self) -> usize {
        let any = self.random.between(0, self.replicas.len() as u64) as usize;
        let leader = self.leader();
        leader.filter(|_| self.random.chance(500)).unwrap_or(any)
    }
}
