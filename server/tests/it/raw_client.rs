//! A client that speaks the protocol without the client library, so that it can also misspeak it.

use std::io::{Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use common::{
    Answer, Change, FrameBuffer, Greeting, Hello, Outcome, PROTOCOL_VERSION, Request, ServerFrame,
    SessionId, WireLimits, Write,
};

/// One connection.
#[derive(Debug)]
pub(crate) struct RawClient {
    stream: TcpStream,
    incoming: FrameBuffer,
}

/// Nothing that is waited for takes so long unless it is broken.
const WAIT_MAX: Duration = Duration::from_secs(20);

impl RawClient {
    /// Connects and says nothing.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
        stream.set_write_timeout(Some(WAIT_MAX)).unwrap();
        Self {
            stream,
            incoming: FrameBuffer::new(WireLimits::default().frame_bytes_max),
        }
    }

    /// Connects and says hello.
    pub(crate) fn greeted(address: SocketAddr) -> Self {
        let mut client = Self::connect(address);
        client.send(&hello());
        client.hear_greeting();
        client
    }

    /// The same with a server that may be gone: `None` then.
    pub(crate) fn try_greeted(address: SocketAddr) -> Option<Self> {
        let mut client = Self::over(TcpStream::connect(address).ok()?);
        client.stream.write_all(&hello()).ok()?;
        client.hear().map(|_| client)
    }

    /// Where it connects from.
    pub(crate) fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn ask(&mut self, request: &Request) {
        self.send(&frame(request));
    }

    /// The next frame; `None` at the end.
    pub(crate) fn hear(&mut self) -> Option<ServerFrame> {
        let mut scratch = [0; 65_536];
        loop {
            if let Some(payload) = self.incoming.next_frame().unwrap() {
                return Some(ServerFrame::decode(payload).unwrap());
            }
            match self.stream.read(&mut scratch) {
                Ok(0) => return None,
                Ok(bytes) => self.incoming.extend(&scratch[..bytes]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing is heard: {error}"),
            }
        }
    }

    pub(crate) fn hear_greeting(&mut self) -> Greeting {
        match self.hear() {
            Some(ServerFrame::Greeting(greeting)) => greeting,
            other => panic!("heard {other:?} instead of a greeting"),
        }
    }

    pub(crate) fn hear_answer(&mut self) -> Answer {
        match self.hear() {
            Some(ServerFrame::Answer(answer)) => answer,
            other => panic!("heard {other:?} instead of an answer"),
        }
    }

    /// Asks and waits for the answer.
    pub(crate) fn outcome(&mut self, request: &Request) -> Outcome {
        self.ask(request);
        let answer = self.hear_answer();
        assert_eq!(answer.tag, request.tag());
        answer.outcome
    }

    /// The same of a server that may go away: `None` then.
    pub(crate) fn try_outcome(&mut self, request: &Request) -> Option<Outcome> {
        self.stream.write_all(&frame(request)).ok()?;
        match self.hear()? {
            ServerFrame::Answer(answer) => Some(answer.outcome),
            other => panic!("heard {other:?} instead of an answer"),
        }
    }

    /// Hears nothing but the end.
    pub(crate) fn assert_end(&mut self) {
        let heard = self.hear();
        assert!(heard.is_none(), "heard {heard:?} instead of the end");
    }

    /// Will send no more, and still listens.
    pub(crate) fn end_sending(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

/// The bytes of a hello.
pub(crate) fn hello() -> Vec<u8> {
    let mut out = Vec::new();
    Hello {
        version: PROTOCOL_VERSION,
        label: "test".into(),
    }
    .append_to(&mut out);
    out
}

/// The bytes of a request.
pub(crate) fn frame(request: &Request) -> Vec<u8> {
    let mut out = Vec::new();
    request.append_to(&mut out);
    out
}

/// A read of `key`.
pub(crate) fn get(tag: u64, key: &[u8]) -> Request {
    let key = key.to_vec();
    Request::Get { tag, key }
}

/// Opens a session that is to be opened at once.
pub(crate) fn open_session(client: &mut RawClient, nonce: u64) -> SessionId {
    match client.outcome(&Request::OpenSession { tag: 1, nonce }) {
        Outcome::SessionOpened { session, .. } => session,
        other => panic!("{other}"),
    }
}

/// A write that follows no other, with its number for a tag.
pub(crate) fn write(session: SessionId, sequence: u64, floor: u64, change: Change) -> Request {
    Request::Write {
        tag: sequence,
        write: Write {
            session,
            sequence,
            floor,
            after: 0,
            change,
        },
    }
}
