//! A node whose driver keeps nothing (SPEC D7): the state is its own snapshot.
//!
//! Whoever lacks the log is given a snapshot of the state as it stands, taken when it asks; so the log in memory is
//! covered at every moment, and what is not wanted for a transfer takes no memory beside the state.

use super::{Node, Phase, TransferStep};

impl Node {
    /// Nothing survives this process: what was handed over counts as durable at once, and snapshots are taken for peers
    /// alone. To be called before the first tick.
    pub fn run_without_disk(&mut self) {
        self.has_disk = false;
    }

    /// Instead of taking snapshots by plan.
    pub(super) fn tick_without_disk(&mut self) {
        if let Phase::Running(replica) = &mut self.phase {
            replica.snapshot_durable(self.state.applied());
        }
        let is_wanted = self.transfers.is_sending() || self.transfers.is_receiving();
        if !is_wanted && self.snapshots.drop_kept() {
            self.out.transfers.push(TransferStep::DropKept);
        }
    }

    /// What a person should know of a replica without a disk; empty for one that has one.
    pub(super) fn disk_remark(&self) -> &'static str {
        if self.has_disk {
            ""
        } else {
            "without a disk: blank after a restart"
        }
    }
}
