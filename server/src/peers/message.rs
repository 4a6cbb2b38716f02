//! What one replica's server says to another's: agreement, forwarded requests, the founding, snapshots, rejoins, and
//! state hashes.

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
    /// The cluster is founded: to a blank replica whose life the record names, its membership; to any other the news
    /// that it comes too late to found, and is to learn and rejoin.
    Founded {
        /// The nonce of the message that this answers: the one that the receiver asked under, or answered last.
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
    /// From a replica that lacks what its peers have forgotten: the next piece of a snapshot.
    SnapshotRequest {
        /// The first slot that the sender lacks: the snapshot must cover it.
        from_slot: Slot,
        /// The snapshot that the sender has a part of, or 0. If the receiver cannot go on with that one, it begins with
        /// its newest.
        slot: Slot,
        /// Where the piece is to begin.
        offset: u64,
    },
    /// A piece of a snapshot. It counts only with the rest, once the whole verifies.
    SnapshotPiece {
        /// Everything below it is in the snapshot.
        slot: Slot,
        /// How long the snapshot is.
        total_bytes: u64,
        /// Where the piece stands in it.
        offset: u64,
        /// The piece, never empty.
        bytes: Vec<u8>,
    },
    /// The answer to [`PeerMessage::SnapshotRequest`] of one that has none: it is taking a snapshot; ask again.
    SnapshotPending,
    /// From a replica whose present life has no vote, to the leader: let it vote in this life (RULES R1).
    RejoinRequest {
        /// The life.
        incarnation: Incarnation,
        /// That of the leader's query, which proves that the life was there after it; 0 in a request that nobody asked
        /// for, to which the leader answers with a query.
        nonce: u64,
    },
    /// From the leader to a replica that asked for its vote: is this life still there? It answers with another
    /// [`PeerMessage::RejoinRequest`].
    RejoinQuery {
        /// Fresh, and never 0.
        nonce: u64,
    },
}
