//! The links of one replica to all others: at most one TCP connection a pair, carrying both directions.
//!
//! Both sides of a pair dial, so that a link comes up as long as one of the two can reach the other; the one with the
//! lower id waits a little, so that usually only one does. Where two connections meet, both sides keep the same one
//! (`link::keeps_new`). Owns the peer listener and all peer sockets; it uses the poll of the replica thread, blocks
//! on nothing, and holds a bounded amount of memory for each peer and for all strangers together.

mod introductions;

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use log::Level;
use mio::event::Event;
use mio::net::TcpListener;
use mio::{Interest, Registry, Token};
use paxos::{Incarnation, ReplicaId};

use super::codec::{PeerFrame, append_frame_head, peer_frame_bytes_max};
use super::connection::{Connection, Loss, Stage};
use super::dialer::Dialer;
use super::greeting::{GreetingError, PeerGreeting};
use super::link::{Link, REDIAL_INTERVAL, REFUSED_INTERVAL, head_start, log_loss, redial_after};
use super::message::PeerMessage;
use super::outgoing::Urgency;
use crate::config::Member;
use crate::foreign::{self, Cause};
use crate::identity::ClusterSettings;

/// Who this replica is to its peers, and who they are.
#[derive(Clone, Debug)]
pub struct LinksSettings {
    /// Which replica this is.
    pub replica: ReplicaId,
    /// All members; this one's own entry is passed over.
    pub members: Vec<Member>,
    /// What the cluster is bound to; a peer with others is refused.
    pub cluster_settings: ClusterSettings,
    /// 64 bits that no other start of this process has used.
    pub birth: u64,
    /// The first of the tokens that the links may use in the poll; all above it are theirs.
    pub first_token: usize,
}

/// What a turn of the links brought.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The link to this peer is up.
    Up(ReplicaId),
    /// The link to this peer is gone; what was sent last may not have arrived.
    Down(ReplicaId),
    /// A peer says something.
    Message {
        /// Who.
        from: ReplicaId,
        /// What.
        message: PeerMessage,
    },
}

/// All links of one replica.
#[derive(Debug)]
pub struct Links {
    settings: LinksSettings,
    cluster: u64,
    incarnation: Incarnation,
    registry: Registry,
    listener: Option<TcpListener>,
    listener_ready: bool,
    peers: BTreeMap<ReplicaId, Peer>,
    connections: BTreeMap<Token, Connection>,
    next_token: usize,
    scratch: Box<[u8]>,
}

#[derive(Debug)]
struct Peer {
    dialer: Dialer,
    dial_at: Instant,
    /// How often in a row its name could not be looked up.
    lookups_failed: u64,
    dialing: Option<Token>,
    link: Option<Link>,
    /// The highest journal serial that it named, in the life that named it (RULES R19).
    highest_serial: (Incarnation, u64),
    /// The other cluster that it named when it was last dialed, if it did.
    elsewhere: Option<u64>,
    /// What it said at its own address that shows this replica to have been started with the wrong settings.
    other_settings: Option<GreetingError>,
}

impl Links {
    /// Links that dial at once and accept from `listener`; a replica without peers needs none.
    ///
    /// # Errors
    /// The poll refuses the listener, or no thread for looking up a name can be started.
    pub fn new(
        settings: LinksSettings,
        mut listener: Option<TcpListener>,
        registry: Registry,
    ) -> io::Result<Self> {
        let listener_token = Token(settings.first_token);
        if let Some(listener) = &mut listener {
            registry.register(listener, listener_token, Interest::READABLE)?;
        }
        let now = Instant::now();
        let mut peers = BTreeMap::new();
        for member in &settings.members {
            if member.id == settings.replica {
                continue;
            }
            let peer = Peer {
                dialer: Dialer::new(&member.address)?,
                dial_at: now + head_start(settings.replica, member.id),
                lookups_failed: 0,
                dialing: None,
                link: None,
                highest_serial: Default::default(),
                elsewhere: None,
                other_settings: None,
            };
            peers.insert(member.id, peer);
        }
        Ok(Self {
            next_token: settings.first_token + 1,
            settings,
            cluster: 0,
            incarnation: Incarnation::default(),
            registry,
            listener,
            listener_ready: true,
            peers,
            connections: BTreeMap::new(),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
        })
    }

    /// Tells what greetings from now on say; `cluster` is 0 before the founding.
    pub fn set_identity(&mut self, cluster: u64, incarnation: Incarnation) {
        self.cluster = cluster;
        self.incarnation = incarnation;
    }

