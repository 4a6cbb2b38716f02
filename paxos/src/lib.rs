//! Multi-Paxos as a pure state machine.
#![warn(clippy::wildcard_enum_match_arm)]

mod ballot;
mod message;
mod output;

pub use ballot::{Ballot, Incarnation, ReplicaId, Slot};
pub use message::{AcceptedCommand, Command, Envelope, Message};
pub use output::{DurableState, Note, Output, Persist, ReadReady, Record, ResignReason};

/// stub
#[derive(Debug)]
pub struct Replica;
#[allow(missing_docs)]
impl Replica {
    pub fn step(&mut self) {}
    pub fn read(&mut self) {}
}
