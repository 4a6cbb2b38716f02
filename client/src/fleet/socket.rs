//! One TCP connection of a fleet: making it, trying each address of its name, reading and writing without waiting.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::vec;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// Written bytes stay at the front of the buffer up to this many before what is behind them moves up.
const WRITTEN_BYTES_MAX: usize = 1 << 20;

/// A buffer that was written out keeps at most this much memory.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// One connection.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    /// Addresses of the name that have not been tried.
    untried: vec::IntoIter<SocketAddr>,
    connected: bool,
    /// The poll said that nothing more will come: it says so once, perhaps before the last bytes are read.
    ends: bool,
    /// Whether the socket may have room for more.
    has_room: bool,
    /// How much of the outgoing buffer has been written.
    written: usize,
}

/// Why reading ended.
#[derive(Debug)]
pub(super) enum ReadEnd {
    /// The buffer was filled; there may be more.
    More,
    /// There is nothing more now.
    Drained,
    /// There will be nothing more, and this is why.
    Closed(String),
}

impl Socket {
    /// Begins to connect to the first of these addresses that does not fail.
    pub(super) fn connect(
        addresses: Vec<SocketAddr>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let mut untried = addresses.into_iter();
        let stream = connect_to_next(&mut untried, registry, token, None)?;
        Ok(Self {
            stream,
            untried,
            connected: false,
            ends: false,
            has_room: false,
            written: 0,
        })
    }

    /// The poll says that the socket is writable, or failed. A failed one is replaced by one to the next address. True if
    /// the connection stands.
    pub(super) fn writable(&mut self, registry: &Registry, token: Token) -> io::Result<bool> {
        self.has_room = true;
        if self.connected {
            return Ok(true);
        }
        match self.has_connected() {
            Ok(connected) => {
                self.connected = connected;
                Ok(connected)
            }
            Err(error) => {
                self.has_room = false;
                self.stream = connect_to_next(&mut self.untried, registry, token, Some(error))?;
                self.ends = false;
                Ok(false)
            }
        }
    }

    /// The poll says that the other side sends nothing more, or that the connection is broken.
    pub(super) fn ending(&mut self) {
        self.ends = true;
    }

    fn has_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => {
                self.stream.set_nodelay(true)?;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes what the socket takes of `outgoing`, and clears it once all is written. An error shows when reading.
    pub(super) fn write(&mut self, outgoing: &mut Vec<u8>) {
        while self.connected && self.has_room && self.written < outgoing.len() {
            match self.stream.write(&outgoing[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.has_room = false,
            }
        }
        if self.written == outgoing.len() {
            outgoing.clear();
            outgoing.shrink_to(KEPT_BYTES_MAX);
            self.written = 0;
        } else if self.written > WRITTEN_BYTES_MAX {
            outgoing.drain(..self.written);
            self.written = 0;
        }
    }

    /// Reads what there is, up to the length of `buffer`.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> (usize, ReadEnd) {
        if !self.connected {
            return (0, ReadEnd::Drained);
        }
        loop {
            return match self.stream.read(buffer) {
                Ok(0) => (0, ReadEnd::Closed("closed by the replica".to_owned())),
                Ok(count) if count < buffer.len() && !self.ends => (count, ReadEnd::Drained),
                Ok(count) => (count, ReadEnd::More),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock => (0, ReadEnd::Drained),
                    _ => (0, ReadEnd::Closed(format!("connection lost: {error}"))),
                },
            };
        }
    }
}

/// Begins to connect to the first address that does not fail at once.
fn connect_to_next(
    untried: &mut vec::IntoIter<SocketAddr>,
    registry: &Registry,
    token: Token,
    mut last_error: Option<io::Error>,
) -> io::Result<TcpStream> {
    for address in untried {
        let attempt = TcpStream::connect(address).and_then(|mut stream| {
            registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(stream)
        });
        match attempt {
            Ok(stream) => return Ok(stream),
            Err(error) => last_error = Some(error),
        }
    }
    Err(last_error
        .unwrap_or_else(|| io::Error::new(ErrorKind::NotFound, "the name has no address")))
}