    /// Notes an event of the poll. Returns whether it was for a link.
    pub fn note_event(&mut self, event: &Event) -> bool {
        if event.token() == Token(self.settings.first_token) {
            self.listener_ready = true;
        } else if let Some(connection) = self.connections.get_mut(&event.token()) {
            let read_closed = event.is_read_closed() || event.is_error();
            let readable = event.is_readable() || read_closed;
            connection.note_event(readable, read_closed, event.is_writable());
        }
        event.token().0 >= self.settings.first_token
    }

    /// Accepts, dials, reads, and appends what came of it to `events`. Each connection is read a bounded number of
    /// times; [`Links::has_more`] says whether something is left.
    pub fn receive(&mut self, now: Instant, events: &mut Vec<LinkEvent>) {
        self.accept();
        self.dial(now);
        let tokens: Vec<Token> = self.connections.keys().copied().collect();
        for token in tokens {
            // It may have been closed in favour of one handled before it.
            let Some(mut connection) = self.connections.remove(&token) else {
                continue;
            };
            match self.serve(&mut connection, token, now, events) {
                Ok(()) => {
                    self.connections.insert(token, connection);
                }
                Err(loss) => self.lose(token, &connection, &loss, events),
            }
        }
    }

    /// Whether [`Links::receive`] would find something at once.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.connections.values().any(Connection::may_read)
    }

    /// Queues a message; without a link it is dropped, as agreement allows. `rests_on` is the serial up to which the
    /// journal is durable if the message claims anything about it, else 0.
    pub fn send(&mut self, to: ReplicaId, rests_on: u64, message: PeerMessage) {
        let Some(link) = self.peers.get(&to).and_then(|peer| peer.link) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(&link.token) else {
            return;
        };
        let urgency = Urgency::of(&message);
        let dropped = connection
            .outgoing
            .push(urgency, |out| append_frame_head(out, rests_on, message));
        if dropped > 0 {
            foreign::log(
                Cause::PeerLink,
                Level::Warn,
                format_args!("{to} reads too slowly: {dropped} old messages to it were dropped"),
            );
        }
    }

    /// Writes what is queued, once for each link, as far as the sockets take it.
    pub fn flush(&mut self, events: &mut Vec<LinkEvent>) {
        let mut lost = Vec::new();
        for (token, connection) in &mut self.connections {
            if let Err(loss) = connection.flush() {
                lost.push((*token, loss));
            }
        }
        for (token, loss) in lost {
            if let Some(connection) = self.connections.remove(&token) {
                self.lose(token, &connection, &loss, events);
            }
        }
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.listener.as_ref().filter(|_| self.listener_ready) else {
                return;
            };
            match listener.accept() {
                Ok((stream, remote)) => {
                    let accepted = Connection::accepted(stream, remote, self.queued_bytes_max());
                    self.admit(accepted);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.listener_ready = false;
                }
                Err(error) => {
                    foreign::log(
                        Cause::PeerLink,
                        Level::Warn,
                        format_args!("a peer could not be accepted: {error}"),
                    );
                    return;
                }
            }
        }
    }

    fn admit(&mut self, accepted: io::Result<Connection>) {
        let strangers = self.connections.values().filter(|connection| {
            connection.dialed.is_none() && !matches!(connection.stage, Stage::Up { .. })
        });
        let crowded = strangers.count() >= STRANGERS_MAX;
        let result = accepted.and_then(|connection| {
            if crowded {
                let message = format!("{STRANGERS_MAX} others have not greeted yet");
                return Err(io::Error::other(message));
            }
            self.register(connection).map(|_| ())
        });
        if let Err(error) = result {
            foreign::log(
                Cause::PeerStranger,
                Level::Warn,
                format_args!("a connection to the peer port was closed: {error}"),
            );
        }
    }

    fn register(&mut self, mut connection: Connection) -> io::Result<Token> {
        let token = Token(self.next_token);
        self.next_token += 1;
        connection.register(&self.registry, token)?;
        self.connections.insert(token, connection);
        Ok(token)
    }

    fn dial(&mut self, now: Instant) {
        let due =
            |peer: &Peer| peer.link.is_none() && peer.dialing.is_none() && now >= peer.dial_at;
        let ids: Vec<ReplicaId> = self
            .peers
            .iter()
            .filter(|(_, peer)| due(peer))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            if let Err(error) = self.dial_one(id, now) {
                log::debug!("{id} could not be dialed: {error}");
            }
        }
    }

    fn dial_one(&mut self, id: ReplicaId, now: Instant) -> io::Result<()> {
        let queued_bytes_max = self.queued_bytes_max();
        let peer = self.peers.get_mut(&id).expect("only members are dialed");
        peer.dial_at = now + REDIAL_INTERVAL;
        let remote = match peer.dialer.next_address() {
            Ok(Some(remote)) => {
                peer.lookups_failed = 0;
                remote
            }
            Ok(None) => {
                peer.dial_at = now;
                return Ok(());
            }
            Err(error) => {
                let address = peer.dialer.address();
                peer.lookups_failed += 1;
                let failures = peer.lookups_failed;
                // The first of a row, and from then on ever more rarely: it fails every second until a person sees to it.
                let level = if failures.is_power_of_two() {
                    Level::Warn
                } else {
                    Level::Debug
                };
                foreign::log(
                    Cause::PeerLink,
                    level,
                    format_args!(
                        "the address {address} of {id} could not be looked up: {error} \
                         ({failures} in a row)"
                    ),
                );
                peer.dial_at = now + REFUSED_INTERVAL;
                return Ok(());
            }
        };
        let mut connection = Connection::dial(id, remote, queued_bytes_max)?;
        let greeting = self.greeting_for(id);
        connection.greet(&greeting);
        let token = self.register(connection)?;
        self.peers
            .get_mut(&id)
            .expect("only members are dialed")
            .dialing = Some(token);
        Ok(())
    }

    /// Enough for two messages of the greatest length and all that is small.
    fn queued_bytes_max(&self) -> usize {
        2 * peer_frame_bytes_max(&self.settings.cluster_settings) as usize + SMALL_MESSAGES_BYTES
    }

    /// One connection's share of a turn.
    fn serve(
        &mut self,
        connection: &mut Connection,
        token: Token,
        now: Instant,
        events: &mut Vec<LinkEvent>,
    ) -> Result<(), Loss> {
        connection.finish_connecting()?;
        connection.check_deadline(now)?;
        for _ in 0..READS_PER_TURN {
            if !connection.read(&mut self.scratch)? {
                break;
            }
            while let Some(frame) = connection.incoming.next_frame()? {
                if let Stage::Up { peer } = connection.stage {
                    let frame = PeerFrame::decode(frame)?;
                    self.note_serial(peer, frame.rests_on);
                    let message = frame.message;
                    events.push(LinkEvent::Message {
                        from: peer,
                        message,
                    });
                } else {
                    let greeting = PeerGreeting::decode(frame)?;
                    self.greeted(connection, token, &greeting, now, events)?;
                }
            }
        }
        Ok(())
    }

    fn note_serial(&mut self, peer: ReplicaId, serial: u64) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.highest_serial.1 = peer.highest_serial.1.max(serial);
        }
    }

    /// The connection is gone: says so, and has the peer dialed again.
    fn lose(
        &mut self,
        token: Token,
        connection: &Connection,
        loss: &Loss,
        events: &mut Vec<LinkEvent>,
    ) {
        let now = Instant::now();
        let own = self.settings.replica;
        match connection.stage {
            Stage::Up { peer: id } => {
                let peer = self.peers.get_mut(&id).expect("only members have links");
                if peer.link.is_some_and(|link| link.token == token) {
                    peer.link = None;
                    peer.dial_at = now + head_start(own, id);
                    events.push(LinkEvent::Down(id));
                }
            }
            Stage::Connecting { .. } | Stage::Greeting { .. } => {
                let dialed = connection.dialed;
                if let Some((id, peer)) = dialed.and_then(|id| Some((id, self.peers.get_mut(&id)?)))
                {
                    peer.dialing = None;
                    peer.dial_at = now + redial_after(loss, own, id);
                }
            }
        }
        log_loss(connection, loss);
    }
}

/// Connections that have not greeted; a cluster has far fewer replicas, and each holds a descriptor.
const STRANGERS_MAX: usize = 64;
const ACCEPTS_PER_TURN: usize = 64;
/// One read's worth; a link that brings more is read several times a turn.
const READ_BYTES: usize = 64 * 1024;
/// 1 MiB a turn and link, so that ticks and clients get their turn.
const READS_PER_TURN: usize = 16;
const SMALL_MESSAGES_BYTES: usize = 4 << 20;
