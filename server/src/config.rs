//! What one server is told when it starts, already checked.

use crate::failing::FailingSettings;
use std::path::PathBuf;
use std::time::Duration;

use paxos::ReplicaId;

use crate::settings::GivenSettings;

/// Everything that a [`crate::server::Server`] is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which replica this is; one of `members`.
    pub replica: ReplicaId,
    /// All members, this one included, in order of ids, each id once.
    pub members: Vec<Member>,
    /// Where to listen for clients, as `host:port`; port 0 lets the system choose.
    pub client_address: String,
    /// Where to take datagrams, in the same form; `None` for nowhere.
    pub datagram_address: Option<String>,
    /// The longest datagram taken and sent, in bytes.
    pub datagram_bytes_max: usize,
    /// Where to listen for replicas, as `host:port`; `None` for the address in the member list.
    pub peer_address: Option<String>,
    /// The directory of this replica's files; made if it is missing. `None` for a replica without a disk.
    pub data: Option<PathBuf>,
    /// How many threads serve clients; at least 1.
    pub workers: u16,
    /// How long a request waits before it is answered "no quorum".
    pub no_quorum_after: Duration,
    /// Put GETs through the log instead of confirming leadership for them.
    pub reads_through_log: bool,
    /// What belongs to the cluster, as far as this server is told of it.
    pub cluster: GivenSettings,
    /// How many client connections there may be.
    pub connections_max: usize,
    /// Which agents fail on purpose, if any do.
    pub failing: Option<FailingSettings>,
}

/// One replica of the cluster and where the others reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: ReplicaId,
    /// `host:port`; a name is resolved again at every attempt to connect (SPEC B6).
    pub address: String,
}

impl Config {
    /// Where this replica listens for the others; `None` when there are none.
    #[must_use]
    pub fn peer_listen_address(&self) -> Option<&str> {
        if self.members.len() == 1 {
            return None;
        }
        let own = self.members.iter().find(|member| member.id == self.replica);
        self.peer_address
            .as_deref()
            .or_else(|| own.map(|member| member.address.as_str()))
    }
}
