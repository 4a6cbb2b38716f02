//! Exit codes (SPEC F5), and what ends the program early.

use std::io;
use std::process::ExitCode;

use kvpaxos_client::ClientError;
use kvpaxos_client::history::ReadError;
use thiserror::Error;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// The key is absent.
    Absent = 1,
    /// The command line, or a line at the prompt, cannot be understood.
    Usage = 2,
    /// Refused, and no copy of the request was ever proposed.
    Refused = 3,
    /// No answer in time; the outcome of a write is unknown, unless it was not sent.
    NoAnswer = 4,
    /// No quorum; the outcome of a write is unknown, unless it was not sent.
    NoQuorum = 5,
    /// An answer was wrong: the demo's or the load generator's check failed, or a history is not linearizable. Never to
    /// be seen.
    Wrong = 70,
    /// Whether a history is linearizable was not found out in time, or it is empty.
    Undecided = 71,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<&ClientError> for Exit {
    fn from(error: &ClientError) -> Self {
        match error {
            ClientError::NoQuorum { .. } => Self::NoQuorum,
            ClientError::Endpoints(_) => Self::Usage,
            ClientError::NoAnswer { .. }
            | ClientError::Interrupted { .. }
            | ClientError::Machine(_) => Self::NoAnswer,
            other if other.outcome_unknown() => Self::NoAnswer,
            _ => Self::Refused,
        }
    }
}

/// The exit code of a list of commands: that of the only one, or the first of 2 to 5 that occurred.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExitTally {
    commands: u64,
    only: Option<Exit>,
    first_failure: Option<Exit>,
}

impl ExitTally {
    /// One more command ended.
    pub(crate) fn note(&mut self, exit: Exit) {
        self.commands += 1;
        self.only = Some(exit).filter(|_| self.commands == 1);
        if !matches!(exit, Exit::Done | Exit::Absent) {
            self.first_failure.get_or_insert(exit);
        }
    }

    /// All in all.
    pub(crate) fn exit(self) -> Exit {
        self.only.or(self.first_failure).unwrap_or(Exit::Done)
    }
}

/// What ends the program early.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The arguments do not fit together.
    #[error("{0}")]
    Usage(String),
    /// The client could not be made, or an operation could not be carried out.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// The load generator met what no retry mends.
    #[error("bench ends early: {error}")]
    Load {
        /// What.
        error: String,
        /// The exit code.
        exit: Exit,
    },
    /// Ctrl-C came before anything was measured.
    #[error("stopped before anything was measured")]
    Stopped,
    /// The log cannot be opened.
    #[error("cannot write the log {file}: {error}")]
    Log {
        /// Which file.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// The history cannot be written.
    #[error("cannot write the history {file}: {error}")]
    History {
        /// Which file.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// What each second did cannot be written.
    #[error("cannot write the seconds to {file}: {error}")]
    Series {
        /// Which file.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// The history cannot be read, or is none.
    #[error("{file}: {error}")]
    NoHistory {
        /// Which file.
        file: String,
        /// Why.
        error: ReadError,
    },
    /// Standard input cannot be read.
    #[error("cannot read standard input: {0}")]
    Input(io::Error),
    /// Standard output cannot be written.
    #[error("cannot write standard output: {0}")]
    Output(#[from] io::Error),
    /// The prompt cannot work on this terminal.
    #[error("the terminal does not work: {0}")]
    Terminal(#[from] rustyline::error::ReadlineError),
    /// An answer was wrong.
    #[error("WRONG ANSWER: {0}")]
    Wrong(String),
}

impl Failure {
    /// The load generator ends with this.
    pub(crate) fn load(error: &ClientError) -> Self {
        Self::Load {
            error: error.to_string(),
            exit: error.into(),
        }
    }

    /// Its exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Client(error) => error.into(),
            Self::Load { exit, .. } => *exit,
            Self::Stopped => Exit::NoAnswer,
            Self::Wrong(_) => Exit::Wrong,
            Self::Usage(_)
            | Self::Log { .. }
            | Self::History { .. }
            | Self::Series { .. }
            | Self::NoHistory { .. }
            | Self::Input(_)
            | Self::Output(_)
            | Self::Terminal(_) => Exit::Usage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(exits: &[Exit]) -> Exit {
        let mut tally = ExitTally::default();
        exits.iter().for_each(|exit| tally.note(*exit));
        tally.exit()
    }

    #[test]
    fn one_command_gives_its_own_code_and_several_the_first_failure() {
        assert_eq!(tally(&[]), Exit::Done);
        assert_eq!(tally(&[Exit::Absent]), Exit::Absent);
        assert_eq!(tally(&[Exit::Absent, Exit::Done]), Exit::Done);
        assert_eq!(
            tally(&[Exit::Absent, Exit::NoAnswer, Exit::Refused]),
            Exit::NoAnswer
        );
    }

    #[test]
    fn only_what_never_ran_is_refused() {
        let expired = |outcome_unknown| ClientError::SessionExpired { outcome_unknown };
        assert_eq!(Exit::from(&expired(false)), Exit::Refused);
        assert_eq!(Exit::from(&expired(true)), Exit::NoAnswer);
    }
}
