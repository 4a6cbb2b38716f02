//! One client's socket: reading, writing, and what the poll said of it.
//!
//! Owns the stream and the bytes that wait to be written. It knows nothing of frames; the connection does.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{SockRef, TcpKeepalive};

/// A socket and what waits to be written to it.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    /// The other end.
    pub(super) remote: SocketAddr,
    /// There may be something to read: polls report changes only.
    readable: bool,
    /// The other side has sent its last byte, so reading must go on to the end.
    read_closed: bool,
    /// All was read to the end.
    ended: bool,
    writable: bool,
    /// What waits to be written, and what of it is written already.
    outgoing: Vec<u8>,
    written: usize,
    /// All that came.
    pub(super) received_bytes: u64,
    /// All that the socket took.
    pub(super) sent_bytes: u64,
}

impl Socket {
    /// Takes over an accepted stream.
    ///
    /// # Errors
    /// The system refuses its options or its place in the poll.
    pub(super) fn new(
        mut stream: TcpStream,
        remote: SocketAddr,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            remote,
            readable: true,
            read_closed: false,
            ended: false,
            writable: true,
            outgoing: Vec::new(),
            written: 0,
            received_bytes: 0,
            sent_bytes: 0,
        })
    }

    /// Notes what the poll reported.
    pub(super) fn note_event(&mut self, event: &Event) {
        let closed = event.is_read_closed() || event.is_error();
        self.read_closed |= closed;
        self.readable |= event.is_readable() || closed;
        self.writable |= event.is_writable();
    }

    /// Whether everything that the other side sent was read.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Reads once. 0 when nothing is there, or nothing will come any more.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        while self.readable && !self.ended {
            match self.stream.read(scratch) {
                Ok(0) => self.ended = true,
                Ok(bytes) => {
                    // A read that does not fill the buffer has emptied the socket, unless its end is still to come.
                    self.readable = bytes == scratch.len() || self.read_closed;
                    self.received_bytes += bytes as u64;
                    return Ok(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(0)
    }

    /// Where to put what is to be written.
    pub(super) fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.outgoing
    }

    /// What waits to be written, in bytes.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.outgoing.len() - self.written
    }

    /// Writes what waits, as far as the system takes it.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) fn write(&mut self) -> io::Result<()> {
        while self.writable && self.unsent_bytes() > 0 {
            match self.stream.write(&self.outgoing[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    self.written += bytes;
                    self.sent_bytes += bytes as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.forget_written();
        Ok(())
    }

    /// Tells the other side that nothing more comes.
    pub(super) fn end_writing(&self) {
        // It fails only if the connection is broken, which the next read tells better.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Gives memory back once it is not needed: a quiet connection holds none.
    fn forget_written(&mut self) {
        if self.unsent_bytes() == 0 {
            self.outgoing.clear();
            if self.outgoing.capacity() > OUTGOING_BYTES_KEPT {
                self.outgoing = Vec::new();
            }
            self.written = 0;
        } else if self.written >= WRITTEN_BYTES_KEPT {
            self.outgoing.drain(..self.written);
            self.written = 0;
        }
    }
}

/// A few small answers' worth: a busy connection does not allocate for each, and 10,000 idle ones keep 10 MB.
const OUTGOING_BYTES_KEPT: usize = 1_024;
/// Moving the rest to the front costs less than it frees.
const WRITTEN_BYTES_KEPT: usize = 1 << 20;
/// Idle clients are fine; dead ones hold a descriptor for about a minute and a half.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(3)
}
