//! A client over UDP that speaks the protocol without the client library, so that it can also misspeak it.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use common::{
    Cookie, DatagramGreeting, DatagramHello, Outcome, Request, ServerDatagram, ServerMessage,
    SessionId,
};

/// One socket, one replica.
#[derive(Debug)]
pub(crate) struct RawDatagrams {
    socket: UdpSocket,
    pub(crate) cookie: Cookie,
    next_tag: u64,
}

/// Nothing that is waited for takes so long unless it is broken.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// After so long a silence a question is asked again: either may have been lost.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

impl RawDatagrams {
    /// Says nothing.
    pub(crate) fn new(replica: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(replica).unwrap();
        socket.set_read_timeout(Some(ASK_AGAIN_AFTER)).unwrap();
        Self {
            socket,
            cookie: Cookie::NONE,
            next_tag: 1 << 32,
        }
    }

    /// Where it sends from.
    pub(crate) fn local_address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub(crate) fn send(&self, datagram: &[u8]) {
        self.socket.send(datagram).unwrap();
    }

    pub(crate) fn ask(&self, request: &Request) {
        self.send(&datagram(request, self.cookie));
    }

    /// The next datagram, unless nothing comes for half a second.
    pub(crate) fn hear(&self) -> Option<ServerDatagram> {
        let mut incoming = [0; 65_536];
        let bytes = self.socket.recv(&mut incoming).ok()?;
        Some(ServerDatagram::decode(&incoming[..bytes]).unwrap())
    }

    /// Says hello until a greeting comes, and keeps its cookie. What else comes is passed over, and counted.
    pub(crate) fn greet(&mut self) -> (DatagramGreeting, usize) {
        let mut passed_over = 0;
        let deadline = Instant::now() + WAIT_MAX;
        let tag = self.next_tag;
        self.next_tag += 1;
        while Instant::now() < deadline {
            let label = "test".to_owned();
            let mut hello = Vec::new();
            DatagramHello { tag, label }.append_to(&mut hello, Cookie::NONE);
            self.send(&hello);
            while let Some(heard) = self.hear() {
                match heard.message {
                    ServerMessage::Greeting(greeting) if greeting.tag == tag => {
                        self.cookie = greeting.cookie;
                        return (greeting, passed_over);
                    }
                    _ => passed_over += 1,
                }
            }
        }
        panic!("no greeting came");
    }

    /// Asks until an answer comes, with every cookie that comes instead.
    pub(crate) fn outcome(&mut self, request: &Request) -> Outcome {
        let deadline = Instant::now() + WAIT_MAX;
        while Instant::now() < deadline {
            self.ask(request);
            while let Some(heard) = self.hear() {
                match heard.message {
                    ServerMessage::Answer(answer) if answer.tag == request.tag() => {
                        return answer.outcome;
                    }
                    ServerMessage::Cookie { tag, cookie } if tag == request.tag() => {
                        self.cookie = cookie;
                        break;
                    }
                    _ => {} // Late.
                }
            }
        }
        panic!("no answer to {request} came");
    }

    pub(crate) fn open_session(&mut self, nonce: u64) -> SessionId {
        let tag = self.next_tag;
        self.next_tag += 1;
        match self.outcome(&Request::OpenSession { tag, nonce }) {
            Outcome::SessionOpened { session, .. } => session,
            other => panic!("{other:?}"),
        }
    }
}

/// The bytes of a request.
pub(crate) fn datagram(request: &Request, cookie: Cookie) -> Vec<u8> {
    let mut out = Vec::new();
    request.append_datagram_to(&mut out, cookie);
    out
}
