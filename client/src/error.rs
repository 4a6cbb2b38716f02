//! Why an operation was not done, in the distinctions that a caller can act on.

use std::fmt;
use std::io;
use std::time::Duration;

use common::Refusal;
use thiserror::Error;

use crate::trouble::Troubles;

/// Why an operation was not done, or why that is not known (RULES R15).
///
/// [`Self::outcome_unknown`] is true for a write of which a copy may have been proposed. It may have run; it will not run
/// after the client's next write (SPEC A3). It is never true for a read, nor for a write that was never sent.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The cluster said no, and no copy of the request was ever proposed.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The cluster said no to this copy of a write, but an earlier copy may have been proposed.
    #[error("refused: {0}; an earlier copy was sent, so the outcome is unknown")]
    RefusedRetry(Refusal),
    /// No replica answered until the deadline; or there was none to wait for, because no endpoint's name could be looked
    /// up.
    #[error("no answer within {} ms{fate}{}", waited.as_millis(), in_brackets(troubles))]
    NoAnswer {
        /// How long it was tried.
        waited: Duration,
        /// What became of it, if it is a write.
        fate: Fate,
        /// What was wrong with each endpoint.
        troubles: Troubles,
    },
    /// Replicas answered, but none could reach a majority until the deadline.
    #[error("no quorum: no majority of the replicas could be reached{fate}")]
    NoQuorum {
        /// What became of it, if it is a write.
        fate: Fate,
    },
    /// The caller would not wait any longer.
    #[error("stopped waiting for an answer{fate}")]
    Interrupted {
        /// What became of it, if it is a write.
        fate: Fate,
    },
    /// The cluster forgot the session that numbers this write. It is not sent again under another name, because an
    /// earlier copy may have run.
    #[error("session expired{}", unknown(*outcome_unknown))]
    SessionExpired {
        /// Whether an earlier copy may have run.
        outcome_unknown: bool,
    },
    /// A replica answered this request with what is no answer to it.
    #[error("the replica answered with {answer}, which is no answer to this request{}", unknown(*outcome_unknown))]
    WrongAnswer {
        /// The answer, as one readable line.
        answer: String,
        /// Whether the write may have run.
        outcome_unknown: bool,
    },
    /// The list of endpoints cannot be used.
    #[error("{0}")]
    Endpoints(String),
    /// This machine did not give what a connection needs.
    #[error("this machine gave no poll: {0}")]
    Machine(#[from] io::Error),
}

/// What is known of an operation that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is no write: nothing can have come of it.
    NoWrite,
    /// A write that was never sent: it has not run, and never will.
    NotSent,
    /// A write that was sent, and may have run.
    Unknown,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWrite => Ok(()),
            Self::NotSent => f.write_str("; the write was not sent"),
            Self::Unknown => f.write_str(unknown(true)),
        }
    }
}

impl ClientError {
    /// Whether the write may have run.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::NoAnswer { fate, .. } | Self::NoQuorum { fate } | Self::Interrupted { fate } => {
                *fate == Fate::Unknown
            }
            Self::SessionExpired { outcome_unknown }
            | Self::WrongAnswer {
                outcome_unknown, ..
            } => *outcome_unknown,
            Self::RefusedRetry(_) => true,
            Self::Refused(_) | Self::Endpoints(_) | Self::Machine(_) => false,
        }
    }
}

fn unknown(outcome_unknown: bool) -> &'static str {
    if outcome_unknown {
        "; the outcome of the write is unknown"
    } else {
        ""
    }
}

fn in_brackets(troubles: &Troubles) -> String {
    if troubles.as_slice().is_empty() {
        String::new()
    } else {
        format!(" ({troubles})")
    }
}
