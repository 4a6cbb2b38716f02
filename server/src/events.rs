//! What the threads of a server say to each other.
//!
//! ```text
//! workers ── Event::Clients ──▶ replica thread ── Work ──▶ journal thread
//! workers ◀── ToWorker ──────── replica thread ◀── Event::Durable ── journal thread
//! ```
//! Each hand-over is a batch. The channels have no bound of their own: requests are bounded by [`crate::workers::Load`],
//! work for the journal by what the replica thread lets wait for it.

use std::net::SocketAddr;

use common::{Answer, Request};
use mio::net::TcpStream;
use paxos::{Persist, Slot};

use crate::identity::{ClusterSettings, Identity};
use crate::journal::{JournalError, Serial, Spare};
use crate::node::{ConnectionId, Recovery, SnapshotProgress, TransferProgress};

/// What the replica thread is told.
#[derive(Debug)]
pub enum Event {
    /// What a worker's connections brought in one turn, in order.
    Clients(Vec<ClientEvent>),
    /// A worker has stopped reading: nothing more comes from it but closed connections.
    WorkerQuiet,
    /// The journal made work durable.
    Durable(Durable),
    /// There is more room on the disk than before, or less.
    Room(RoomReport),
    /// What became of a step of a snapshot.
    Snapshot(SnapshotProgress),
    /// What became of a step of a snapshot that travels.
    Transfer(TransferProgress),
    /// What the journal held when [`Work::ReadBack`] had its turn.
    ReadBack(Box<Recovery>),
    /// The process is to stop.
    Stop,
}

/// What a connection brought.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// A request, checked against the limits.
    Request {
        /// Where the answer goes.
        connection: ConnectionId,
        /// What is asked.
        request: Request,
    },
    /// The connection is gone, with so much of it unanswered.
    Closed {
        /// Which.
        connection: ConnectionId,
        /// Unanswered requests.
        requests: u64,
        /// What those requests take, in bytes.
        bytes: u64,
    },
}

/// What a worker is told.
#[derive(Debug)]
pub enum ToWorker {
    /// Answers for its connections; those to connections that are gone are passed over.
    Answers(Vec<(ConnectionId, Answer)>),
    /// A connection that is its own from now on.
    Connection(TcpStream, SocketAddr),
    /// Accept and read no more, and say [`Event::WorkerQuiet`].
    Quiesce,
    /// Send what is there, close all connections, and end.
    Finish,
}

/// What the journal thread is told: work in the order in which it must become durable.
#[derive(Debug)]
pub enum Work {
    /// To be durable before any later work.
    Identity(Identity),
    /// To be appended.
    Persist(Persist),
    /// What became of the file for the next segment, from the thread that makes it. No work in the sense of
    /// [`Durable::work`].
    Spare(Result<Spare, JournalError>),
    /// Durable snapshots cover every slot below it; in the library, every program is done with it. No work either.
    Trim(Slot),
    /// Make durable what is there, and replay the journal for the successor of an agent that failed. No work in the sense
    /// of [`Durable::work`].
    ReadBack {
        /// Whose snapshots count.
        cluster: u64,
        /// Under what settings it is replayed.
        settings: ClusterSettings,
    },
    /// Make durable what is there, seal the journal, and end.
    Finish,
}

/// What can still be written to this replica's disk (RULES R18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomReport {
    /// What the journal has preallocated, and what is free, in bytes.
    pub writable_bytes: u64,
    /// Something waits for room: nothing becomes durable meanwhile.
    pub is_stalled: bool,
}

/// How far the journal thread is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// How many pieces of work, counted from the first, are durable.
    pub work: u64,
    /// The journal's last durable batch.
    pub serial: Serial,
    /// What the journal takes on disk, preallocated space included.
    pub journal_bytes: u64,
}
