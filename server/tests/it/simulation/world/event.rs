//! What happens at a time.

use common::{Answer, Request};
use kvpaxos_server::node::ConnectionId;
use kvpaxos_server::peers::PeerMessage;
use paxos::ReplicaId;

use crate::simulation::links::Carriage;

/// Something that happens in the world. What names a life comes to nothing in a later one.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Tick {
        replica: usize,
        life: u64,
    },
    Turn {
        replica: usize,
        life: u64,
    },
    Synced {
        replica: usize,
        life: u64,
    },
    /// A step of a snapshot is done.
    Snapshot {
        replica: usize,
        life: u64,
    },
    /// A step of a snapshot that travels is done.
    Transfer {
        replica: usize,
        life: u64,
    },
    Peer {
        from: ReplicaId,
        to: usize,
        message: PeerMessage,
    },
    /// A replica notices that its link to a peer came up or went down.
    Link {
        replica: usize,
        peer: ReplicaId,
        up: bool,
    },
    /// One direction between two replicas is stopped, or goes on.
    Carriage {
        from: usize,
        to: usize,
        carriage: Carriage,
    },
    Request {
        connection: ConnectionId,
        replica: usize,
        request: Request,
    },
    Answer {
        connection: ConnectionId,
        answer: Answer,
    },
    Gone {
        connection: ConnectionId,
        replica: usize,
    },
    Closed {
        connection: ConnectionId,
    },
    Wake {
        client: usize,
    },
    Restart {
        replica: usize,
    },
    /// A crash, and a restart a moment later.
    Blink {
        replica: usize,
        power: bool,
    },
    Fault,
    /// A disk is lost.
    Wipe,
    /// A disk goes back to an earlier state.
    RollBack,
    /// An agent fails.
    Fail,
    /// Disks become full, or have room again.
    Fill,
    /// All disks have room again.
    Room,
    /// The successor of one that failed may be due.
    Succeed {
        replica: usize,
        life: u64,
    },
    /// The faults are to end, if the clients have done enough.
    Calm,
}

impl Event {
    /// The replica that has to be awake for it.
    pub(super) fn befalls(&self) -> Option<usize> {
        match self {
            Self::Tick { replica, .. }
            | Self::Turn { replica, .. }
            | Self::Synced { replica, .. }
            | Self::Snapshot { replica, .. }
            | Self::Transfer { replica, .. }
            | Self::Link { replica, .. }
            | Self::Request { replica, .. }
            | Self::Succeed { replica, .. } => Some(*replica),
            Self::Peer { to, .. } => Some(*to),
            Self::Carriage { .. }
            | Self::Answer { .. }
            | Self::Gone { .. }
            | Self::Closed { .. }
            | Self::Wake { .. }
            | Self::Restart { .. }
            | Self::Blink { .. }
            | Self::Fault
            | Self::Wipe
            | Self::RollBack
            | Self::Fail
            | Self::Fill
            | Self::Room
            | Self::Calm => None,
        }
    }
}
