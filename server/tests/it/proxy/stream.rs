//! The proxy on TCP: one thread for each direction of each connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::FrameBuffer;
use common::frame::append_frame;

use super::line::{Fate, Line};
use super::{Direction, State};

/// How long the target may take to answer a connection.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);

/// How often it is looked whether somebody connects.
const ACCEPT_EVERY: Duration = Duration::from_millis(2);

/// Listens and returns where.
pub(super) fn start(state: &Arc<State>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Who waits for a connection cannot be told that the proxy has ended.
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::clone(state);
    thread::spawn(move || accept(&listener, &state));
    address
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    let mut number = 0;
    while !state.has_ended() {
        match listener.accept() {
            Ok((near, _)) => {
                number += 1;
                let state = Arc::clone(state);
                thread::spawn(move || connect(near, &state, number));
            }
            Err(_) => thread::sleep(ACCEPT_EVERY),
        }
    }
}

/// Connects to the target and carries both ways. A target that does not listen is a connection that is closed.
fn connect(near: TcpStream, state: &Arc<State>, number: u64) {
    let Ok(far) = TcpStream::connect_timeout(&state.target, CONNECT_TIME_MAX) else {
        return;
    };
    near.set_nonblocking(false).unwrap();
    for stream in [&near, &far] {
        stream.set_nodelay(true).unwrap();
    }
    let line = |direction| Line::new(state, direction, number, true, Instant::now());
    let inward = Carrier {
        line: line(Direction::Inward),
        from: near.try_clone().unwrap(),
        to: far.try_clone().unwrap(),
    };
    let outward = Carrier {
        line: line(Direction::Outward),
        from: far,
        to: near,
    };
    let state_inward = Arc::clone(state);
    thread::spawn(move || inward.run(&state_inward));
    outward.run(state);
}

/// Carries one way.
struct Carrier {
    line: Line,
    from: TcpStream,
    to: TcpStream,
}

impl Carrier {
    /// Until either end closes, the connection is cut, or the proxy ends. Then the other way ends too.
    fn run(mut self, state: &State) {
        let mut frames = FrameBuffer::new(u32::MAX);
        let mut scratch = vec![0; 1 << 16];
        while !state.has_ended() && self.turn(&mut frames, &mut scratch).is_some() {}
        let _ = self.from.shutdown(Shutdown::Both);
        let _ = self.to.shutdown(Shutdown::Both);
    }

    /// Takes what came and passes on what is due; `None` at the end.
    fn turn(&mut self, frames: &mut FrameBuffer, scratch: &mut [u8]) -> Option<()> {
        let wait = self.line.wait(Instant::now());
        self.from.set_read_timeout(Some(wait)).ok()?;
        match self.from.read(scratch) {
            Ok(0) => return None,
            Ok(bytes) => frames.extend(&scratch[..bytes]),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                _ => return None,
            },
        }
        let now = Instant::now();
        while let Some(payload) = frames.next_frame().ok()? {
            let mut frame = Vec::new();
            append_frame(&mut frame, |out| out.extend_from_slice(payload));
            if self.line.take(frame, now) == Fate::IsCut {
                return None;
            }
        }
        while let Some(frame) = self.line.next_due(Instant::now()) {
            self.to.write_all(&frame).ok()?;
        }
        Some(())
    }
}
