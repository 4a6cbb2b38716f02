//! Carries out typed operations and prints their answers, one line each.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use common::quote::Elided;
use kvpaxos_client::{Client, ClientError, ClientOptions, Operation, Reply};
use signal_hook::consts::SIGINT;

use crate::exit::{Exit, ExitTally, Failure};
use crate::{render, status};

/// A client with somebody who reads its answers.
#[derive(Debug)]
pub(crate) struct Console {
    client: Client,
    json: bool,
    raw: bool,
    /// Errors go to standard error, as they do for a command of the command line.
    errors_apart: bool,
    timing: bool,
    /// Whether answers are explained to somebody at a terminal.
    explains: bool,
    /// Set by Ctrl-C, once that is listened for.
    interrupt: Arc<AtomicBool>,
    /// Who answered last, as far as known.
    replica: Option<u8>,
    tally: ExitTally,
}

/// Says on standard error why the program ends, or a command of the command line was not done. Who closed it does not
/// want to hear it.
pub(crate) fn complain(error: &dyn std::error::Error) {
    let _ = writeln!(io::stderr(), "kvpaxos-client: {error}");
}

/// What whoever typed an operation should know when it failed; nothing for a read, which changes nothing.
fn what_to_do(operation: &Operation, error: &ClientError) -> Option<String> {
    let key = operation.key().filter(|_| operation.is_write())?;
    Some(if error.outcome_unknown() {
        format!(
            "it may have run, or may yet, once; your next write settles that, and GET {} then tells",
            Elided(key)
        )
    } else {
        "it did not run".to_owned()
    })
}

impl Console {
    /// Nothing has been done.
    pub(crate) fn new(client: Client, json: bool) -> Self {
        Self {
            client,
            json,
            raw: false,
            errors_apart: false,
            timing: false,
            explains: false,
            interrupt: Arc::default(),
            replica: None,
            tally: ExitTally::default(),
        }
    }

    /// There will be one operation, that of the command line; if `raw`, a value's bytes are written alone.
    pub(crate) fn set_single(&mut self, raw: bool) {
        self.raw = raw;
        self.errors_apart = true;
    }

    /// Shows how long answers take, or no longer; unless it is said which, the other of the two. Returns which.
    pub(crate) fn set_timing(&mut self, on: Option<bool>) -> bool {
        self.timing = on.unwrap_or(!self.timing);
        self.timing
    }

    /// From here on lines below an answer say what it does not say itself: that another replica gave it, and whether a
    /// command without an answer ran.
    pub(crate) fn explain_on_terminal(&mut self) {
        self.explains = true;
    }

    /// What the client was told when it was made.
    pub(crate) fn client_options(&self) -> &ClientOptions {
        self.client.options()
    }

    /// From here on Ctrl-C ends the waiting for an answer, and not the program.
    ///
    /// # Errors
    /// The system lets nobody listen for it.
    pub(crate) fn stop_waiting_on_interrupt(&mut self) -> io::Result<()> {
        let interrupt = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGINT, Arc::clone(&interrupt))?;
        self.client.interrupt_with(Arc::clone(&interrupt));
        self.interrupt = interrupt;
        Ok(())
    }

    /// Whether Ctrl-C was pressed since the last operation began.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    /// The exit code of all that was done.
    pub(crate) fn exit(&self) -> Exit {
        self.tally.exit()
    }

    /// Carries out an operation and prints its answer. An operation without one is noted in the log by the library;
    /// here it is a line like any other, and the next operation follows (SPEC F3).
    pub(crate) fn perform(&mut self, operation: Operation) -> Result<Exit, Failure> {
        let (operation, asked) = self.ask(operation);
        let exit = self.show(&operation, &asked)?;
        if exit == Exit::NoQuorum {
            self.explain_no_quorum()?;
        }
        self.explain(&operation, &asked.result)?;
        Ok(exit)
    }

    /// Waiting may help, or may not: the replicas know.
    fn explain_no_quorum(&self) -> Result<(), Failure> {
        if self.errors_apart {
            for line in status::why_no_quorum(self.client.options()) {
                // Whoever closed standard error does not want to hear it.
                let _ = writeln!(io::stderr(), "kvpaxos-client: {line}");
            }
        } else if self.explains {
            for line in status::why_no_quorum(self.client.options()) {
                self.remark(&format!("-- {line}"))?;
            }
        }
        Ok(())
    }

    fn explain(
        &mut self,
        operation: &Operation,
        result: &Result<Reply, ClientError>,
    ) -> Result<(), Failure> {
        let before = self.replica;
        self.replica = self.client.replica().or(before);
        if !self.explains {
            return Ok(());
        }
        let mut notes: Vec<String> = Vec::new();
        if let Err(error) = result {
            notes.extend(what_to_do(operation, error));
        }
        if let (Some(before), Some(after)) = (before, self.replica)
            && before != after
        {
            let ran = if result.is_ok() {
                "; the command ran once"
            } else {
                ""
            };
            notes.push(format!("connected to r{after} instead of r{before}{ran}"));
        }
        notes
            .iter()
            .try_for_each(|note| self.remark(&format!("-- {note}")))
    }

    /// Carries out an operation silently.
    pub(crate) fn ask(&mut self, operation: Operation) -> (Operation, Asked) {
        let asked = Instant::now();
        let result = self.client.run(operation.clone());
        let took_us = asked.elapsed().as_micros();
        (operation, Asked { result, took_us })
    }

    /// Prints an answer.
    pub(crate) fn show(&mut self, operation: &Operation, asked: &Asked) -> Result<Exit, Failure> {
        let exit = render::exit(&asked.result);
        self.tally.note(exit);
        if self.json {
            self.line(&render::json(operation, &asked.result).to_string())?;
            return Ok(exit);
        }
        match &asked.result {
            Ok(Reply::Value { value, .. }) if self.raw => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(value)?;
                stdout.flush()?;
            }
            Ok(Reply::Absent { .. }) if self.raw => {}
            Ok(reply) => self.line(&format!("{}{}", render::plain(reply), self.took(asked)))?,
            Err(error) if self.errors_apart => complain(error),
            Err(error) => self.line(&format!("error: {error}{}", self.took(asked)))?,
        }
        Ok(exit)
    }

    /// Prints that a typed line was not understood.
    pub(crate) fn show_usage(&mut self, reason: &str) -> Result<(), Failure> {
        self.tally.note(Exit::Usage);
        if self.json {
            self.line(&render::json_usage(reason).to_string())
        } else {
            self.line(&format!("error: {reason}"))
        }
    }

    /// Prints a line that is no answer; not among JSON.
    pub(crate) fn remark(&self, text: &str) -> Result<(), Failure> {
        if self.json { Ok(()) } else { self.line(text) }
    }

    /// Prints a line.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}")?;
        Ok(stdout.flush()?)
    }

    /// Every replica, for `.status`.
    pub(crate) fn show_status(&self) -> Result<(), Failure> {
        status::run(self.client.options(), self.json).map(|_| ())
    }

    fn took(&self, asked: &Asked) -> String {
        if self.timing {
            format!(
                "  ({}.{:03} ms)",
                asked.took_us / 1_000,
                asked.took_us % 1_000
            )
        } else {
            String::new()
        }
    }
}

/// What came of an operation, and how long that took.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What came of it.
    pub(crate) result: Result<Reply, ClientError>,
    /// How long it took, in microseconds.
    pub(crate) took_us: u128,
}
