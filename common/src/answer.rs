//! What a replica answers.

use crate::request::SessionId;

/// One answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The tag of the request.
    pub tag: u64,
    /// The replica that leads, as far as the answering one knows. A client that goes there saves a hop.
    pub leader: Option<u8>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The session is open.
    SessionOpened {
        /// Its id, to be sent with every write.
        session: SessionId,
        /// The cluster forgets it when it made no write for so many seconds.
        expiry_s: u32,
    },
    /// The value is replaced.
    Put {
        /// The revision of this change.
        revision: u64,
    },
    /// The value is extended.
    Appended {
        /// The revision of this change.
        revision: u64,
        /// The length of the value after it, in bytes.
        length: u64,
    },
    /// The key is gone.
    Deleted {
        /// The revision of this change, or, where the key was absent and nothing changed, the present one.
        revision: u64,
        /// Whether it was there.
        existed: bool,
    },
    /// The key's value.
    Value {
        /// The revision of the key's last change.
        revision: u64,
        /// The bytes; may be none.
        value: Vec<u8>,
    },
    /// There is no such key.
    Absent {
        /// The revision that was read.
        revision: u64,
    },
    /// What the replica says of itself.
    Status(Box<StatusReport>),
    /// The request was not done, or its outcome is not known.
    Refused(Refusal),
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No majority of the replicas could be reached in time. If `proposed`, a copy of a write is under way and may
    /// yet run: its outcome is unknown (RULES R15).
    NoQuorum {
        /// Whether a copy was proposed, or handed to a replica that may have proposed it.
        proposed: bool,
    },
    /// A limit of this server is reached; try again, or another replica.
    Busy {
        /// Which one.
        limit: Limit,
    },
    /// The key, the value, or the value after an append is longer than allowed.
    TooLarge {
        /// Which one.
        limit: Limit,
        /// How long it would be, in bytes.
        bytes: u64,
        /// How long it may be, in bytes.
        bytes_max: u64,
    },
    /// A key of no bytes.
    EmptyKey,
    /// The cluster holds as many bytes as it may; GET and DELETE go on.
    StoreFull {
        /// The limit, in bytes.
        bytes_max: u64,
    },
    /// The disks of a majority are nearly full: nothing that needs room is proposed until there is some (RULES R18). GET
    /// goes on. This copy was not proposed.
    DiskFull {
        /// Whether DELETE is refused too; otherwise it goes on.
        refuses_deletes: bool,
    },
    /// The cluster does not know this session (any more). This copy did not run.
    SessionExpired,
    /// The write is below its session's floor: the client had already heard its answer or given it up. This copy
    /// did not run.
    Closed,
    /// The sequence number is too far above the floor for the session's answers to be kept.
    TooManyOutstanding {
        /// How far it may be.
        width: u64,
    },
    /// This replica cannot serve now.
    NotServing {
        /// Why, as a sentence for people.
        reason: String,
    },
    /// This replica cannot reach the leader, another can; or it is about to stop.
    AskReplica {
        /// Whom to ask.
        replica: u8,
        /// As in [`Refusal::NoQuorum`].
        proposed: bool,
    },
    /// The frame could be delimited but not understood.
    Malformed {
        /// What was wrong and what is allowed, as a sentence for people.
        reason: String,
    },
    /// The request, or what would answer it, does not fit a datagram: to be sent over TCP. A write was not done.
    TooLargeForDatagram {
        /// How long the datagram would be, in bytes.
        bytes: u64,
        /// How long it may be, in bytes.
        bytes_max: u64,
    },
}

/// A named limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of a key.
    KeyBytes,
    /// Bytes of a value.
    ValueBytes,
    /// Connections to this server.
    Connections,
    /// Requests that this replica holds for all its clients together.
    RequestsHeld,
    /// Bytes of requests that this replica holds for all its clients together.
    BytesHeld,
    /// Sessions in the cluster.
    Sessions,
}

/// What a replica says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusReport {
    /// Which replica.
    pub replica: u8,
    /// The cluster's id; 0 before it is founded.
    pub cluster: u64,
    /// Whether it would answer a read now: it is founded, and hears a leader or leads.
    pub serving: bool,
    /// Its part in agreement.
    pub role: Role,
    /// Whom it follows; itself when it leads.
    pub leader: Option<u8>,
    /// The round of the highest ballot that it promised.
    pub ballot_round: u64,
    /// The replica of that ballot.
    pub ballot_replica: u8,
    /// Every slot below it is known here to be chosen.
    pub chosen: u64,
    /// Every slot below it is applied here.
    pub applied: u64,
    /// The slot to which `state_hash` belongs: the last multiple of the hash interval applied, or `applied` when
    /// idle.
    pub hash_slot: u64,
    /// A hash of the whole replicated state after every slot below `hash_slot`.
    pub state_hash: u128,
    /// How many keys there are.
    pub keys: u64,
    /// How many sessions there are.
    pub sessions: u64,
    /// Bytes of journal on disk, preallocated space included.
    pub journal_bytes: u64,
    /// Every slot below it is in a durable snapshot; 0 for none.
    pub snapshot_slot: u64,
    /// The revision: how many changes have been applied.
    pub revision: u64,
    /// What became of datagrams since it started.
    pub datagrams: DatagramCounts,
    /// Anything that a person should know, such as why it does not serve; empty for nothing.
    pub remark: String,
}

/// What became of the datagrams that came to a replica. What is in none of the last three is being worked on, was not
/// answered in time, or was sent in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatagramCounts {
    /// How many came.
    pub received: u64,
    /// How many were answered, a greeting or a refusal included.
    pub answered: u64,
    /// How many were met with silence, because they could not be understood.
    pub junk: u64,
    /// How many were answered with a cookie, and not done.
    pub cookies: u64,
}

/// A replica's part in agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Not yet part of a founded cluster.
    Founding,
    /// Lost its acceptor memory: it learns and does not vote.
    Blank,
    /// Follows, or looks for whom to follow.
    Follower,
    /// Asks the others whether they would follow it, or to promise.
    Candidate,
    /// Leads.
    Leader,
}
