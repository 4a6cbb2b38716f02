//! What a run did, and many runs together.

use std::fmt;

/// What a run did. Every number can be added to another run's.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) chosen: u64,
    /// Operations that were answered, and writes that may have run or not when their client gave them up.
    pub(super) operations: u64,
    pub(super) crashes: u64,
    pub(super) stops: u64,
    pub(super) partitions: u64,
    pub(super) stopped_links: u64,
    pub(super) link_events: u64,
    pub(super) pauses: u64,
    pub(super) clock_jumps: u64,
    pub(super) disk_faults: DiskFaults,
    /// Ballots that came to be led after a lower one was.
    pub(super) leader_changes: u64,
    pub(super) role_failures: u64,
    pub(super) large_values: u64,
    pub(super) snapshots: u64,
    pub(super) transfers: u64,
    /// Runs whose replicas had no disks.
    pub(super) diskless: u64,
    /// Runs whose first fault came before the cluster was founded.
    pub(super) faulty_foundings: u64,
    pub(super) simulated_us: u64,
    pub(super) trace_hash: u64,
}

/// What disks did wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DiskFaults {
    /// Power cuts that left of one write a part.
    pub(super) torn: u64,
    /// Power cuts that left nothing of what was not synced.
    pub(super) lost: u64,
    /// Blocks that were found where others belong.
    pub(super) misplaced: u64,
    /// Flipped bits.
    pub(super) rotten: u64,
    /// Segments that were gone.
    pub(super) missing: u64,
    pub(super) failed_syncs: u64,
    pub(super) lying_syncs: u64,
    pub(super) full: u64,
    pub(super) wipes: u64,
    pub(super) rollbacks: u64,
}

impl DiskFaults {
    fn all(&self) -> [(&'static str, u64); 10] {
        [
            ("torn", self.torn),
            ("lost", self.lost),
            ("misplaced", self.misplaced),
            ("rotten", self.rotten),
            ("missing", self.missing),
            ("failed_syncs", self.failed_syncs),
            ("lying_syncs", self.lying_syncs),
            ("full", self.full),
            ("wipes", self.wipes),
            ("rollbacks", self.rollbacks),
        ]
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.torn += other.torn;
        self.lost += other.lost;
        self.misplaced += other.misplaced;
        self.rotten += other.rotten;
        self.missing += other.missing;
        self.failed_syncs += other.failed_syncs;
        self.lying_syncs += other.lying_syncs;
        self.full += other.full;
        self.wipes += other.wipes;
        self.rollbacks += other.rollbacks;
    }
}

impl Report {
    pub(super) fn add(&mut self, other: &Self) {
        self.chosen += other.chosen;
        self.operations += other.operations;
        self.crashes += other.crashes;
        self.stops += other.stops;
        self.partitions += other.partitions;
        self.stopped_links += other.stopped_links;
        self.link_events += other.link_events;
        self.pauses += other.pauses;
        self.clock_jumps += other.clock_jumps;
        self.disk_faults.add(&other.disk_faults);
        self.leader_changes += other.leader_changes;
        self.role_failures += other.role_failures;
        self.large_values += other.large_values;
        self.snapshots += other.snapshots;
        self.transfers += other.transfers;
        self.diskless += other.diskless;
        self.faulty_foundings += other.faulty_foundings;
        self.simulated_us += other.simulated_us;
    }

    /// What happened at all, by name.
    pub(super) fn counts(&self) -> Vec<(&'static str, u64)> {
        let disk_faults = self.disk_faults.all();
        let mut counts = vec![
            ("chosen", self.chosen),
            ("operations", self.operations),
            ("crashes", self.crashes),
            ("partitions", self.partitions),
            (
                "disk_faults",
                disk_faults.iter().map(|(_, count)| count).sum(),
            ),
            ("leader_changes", self.leader_changes),
        ];
        counts.extend(disk_faults);
        counts.extend([
            ("stops", self.stops),
            ("stopped_links", self.stopped_links),
            ("link_events", self.link_events),
            ("pauses", self.pauses),
            ("clock_jumps", self.clock_jumps),
            ("role_failures", self.role_failures),
            ("large_values", self.large_values),
            ("snapshots", self.snapshots),
            ("transfers", self.transfers),
            ("diskless", self.diskless),
            ("faulty_foundings", self.faulty_foundings),
        ]);
        counts
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in self.counts() {
            write!(f, "{name}={count} ")?;
        }
        write!(f, "simulated_hours={:.2}", self.simulated_us as f64 / 3.6e9)
    }
}
