//! What a client asks.
//!
//! A write is named by its session and a sequence number (SPEC A4), and that name is all that makes it *this* write:
//! a copy sent again at another replica, on another connection, with another tag, floor or `after`, is the same one.

/// Names a session: the revision that opened it, and 64 random bits of the client's, checked on every request
/// (RULES R12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    /// The revision at which the session was opened; unique in the cluster.
    pub revision: u64,
    /// The random bits that the client sent when it opened the session.
    pub nonce: u64,
}

/// One request, as a client sends it. `tag` is the client's own number for it on this connection; the answer
/// repeats it, and answers are matched by nothing else (SPEC B4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Open a session: needed once before the first write.
    OpenSession {
        /// The client's number for this request.
        tag: u64,
        /// 64 random bits; they become part of the session's id.
        nonce: u64,
    },
    /// Change a key, exactly once however often this request is sent.
    Write {
        /// The client's number for this request.
        tag: u64,
        /// What is to be done, and under which name.
        write: Write,
    },
    /// Read a key, linearizably.
    Get {
        /// The client's number for this request.
        tag: u64,
        /// 1 to 4,096 bytes.
        key: Vec<u8>,
    },
    /// Ask the replica about itself. Answered at once, from local state.
    Status {
        /// The client's number for this request.
        tag: u64,
    },
}

impl Request {
    /// The client's number for this request.
    #[must_use]
    pub fn tag(&self) -> u64 {
        match self {
            Self::OpenSession { tag, .. }
            | Self::Write { tag, .. }
            | Self::Get { tag, .. }
            | Self::Status { tag } => *tag,
        }
    }
}

/// A change with its name. The same bytes travel from the client, between replicas, and in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The session that numbers it.
    pub session: SessionId,
    /// Its number in the session, from 1.
    pub sequence: u64,
    /// The lowest sequence number whose answer the client still wants; at most `sequence`, at least 1. What is
    /// below has been heard or given up, and never runs later. Not part of the write's identity.
    pub floor: u64,
    /// The write sent before it on the same connection, if that was unanswered then; 0 for none. This one runs only
    /// after that one (RULES R8). Not part of the write's identity.
    pub after: u64,
    /// What it does.
    pub change: Change,
}

/// What a write does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Replace the value.
    Put {
        /// 1 to 4,096 bytes.
        key: Vec<u8>,
        /// At most the cluster's limit, 8 MiB by default. Empty is a value.
        value: Vec<u8>,
    },
    /// Add to the end of the value; a put where the key is absent.
    Append {
        /// 1 to 4,096 bytes.
        key: Vec<u8>,
        /// What to add; the sum of both lengths is bound by the cluster's limit.
        value: Vec<u8>,
    },
    /// Remove the key.
    Delete {
        /// 1 to 4,096 bytes.
        key: Vec<u8>,
    },
}

impl Change {
    /// The key that it changes.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put { key, .. } | Self::Append { key, .. } | Self::Delete { key } => key,
        }
    }
}
