//! When a run ends early: at Ctrl-C, at an error that would come again for ever, and when nobody answers at all.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::Refusal;
use kvpaxos_client::{ClientError, Completion};
use signal_hook::consts::SIGINT;
use signal_hook::flag::{register, register_conditional_shutdown};

use crate::exit::Failure;

/// Looks at what is finished.
#[derive(Debug)]
pub(super) struct Watch {
    stopped: Arc<AtomicBool>,
    /// Somebody answered at least once.
    has_answer: bool,
    is_measuring: bool,
}

/// What a shell reports of a program that Ctrl-C ended.
const EXIT_AFTER_INTERRUPT: i32 = 130;

impl Watch {
    /// From here on Ctrl-C ends the run in good order, and a second one ends the program at once.
    ///
    /// # Errors
    /// The system lets nobody listen for it.
    pub(super) fn start() -> io::Result<Self> {
        let stopped = Arc::new(AtomicBool::new(false));
        register_conditional_shutdown(SIGINT, EXIT_AFTER_INTERRUPT, Arc::clone(&stopped))?;
        register(SIGINT, Arc::clone(&stopped))?;
        Ok(Self {
            stopped,
            has_answer: false,
            is_measuring: false,
        })
    }

    /// Whether Ctrl-C was pressed.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// The measured part begins: from here on one that nobody answers is a measurement, too.
    pub(super) fn begin_measuring(&mut self) {
        self.is_measuring = true;
    }

    /// An operation is finished.
    ///
    /// # Errors
    /// It was refused in a way that no retry mends; or nothing is measured yet, and nobody has answered so far, or Ctrl-C
    /// was pressed.
    pub(super) fn note(&mut self, completion: &Completion) -> Result<(), Failure> {
        match &completion.result {
            Err(error) if is_hopeless(error) => return Err(Failure::load(error)),
            Err(error) if !self.is_measuring && !self.has_answer => {
                return Err(Failure::load(error));
            }
            Ok(_) => self.has_answer = true,
            Err(_) => {}
        }
        if !self.is_measuring && self.is_stopped() {
            return Err(Failure::Stopped);
        }
        Ok(())
    }
}

/// Whether the same operation would fail in the same way for ever.
fn is_hopeless(error: &ClientError) -> bool {
    match error {
        ClientError::Refused(refusal) | ClientError::RefusedRetry(refusal) => matches!(
            refusal,
            Refusal::TooLarge { .. }
                | Refusal::TooLargeForDatagram { .. }
                | Refusal::StoreFull { .. }
                | Refusal::EmptyKey
                | Refusal::Malformed { .. }
        ),
        ClientError::WrongAnswer { .. } | ClientError::Endpoints(_) => true,
        _ => false,
    }
}
