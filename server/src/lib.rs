//! One replica of kvpaxos: agreement by the `paxos` crate, a journal, sessions and a store, served over TCP.

pub mod identity;
pub mod journal;
pub mod node;
pub mod peers;
