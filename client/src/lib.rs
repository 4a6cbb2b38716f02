//! The client of kvpaxos.
