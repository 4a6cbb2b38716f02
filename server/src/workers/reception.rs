//! The client port: accepts connections and gives each to a worker in turn.
//!
//! One worker has the reception beside its own connections. Two workers that polled one listener would both wake for
//! every client, and share the clients unevenly.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use log::Level;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use super::load::Load;
use crate::events::ToWorker;
use crate::foreign::{self, Cause};
use crate::mailbox::Mailbox;

/// The listener and whom it gives connections to.
#[derive(Debug)]
pub(super) struct Reception {
    listener: TcpListener,
    ready: bool,
    connections_max: usize,
    load: Arc<Load>,
    /// All workers, this one included, in order of their numbers.
    workers: Vec<Mailbox<ToWorker>>,
    next: usize,
}

/// Somebody who came when there was no room.
#[derive(Debug)]
pub(super) struct TurnedAway {
    pub(super) stream: TcpStream,
    pub(super) remote: SocketAddr,
}

impl Reception {
    /// Listens with `listener` in the poll of `registry`.
    ///
    /// # Errors
    /// The poll refuses the listener.
    pub(super) fn new(
        mut listener: TcpListener,
        registry: &Registry,
        token: Token,
        connections_max: usize,
        load: Arc<Load>,
        workers: Vec<Mailbox<ToWorker>>,
    ) -> io::Result<Self> {
        registry.register(&mut listener, token, Interest::READABLE)?;
        Ok(Self {
            listener,
            ready: true,
            connections_max,
            load,
            workers,
            next: 0,
        })
    }

    /// Somebody may be at the door.
    pub(super) fn note_event(&mut self) {
        self.ready = true;
    }

    /// Accepts a turn's worth, and returns those for whom there is no room. Whether more could be accepted at once is
    /// for [`Reception::has_more`] to say.
    pub(super) fn accept(&mut self) -> Vec<TurnedAway> {
        let mut turned_away = Vec::new();
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.ready {
                break;
            }
            match self.listener.accept() {
                Ok((stream, remote)) if self.load.connect(self.connections_max) => {
                    self.workers[self.next].send(ToWorker::Connection(stream, remote));
                    self.next = (self.next + 1) % self.workers.len();
                }
                Ok((stream, remote)) => {
                    self.log_full(remote);
                    turned_away.push(TurnedAway { stream, remote });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready = false,
                Err(error) if is_about_the_client(&error) => {}
                Err(error) => {
                    log_failure(&error);
                    // Nobody is told when descriptors are free again, so the worker tries once a second.
                    self.ready = false;
                }
            }
        }
        turned_away
    }

    /// Whether [`Reception::accept`] may find somebody at once.
    pub(super) fn has_more(&self) -> bool {
        self.ready
    }

    fn log_full(&self, remote: SocketAddr) {
        foreign::log(
            Cause::ClientLimit,
            Level::Warn,
            format_args!(
                "client {remote} is turned away: there are {} connections, the most allowed",
                self.connections_max
            ),
        );
    }
}

/// The client was gone before it was accepted.
fn is_about_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

fn log_failure(error: &io::Error) {
    foreign::log(
        Cause::ClientLimit,
        Level::Warn,
        format_args!("no client can be accepted: {error}"),
    );
}

/// Others get their turn.
const ACCEPTS_PER_TURN: usize = 64;
