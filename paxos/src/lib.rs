//! Multi-Paxos as a pure state machine.
//!
//! This crate is the algorithm and nothing else: no sockets, clocks, threads or files, and no randomness but what is
//! passed in. [`Replica`] is one participant. Its caller feeds it messages and time, and does what each [`Output`] says,
//! in the order that the [`output`] module states; the same calls give the same outputs, so that a whole cluster can be
//! simulated in one thread and any run repeated.
//!
//! The words are those of "Paxos Made Simple" (Lamport, 2001). A *ballot* is a proposal number; an *acceptor* promises
//! and accepts; a command is *chosen* in a slot when a majority of acceptors has accepted it in one ballot; a *learner*
//! finds out. Section 3 of the paper turns this into a log: a distinguished proposer runs phase 1 once for all slots to
//! come, and then a command costs one round trip and one write to disk on a majority.
//!
//! A replica has two modes. In the *dense* one the slots are a log: commands go into the next slot, holes are filled, and
//! what is chosen is delivered in order. In the *sparse* one each slot is an agreement of its own, which any replica may
//! begin ([`Replica::sparse`]). Both share everything that makes agreement safe.
//!
//! What the paper leaves to the reader is here: who should lead ([`Message::Canvass`]), linearizable reads without clocks
//! ([`Message::Heartbeat`]), catching up ([`Message::CatchUp`]), and the lives of acceptors that lost their memory
//! ([`Configuration`]).
#![warn(clippy::wildcard_enum_match_arm)]

mod acceptor;
mod ballot;
mod config;
mod election;
mod instances;
mod learner;
mod message;
pub mod output;
mod proposer;
mod quorum;
mod read;
mod recovered;
mod replica;
mod space;

pub use ballot::{Ballot, Incarnation, ReplicaId, Slot};
pub use config::Config;
pub use instances::INSTANCES_IN_FLIGHT_MAX;
pub use message::{AcceptedCommand, Command, Envelope, Message, SlotRange};
pub use output::{
    DurableState, Note, Output, Persist, ReadReady, Record, ResignReason, SnapshotWanted,
};
pub use quorum::{Configuration, REPLICA_IDS_MAX, ReplicaSet};
pub use recovered::Recovered;
pub use replica::{Agent, ProposeError, Replica, Role};
pub use space::Space;
