//! What a program asks of the cluster, and what it gets.

use std::fmt;

use common::quote::Elided;
use common::{Outcome, StatusReport};

/// One operation. It owns its bytes, because it may have to be sent several times; they come back with the
/// [`Completion`](crate::Completion), so that a load generator need not allocate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Replace the value of a key.
    Put {
        /// 1 to 4,096 bytes.
        key: Vec<u8>,
        /// Up to the cluster's limit, 8 MiB by default.
        value: Vec<u8>,
    },
    /// Read a key.
    Get {
        /// 1 to 4,096 bytes.
        key: Vec<u8>,
    },
    /// Add to the end of a value; a put where the key is absent.
    Append {
        /// 1 to 4,096 bytes.
        key: Vec<u8>,
        /// What to add.
        value: Vec<u8>,
    },
    /// Remove a key.
    Delete {
        /// 1 to 4,096 bytes.
        key: Vec<u8>,
    },
    /// Ask the replica at hand about itself.
    Status,
}

impl Operation {
    /// Whether it changes anything: only then does it need a session, and only then can its outcome be unknown.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(
            self,
            Self::Put { .. } | Self::Append { .. } | Self::Delete { .. }
        )
    }

    /// The key it is about; none for a status.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Put { key, .. }
            | Self::Get { key }
            | Self::Append { key, .. }
            | Self::Delete { key } => Some(key),
            Self::Status => None,
        }
    }

    /// The value it brings; empty where it brings none.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        match self {
            Self::Put { value, .. } | Self::Append { value, .. } => value,
            Self::Get { .. } | Self::Delete { .. } | Self::Status => &[],
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value } => write!(f, "PUT {} {} bytes", Elided(key), value.len()),
            Self::Get { key } => write!(f, "GET {}", Elided(key)),
            Self::Append { key, value } => {
                write!(f, "APPEND {} {} bytes", Elided(key), value.len())
            }
            Self::Delete { key } => write!(f, "DELETE {}", Elided(key)),
            Self::Status => f.write_str("STATUS"),
        }
    }
}

/// What came of an operation that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The value is replaced.
    Put {
        /// The revision of this change.
        revision: u64,
    },
    /// The key's value.
    Value {
        /// The revision of the key's last change.
        revision: u64,
        /// The bytes; may be none.
        value: Vec<u8>,
    },
    /// There is no such key, which is an answer and no error.
    Absent {
        /// The revision that was read.
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
        /// The revision of this change, or the present one where nothing was there.
        revision: u64,
        /// Whether it was there.
        existed: bool,
    },
    /// What the replica says of itself.
    Status(Box<StatusReport>),
}

impl Reply {
    /// The reply to `operation` that `outcome` is; gives the outcome back if it is none.
    pub(crate) fn to(operation: &Operation, outcome: Outcome) -> Result<Self, Outcome> {
        match (operation, outcome) {
            (Operation::Put { .. }, Outcome::Put { revision }) => Ok(Self::Put { revision }),
            (Operation::Get { .. }, Outcome::Value { revision, value }) => {
                Ok(Self::Value { revision, value })
            }
            (Operation::Get { .. }, Outcome::Absent { revision }) => Ok(Self::Absent { revision }),
            (Operation::Append { .. }, Outcome::Appended { revision, length }) => {
                Ok(Self::Appended { revision, length })
            }
            (Operation::Delete { .. }, Outcome::Deleted { revision, existed }) => {
                Ok(Self::Deleted { revision, existed })
            }
            (Operation::Status, Outcome::Status(report)) => Ok(Self::Status(report)),
            (_, outcome) => Err(outcome),
        }
    }
}
