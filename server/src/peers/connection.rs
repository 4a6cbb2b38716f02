//! One TCP connection to another replica, or to a stranger who has not greeted yet.
//!
//! Owns the socket, what has come and is not understood yet, and what waits to be written. It knows frames and the
//! state of the socket; who is at the other end and which of two connections is the link is for `Links` to say.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::{DecodeError, FrameBuffer, FrameError};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use paxos::ReplicaId;
use socket2::{SockRef, TcpKeepalive};
use thiserror::Error;

use super::greeting::{GREETING_BYTES_MAX, GreetingError, PeerGreeting};
use super::outgoing::{Outgoing, Urgency};

/// A connection and how far it has come.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// The other end.
    pub(super) remote: SocketAddr,
    /// Whom this side dialed; `None` if the other side did.
    pub(super) dialed: Option<ReplicaId>,
    /// How far it has come.
    pub(super) stage: Stage,
    /// What has come and is not used yet.
    pub(super) incoming: FrameBuffer,
    /// What waits to be written.
    pub(super) outgoing: Outgoing,
    /// There may be something to read: polls report changes only.
    readable: bool,
    /// The other side will send no more, so reading must go on to the end.
    read_closed: bool,
    /// The socket may take something.
    writable: bool,
    /// All that came, for the log.
    pub(super) received_bytes: u64,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// TCP has not connected yet.
    Connecting { deadline: Instant },
    /// The other side has not greeted yet.
    Greeting { deadline: Instant },
    /// It is the link to this peer.
    Up { peer: ReplicaId },
}

/// Why a connection ends.
#[derive(Debug, Error)]
pub(super) enum Loss {
    #[error("the other side closed it")]
    Closed,
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("{0}")]
    Framing(#[from] FrameError),
    #[error("a message {0}")]
    Message(#[from] DecodeError),
    #[error("{0}")]
    Greeting(#[from] GreetingError),
    #[error("TCP did not connect in time")]
    ConnectTimeout,
    #[error("no greeting came in time")]
    GreetingTimeout,
    #[error("it is connected to itself")]
    Itself,
    #[error("another connection of the two replicas stays")]
    Duplicate,
}

/// TCP gets this long to connect: a lost packet is sent again only after a second, and dialing anew is faster.
const CONNECT_WAIT_MAX: Duration = Duration::from_millis(500);
/// A peer under load greets within milliseconds; one that is stopped is dialed again.
const GREETING_WAIT_MAX: Duration = Duration::from_secs(2);
/// A link whose other end vanished without a word is dead after this long.
const SILENCE_MAX: Duration = Duration::from_secs(3);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);

impl Connection {
    /// Begins to dial.
    ///
    /// # Errors
    /// The system refuses at once.
    pub(super) fn dial(
        peer: ReplicaId,
        remote: SocketAddr,
        queued_bytes_max: usize,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(remote)?;
        let deadline = Instant::now() + CONNECT_WAIT_MAX;
        let stage = Stage::Connecting { deadline };
        Self::new(stream, remote, Some(peer), stage, queued_bytes_max)
    }

    /// Takes over what a listener accepted.
    ///
    /// # Errors
    /// The system refuses the options that a link needs.
    pub(super) fn accepted(
        stream: TcpStream,
        remote: SocketAddr,
        queued_bytes_max: usize,
    ) -> io::Result<Self> {
        let deadline = Instant::now() + GREETING_WAIT_MAX;
        let stage = Stage::Greeting { deadline };
        Self::new(stream, remote, None, stage, queued_bytes_max)
    }

    fn new(
        stream: TcpStream,
        remote: SocketAddr,
        dialed: Option<ReplicaId>,
        stage: Stage,
        queued_bytes_max: usize,
    ) -> io::Result<Self> {
        set_options(&stream)?;
        Ok(Self {
            stream,
            remote,
            dialed,
            stage,
            incoming: FrameBuffer::new(GREETING_BYTES_MAX),
            outgoing: Outgoing::new(queued_bytes_max),
            readable: true,
            read_closed: false,
            writable: dialed.is_none(),
            received_bytes: 0,
        })
    }

    /// Asks the poll of `registry` for this connection's events.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(
            &mut self.stream,
            token,
            Interest::READABLE | Interest::WRITABLE,
        )
    }

    /// Notes what the poll reported.
    pub(super) fn note_event(&mut self, readable: bool, read_closed: bool, writable: bool) {
        self.readable |= readable;
        self.read_closed |= read_closed;
        self.writable |= writable;
    }

    /// Whether reading could bring something at once.
    pub(super) fn may_read(&self) -> bool {
        self.readable && !matches!(self.stage, Stage::Connecting { .. })
    }

    /// Queues this side's greeting.
    pub(super) fn greet(&mut self, greeting: &PeerGreeting) {
        self.outgoing.push(Urgency::Bulk, |out| {
            greeting.append_to(out);
            None
        });
    }

    /// Moves from connecting to greeting if TCP has connected.
    pub(super) fn finish_connecting(&mut self) -> Result<(), Loss> {
        if !matches!(self.stage, Stage::Connecting { .. }) || !self.writable {
            return Ok(());
        }
        if let Some(error) = self.stream.take_error()? {
            return Err(error.into());
        }
        match self.stream.peer_addr() {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                self.writable = false;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
            // Dialing a free port of this machine can end at the dialing socket itself.
            Ok(remote) if self.stream.local_addr()? == remote => return Err(Loss::Itself),
            Ok(_) => {}
        }
        let deadline = Instant::now() + GREETING_WAIT_MAX;
        self.stage = Stage::Greeting { deadline };
        Ok(())
    }

    /// Whether it took too long to connect or to greet.
    pub(super) fn check_deadline(&self, now: Instant) -> Result<(), Loss> {
        match self.stage {
            Stage::Connecting { deadline } if now >= deadline => Err(Loss::ConnectTimeout),
            Stage::Greeting { deadline } if now >= deadline => Err(Loss::GreetingTimeout),
            _ => Ok(()),
        }
    }

    /// Reads once, if there may be something. Returns whether bytes came.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> Result<bool, Loss> {
        if !self.may_read() {
            return Ok(false);
        }
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Err(Loss::Closed),
                Ok(bytes) => {
                    // A read that does not fill the buffer has emptied the socket, unless its end is still to come.
                    self.readable = bytes == scratch.len() || self.read_closed;
                    self.received_bytes += bytes as u64;
                    self.incoming.extend(&scratch[..bytes]);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Ok(false);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes what waits, as far as the socket takes it.
    pub(super) fn flush(&mut self) -> Result<(), Loss> {
        if !self.writable
            || self.outgoing.is_empty()
            || matches!(self.stage, Stage::Connecting { .. })
        {
            return Ok(());
        }
        self.writable = self.outgoing.write_to(&mut self.stream)?;
        Ok(())
    }
}

fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_INTERVAL)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(2);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(SILENCE_MAX))
}
