//! Links that are cut and stopped, and what replicas notice of it.

use paxos::ReplicaId;

use super::World;
use super::event::Event;
use crate::simulation::faults::MS;
use crate::simulation::links::{Carriage, Links};

impl World {
    /// From now on the links are these. Who loses a connection by that, or gets one, notices a little later.
    pub(super) fn set_links(&mut self, links: Links) {
        let before = std::mem::replace(&mut self.links, links);
        for (one, other) in Links::directions(self.replicas.len()) {
            if before.at(one, other) == Carriage::Stopped {
                self.release(one, other);
            }
            let is_up = self.links.is_up(one, other);
            if is_up != before.is_up(one, other) {
                let longest = if is_up { TOLD_US_MAX } else { SILENCE_US_MAX };
                self.notice_link(one, other, is_up, longest);
            }
        }
    }

    /// All other replicas notice that this one came; it notices those that it reaches.
    pub(super) fn notice_start(&mut self, replica: usize) {
        self.notice_links_of(replica, true, TOLD_US_MAX);
    }

    /// All other replicas notice that this one went. The system tells them, unless it went as well.
    pub(super) fn notice_end(&mut self, replica: usize, power: bool) {
        let longest = if power { SILENCE_US_MAX } else { TOLD_US_MAX };
        self.notice_links_of(replica, false, longest);
    }

    fn notice_links_of(&mut self, replica: usize, up: bool, longest_us: u64) {
        for other in (0..self.replicas.len()).filter(|other| *other != replica) {
            if self.links.is_up(replica, other) {
                self.notice_link(other, replica, up, longest_us);
                self.notice_link(replica, other, up, longest_us);
            }
        }
    }

    fn notice_link(&mut self, replica: usize, peer: usize, up: bool, longest_us: u64) {
        let after = self.link_random.between(20, longest_us);
        let peer = ReplicaId(peer as u8);
        self.schedule(after, Event::Link { replica, peer, up });
    }

    pub(super) fn link(&mut self, replica: usize, peer: ReplicaId, up: bool) {
        if let Some(process) = &mut self.replicas[replica].process {
            self.report.link_events += 1;
            process.node.link(peer, up);
            self.trace(|| {
                let state = if up { "up" } else { "down" };
                format!("> link r{replica} - {peer} is {state}")
            });
            self.want_turn(replica);
        }
    }

    /// Links stop one by one, and go on in another order: what was sent meanwhile arrives then.
    pub(super) fn stop_links(&mut self) {
        let mut directions: Vec<_> = Links::directions(self.replicas.len()).collect();
        self.link_random.shuffle(&mut directions);
        let longest = self.faults.interval_us;
        for carriage in [Carriage::Stopped, Carriage::Carries] {
            let mut after = match carriage {
                Carriage::Stopped => 0,
                Carriage::Carries | Carriage::Cut => longest,
            };
            for &(from, to) in &directions {
                after += self
                    .link_random
                    .between(1, 1 + longest / directions.len() as u64);
                self.schedule(after, Event::Carriage { from, to, carriage });
            }
            self.link_random.shuffle(&mut directions);
        }
    }

    /// The links between two replicas break and come back, several times.
    pub(super) fn flap(&mut self) {
        let count = self.replicas.len() as u64;
        if count == 1 {
            return;
        }
        let one = self.link_random.between(0, count);
        let other = (one + self.link_random.between(1, count)) % count;
        let (one, other) = (one as usize, other as usize);
        let mut after = 0;
        for _ in 0..self.link_random.between(1, 6) {
            for carriage in [Carriage::Cut, Carriage::Carries] {
                after += self.link_random.between(MS, 200 * MS);
                for (from, to) in [(one, other), (other, one)] {
                    self.schedule(after, Event::Carriage { from, to, carriage });
                }
            }
        }
    }

    /// One direction changes, unless the faults are over.
    pub(super) fn change_carriage(&mut self, from: usize, to: usize, carriage: Carriage) {
        if self.calm || self.links.at(from, to) == carriage {
            return;
        }
        self.report.stopped_links += u64::from(carriage == Carriage::Stopped);
        self.trace(|| format!("> link r{from} -> r{to} {carriage:?}"));
        let mut links = self.links.clone();
        links.set(from, to, carriage);
        self.set_links(links);
    }

    /// What was sent while the link was stopped arrives, in any order.
    fn release(&mut self, from: usize, to: usize) {
        if self.links.at(from, to) == Carriage::Stopped {
            return;
        }
        for message in self.held.remove(&(from, to)).unwrap_or_default() {
            let delay = self.link_random.between(20, 20 * MS);
            let from = ReplicaId(from as u8);
            self.schedule(delay, Event::Peer { from, to, message });
        }
    }
}

/// A stopped link holds no more than this, as the queues of the product are bounded.
pub(super) const HELD_MESSAGES_MAX: usize = 1_000;

/// A connection that was made or closed is noticed within this time.
const TOLD_US_MAX: u64 = 300 * MS;

/// The same where nobody closes it, and only silence tells.
const SILENCE_US_MAX: u64 = 3_000 * MS;
