//! A client for programs that do one thing after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::StatusReport;

use crate::error::ClientError;
use crate::fleet::Fleet;
use crate::operation::{Operation, Reply};
use crate::options::ClientOptions;

/// How long a turn waits when nothing is due earlier: the deadline of the operation always is.
const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// One client of the cluster. Every call waits until the operation is done or given up.
///
/// ```no_run
/// use kvpaxos_client::{Client, ClientOptions};
/// # fn main() -> Result<(), kvpaxos_client::ClientError> {
/// let mut client = Client::connect(ClientOptions::local_cluster())?;
/// client.put(b"colour", b"blue")?;
/// client.append(b"colour", b"ish")?;
/// assert_eq!(client.get(b"colour")?.unwrap().value, b"blueish");
/// assert!(client.delete(b"colour")?.existed);
/// assert!(client.get(b"colour")?.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Client {
    fleet: Fleet,
    interrupt: Option<Arc<AtomicBool>>,
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The revision of the key's last change.
    pub revision: u64,
    /// The bytes; may be none.
    pub value: Vec<u8>,
}

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The revision of this change.
    pub revision: u64,
    /// The length of the value after it, in bytes.
    pub length: u64,
}

/// What a delete did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The revision of this change, or the present one where nothing was there.
    pub revision: u64,
    /// Whether the key was there.
    pub existed: bool,
}

impl Client {
    /// A client that connects with its first operation.
    ///
    /// # Errors
    /// The options cannot be used, or the machine gives no poll.
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let fleet = Fleet::new(options, 1)?;
        Ok(Self {
            fleet,
            interrupt: None,
        })
    }

    /// A client that is connected to a replica.
    ///
    /// # Errors
    /// As [`Self::new`], or no replica answered in time.
    pub fn connect(options: ClientOptions) -> Result<Self, ClientError> {
        let mut client = Self::new(options)?;
        client.status()?;
        Ok(client)
    }

    /// Replaces the value of a key. Returns the revision of this change.
    ///
    /// # Errors
    /// It was not done, or that is not known.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<u64, ClientError> {
        let (key, value) = (key.to_vec(), value.to_vec());
        match self.run(Operation::Put { key, value })? {
            Reply::Put { revision } => Ok(revision),
            other => unreachable!("{other:?} answers no put"),
        }
    }

    /// Reads a key; `None` if there is none.
    ///
    /// # Errors
    /// It could not be read.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Versioned>, ClientError> {
        match self.run(Operation::Get { key: key.to_vec() })? {
            Reply::Value { revision, value } => Ok(Some(Versioned { revision, value })),
            Reply::Absent { .. } => Ok(None),
            other => unreachable!("{other:?} answers no get"),
        }
    }

    /// Adds to the end of a value; a put where the key is absent.
    ///
    /// # Errors
    /// It was not done, or that is not known.
    pub fn append(&mut self, key: &[u8], value: &[u8]) -> Result<Appended, ClientError> {
        let (key, value) = (key.to_vec(), value.to_vec());
        match self.run(Operation::Append { key, value })? {
            Reply::Appended { revision, length } => Ok(Appended { revision, length }),
            other => unreachable!("{other:?} answers no append"),
        }
    }

    /// Removes a key.
    ///
    /// # Errors
    /// It was not done, or that is not known.
    pub fn delete(&mut self, key: &[u8]) -> Result<Deleted, ClientError> {
        match self.run(Operation::Delete { key: key.to_vec() })? {
            Reply::Deleted { revision, existed } => Ok(Deleted { revision, existed }),
            other => unreachable!("{other:?} answers no delete"),
        }
    }

    /// What the replica that is connected says of itself.
    ///
    /// # Errors
    /// No replica answered in time.
    pub fn status(&mut self) -> Result<StatusReport, ClientError> {
        match self.run(Operation::Status)? {
            Reply::Status(report) => Ok(*report),
            other => unreachable!("{other:?} answers no status"),
        }
    }

    /// What the client was told when it was made.
    #[must_use]
    pub fn options(&self) -> &ClientOptions {
        self.fleet.options()
    }

    /// From here on a call that waits is given up with [`ClientError::Interrupted`] soon after this is set, at once where a
    /// signal set it. What was set before a call does not matter to it.
    pub fn interrupt_with(&mut self, flag: Arc<AtomicBool>) {
        self.interrupt = Some(flag);
    }

    /// The replica that is connected, if one is.
    #[must_use]
    pub fn replica(&self) -> Option<u8> {
        self.fleet.replica(0)
    }

    /// Runs any operation. The reply is of its kind.
    ///
    /// # Errors
    /// It was not done, or that is not known.
    pub fn run(&mut self, operation: Operation) -> Result<Reply, ClientError> {
        let mut done = Vec::new();
        let interrupt = self.interrupt.clone();
        if let Some(flag) = &interrupt {
            flag.store(false, Ordering::Relaxed);
        }
        // What was closed while nobody looked is noticed first: a write that went into a dead connection would count
        // as "may have run".
        self.fleet.turn(Duration::ZERO, &mut done)?;
        let ticket = self.fleet.submit_at(0, operation, Instant::now());
        loop {
            if let Some((_, found)) = done.pop() {
                assert_eq!(found.ticket, ticket, "one operation at a time");
                return found.result;
            }
            if interrupt
                .as_ref()
                .is_some_and(|flag| flag.load(Ordering::Relaxed))
            {
                self.fleet.interrupt(0);
            }
            self.fleet.turn(WAIT_MAX, &mut done)?;
        }
    }
}
