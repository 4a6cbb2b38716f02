//! One replica as a state machine: agreement, sessions and store, with no socket, clock, thread or file.
//!
//! A driver (the replica thread, or the simulator) calls [`Node::client`], [`Node::peer`], [`Node::tick`] and the
//! rest, then takes one [`NodeOutput`] and handles its fields in their order.

use std::fmt;

use common::{Answer, Request};
use paxos::{DurableState, Persist, Record, ReplicaId};

use crate::identity::{ClusterSettings, Identity};
use crate::peers::PeerMessage;

/// One client connection: unique in the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// The worker that owns the connection.
    pub worker: u16,
    /// The worker's number for it, never used twice.
    pub serial: u64,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}.{}", self.worker, self.serial)
    }
}

/// What a node is told when it starts.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Which replica this is.
    pub replica: ReplicaId,
    /// All members, this one included, in order of ids.
    pub members: Vec<ReplicaId>,
    /// What a cluster founded by this node would be bound to.
    pub cluster: ClusterSettings,
    /// How long a request may wait before it is answered "no quorum", in ticks.
    pub no_quorum_after_ticks: u64,
    /// Put GETs through the log instead of confirming leadership for them.
    pub reads_through_log: bool,
    /// 64 random bits that no other life of this process has used: the birth of its proposer (RULES R2) and the seed
    /// of its random times.
    pub birth: u64,
}

/// Gathers what the journal replays, and becomes a [`Node`].
#[derive(Debug)]
pub struct Recovery {}

impl Recovery {
    /// Nothing replayed yet.
    #[must_use]
    pub fn new(settings: ClusterSettings) -> Self {
        let _ = settings;
        Self {}
    }

    /// One batch of the journal, in the order of its serials.
    pub fn batch(&mut self, state: DurableState, records: Vec<Record>) {
        let _ = (self, state, records);
    }
}

/// One replica.
#[derive(Debug)]
pub struct Node {}

/// What a turn of the node asks of its driver; to be handled in the order of the fields.
#[derive(Debug, Default)]
#[must_use = "an output that is dropped loses messages, answers and, worse, promises"]
pub struct NodeOutput {
    /// To be made durable before anything in `send_when_durable` leaves, and before later `persist`s.
    pub identity: Option<Identity>,
    /// To be appended to the journal.
    pub persist: Option<Persist>,
    /// To be sent at once.
    pub send: Vec<(ReplicaId, PeerMessage)>,
    /// To be sent when everything handed over so far is durable. What is addressed to this replica itself goes back
    /// into [`Node::peer`].
    pub send_when_durable: Vec<(ReplicaId, PeerMessage)>,
    /// To be sent to clients.
    pub answers: Vec<(ConnectionId, Answer)>,
}

impl Node {
    /// A node with what its journal replayed. `blank` says, as a sentence, why the acceptor's memory is in doubt, if
    /// it is: then the identity's incarnation must be a new one, and the node stays silent as a voter.
    #[must_use]
    pub fn new(
        settings: NodeSettings,
        identity: Identity,
        recovery: Recovery,
        blank: Option<String>,
    ) -> Self {
        let _ = (settings, identity, recovery, blank);
        Self {}
    }

    /// A request of a client. Requests of one connection must come in the order in which they were sent.
    pub fn client(&mut self, connection: ConnectionId, request: Request) {
        let _ = (connection, request);
    }

    /// The connection is gone: nothing more is to be answered there.
    pub fn connection_closed(&mut self, connection: ConnectionId) {
        let _ = connection;
    }

    /// A message of another replica, or one of this node's own `send_when_durable` that was addressed to itself.
    pub fn peer(&mut self, from: ReplicaId, message: PeerMessage) {
        let _ = (from, message);
    }

    /// The link to a peer came up or went down.
    pub fn link(&mut self, peer: ReplicaId, up: bool) {
        let _ = (peer, up);
    }

    /// Ten milliseconds have passed.
    pub fn tick(&mut self) {}

    /// How many bytes of disk the journal takes, for the status report.
    pub fn note_journal_bytes(&mut self, bytes: u64) {
        let _ = bytes;
    }

    /// The identity as it stands: the greeting of a link names its cluster and incarnation.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        unimplemented!()
    }

    /// The process is about to stop: answer what is held so that no client hangs. Takes one more output.
    pub fn stop(&mut self) {}

    /// What is to be done now.
    pub fn take_output(&mut self) -> NodeOutput {
        NodeOutput::default()
    }
}
