//! One replica of kvpaxos: agreement by the `paxos` crate, a journal, sessions and a store, served over TCP and UDP; and
//! agreement without the store, for programs ([`peer`]).
//!
//! ```text
//!  clients ──TCP──▶ workers ─────────┐ batches                       ┌──TCP──▶ other replicas (peers)
//!          ──UDP──▶ datagram thread ─┤                               │
//!                                    ▼                               ▼
//!                             replica thread: Node = paxos::Replica + sessions + store
//!                                    │                        ▲
//!              what must be durable  ▼                        │  "durable up to n"
//!                             journal thread: append, one fdatasync for all that waits
//!                             snapshot thread: pieces of the state, to and from files
//! ```
//!
//! [`node::Node`] is a state machine like the replica in it: it has no socket, clock, thread or file, and the simulator of
//! the tests runs clusters of it, with the real journal on a disk that fails. The threads around it only carry: each
//! module says what it owns and what it never does. Who waits for whom is [`events::Event`], one closed list of what the
//! replica thread hears.
//!
//! | to read about | start with |
//! |---|---|
//! | a request's way through a replica | [`node`], then `node/state.rs`, where it is applied |
//! | what survives a crash, and how damage is told from a torn end | [`journal`] |
//! | snapshots, taken without stopping | [`snapshot`], `node/snapshots.rs` |
//! | a new cluster, a lost disk | `node/founding.rs`, `node/rejoin.rs` |
//! | links between replicas | [`peers`] |
//! | connections, datagrams, and every limit on them | [`workers`], [`udp`] |
//! | how it all starts and stops | [`server`] |
//!
//! The rules of agreement stand in the [`paxos`] crate, with the sections of "Paxos Made Simple" that they come from.
//!
//! # Agreement without the store
//!
//! Three peers, usually of three programs, agree on one value for instance 7, though each has a wish of its own:
//!
//! ```
//! use std::net::TcpListener;
//! use std::time::Duration;
//! use kvpaxos_server::peer::{Fate, Peer, PeerSettings};
//!
//! let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
//! let group = listeners.each_ref().map(|one| one.local_addr().unwrap().to_string());
//! let mut peers = Vec::new();
//! for (me, listener) in listeners.into_iter().enumerate() {
//!     let mut settings = PeerSettings::in_memory();
//!     settings.listener = Some(listener);
//!     peers.push(Peer::make(&group, me, settings)?);
//! }
//! for (me, peer) in peers.iter().enumerate() {
//!     peer.start(7, format!("the wish of peer {me}").into_bytes())?;
//! }
//! let fates: Vec<Fate> = peers.iter().map(|peer| peer.wait(7, Duration::from_secs(10))).collect();
//! assert!(matches!(fates[0], Fate::Decided(_)));
//! assert!(fates.iter().all(|fate| *fate == fates[0]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod args;
pub mod config;
pub mod diskless;
pub mod events;
pub mod failing;
pub mod foreign;
pub mod health;
pub mod identity;
pub mod journal;
pub mod journal_thread;
pub mod logging;
pub mod mailbox;
pub mod node;
pub mod peer;
pub mod peers;
mod promises;
pub mod replica_thread;
mod room;
pub mod server;
pub mod settings;
pub mod signboard;
pub mod snapshot;
pub mod snapshot_thread;
pub mod ticker;
pub mod udp;
pub mod workers;
