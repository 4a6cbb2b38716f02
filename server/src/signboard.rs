//! What the replica thread lets all others know without being asked: the cluster and who leads. It goes into the
//! greetings of client connections as a hint, so that nothing depends on how fresh it is.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

/// Written by the replica thread, read by the workers.
#[derive(Debug)]
pub struct Signboard {
    cluster: AtomicU64,
    leader: AtomicU16,
}

impl Signboard {
    /// The cluster's id; 0 before it is founded.
    #[must_use]
    pub fn cluster(&self) -> u64 {
        self.cluster.load(Ordering::Relaxed)
    }

    /// The replica that leads, as far as this one knows.
    #[must_use]
    pub fn leader(&self) -> Option<u8> {
        u8::try_from(self.leader.load(Ordering::Relaxed)).ok()
    }

    /// Says which cluster this is.
    pub fn show_cluster(&self, cluster: u64) {
        self.cluster.store(cluster, Ordering::Relaxed);
    }

    /// Says who leads.
    pub fn show_leader(&self, leader: Option<u8>) {
        let leader = leader.map_or(NO_LEADER, u16::from);
        if self.leader.load(Ordering::Relaxed) != leader {
            self.leader.store(leader, Ordering::Relaxed);
        }
    }
}

impl Default for Signboard {
    fn default() -> Self {
        Self {
            cluster: AtomicU64::new(0),
            leader: AtomicU16::new(NO_LEADER),
        }
    }
}

/// Beyond every id.
const NO_LEADER: u16 = u16::MAX;
