//! Why a client's connection ends, and what is said about it.

use std::io;

use common::{FrameError, Refusal, RequestError};
use log::Level;
use thiserror::Error;

use super::progress::{FRAME_PROGRESS_BYTES, PROGRESS_WAIT_MAX};
use crate::foreign::Cause;

/// Why a connection ends.
#[derive(Debug, Error)]
pub(super) enum Loss {
    #[error("the client closed it")]
    Closed,
    #[error("the client vanished in the middle of a frame")]
    Vanished,
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("{0}")]
    Framing(#[from] FrameError),
    #[error("the first frame {0}")]
    Hello(RequestError),
    #[error("the first frame is no hello")]
    NoHello,
    #[error("the client said hello twice")]
    SecondHello,
    #[error(
        "a frame gained less than {FRAME_PROGRESS_BYTES} bytes in {} s",
        PROGRESS_WAIT_MAX.as_secs()
    )]
    SlowFrame,
    #[error("no answer was read for {} s", PROGRESS_WAIT_MAX.as_secs())]
    NotReading,
    #[error("{0} bytes of answers wait to be read")]
    TooMuchUnread(usize),
    #[error("it was told why and given time to read it")]
    Left,
}

impl Loss {
    /// What the client is told before the end, if it can be told anything.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Framing(_) | Self::Hello(_) | Self::NoHello | Self::SecondHello => {
                let reason = self.to_string();
                Some(Refusal::Malformed { reason })
            }
            _ => None,
        }
    }

    /// How it is logged. A client that simply goes is worth a line for debugging only.
    pub(super) fn logged_as(&self, has_outstanding: bool) -> (Cause, Level) {
        match self {
            Self::Closed | Self::Left => (Cause::ClientSlow, Level::Debug),
            Self::Socket(_) if !has_outstanding => (Cause::ClientSlow, Level::Debug),
            Self::Socket(_)
            | Self::Vanished
            | Self::SlowFrame
            | Self::NotReading
            | Self::TooMuchUnread(_) => (Cause::ClientSlow, Level::Warn),
            Self::Framing(_) | Self::Hello(_) | Self::NoHello | Self::SecondHello => {
                (Cause::ClientFraming, Level::Warn)
            }
        }
    }
}
