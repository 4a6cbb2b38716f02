//! The UDP socket of one lane of a fleet: sending to every address of a name until one answers, and telling who sent
//! what came. It decides nothing about what a datagram says.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use common::frame::LENGTH_BYTES;
use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};

/// Not connected to its peer: a connected socket would drop what strangers send before anybody could note it.
#[derive(Debug)]
pub(super) struct DatagramSocket {
    /// One for each family that the name has addresses of.
    sockets: Vec<UdpSocket>,
    /// The addresses of the name; once one has answered, that one.
    peers: Vec<SocketAddr>,
    /// Whether the sockets may have room for more.
    has_room: bool,
}

/// A datagram that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// How long it is.
    pub(super) bytes: usize,
    pub(super) from: SocketAddr,
    /// Whether requests are sent to that address.
    pub(super) is_peer: bool,
}

impl DatagramSocket {
    /// Binds what the addresses of an endpoint need.
    pub(super) fn open(
        addresses: Vec<SocketAddr>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let mut opened = Self {
            sockets: Vec::new(),
            peers: Vec::new(),
            has_room: true,
        };
        let mut last_error = None;
        for peer in addresses {
            match opened.bind_for(peer, registry, token) {
                Ok(()) => opened.peers.push(peer),
                Err(error) => last_error = Some(error),
            }
        }
        if opened.peers.is_empty() {
            return Err(last_error.unwrap_or_else(|| {
                io::Error::new(ErrorKind::NotFound, "the name has no address")
            }));
        }
        Ok(opened)
    }

    fn bind_for(&mut self, peer: SocketAddr, registry: &Registry, token: Token) -> io::Result<()> {
        if self.socket_for(peer).is_some() {
            return Ok(());
        }
        let mut socket = UdpSocket::bind(SocketAddr::new(any_address(peer.ip()), 0))?;
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        self.sockets.push(socket);
        Ok(())
    }

    fn socket_for(&self, peer: SocketAddr) -> Option<&UdpSocket> {
        let is_of_family = |socket: &&UdpSocket| {
            let local = socket.local_addr();
            local.is_ok_and(|local| local.is_ipv4() == peer.is_ipv4())
        };
        self.sockets.iter().find(is_of_family)
    }

    /// The poll says that there may be room again.
    pub(super) fn writable(&mut self) {
        self.has_room = true;
    }

    /// Sends the datagrams that stand in `outgoing` as frames, as far as there is room, and removes them. One that the
    /// system refuses is lost, like any that a network refuses.
    pub(super) fn write(&mut self, outgoing: &mut Vec<u8>) {
        let mut written = 0;
        while self.has_room && written < outgoing.len() {
            let (length, rest) = outgoing[written..].split_at(LENGTH_BYTES);
            let length = u32::from_be_bytes(length.try_into().expect("it was split there"));
            let datagram = &rest[..length as usize];
            if self.send(datagram) {
                written += LENGTH_BYTES + datagram.len();
            } else {
                self.has_room = false;
            }
        }
        outgoing.drain(..written);
    }

    /// False if there is no room.
    fn send(&self, datagram: &[u8]) -> bool {
        for peer in &self.peers {
            let Some(socket) = self.socket_for(*peer) else {
                continue;
            };
            match socket.send_to(datagram, *peer) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => log::debug!("a datagram to {peer} is lost: {error}"),
            }
        }
        true
    }

    /// There is more to read, for which the poll is to come back. A system that refuses even that has no poll either;
    /// what is there is then read with what comes next.
    pub(super) fn come_back(&mut self, registry: &Registry, token: Token) {
        let interests = Interest::READABLE | Interest::WRITABLE;
        for socket in &mut self.sockets {
            if let Err(error) = registry.reregister(socket, token, interests) {
                log::debug!("the poll does not come back: {error}");
            }
        }
    }

    /// The next datagram that came, if one did. `None` is said only when all sockets are drained, as the poll expects.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Option<Arrival> {
        let (bytes, from) = self
            .sockets
            .iter()
            .find_map(|socket| receive(socket, buffer))?;
        let is_peer = self.peers.contains(&from);
        if is_peer && self.peers.len() > 1 {
            self.peers = vec![from];
        }
        Some(Arrival {
            bytes,
            from,
            is_peer,
        })
    }
}

/// The next datagram. Errors that belong to one that was sent are passed over: it is lost.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
    /// More than one in a row is a socket that is broken.
    const ERRORS_MAX: u32 = 16;
    for _ in 0..ERRORS_MAX {
        match socket.recv_from(buffer) {
            Ok(received) => return Some(received),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(_) => {}
        }
    }
    None
}

/// Where to receive what comes from an address: nobody else reaches a loopback address.
fn any_address(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(peer) if peer.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(peer) if peer.is_loopback() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
