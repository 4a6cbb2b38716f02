//! The proxy against an echo: what it is told to do it does, counts, and stops doing.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use common::FrameBuffer;
use common::frame::append_frame;

use super::{Counts, Faults, Proxy, Rates};

/// How many parcels are sent.
const SENT: u32 = 1_000;

/// Nothing comes back so late unless it is lost.
const QUIET: Duration = Duration::from_millis(600);

fn echo_streams() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut back = stream.try_clone().unwrap();
            thread::spawn(move || std::io::copy(&mut stream, &mut back));
        }
    });
    address
}

fn echo_datagrams() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut scratch = [0; 2_048];
        while let Ok((bytes, from)) = socket.recv_from(&mut scratch) {
            let _ = socket.send_to(&scratch[..bytes], from);
        }
    });
    address
}

/// Sends numbered parcels to the proxy and returns the numbers that come back.
fn exchange_frames(proxy: &Proxy) -> Vec<u32> {
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(QUIET)).unwrap();
    for number in 0..SENT {
        let mut frame = Vec::new();
        append_frame(&mut frame, |out| out.extend(number.to_be_bytes()));
        if stream.write_all(&frame).is_err() {
            break;
        }
    }
    let mut frames = FrameBuffer::new(u32::MAX);
    let mut scratch = [0; 4_096];
    let mut numbers = Vec::new();
    while let Ok(bytes @ 1..) = stream.read(&mut scratch) {
        frames.extend(&scratch[..bytes]);
        while let Some(payload) = frames.next_frame().unwrap() {
            numbers.push(u32::from_be_bytes(payload.try_into().unwrap()));
        }
    }
    numbers
}

fn exchange_datagrams(proxy: &Proxy) -> Vec<u32> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(proxy.address()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    let mut numbers = Vec::new();
    let mut heard = Instant::now();
    let mut next = 0;
    while next < SENT || heard.elapsed() < QUIET {
        if next < SENT {
            socket.send(&next.to_be_bytes()).unwrap();
            next += 1;
        }
        let mut scratch = [0; 4];
        while next.is_multiple_of(32) || next == SENT {
            if socket.recv(&mut scratch).is_err() {
                break;
            }
            numbers.push(u32::from_be_bytes(scratch));
            heard = Instant::now();
        }
    }
    numbers
}

/// Checks what came back against what the proxy says that it did.
fn check(numbers: &[u32], counts: &Counts) {
    println!("{counts}");
    counts.assert_faulty();
    let mut copies: BTreeMap<u32, u32> = BTreeMap::new();
    for number in numbers {
        *copies.entry(*number).or_default() += 1;
    }
    assert!(copies.len() < SENT as usize, "something is lost");
    assert!(copies.values().any(|copies| *copies > 1), "or comes twice");
    assert!(!numbers.is_sorted(), "or comes too early");
    let expected = u64::from(SENT) + counts.doubled - counts.dropped;
    assert_eq!(numbers.len() as u64, expected, "and all of it is counted");
}

#[test]
fn frames_are_dropped_doubled_delayed_and_swapped_as_counted() {
    let faults = Faults::both_ways(1, Rates::FIFTH);
    let proxy = Proxy::stream(echo_streams(), faults);
    check(&exchange_frames(&proxy), &proxy.counts());
    proxy.set_faulty(false);
    assert_eq!(exchange_frames(&proxy), (0..SENT).collect::<Vec<_>>());
}

#[test]
fn datagrams_are_dropped_doubled_delayed_and_swapped_as_counted() {
    let faults = Faults::both_ways(1, Rates::FIFTH);
    let proxy = Proxy::datagrams(echo_datagrams(), faults);
    check(&exchange_datagrams(&proxy), &proxy.counts());
}

#[test]
fn each_direction_has_rates_of_its_own() {
    let faults = Faults {
        seed: 2,
        inward: Rates {
            drop: 0.5,
            ..Rates::NONE
        },
        outward: Rates::NONE,
    };
    let proxy = Proxy::stream(echo_streams(), faults);
    let back = exchange_frames(&proxy).len() as u64;
    let counts = proxy.counts();
    assert_eq!(counts.came, u64::from(SENT) + back);
    assert_eq!(counts.dropped, u64::from(SENT) - back);
    assert!((400..600).contains(&back), "{back} of {SENT} passed");
}

#[test]
fn connections_are_cut() {
    let rates = Rates {
        cut: 0.01,
        ..Rates::NONE
    };
    let proxy = Proxy::stream(echo_streams(), Faults::both_ways(3, rates));
    assert!(exchange_frames(&proxy).len() < SENT as usize);
    assert!(proxy.counts().cut > 0);
}

#[test]
fn what_is_unreachable_hears_and_says_nothing() {
    let proxy = Proxy::datagrams(echo_datagrams(), Faults::both_ways(4, Rates::NONE));
    proxy.set_unreachable(true);
    assert!(exchange_datagrams(&proxy).is_empty());
    assert_eq!(proxy.counts().blocked, u64::from(SENT));
    proxy.set_unreachable(false);
    assert!(!exchange_datagrams(&proxy).is_empty());
}

#[test]
fn the_same_seed_draws_the_same() {
    let counts = [5, 5].map(|seed| {
        let proxy = Proxy::stream(echo_streams(), Faults::both_ways(seed, Rates::FIFTH));
        exchange_frames(&proxy);
        proxy.counts()
    });
    assert_eq!(counts[0].dropped, counts[1].dropped);
    assert_eq!(counts[0].doubled, counts[1].doubled);
}
