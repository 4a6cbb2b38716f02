//! Multi-Paxos as a pure state machine.
//!
//! This crate is the algorithm and nothing else: no sockets, clocks, threads or files, and no randomness but what is
//! passed in. [`Replica`] is one participant. Its caller, the *driver*, feeds it messages and time, and does what each
//! [`Output`] says, in the order that the [`output`] module states; the same calls give the same outputs, so that a whole
//! cluster can be simulated in one thread and any run repeated.
//!
//! ```text
//!            step(envelope)  tick()  propose(command)  read(ticket)
//!                  │           │            │               │
//!                  ▼           ▼            ▼               ▼
//!          ┌─ Replica ──────────────────────────────────────────────────┐
//!          │  Election    who should lead                               │
//!          │  Proposer    phase 1 for all slots to come, phase 2 a slot │
//!          │  Acceptor    what was promised and accepted                │
//!          │  Learner     what is chosen, in order                      │
//!          └───────────────────────────┬────────────────────────────────┘
//!                                      ▼
//!          Output { persist, messages, messages_when_durable, chosen, reads, .. }
//! ```
//!
//! # Three replicas in one thread
//!
//! The whole contract, with a list for a network and memory for a disk:
//!
//! ```
//! use paxos::{Command, Config, Configuration, Incarnation, Recovered, Replica, ReplicaId, Role};
//!
//! let members = [0, 1, 2].map(|id| (ReplicaId(id), Incarnation(100 + u64::from(id))));
//! let mut replicas = members.map(|(me, incarnation)| {
//!     let birth = 7 + u64::from(me.0); // a real driver draws these bits at random
//!     let config = Config::new(me, incarnation, birth);
//!     Replica::new(config, Configuration::founded(&members), Recovered::new())
//! });
//! let command = Command::Opaque(b"PUT colour blue"[..].into());
//! let mut applied = [const { Vec::new() }; 3];
//! let mut is_proposed = false;
//! while !applied.iter().all(|commands| commands.contains(&command)) {
//!     let mut network = Vec::new();
//!     for (replica, applied) in replicas.iter_mut().zip(&mut applied) {
//!         replica.tick();
//!         if replica.role() == Role::Leader && !is_proposed {
//!             is_proposed = replica.propose(command.clone()).is_ok();
//!         }
//!         let output = replica.take_output();
//!         // Here `output.persist` goes to the journal, and the second list waits until that is on the disk.
//!         network.extend(output.messages);
//!         network.extend(output.messages_when_durable);
//!         applied.extend(output.chosen.into_iter().map(|(_slot, command)| command));
//!     }
//!     for envelope in network {
//!         replicas[usize::from(envelope.to.0)].step(envelope);
//!     }
//! }
//! assert_eq!(applied[0], applied[1]);
//! assert_eq!(applied[1], applied[2]);
//! ```
//!
//! # The paper, and what is beyond it
//!
//! The words are those of "Paxos Made Simple" (Lamport, 2001). A *ballot* is a proposal number; an *acceptor* promises
//! and accepts (section 2.2, P1a and P2c); a command is *chosen* in a slot when a majority of acceptors has accepted it
//! in one ballot; a *learner* finds out (2.3). Section 3 of the paper turns this into a log: a distinguished proposer runs
//! phase 1 once for all slots to come, and then a command costs one round trip and one write to disk on a majority.
//!
//! A replica has two modes. In the *dense* one the slots are a log: commands go into the next slot, holes are filled, and
//! what is chosen is delivered in order. In the *sparse* one each slot is an agreement of its own, which any replica may
//! begin ([`Replica::sparse`]). Both share everything that makes agreement safe.
//!
//! What the paper leaves to the reader is here: who should lead ([`Message::Canvass`]), linearizable reads without clocks
//! ([`Message::Heartbeat`]), catching up ([`Message::CatchUp`]), and the lives of acceptors that lost their memory
//! ([`Configuration`]).
//!
//! # Where to read
//!
//! [`Message`] first: who says what, when, and what whoever hears it may conclude; a chart of each path stands above it.
//! Then `acceptor.rs`, which is all that safety rests on, and `proposer.rs`. `replica/mod.rs` only hands each message to
//! its place. `tests/golden/` has scenarios as scripts, one rule each, and `tests/it/paper.rs` one test for each claim of
//! the paper.
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
