//! Writes what the clients of a [`Fleet`](crate::Fleet) asked and heard to a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use super::{Kind, Line, Status};
use crate::courier::Completion;
use crate::error::ClientError;
use crate::operation::{Operation, Reply};

/// Writes a history to a file. Each operation becomes a line when it is finished; so the file is whole only when nothing
/// is outstanding any more, and a history of which a write is missing may look wrong.
#[derive(Debug)]
pub struct Recorder {
    out: BufWriter<File>,
    /// From when all times are counted.
    start: Instant,
}

impl Recorder {
    /// Makes the file, or empties it, and begins to count the time.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::create(path)?;
        Ok(Self {
            out: BufWriter::with_capacity(BUFFER_BYTES, file),
            start: Instant::now(),
        })
    }

    /// An operation of a client was finished `now`, or a moment before.
    ///
    /// # Errors
    /// The file cannot be written.
    ///
    /// # Panics
    /// When it was a question for the status, which is about no key.
    pub fn note(&mut self, client: usize, completion: Completion, now: Instant) -> io::Result<()> {
        let (status, revision) = match &completion.result {
            Ok(reply) => (Status::Ok, revision(reply)),
            Err(error) if may_have_run(error, &completion.operation) => (Status::Unknown, None),
            Err(_) => (Status::Fail, None),
        };
        let ended = self.time(now);
        let called = self.time(completion.submitted);
        let in_order = completion.in_order;
        let (key, kind) = kind(completion.operation, completion.result.ok());
        let operation = super::Operation {
            client: client as u64,
            kind,
            called,
            returned: (status == Status::Ok).then_some(ended),
            in_order,
            revision,
        };
        let line = Line {
            key,
            operation,
            status,
            ended,
        };
        line.write_to(&mut self.out)
    }

    /// Writes what is still in the buffer.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn time(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

/// An expired session says of one copy of a write that it did not run, and no more (RULES R15).
fn may_have_run(error: &ClientError, operation: &Operation) -> bool {
    let is_expired = matches!(error, ClientError::SessionExpired { .. });
    error.outcome_unknown() || is_expired && operation.is_write()
}

/// What was asked and heard, and of which key.
fn kind(operation: Operation, reply: Option<Reply>) -> (Vec<u8>, Kind) {
    match operation {
        Operation::Put { key, value } => (key, Kind::Put { value }),
        Operation::Append { key, value } => {
            let length = match reply {
                Some(Reply::Appended { length, .. }) => Some(length),
                _ => None,
            };
            (key, Kind::Append { value, length })
        }
        Operation::Delete { key } => {
            let existed = match reply {
                Some(Reply::Deleted { existed, .. }) => Some(existed),
                _ => None,
            };
            (key, Kind::Delete { existed })
        }
        Operation::Get { key } => {
            let value = match reply {
                Some(Reply::Value { value, .. }) => Some(value),
                _ => None,
            };
            (key, Kind::Get { value })
        }
        Operation::Status => panic!("a status is about no key"),
    }
}

fn revision(reply: &Reply) -> Option<u64> {
    match reply {
        Reply::Put { revision }
        | Reply::Value { revision, .. }
        | Reply::Absent { revision }
        | Reply::Appended { revision, .. }
        | Reply::Deleted { revision, .. } => Some(*revision),
        Reply::Status(_) => None,
    }
}

/// Large enough that writing is a small part of a turn.
const BUFFER_BYTES: usize = 1 << 20;
