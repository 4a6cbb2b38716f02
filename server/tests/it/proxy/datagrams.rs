//! The proxy on UDP: to the target each client has a socket of its own, so that answers find their way back.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::line::Line;
use super::{Direction, State};

/// The longest datagram there is, in bytes.
const DATAGRAM_BYTES_MAX: usize = 1 << 16;

/// Binds a socket and returns where.
pub(super) fn start(state: &Arc<State>) -> SocketAddr {
    let near = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = near.local_addr().unwrap();
    let state = Arc::clone(state);
    thread::spawn(move || inward(&near, &state));
    address
}

/// A client, as this proxy knows it.
struct Caller {
    line: Line,
    far: UdpSocket,
}

/// Takes what clients send and passes it on, each through a socket of its own.
fn inward(near: &UdpSocket, state: &Arc<State>) {
    let mut callers: BTreeMap<SocketAddr, Caller> = BTreeMap::new();
    let mut scratch = vec![0; DATAGRAM_BYTES_MAX];
    while !state.has_ended() {
        let now = Instant::now();
        let waits = callers.values().map(|caller| caller.line.wait(now));
        let idle = Line::new(state, Direction::Inward, 0, false, now).wait(now);
        let wait = waits.min().unwrap_or(idle);
        near.set_read_timeout(Some(wait)).unwrap();
        if let Ok((bytes, from)) = near.recv_from(&mut scratch) {
            let number = callers.len() as u64 + 1;
            let caller = callers
                .entry(from)
                .or_insert_with(|| call(near, from, state, number));
            caller.line.take(scratch[..bytes].to_vec(), Instant::now());
        }
        for caller in callers.values_mut() {
            while let Some(datagram) = caller.line.next_due(Instant::now()) {
                // A target that is down loses it, as UDP does.
                let _ = caller.far.send(&datagram);
            }
        }
    }
}

/// Makes a client's socket, and a thread that carries back what comes there.
fn call(near: &UdpSocket, from: SocketAddr, state: &Arc<State>, number: u64) -> Caller {
    let far = UdpSocket::bind("127.0.0.1:0").unwrap();
    far.connect(state.target).unwrap();
    let line = |direction| Line::new(state, direction, number, false, Instant::now());
    let back = line(Direction::Outward);
    let (near, heard) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    let state = Arc::clone(state);
    let inward = line(Direction::Inward);
    thread::spawn(move || outward(&near, from, &heard, back, &state));
    Caller { line: inward, far }
}

fn outward(near: &UdpSocket, to: SocketAddr, heard: &UdpSocket, mut line: Line, state: &State) {
    let mut scratch = vec![0; DATAGRAM_BYTES_MAX];
    while !state.has_ended() {
        heard
            .set_read_timeout(Some(line.wait(Instant::now())))
            .unwrap();
        if let Ok(bytes) = heard.recv(&mut scratch) {
            line.take(scratch[..bytes].to_vec(), Instant::now());
        }
        while let Some(datagram) = line.next_due(Instant::now()) {
            let _ = near.send_to(&datagram, to);
        }
    }
}
