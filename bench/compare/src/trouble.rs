//! Why a comparison ended.

use std::io;
use std::process::ExitCode;

use thiserror::Error;

/// Why a comparison ended before it was done.
#[derive(Debug, Error)]
pub(crate) enum Trouble {
    /// Ctrl-C, or a signal like it.
    #[error("stopped; every server is ended")]
    Stopped,
    /// The command line asks for what cannot be.
    #[error("{0}")]
    Usage(String),
    /// Something did not go as it must; the sentence says what.
    #[error("{0}")]
    Failed(String),
    /// The system refused something.
    #[error("{doing}: {source}")]
    Io {
        /// What was refused: "cannot read this".
        doing: String,
        /// Why.
        source: io::Error,
    },
}

impl Trouble {
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) | Self::Io { .. } => 1,
            Self::Usage(_) => 2,
            // What a shell reports of a program that Ctrl-C ended.
            Self::Stopped => 130,
        })
    }
}

/// Says what was being done when the system refused it.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Trouble>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Trouble> {
        self.map_err(|error| Trouble::Io {
            doing: what(),
            source: error.into(),
        })
    }
}
