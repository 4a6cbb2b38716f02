//! Many clients on one thread: the sockets under the couriers.
//!
//! Each client is a client of its own, with a session, sockets and retries of its own. One poll serves them all;
//! what a turn has to send is written once per connection. Nothing here decides anything about requests: that is the
//! courier's part. It reads the clock, and no other thread.

mod datagrams;
mod socket;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use crate::courier::{Completion, Courier, Ticket};
use crate::directory::Directory;
use crate::error::ClientError;
use crate::operation::Operation;
use crate::options::{ClientOptions, Transport};
use datagrams::DatagramSocket;
use socket::{ReadEnd, Socket};

/// How many bytes are read from a socket at once.
const READ_BYTES: usize = 64 * 1024;

/// How many events a turn takes from the poll; what is more comes in the next turn.
const EVENTS_PER_TURN_MAX: usize = 1_024;

/// How many datagrams a turn takes from a socket: whoever floods it delays the others by no more than this.
const DATAGRAMS_PER_TURN_MAX: usize = 1_024;

/// Clients that share a thread, each with operations of its own outstanding.
#[derive(Debug)]
pub struct Fleet {
    options: Arc<ClientOptions>,
    poll: Poll,
    events: Events,
    couriers: Vec<Courier>,
    /// The connections: those of client `c` begin at `c` times the number of endpoints.
    sockets: Vec<Option<Link>>,
    /// Whether each courier may have something to connect, close, write or report.
    touched: Vec<bool>,
    scratch: Box<[u8]>,
}

/// What connects a client to an endpoint.
#[derive(Debug)]
enum Link {
    Stream(Socket),
    Datagrams(DatagramSocket),
}

