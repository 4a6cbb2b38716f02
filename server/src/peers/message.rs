//! What one replica's server says to another's: agreement, forwarded requests, the founding, and state
//! hashes.

use paxos::{Incarnation, Message, Slot};

use crate::identity::FoundingRecord;

/// One message on a link between replicas. Who sent it is known from the link's greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// Agreement's own.
    Agreement(Message),
    /// Requests that a follower holds for its clients, in order, for the leader to propose. A receiver that does not
    /// lead drops them; the follower sends them again until it has applied them (RULES R8).
    Forward {
        /// The requests, one after the other, in the encoding of the log.
        requests: Vec<u8>,
    },
    /// From the replica with the lowest id, which would found the cluster, to every other.
    FoundingQuery {
        /// Which attempt this is.
        nonce: u64,
    },
    /// From a blank replica: I have no past, and this is the life that I begin.
    FoundingReply {
        /// The nonce of the query.
        nonce: u64,
        /// The life.
        incarnation: Incarnation,
    },
    /// The cluster is founded: to a blank replica that answered `nonce`, its membership; to any other blank replica
    /// (then `nonce` is 0) the news that it comes too late to found.
    Founded {
        /// The nonce that the receiver answered last, or 0.
        nonce: u64,
        /// The founding record.
        record: FoundingRecord,
    },
    /// From a replica to the leader: the hash of its state. It comes again until the log has the hash of that slot or a
    /// later one (RULES R21).
    HashReport {
        /// After every slot below this one.
        slot: Slot,
        /// The hash.
        hash: u128,
    },
}
