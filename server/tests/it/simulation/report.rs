//! What a run did, and many runs together.

use std::fmt;

/// What a run did.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) chosen: u64,
    pub(super) operations: u64,
    pub(super) crashes: u64,
    pub(super) stops: u64,
    pub(super) partitions: u64,
    pub(super) pauses: u64,
    pub(super) snapshots: u64,
    pub(super) transfers: u64,
    pub(super) wipes: u64,
    /// Runs whose replicas had no disks.
    pub(super) diskless: u64,
    pub(super) rollbacks: u64,
    pub(super) role_failures: u64,
    pub(super) full_disks: u64,
    pub(super) simulated_us: u64,
    pub(super) trace_hash: u64,
}

impl Report {
    pub(super) fn add(&mut self, other: &Self) {
        self.chosen += other.chosen;
        self.operations += other.operations;
        self.crashes += other.crashes;
        self.stops += other.stops;
        self.partitions += other.partitions;
        self.pauses += other.pauses;
        self.snapshots += other.snapshots;
        self.transfers += other.transfers;
        self.wipes += other.wipes;
        self.diskless += other.diskless;
        self.rollbacks += other.rollbacks;
        self.role_failures += other.role_failures;
        self.full_disks += other.full_disks;
        self.simulated_us += other.simulated_us;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "chosen={} operations={} crashes={} stops={} partitions={} pauses={} wipes={} rollbacks={} diskless={} role_failures={} full_disks={} snapshots={} transfers={} simulated_hours={:.2}",
            self.chosen,
            self.operations,
            self.crashes,
            self.stops,
            self.partitions,
            self.pauses,
            self.wipes,
            self.rollbacks,
            self.diskless,
            self.role_failures,
            self.full_disks,
            self.snapshots,
            self.transfers,
            self.simulated_us as f64 / 3.6e9
        )
    }
}
