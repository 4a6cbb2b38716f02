//! The demo (SPEC F2): keys are filled in, then five operations of each kind run, each with its answer shown and
//! checked. An answer that is wrong ends the program; an operation without an answer is noted, and the next follows.
//! Only "no quorum" ends the demo, since it would be the answer to all that follows, each after the whole time-out.

use common::quote::Quoted;
use kvpaxos_client::{ClientError, Operation, Reply};
use log::warn;

use crate::console::Console;
use crate::exit::Failure;

/// How many operations of each kind there are.
const OPERATIONS_PER_KIND: usize = 5;

/// The demo's keys and what they hold, as far as its operations were answered.
#[derive(Debug)]
struct Demo<'a> {
    console: &'a mut Console,
    /// Before every key, so that two demos do not meet.
    prefix: String,
    /// What each key must hold; `None` once an operation on it went without an answer.
    held: Vec<Option<Vec<u8>>>,
    /// The revision of the last change.
    revision: u64,
    unanswered: usize,
}

/// What ends the demo early.
#[derive(Debug)]
enum End {
    /// The program ends, too.
    Program(Failure),
    /// Some replicas answer, but too few: the prompt follows, where `.status` shows them.
    NoQuorum,
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Program(failure)
    }
}

/// Runs the demo.
///
/// # Errors
/// An answer was wrong, or nobody reads the output.
pub(crate) fn run(console: &mut Console) -> Result<(), Failure> {
    let mut demo = Demo {
        console,
        prefix: format!("demo-{:08x}/", rand::random::<u32>()),
        held: vec![None; OPERATIONS_PER_KIND],
        revision: 0,
        unanswered: 0,
    };
    match demo.operate() {
        Ok(()) => demo.conclude(),
        Err(End::NoQuorum) => demo.console.remark(
            "Demo stopped: without a majority of the replicas nothing more would be done. .status shows each of them.",
        ),
        Err(End::Program(failure)) => Err(failure),
    }
}

impl Demo<'_> {
    fn operate(&mut self) -> Result<(), End> {
        self.pre_populate()?;
        self.put()?;
        self.read()?;
        self.append()?;
        self.delete()
    }

    fn pre_populate(&mut self) -> Result<(), End> {
        self.title(&format!(
            "Filling in {OPERATIONS_PER_KIND} keys under {}",
            self.prefix
        ))?;
        self.put_each("first")
    }

    fn put(&mut self) -> Result<(), End> {
        self.title("5 PUT: each replaces a value")?;
        self.put_each("value")
    }

    fn put_each(&mut self, word: &str) -> Result<(), End> {
        for place in 0..OPERATIONS_PER_KIND {
            let value = format!("{word} {place}").into_bytes();
            let key = self.key(place);
            let operation = Operation::Put {
                key,
                value: value.clone(),
            };
            self.held[place] = match self.ask(operation)? {
                Some(Reply::Put { revision }) => {
                    self.check_revision(revision)?;
                    Some(value)
                }
                Some(other) => return Err(wrong(&other, "a PUT")),
                None => None,
            };
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), End> {
        self.title("5 GET: each reads what was put")?;
        for place in 0..OPERATIONS_PER_KIND {
            let key = self.key(place);
            match (self.ask(Operation::Get { key })?, &self.held[place]) {
                (Some(Reply::Value { value, .. }), Some(held)) if value != *held => {
                    let expected = Quoted(held).to_string();
                    let found = Reply::Value { revision: 0, value };
                    return Err(wrong(&found, &expected));
                }
                (Some(Reply::Value { .. }), _) | (None, _) | (Some(Reply::Absent { .. }), None) => {
                }
                (Some(other), _) => return Err(wrong(&other, "a value")),
            }
        }
        Ok(())
    }

    fn append(&mut self) -> Result<(), End> {
        self.title("5 APPEND: each adds to a value and answers its length")?;
        for place in 0..OPERATIONS_PER_KIND {
            let value = b" and more".to_vec();
            let operation = Operation::Append {
                key: self.key(place),
                value: value.clone(),
            };
            let held = self.held[place].take().map(|held| [held, value].concat());
            self.held[place] = match self.ask(operation)? {
                Some(Reply::Appended { revision, length }) => {
                    self.check_revision(revision)?;
                    let expected = held.as_ref().map_or(length, |held| held.len() as u64);
                    if length != expected {
                        let found = Reply::Appended { revision, length };
                        return Err(wrong(&found, &format!("length={expected}")));
                    }
                    held
                }
                Some(other) => return Err(wrong(&other, "an APPEND")),
                None => None,
            };
        }
        Ok(())
    }

    fn delete(&mut self) -> Result<(), End> {
        self.title("5 DELETE: each removes a key that was there")?;
        for place in 0..OPERATIONS_PER_KIND {
            let key = self.key(place);
            match self.ask(Operation::Delete { key })? {
                Some(Reply::Deleted { revision, existed }) => {
                    if self.held[place].is_some() && !existed {
                        let found = Reply::Deleted { revision, existed };
                        return Err(wrong(&found, "that the key was there"));
                    }
                    self.check_revision(revision)?;
                }
                Some(other) => return Err(wrong(&other, "a DELETE")),
                None => {}
            }
        }
        Ok(())
    }

    fn conclude(self) -> Result<(), Failure> {
        let text = match self.unanswered {
            0 => "Demo done: every answer was right.".to_owned(),
            1 => "Demo done: one operation got no answer, all other answers were right.".to_owned(),
            count => format!(
                "Demo done: {count} operations got no answer, all other answers were right."
            ),
        };
        self.console.remark(&text)
    }

    fn key(&self, place: usize) -> Vec<u8> {
        format!("{}key{place}", self.prefix).into_bytes()
    }

    fn title(&self, text: &str) -> Result<(), Failure> {
        self.console.remark(&format!("-- {text}"))
    }

    /// Shows an operation and its answer; `None` if there was none in time.
    fn ask(&mut self, operation: Operation) -> Result<Option<Reply>, End> {
        let text = command(&operation);
        let (operation, asked) = self.console.ask(operation);
        self.console.remark(&text)?;
        self.console.show(&operation, &asked)?;
        if let Err(error) = &asked.result {
            self.unanswered += 1;
            if let ClientError::NoQuorum { .. } = error {
                warn!("demo: {operation}: {error}; this ends it");
                return Err(End::NoQuorum);
            }
            warn!("demo: {operation}: {error}; going on with the next");
        }
        Ok(asked.result.ok())
    }

    /// Every change has a revision above the one before it, since the demo's follow each other.
    fn check_revision(&mut self, revision: u64) -> Result<(), Failure> {
        if revision <= self.revision {
            return Err(Failure::Wrong(format!(
                "revision {revision} follows revision {}",
                self.revision
            )));
        }
        self.revision = revision;
        Ok(())
    }
}

fn wrong(found: &Reply, expected: &str) -> End {
    let found = crate::render::plain(found);
    Failure::Wrong(format!("{found}; expected {expected}")).into()
}

/// An operation as it would be typed.
fn command(operation: &Operation) -> String {
    let name = match operation {
        Operation::Put { .. } => "PUT",
        Operation::Get { .. } => "GET",
        Operation::Append { .. } => "APPEND",
        Operation::Delete { .. } => "DELETE",
        Operation::Status => "STATUS",
    };
    let key = Quoted(operation.key().unwrap_or_default());
    match operation.value() {
        [] => format!("{name} {key}"),
        value => format!("{name} {key} {}", Quoted(value)),
    }
}
