//! The thread that owns the datagram socket: reads, writes, tells the time, and hands over one batch a turn.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::Level;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

use super::exchange::Exchange;
use crate::events::{Event, ToWorker};
use crate::foreign::{self, Cause};
use crate::mailbox::{Inbox, Mailbox};
use crate::workers::value_bytes;

/// The thread and what it owns.
#[derive(Debug)]
pub(super) struct DatagramThread {
    poll: Poll,
    inbox: Inbox<ToWorker>,
    socket: UdpSocket,
    exchange: Exchange,
    replica_thread: Mailbox<Event>,
    began: Instant,
    /// The socket may have something to read.
    ready: bool,
    sweep_at: Instant,
    /// The process is about to stop: no more requests are taken.
    quiet: bool,
    finishing: bool,
    /// Where a datagram is read, and where one is written.
    incoming: Box<[u8]>,
    outgoing: Vec<u8>,
    unsent: u64,
}

impl DatagramThread {
    pub(super) fn new(
        poll: Poll,
        inbox: Inbox<ToWorker>,
        mut socket: UdpSocket,
        exchange: Exchange,
        replica_thread: Mailbox<Event>,
    ) -> io::Result<Self> {
        let interest = Interest::READABLE;
        poll.registry().register(&mut socket, SOCKET, interest)?;
        let now = Instant::now();
        Ok(Self {
            poll,
            inbox,
            socket,
            exchange,
            replica_thread,
            began: now,
            ready: true,
            sweep_at: now + SWEEP_INTERVAL,
            quiet: false,
            finishing: false,
            incoming: vec![0; READ_BYTES].into_boxed_slice(),
            outgoing: Vec::new(),
            unsent: 0,
        })
    }

    /// Works until it is told to finish.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        while !self.finishing {
            let timeout = self.timeout();
            if let Err(error) = self.inbox.wait(&mut self.poll, &mut events, Some(timeout)) {
                panic!("the datagram thread cannot poll: {error}");
            }
            self.ready |= events.iter().any(|event| event.token() == SOCKET);
            self.take_inbox();
            self.receive();
            self.sweep();
            self.hand_over();
        }
        if self.unsent > 0 {
            log::info!("{} datagrams could not be sent", self.unsent);
        }
    }

    fn timeout(&self) -> Duration {
        if self.ready && !self.quiet {
            return Duration::ZERO;
        }
        self.sweep_at.saturating_duration_since(Instant::now())
    }

    fn take_inbox(&mut self) {
        while let Some(message) = self.inbox.take() {
            match message {
                ToWorker::Answers(answers) => {
                    for (connection, answer) in answers {
                        self.exchange.load().let_values_go(value_bytes(&answer));
                        self.outgoing.clear();
                        let remote = self.exchange.answer(connection, answer, &mut self.outgoing);
                        if let Some(remote) = remote {
                            self.send(remote);
                        }
                    }
                }
                // Connections are for the workers; letting go of one closes it.
                ToWorker::Connection(..) => {}
                ToWorker::Quiesce => {
                    self.quiet = true;
                    self.hand_over();
                    self.replica_thread.send(Event::WorkerQuiet);
                }
                ToWorker::Finish => self.finishing = true,
            }
        }
    }

    /// Reads a turn's worth, so that answers get their turn.
    fn receive(&mut self) {
        let now = self.began.elapsed();
        for _ in 0..DATAGRAMS_PER_TURN {
            if !self.ready || self.quiet {
                return;
            }
            match self.socket.recv_from(&mut self.incoming) {
                Ok((bytes, remote)) => {
                    self.outgoing.clear();
                    let datagram = &self.incoming[..bytes];
                    self.exchange
                        .receive(datagram, remote, now, &mut self.outgoing);
                    self.send(remote);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    log_failure("received", &error);
                    // Nobody says when it is over, so the next sweep tries again.
                    self.ready = false;
                }
            }
        }
    }

    /// Sends what is in `outgoing`, if anything is. UDP may lose it anyway, so that one that cannot be sent at once is
    /// dropped.
    fn send(&mut self, remote: SocketAddr) {
        if self.outgoing.is_empty() {
            return;
        }
        if let Err(error) = self.socket.send_to(&self.outgoing, remote) {
            self.unsent += 1;
            log_failure("sent", &error);
        }
    }

    fn sweep(&mut self) {
        let now = Instant::now();
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now + SWEEP_INTERVAL;
        self.ready = true;
        self.exchange.give_up_old(self.began.elapsed());
    }

    fn hand_over(&mut self) {
        let batch = self.exchange.take_batch();
        if !batch.is_empty() {
            self.replica_thread.send(Event::Clients(batch));
        }
    }
}

fn log_failure(done: &str, error: &io::Error) {
    foreign::log(
        Cause::ClientLimit,
        Level::Warn,
        format_args!("a datagram cannot be {done}: {error}"),
    );
}

pub(super) const BELL: Token = Token(0);
const SOCKET: Token = Token(1);
/// The bell and the socket.
const EVENTS_PER_TURN: usize = 2;
/// As long as any datagram, so that none is cut and each can be named with its length.
const READ_BYTES: usize = 65_536;
/// Others get their turn.
const DATAGRAMS_PER_TURN: usize = 256;
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
