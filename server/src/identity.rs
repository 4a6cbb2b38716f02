//! Who this replica is: its id, its incarnation, and the cluster that it was founded into.

use paxos::{Incarnation, ReplicaId};

/// What the directory says of its owner. Written once when the directory is new, and once more at the founding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which replica these files belong to.
    pub replica: ReplicaId,
    /// The life of its acceptor memory (RULES R1).
    pub incarnation: Incarnation,
    /// The cluster, once it is founded.
    pub founding: Option<FoundingRecord>,
}

/// What founds a cluster: the configuration from slot 0 (RULES R11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundingRecord {
    /// 64 random bits, never 0.
    pub cluster: u64,
    /// Every member and the incarnation under which it votes, in order of ids.
    pub members: Vec<(ReplicaId, Incarnation)>,
    /// What apply depends on.
    pub settings: ClusterSettings,
}

/// What belongs to the cluster rather than to a server, because applying a command depends on it (SPEC C5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// The longest value, in bytes.
    pub value_bytes_max: u32,
    /// How many sessions there may be.
    pub sessions_max: u32,
    /// After how many seconds of log time an idle session is forgotten.
    pub session_expiry_s: u32,
    /// Every how many slots the state hash is noted.
    pub hash_interval: u32,
    /// How many bytes of keys and values the store may hold.
    pub store_bytes_max: u64,
    /// How many slots may be in flight; also the distance after which a change of the voters is in force (RULES R1).
    pub window: u32,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            value_bytes_max: 8 << 20,
            sessions_max: 1_000_000,
            session_expiry_s: 3_600,
            hash_interval: 1_024,
            store_bytes_max: 4 << 30,
            window: 64,
        }
    }
}
