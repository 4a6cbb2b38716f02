//! One thread of the pool: its poll, its connections, and the batches to and from the replica thread.
//!
//! In each turn it takes what the poll and the replica thread have, serves every connection that may have something,
//! writes once to each that has answers, and hands over one batch. Nothing of a connection is shared with anybody.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::{Limit, Refusal};
use log::Level;
use mio::net::TcpStream;
use mio::{Events, Poll, Token};

use super::connection::Connection;
use super::desk::Desk;
use super::load::value_bytes;
use super::loss::Loss;
use super::reception::{Reception, TurnedAway};
use super::socket::Socket;
use crate::events::{Event, ToWorker};
use crate::foreign::{self, Cause};
use crate::mailbox::{Inbox, Mailbox};
use crate::node::ConnectionId;

/// A worker before and while it runs.
#[derive(Debug)]
pub(super) struct Worker {
    number: u16,
    poll: Poll,
    inbox: Inbox<ToWorker>,
    replica_thread: Mailbox<Event>,
    /// Only one worker has it, until the process is to stop.
    reception: Option<Reception>,
    desk: Desk,
    connections: HashMap<u64, Connection>,
    next_serial: u64,
    /// Connections to be looked at, each once: it says so itself.
    queue: Vec<u64>,
    /// How many connections are on their way out.
    leaving: usize,
    sweep_at: Instant,
    /// Everything is to be closed.
    finishing: bool,
}

impl Worker {
    pub(super) fn new(
        number: u16,
        poll: Poll,
        inbox: Inbox<ToWorker>,
        replica_thread: Mailbox<Event>,
        reception: Option<Reception>,
        desk: Desk,
    ) -> Self {
        Self {
            number,
            poll,
            inbox,
            replica_thread,
            reception,
            desk,
            connections: HashMap::new(),
            next_serial: FIRST_SERIAL,
            queue: Vec::new(),
            leaving: 0,
            sweep_at: Instant::now() + SWEEP_INTERVAL,
            finishing: false,
        }
    }

