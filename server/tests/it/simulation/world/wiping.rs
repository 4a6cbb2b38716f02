//! Disks that are lost, and replicas that come back without a memory.
//!
//! At any time at most as many replicas are blank as leave a majority that remembers, counted until the log lets each
//! vote again (RULES R19): with more of them lost nobody could know what was chosen.

use std::collections::BTreeSet;

use kvpaxos_server::identity::Identity;
use kvpaxos_server::peers::PeerMessage;
use paxos::{Message, Slot};

use super::World;
use super::event::Event;
use crate::faulty_disk::FaultyDisk;
use crate::simulation::bugs::Bug;
use crate::simulation::faults::MS;
use crate::simulation::random::Random;

/// Which disks a run loses. It draws from a seed of its own, so that a run is the same but for them. Bugs that have
/// nothing to do with lost disks are looked for without these, which would only make rare interleavings rarer.
#[derive(Debug)]
pub(super) struct Wiping {
    random: Random,
    /// The time between two lost disks, at most; 0 for none.
    interval_us_max: u64,
    /// So many may be blank at a time.
    blank_max: usize,
    /// Whose disk was lost and who has not voted since.
    blank: BTreeSet<usize>,
    /// The replicas run without disks: every crash takes the memory.
    pub(super) diskless: bool,
}

impl Wiping {
    pub(super) fn draw(seed: u64, replicas: usize, bug: Option<Bug>) -> Self {
        let mut random = Random::new(seed.rotate_left(17) ^ 0x77_69_70_65);
        let blank_max = replicas - (replicas / 2 + 1);
        let is_about_disks = matches!(bug, None | Some(Bug::BlankVotes));
        let happens = blank_max > 0 && is_about_disks;
        let longest = random.pick(&[0, 0, 500 * MS, 2_000 * MS, 4_000 * MS]);
        Self {
            interval_us_max: if happens { longest } else { 0 },
            diskless: happens && bug.is_none() && longest > 0 && random.chance(200),
            random,
            blank_max,
            blank: BTreeSet::new(),
        }
    }

    /// Whether there is any.
    pub(super) fn happens(&self) -> bool {
        self.interval_us_max > 0
    }
}

impl World {
    pub(super) fn schedule_wipe(&mut self) {
        if self.wiping.interval_us_max > 0 && !self.calm {
            let after = self.wiping.random.between(1, self.wiping.interval_us_max);
            self.schedule(after, Event::Wipe);
        }
    }

    /// One loses its disk and starts again without it: half of the time a leader.
    pub(super) fn draw_wipe(&mut self) {
        if self.calm {
            return;
        }
        self.schedule_wipe();
        let count = self.replicas.len() as u64;
        let any = self.wiping.random.between(0, count) as usize;
        let leader = self.leader().filter(|_| self.wiping.random.chance(500));
        let replica = leader.unwrap_or(any);
        if !self.may_forget(replica) {
            return;
        }
        self.crash(replica, true);
        if self.wiping.diskless {
            return;
        }
        self.wiping.blank.insert(replica);
        if self.bug == Some(Bug::BlankVotes) {
            let before = Identity::load(&self.replicas[replica].disk);
            let before = before.ok().flatten();
            self.replicas[replica].revived = before.map(|identity| identity.incarnation.0);
        }
        if self.bug.is_none() && self.wiping.random.chance(500) {
            let mut random = self.wiping.random.clone();
            self.damage_journal(replica, &mut random);
            self.wiping.random = random;
        } else {
            self.trace(|| format!("> wipe r{replica}"));
            self.report.disk_faults.wipes += 1;
            self.replicas[replica].disk = FaultyDisk::new();
        }
    }

    /// Whether enough others remember for this one to lose its memory.
    pub(super) fn may_forget(&mut self, replica: usize) -> bool {
        let blank = self.blank_replicas();
        !blank.contains(&replica) && blank.len() < self.wiping.blank_max
    }

    /// Whether something was done to this replica's memory since it last voted.
    pub(super) fn is_blank(&self, replica: usize) -> bool {
        self.wiping.blank.contains(&replica)
    }

    /// A replica may have lost its memory: until it votes again it counts as if it had.
    pub(super) fn count_as_blank(&mut self, replica: usize) {
        self.wiping.blank.insert(replica);
    }

    /// A replica without a disk has ended: what it held is lost.
    pub(super) fn forget_all(&mut self, replica: usize) {
        self.trace(|| format!("> wipe r{replica}: it had no disk"));
        self.report.disk_faults.wipes += 1;
        self.wiping.blank.insert(replica);
        self.replicas[replica].disk = FaultyDisk::new();
    }

    /// Those whose memory is lost. One that votes again counts as blank until its disk knows what it voted on.
    pub(super) fn blank_replicas(&mut self) -> BTreeSet<usize> {
        let replicas = &self.replicas;
        self.wiping.blank.retain(|&replica| {
            let process = replicas[replica].process.as_ref();
            let has_memory =
                process.is_some_and(|process| process.node.votes() && process.is_durable());
            !has_memory || replicas[replica].disk.has_lied()
        });
        self.wiping.blank.clone()
    }

    /// Where disks are lost nobody forgets what others may have to learn again, so that replicas come back by the log;
    /// without disks they come back by snapshots.
    pub(super) fn keep_in_memory(&self, message: &mut PeerMessage) {
        let loses_none = !self.wiping.happens() && !self.rolling_back.happens();
        if loses_none || self.wiping.diskless {
            return;
        }
        if let PeerMessage::Agreement(
            Message::Echo {
                durable_watermark, ..
            }
            | Message::Accepted {
                durable_watermark, ..
            },
        ) = message
        {
            *durable_watermark = Slot(0);
        }
    }
}
