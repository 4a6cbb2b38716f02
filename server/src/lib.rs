//! One replica of kvpaxos: agreement by the `paxos` crate, a journal, sessions and a store, served over TCP and UDP; and
//! agreement without the store, for programs ([`peer`]).

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