    /// Works until it is told to finish and every connection has left.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        while !(self.finishing && self.connections.is_empty()) {
            let timeout = self.timeout();
            if let Err(error) = self.inbox.wait(&mut self.poll, &mut events, timeout) {
                panic!("worker {} cannot poll: {error}", self.number);
            }
            self.note_events(&events);
            self.take_inbox();
            self.accept();
            self.serve_queue();
            self.hand_over();
            self.sweep();
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let at_once =
            !self.queue.is_empty() || self.reception.as_ref().is_some_and(Reception::has_more);
        if at_once {
            return Some(Duration::ZERO);
        }
        if self.connections.is_empty() && self.reception.is_none() {
            return None;
        }
        Some(self.sweep_at.saturating_duration_since(Instant::now()))
    }

    fn note_events(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                BELL => {}
                LISTENER => {
                    if let Some(reception) = &mut self.reception {
                        reception.note_event();
                    }
                }
                Token(serial) => {
                    let serial = serial as u64;
                    if let Some(connection) = self.connections.get_mut(&serial) {
                        connection.note_event(event);
                        enqueue(&mut self.queue, connection, serial);
                    }
                }
            }
        }
    }

    fn take_inbox(&mut self) {
        while let Some(message) = self.inbox.take() {
            match message {
                ToWorker::Answers(answers) => {
                    let value_bytes = answers.iter().map(|(_, answer)| value_bytes(answer)).sum();
                    for (id, answer) in answers {
                        let Some(connection) = self.connections.get_mut(&id.serial) else {
                            continue;
                        };
                        connection.deliver(&answer, &self.desk);
                        enqueue(&mut self.queue, connection, id.serial);
                    }
                    self.desk.load.let_values_go(value_bytes);
                }
                ToWorker::Connection(stream, remote) => self.adopt(stream, remote),
                ToWorker::Quiesce => self.quiesce(),
                ToWorker::Finish => self.finish(),
            }
        }
    }

    fn adopt(&mut self, stream: TcpStream, remote: SocketAddr) {
        match self.insert(stream, remote, true) {
            Ok(serial) => log::debug!("{remote} is client c{}.{serial}", self.number),
            Err(error) => {
                self.desk.load.disconnect();
                foreign::log(
                    Cause::ClientLimit,
                    Level::Warn,
                    format_args!("client {remote} cannot be served: {error}"),
                );
            }
        }
    }

    fn insert(&mut self, stream: TcpStream, remote: SocketAddr, counted: bool) -> io::Result<u64> {
        let serial = self.next_serial;
        self.next_serial += 1;
        let token = Token(usize::try_from(serial).expect("serials count up from a small number"));
        let socket = Socket::new(stream, remote, self.poll.registry(), token)?;
        let worker = self.number;
        let mut connection = Connection::new(ConnectionId { worker, serial }, socket, counted);
        enqueue(&mut self.queue, &mut connection, serial);
        self.connections.insert(serial, connection);
        Ok(serial)
    }

    fn accept(&mut self) {
        let Some(reception) = &mut self.reception else {
            return;
        };
        for TurnedAway { stream, remote } in reception.accept() {
            if self.leaving >= LEAVING_MAX {
                continue;
            }
            let Ok(serial) = self.insert(stream, remote, false) else {
                continue;
            };
            let limit = Limit::Connections;
            self.leave(serial, Some(Refusal::Busy { limit }));
        }
    }

    fn serve_queue(&mut self) {
        for serial in std::mem::take(&mut self.queue) {
            let Some(connection) = self.connections.get_mut(&serial) else {
                continue;
            };
            connection.queued = false;
            let served = connection.serve(&mut self.desk);
            let flushed = connection.flush(&self.desk);
            match served.and_then(|more| flushed.map(|()| more)) {
                Ok(false) => {}
                Ok(true) => enqueue(&mut self.queue, connection, serial),
                Err(loss) => self.lose(serial, &loss),
            }
        }
    }

    fn hand_over(&mut self) {
        if !self.desk.batch.is_empty() {
            let batch = std::mem::take(&mut self.desk.batch);
            self.replica_thread.send(Event::Clients(batch));
        }
    }

    /// Looks at the clock for every connection, now and then.
    fn sweep(&mut self) {
        let now = Instant::now();
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now
            + if self.leaving > 0 {
                LEAVING_SWEEP_INTERVAL
            } else {
                SWEEP_INTERVAL
            };
        if let Some(reception) = &mut self.reception {
            reception.note_event();
        }
        let mut lost = Vec::new();
        for (serial, connection) in &mut self.connections {
            if let Err(loss) = connection.check_progress(now, &self.desk) {
                lost.push((*serial, loss));
            }
        }
        for (serial, loss) in lost {
            self.lose(serial, &loss);
        }
    }

    /// The connection ends: at once, or after the client was told why.
    fn lose(&mut self, serial: u64, loss: &Loss) {
        let Some(connection) = self.connections.get_mut(&serial) else {
            return;
        };
        connection.log_loss(loss);
        let refusal = loss.refusal();
        if refusal.is_some() && !connection.is_leaving() && self.leaving < LEAVING_MAX {
            self.leave(serial, refusal);
        } else {
            self.remove(serial);
        }
    }

    fn leave(&mut self, serial: u64, refusal: Option<Refusal>) {
        let Some(connection) = self.connections.get_mut(&serial) else {
            return;
        };
        let now = Instant::now();
        connection.leave(refusal, now, &mut self.desk);
        enqueue(&mut self.queue, connection, serial);
        self.leaving += 1;
        self.sweep_at = self.sweep_at.min(now + LEAVING_SWEEP_INTERVAL);
    }

    fn remove(&mut self, serial: u64) {
        let Some(mut connection) = self.connections.remove(&serial) else {
            return;
        };
        connection.give_up(&mut self.desk);
        self.leaving -= usize::from(connection.is_leaving());
        if connection.counted {
            self.desk.load.disconnect();
        }
    }

    /// Takes no more requests. What was taken is on its way before the replica thread hears of it.
    fn quiesce(&mut self) {
        self.desk.quiet = true;
        self.reception = None;
        self.hand_over();
        self.replica_thread.send(Event::WorkerQuiet);
    }

    fn finish(&mut self) {
        self.desk.quiet = true;
        self.reception = None;
        self.finishing = true;
        let serials: Vec<u64> = self.connections.keys().copied().collect();
        for serial in serials {
            if !self.connections[&serial].is_leaving() {
                self.leave(serial, None);
            }
        }
    }
}

/// Puts a connection on the list of those to be looked at, unless it is there.
fn enqueue(queue: &mut Vec<u64>, connection: &mut Connection, serial: u64) {
    if !std::mem::replace(&mut connection.queued, true) {
        queue.push(serial);
    }
}

pub(super) const BELL: Token = Token(0);
pub(super) const LISTENER: Token = Token(1);
const FIRST_SERIAL: u64 = 2;

const EVENTS_PER_TURN: usize = 256;
/// Clients that are told why before they are closed; each holds a descriptor for a moment. More are closed at once.
const LEAVING_MAX: usize = 64;
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
const LEAVING_SWEEP_INTERVAL: Duration = Duration::from_millis(50);