impl Fleet {
    /// So many clients. Client `c` asks first the endpoint `c` places after the one that the options name. Nothing is
    /// connected before there is something to ask.
    ///
    /// # Errors
    /// The options cannot be used, or the machine gives no poll.
    pub fn new(options: ClientOptions, clients: usize) -> Result<Self, ClientError> {
        options.check()?;
        let endpoints = options.endpoints.len();
        let options = Arc::new(options);
        let directory = Arc::new(Directory::new(&options.endpoints));
        let now = Instant::now();
        let courier = |client| {
            let first = (options.first + client) % endpoints;
            Courier::new(Arc::clone(&options), Arc::clone(&directory), first, now)
        };
        Ok(Self {
            couriers: (0..clients).map(courier).collect(),
            sockets: (0..clients * endpoints).map(|_| None).collect(),
            touched: vec![false; clients],
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_PER_TURN_MAX),
            scratch: vec![0; READ_BYTES].into(),
            options,
        })
    }

    /// Gives a client an operation. It is sent with the next turn, behind what that client was given before.
    pub fn submit(&mut self, client: usize, operation: Operation) -> Ticket {
        self.submit_at(client, operation, Instant::now())
    }

    /// As [`Self::submit`], for a caller that has just read the clock.
    pub fn submit_at(&mut self, client: usize, operation: Operation, now: Instant) -> Ticket {
        self.touched[client] = true;
        self.couriers[client].submit(operation, now)
    }

    /// What the clients were told when they were made.
    #[must_use]
    pub fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// Gives up whatever a client has not finished, with [`ClientError::Interrupted`] as the result. It is among what the
    /// next turn finishes.
    pub fn interrupt(&mut self, client: usize) {
        self.touched[client] = true;
        self.couriers[client].interrupt();
    }

    /// How many operations of a client are not finished.
    #[must_use]
    pub fn unfinished(&self, client: usize) -> usize {
        self.couriers[client].unfinished()
    }

    /// The replica that a client is connected to, if it is.
    #[must_use]
    pub fn replica(&self, client: usize) -> Option<u8> {
        self.couriers[client].replica()
    }

    /// Sends what is to be sent, waits at most `wait` for something to come or fall due, and appends to `done` what
    /// was finished, with the number of its client.
    ///
    /// # Errors
    /// The poll itself failed.
    pub fn turn(&mut self, wait: Duration, done: &mut Vec<(usize, Completion)>) -> io::Result<()> {
        let before = done.len();
        self.serve_touched(done);
        let wait = if done.len() > before {
            Duration::ZERO
        } else {
            self.wait_at_most(wait)
        };
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let now = Instant::now();
        self.handle_events(now);
        self.tick(now);
        self.serve_touched(done);
        Ok(())
    }

    fn wait_at_most(&self, wait: Duration) -> Duration {
        let wake = self.couriers.iter().filter_map(Courier::wake).min();
        let Some(wake) = wake else { return wait };
        let until = wake.saturating_duration_since(Instant::now());
        // The poll counts in whole milliseconds: rounding up spares it a turn in which nothing is due yet.
        wait.min(until + Duration::from_micros(999))
    }

    fn handle_events(&mut self, now: Instant) {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let place = event.token().0;
            if event.is_writable() {
                self.connected(place, now);
            }
            let ends = event.is_error() || event.is_read_closed();
            if let Some(Link::Stream(socket)) = self.sockets[place].as_mut().filter(|_| ends) {
                socket.ending();
            }
            if event.is_readable() || ends {
                self.read(place, now);
            }
        }
        self.events = events;
    }

    fn tick(&mut self, now: Instant) {
        for (courier, touched) in self.couriers.iter_mut().zip(&mut self.touched) {
            if courier.wake().is_some_and(|wake| wake <= now) {
                courier.tick(now);
                *touched = true;
            }
        }
    }

    fn serve_touched(&mut self, done: &mut Vec<(usize, Completion)>) {
        for client in 0..self.couriers.len() {
            if std::mem::take(&mut self.touched[client]) {
                self.serve(client);
                done.extend(
                    self.couriers[client]
                        .completions()
                        .map(|completion| (client, completion)),
                );
            }
        }
    }

    /// Closes, connects and writes as a courier asks.
    fn serve(&mut self, client: usize) {
        let first = client * self.options.endpoints.len();
        loop {
            while let Some(lane) = self.couriers[client].next_close() {
                self.sockets[first + lane] = None;
            }
            let now = Instant::now();
            let Some(lane) = self.couriers[client].next_connect(now) else {
                break;
            };
            self.connect(first + lane, now);
        }
        for place in first..first + self.options.endpoints.len() {
            self.write(place);
        }
    }

    fn place(&self, place: usize) -> (usize, usize) {
        let endpoints = self.options.endpoints.len();
        (place / endpoints, place % endpoints)
    }

    /// Begins to connect. The name is looked up anew, which may take as long as a name server takes.
    fn connect(&mut self, place: usize, now: Instant) {
        let (client, lane) = self.place(place);
        let endpoint = &self.options.endpoints[lane];
        let addresses = match endpoint.resolve() {
            Ok(addresses) => addresses,
            Err(error) => return self.couriers[client].unresolved(lane, &error, now),
        };
        let (registry, token) = (self.poll.registry(), Token(place));
        let link = match endpoint.transport() {
            Transport::Tcp => Socket::connect(addresses, registry, token).map(Link::Stream),
            Transport::Udp => DatagramSocket::open(addresses, registry, token).map(Link::Datagrams),
        };
        match link {
            Ok(link) => self.sockets[place] = Some(link),
            Err(error) => {
                let reason = format!("cannot connect: {error}");
                self.couriers[client].closed(lane, &reason, now);
            }
        }
    }

    /// The socket can be written to: either it has just been connected, or there is room again.
    fn connected(&mut self, place: usize, now: Instant) {
        let (client, lane) = self.place(place);
        let result = match &mut self.sockets[place] {
            None => return,
            Some(Link::Stream(socket)) => socket.writable(self.poll.registry(), Token(place)),
            Some(Link::Datagrams(socket)) => {
                socket.writable();
                Ok(false)
            }
        };
        self.touched[client] = true;
        match result {
            Ok(true) => self.couriers[client].connected(lane),
            Ok(false) => {}
            Err(error) => {
                self.sockets[place] = None;
                self.couriers[client].closed(lane, &format!("cannot connect: {error}"), now);
            }
        }
    }

    fn read(&mut self, place: usize, now: Instant) {
        let (client, lane) = self.place(place);
        self.touched[client] = true;
        loop {
            let (length, end) = match &mut self.sockets[place] {
                None => return,
                Some(Link::Stream(socket)) => socket.read(&mut self.scratch),
                Some(Link::Datagrams(_)) => return self.read_datagrams(place, now),
            };
            let courier = &mut self.couriers[client];
            if length > 0 {
                courier.received(lane, &self.scratch[..length], now);
            }
            self.close_what_is_to_be_closed(client);
            match end {
                ReadEnd::More => {}
                ReadEnd::Drained => return,
                ReadEnd::Closed(reason) => {
                    if self.sockets[place].take().is_some() {
                        self.couriers[client].closed(lane, &reason, now);
                    }
                    return;
                }
            }
        }
    }

    fn read_datagrams(&mut self, place: usize, now: Instant) {
        let (client, lane) = self.place(place);
        for _ in 0..DATAGRAMS_PER_TURN_MAX {
            let Some(Link::Datagrams(socket)) = &mut self.sockets[place] else {
                return;
            };
            let Some(arrival) = socket.read(&mut self.scratch) else {
                return;
            };
            let courier = &mut self.couriers[client];
            if arrival.is_peer {
                let datagram = &self.scratch[..arrival.bytes];
                courier.received_datagram(lane, datagram, arrival.from, now);
            } else {
                courier.foreign_datagram(lane, arrival.bytes, arrival.from, now);
            }
            self.close_what_is_to_be_closed(client);
        }
        if let Some(Link::Datagrams(socket)) = &mut self.sockets[place] {
            socket.come_back(self.poll.registry(), Token(place));
        }
    }

    fn close_what_is_to_be_closed(&mut self, client: usize) {
        let first = client * self.options.endpoints.len();
        while let Some(lane) = self.couriers[client].next_close() {
            self.sockets[first + lane] = None;
        }
    }

    /// Writes as much as the socket takes. What goes wrong shows when it is read next.
    fn write(&mut self, place: usize) {
        let (client, lane) = self.place(place);
        let outgoing = self.couriers[client].outgoing(lane);
        match &mut self.sockets[place] {
            None => {}
            Some(Link::Stream(socket)) => socket.write(outgoing),
            Some(Link::Datagrams(socket)) => socket.write(outgoing),
        }
    }
}
