//! Disks that rot, misplace what is written, or fail to sync.

use super::World;
use crate::simulation::random::Random;

impl World {
    /// The journal of a replica that is down is not what it was: a segment is gone, a bit is flipped, or a block is found in
    /// another's place. Its identity is whole.
    pub(super) fn damage_journal(&mut self, replica: usize, random: &mut Random) {
        let disk = &self.replicas[replica].disk;
        let names = disk.names();
        let is_segment = |name: &&String| name.starts_with("segment-") && name.ends_with(".log");
        let segments: Vec<&String> = names.iter().filter(is_segment).collect();
        let newest = segments.last();
        let faults = &mut self.report.disk_faults;
        let what = match (random.between(0, 3), newest) {
            (1, Some(name)) => {
                faults.rotten += 1;
                let bits = 8 * disk.content(name).len() as u64;
                let bit = random.between(0, bits.min(ROTTEN_BITS_MAX));
                disk.flip_bit(name, bit as usize);
                format!("bit {bit} of {name} is flipped")
            }
            (2, Some(name)) => {
                faults.misplaced += 1;
                let (from, to) = (random.between(0, 3) as usize, random.between(3, 8) as usize);
                disk.misplace_block(name, from, to);
                format!("block {to} of {name} is what block {from} was")
            }
            _ => {
                faults.missing += 1;
                let oldest = segments.first();
                if let Some(name) = oldest {
                    disk.drop_file(name);
                }
                format!("{oldest:?} is gone")
            }
        };
        self.trace(|| format!("> damage r{replica} {what}"));
    }

    /// Now and then a write or a sync fails, and the process ends with it: says whether that was so.
    pub(super) fn fail_sync(&mut self, replica: usize) -> bool {
        if self.wiping.diskless || !self.random.chance(self.faults.failed_syncs) {
            return false;
        }
        let has_failed = self.replicas[replica].fail_sync(&mut self.random);
        if has_failed {
            self.report.disk_faults.failed_syncs += 1;
            self.trace(|| format!("> fail r{replica} sync"));
            self.crash(replica, false);
        }
        has_failed
    }
}

/// In the first 32 KiB of a segment, which are in use before others.
const ROTTEN_BITS_MAX: u64 = 8 * (32 << 10);
