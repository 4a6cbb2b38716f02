//! The node's side of snapshots: handing the state out in pieces (RULES R22).

use super::image::{Piece, SnapshotHead};
use super::{Node, Phase};

impl Node {
    /// Begins a snapshot of the state as it stands, and gives its head and the hash of the state; one that was being taken
    /// is given up. `None` while this replica takes no part in a cluster: then there is nothing to keep.
    pub fn begin_snapshot(&mut self) -> Option<(SnapshotHead, u128)> {
        let Phase::Running(replica) = &self.phase else {
            return None;
        };
        let cluster = self.identity.founding.as_ref()?.cluster;
        Some(self.state.begin_snapshot(cluster, replica.configuration()))
    }

    /// The next piece of the snapshot that was begun, of that slot whatever was applied meanwhile. `None` when there are no
    /// more.
    pub fn snapshot_step(&mut self) -> Option<Piece> {
        self.state.snapshot_step(PIECE_BYTES_MAX)
    }
}

/// What is copied in one turn, unless one entry is longer: some 50 us.
const PIECE_BYTES_MAX: usize = 256 << 10;
