//! Disks that go back to an earlier state, clean and whole, as after syncs that lied or a restored copy (RULES R19).
//!
//! No replica can see that of its own disk. So what is lost is only what a majority of the others knows: each of them has
//! promised as much, and has applied every slot in which the unlucky one accepted something. Any quorum that it is a part
//! of from then on has one of them in it.

use paxos::Incarnation;

use super::World;
use super::event::Event;
use crate::simulation::bugs::Bug;
use crate::simulation::faults::MS;
use crate::simulation::random::Random;
use crate::simulation::replica::DiskCopy;

/// Which disks go back. It draws from a seed of its own, so that a run is the same but for them. Bugs that have nothing to
/// do with it are looked for without, because it would only make rare interleavings rarer.
#[derive(Debug)]
pub(super) struct RollingBack {
    random: Random,
    /// The time between two tries, at most; 0 for none.
    interval_us_max: u64,
    /// Of each replica an earlier state of its disk, and the life that it is of.
    copies: Vec<Option<(Incarnation, DiskCopy)>>,
}

impl RollingBack {
    pub(super) fn draw(seed: u64, replicas: usize, bug: Option<Bug>, diskless: bool) -> Self {
        let mut random = Random::new(seed.rotate_left(53) ^ 0x72_6f_6c_6c);
        let is_about_disks = bug.is_none_or(|bug| bug == Bug::VotesRolledBack);
        let happens = replicas > 1 && is_about_disks && !diskless;
        let longest = random.pick(&[0, 0, 300 * MS, 1_000 * MS]);
        Self {
            interval_us_max: if happens { longest } else { 0 },
            random,
            copies: (0..replicas).map(|_| None).collect(),
        }
    }

    /// Whether there is any.
    pub(super) fn happens(&self) -> bool {
        self.interval_us_max > 0
    }
}

impl World {
    pub(super) fn schedule_rolling_back(&mut self) {
        if self.rolling_back.happens() && !self.calm {
            let longest = self.rolling_back.interval_us_max;
            let after = self.rolling_back.random.between(1, longest);
            self.schedule(after, Event::RollBack);
        }
    }

    /// A replica crashes, and a copy of its disk is made; or it crashes, and its disk is as the copy.
    pub(super) fn draw_rolling_back(&mut self) {
        if self.calm {
            return;
        }
        self.schedule_rolling_back();
        let count = self.replicas.len() as u64;
        let replica = self.rolling_back.random.between(0, count) as usize;
        let Some(life) = self.replicas[replica].incarnation() else {
            return;
        };
        if self.replicas[replica].process.is_none() {
            return;
        }
        let copy = self.rolling_back.copies[replica].take_if(|(of, _)| *of == life);
        let Some((_, copy)) = copy else {
            self.crash(replica, true);
            let copy = self.replicas[replica].copy_disk();
            self.rolling_back.copies[replica] = Some((life, copy));
            return;
        };
        let may_go_back = self.may_forget(replica)
            && (self.bug == Some(Bug::VotesRolledBack) || self.is_known_to_others(replica));
        if !may_go_back {
            self.rolling_back.copies[replica] = Some((life, copy));
            return;
        }
        self.crash(replica, true);
        self.trace(|| format!("> roll back r{replica}"));
        self.report.disk_faults.rollbacks += 1;
        // It may take a new life, where what is left does not fit together: then it counts like one that was wiped.
        self.count_as_blank(replica);
        self.replicas[replica].put_disk(copy);
    }

    /// Whether a majority of all, without this one, has on its disks what makes its votes needless.
    pub(super) fn is_known_to_others(&mut self, replica: usize) -> bool {
        let blank = self.blank_replicas();
        let process = self.replicas[replica].running();
        let promised = process.node.promised();
        // What it holds now does not tell: it may have accepted, applied and trimmed, and its learner may be away.
        let above = self.replicas[replica].reached;
        let knows = |other: &usize| {
            let is_honest = !self.replicas[*other].disk.has_lied();
            let process = self.replicas[*other].process.as_ref();
            process.filter(|_| is_honest).is_some_and(|process| {
                let node = &process.node;
                let has_memory = process.is_durable() && process.away.is_none();
                let votes = has_memory && node.votes() && !blank.contains(other);
                votes && node.promised() >= promised && node.applied() >= above
            })
        };
        let others = (0..self.replicas.len()).filter(|other| *other != replica);
        others.filter(knows).count() > self.replicas.len() / 2
    }
}
