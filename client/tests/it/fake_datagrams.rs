//! The UDP side of a replica that is played: cookies for those who have none, one answer a datagram.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Mutex;

use common::{
    ClientDatagram, ClientMessage, Cookie, DATAGRAM_BYTES_MAX_DEFAULT, DatagramGreeting, Outcome,
    Request, ServerDatagram, ServerMessage, WireLimits,
};

use crate::fake::{Reaction, State, answer};

/// Who it says that it is.
const REPLICA: u8 = 0;

/// What it wants to see.
const COOKIE: Cookie = Cookie([7; 16]);

/// Answers until the process ends: nobody tells a socket to stop.
pub(crate) fn serve(
    socket: &UdpSocket,
    state: &Mutex<State>,
    mut react: impl FnMut(&Request, Outcome) -> Reaction,
) {
    let mut scratch = vec![0; 1 << 16];
    let mut held_back: Vec<Vec<u8>> = Vec::new();
    loop {
        let (bytes, from) = socket.recv_from(&mut scratch).unwrap();
        let send = |datagram: &[u8]| socket.send_to(datagram, from).unwrap();
        let opened = ClientDatagram::open(&scratch[..bytes]).unwrap();
        match opened.message(&WireLimits::default()).unwrap() {
            ClientMessage::Hello(hello) => {
                state.lock().unwrap().labels.push(hello.label);
                send(&greeting(hello.tag));
            }
            ClientMessage::Request(request) if opened.cookie == COOKIE => {
                for late in held_back.drain(..) {
                    send(&late);
                }
                let outcome = state.lock().unwrap().run(&request);
                let usual = answered(&request, outcome.clone());
                match react(&request, outcome) {
                    Reaction::Answer(outcome) => {
                        send(&answered(&request, outcome));
                    }
                    Reaction::BytesThenAnswer(bytes) => {
                        send(&bytes);
                        send_from_a_stranger(from, &bytes);
                        send(&usual);
                    }
                    Reaction::Late => held_back.push(usual),
                    Reaction::Silence | Reaction::Close => {}
                }
            }
            ClientMessage::Request(request) => {
                let (tag, cookie) = (request.tag(), COOKIE);
                send(&datagram(ServerMessage::Cookie { tag, cookie }));
            }
        }
    }
}

/// The same bytes from an address that the client never asked.
fn send_from_a_stranger(to: SocketAddr, bytes: &[u8]) {
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(bytes, to).unwrap();
}

/// An answer as a replica would send it.
fn answered(request: &Request, outcome: Outcome) -> Vec<u8> {
    datagram(ServerMessage::Answer(answer(request, outcome)))
}

fn datagram(message: ServerMessage) -> Vec<u8> {
    let mut out = Vec::new();
    let replica = REPLICA;
    let fits = ServerDatagram { replica, message }
        .append_within(DATAGRAM_BYTES_MAX_DEFAULT as usize, &mut out);
    assert!(fits, "every refusal fits");
    out
}

fn greeting(tag: u64) -> Vec<u8> {
    let limits = WireLimits::default();
    datagram(ServerMessage::Greeting(DatagramGreeting {
        tag,
        // The first request shows none, so that the other way to get one is gone too.
        cookie: Cookie::NONE,
        cluster: 1,
        leader: None,
        key_bytes_max: limits.key_bytes_max,
        value_bytes_max: limits.value_bytes_max,
        datagram_bytes_max: DATAGRAM_BYTES_MAX_DEFAULT,
    }))
}
