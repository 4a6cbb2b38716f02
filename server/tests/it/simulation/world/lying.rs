//! Syncs that report success and do nothing (RULES R19).
//!
//! No replica can see that of its own disk. As long as the power stays nothing comes of it, and the next true sync makes it
//! good. When the power goes, what a lie has covered may be lost; but only what a majority of the others knows, for more no
//! store can stand: where they do not, the disk wrote it in time after all.

use super::World;
use crate::simulation::bugs::Bug;
use crate::simulation::random::Random;

/// Which syncs lie. It draws from a seed of its own, so that a run is the same but for them.
#[derive(Debug)]
pub(super) struct Lying {
    random: Random,
    /// Syncs that lie, of a thousand.
    rate: u64,
}

impl Lying {
    pub(super) fn draw(seed: u64, replicas: usize, bug: Option<Bug>, diskless: bool) -> Self {
        let mut random = Random::new(seed.rotate_left(23) ^ 0x6c_69_65);
        let happens = replicas > 2 && bug.is_none() && !diskless;
        let rate = random.pick(&[0, 0, 0, 20, 200]);
        Self {
            random,
            rate: if happens { rate } else { 0 },
        }
    }
}

impl World {
    /// The sync that is about to end may be a lie; afterwards the disk is honest again.
    pub(super) fn lie_about_sync(&mut self, replica: usize, may_lie: bool) {
        let lies = may_lie && !self.calm && self.lying.random.chance(self.lying.rate);
        if lies {
            self.report.disk_faults.lying_syncs += 1;
            self.trace(|| format!("> lie r{replica}: its sync does nothing"));
        }
        self.replicas[replica].disk.lie(lies);
    }

    /// The power of a replica goes: what its disk has lied about is lost if it may be.
    pub(super) fn settle_lies(&mut self, replica: usize) {
        if !self.replicas[replica].disk.has_lied() {
            return;
        }
        if self.may_forget(replica) && self.is_known_to_others(replica) {
            self.trace(|| format!("> lie r{replica}: what was not synced may be lost"));
            self.count_as_blank(replica);
        } else {
            self.replicas[replica].disk.make_good();
        }
    }
}
