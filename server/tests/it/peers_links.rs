//! Links between two replicas, pumped by one thread: coming up, surviving the loss of either side, strangers, and a
//! peer that never reads.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use kvpaxos_server::config::Member;
use kvpaxos_server::identity::ClusterSettings;
use kvpaxos_server::peers::{
    LinkEvent, Links, LinksSettings, PEER_VERSION, PeerGreeting, PeerMessage,
};
use mio::{Events, Poll};
use paxos::{Incarnation, ReplicaId};

/// One side: links, and the poll that the replica thread would own.
struct Side {
    poll: Poll,
    events: Events,
    links: Links,
    /// All that happened so far.
    heard: Vec<LinkEvent>,
}

impl Side {
    fn start(id: u8, listener: TcpListener, addresses: &[SocketAddr], birth: u64) -> Self {
        Self::start_with(
            id,
            Some(listener),
            addresses,
            birth,
            ClusterSettings::default(),
        )
    }

    fn start_with(
        id: u8,
        listener: Option<TcpListener>,
        addresses: &[SocketAddr],
        birth: u64,
        cluster_settings: ClusterSettings,
    ) -> Self {
        let members = (0..)
            .zip(addresses)
            .map(|(id, address)| Member {
                id: ReplicaId(id),
                address: address.to_string(),
            })
            .collect();
        let settings = LinksSettings {
            replica: ReplicaId(id),
            members,
            cluster_settings,
            birth,
            first_token: 1,
        };
        let listener = listener.map(|listener| {
            listener.set_nonblocking(true).unwrap();
            mio::net::TcpListener::from_std(listener)
        });
        let poll = Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let mut links = Links::new(settings, listener, registry).unwrap();
        links.set_identity(0xc1, Incarnation(birth));
        Self {
            poll,
            events: Events::with_capacity(64),
            links,
            heard: Vec::new(),
        }
    }

    fn turn(&mut self) {
        let wait = Duration::from_millis(if self.links.has_more() { 0 } else { 1 });
        self.poll.poll(&mut self.events, Some(wait)).unwrap();
        for event in &self.events {
            self.links.note_event(event);
        }
        self.links.receive(Instant::now(), &mut self.heard);
        self.links.flush(&mut self.heard);
    }

    fn say(&mut self, to: u8, nonce: u64) {
        let message = PeerMessage::FoundingQuery { nonce };
        self.links.send(ReplicaId(to), nonce, message);
    }

    fn has_heard(&self, from: u8, nonce: u64) -> bool {
        self.heard.contains(&LinkEvent::Message {
            from: ReplicaId(from),
            message: PeerMessage::FoundingQuery { nonce },
        })
    }

    fn is_up(&self, peer: u8) -> bool {
        let last = self.heard.iter().rfind(
            |event| matches!(event, LinkEvent::Up(id) | LinkEvent::Down(id) if id.0 == peer),
        );
        matches!(last, Some(LinkEvent::Up(_)))
    }
}

fn listeners<const COUNT: usize>() -> ([TcpListener; COUNT], [SocketAddr; COUNT]) {
    let listeners = [(); COUNT].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = listeners
        .each_ref()
        .map(|listener| listener.local_addr().unwrap());
    (listeners, addresses)
}

/// Turns all sides until `condition` holds.
fn pump(sides: &mut [&mut Side], what: &str, mut condition: impl FnMut(&mut [&mut Side]) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition(sides) {
        assert!(Instant::now() < deadline, "waited for: {what}");
        for side in sides.iter_mut() {
            side.turn();
        }
    }
}

fn both_up(sides: &mut [&mut Side]) -> bool {
    sides[0].is_up(1) && sides[1].is_up(0)
}

/// Says `nonce` again and again in both directions until each side heard the other.
fn exchange(sides: &mut [&mut Side], nonce: u64) {
    pump(sides, "a message each way", |sides| {
        sides[0].say(1, nonce);
        sides[1].say(0, nonce);
        sides[0].has_heard(1, nonce) && sides[1].has_heard(0, nonce)
    });
}

#[test]
fn a_link_comes_up_and_carries_both_directions() {
    let ([one, two], addresses) = listeners();
    let mut zero = Side::start(0, one, &addresses, 10);
    let mut one = Side::start(1, two, &addresses, 11);
    let sides = &mut [&mut zero, &mut one];
    pump(sides, "both up", both_up);
    exchange(sides, 7);
}

#[test]
fn one_that_cannot_be_reached_calls_itself() {
    let ([reachable, _deaf], mut addresses) = listeners();
    addresses[1] = "127.0.0.1:1".parse().unwrap();
    for deaf in [0, 1] {
        let reachable = reachable.try_clone().unwrap();
        let (mut zero, mut one);
        if deaf == 1 {
            zero = Side::start(0, reachable, &addresses, 10);
            one = Side::start_with(1, None, &addresses, 11, ClusterSettings::default());
        } else {
            let addresses = [addresses[1], addresses[0]];
            zero = Side::start_with(0, None, &addresses, 10, ClusterSettings::default());
            one = Side::start(1, reachable, &addresses, 11);
        }
        let sides = &mut [&mut zero, &mut one];
        pump(sides, "both up", both_up);
        exchange(sides, 7);
    }
}

#[test]
fn a_restarted_peer_is_found_again_whoever_it_is() {
    let ([listener0, listener1], addresses) = listeners();
    for (restarted, round) in [(0u8, 1u64), (1, 2), (0, 3), (1, 4)] {
        let mut zero = Side::start(0, listener0.try_clone().unwrap(), &addresses, 10 * round);
        let mut one = Side::start(
            1,
            listener1.try_clone().unwrap(),
            &addresses,
            10 * round + 1,
        );
        exchange(&mut [&mut zero, &mut one], round);
        let birth = 10 * round + 5;
        if restarted == 0 {
            drop(zero);
            zero = Side::start(0, listener0.try_clone().unwrap(), &addresses, birth);
        } else {
            drop(one);
            one = Side::start(1, listener1.try_clone().unwrap(), &addresses, birth);
        }
        let began = Instant::now();
        exchange(&mut [&mut zero, &mut one], 100 + round);
        let gap = began.elapsed();
        assert!(
            gap < Duration::from_secs(1),
            "r{restarted} was away for {gap:?}"
        );
    }
}

#[test]
fn strangers_and_other_clusters_are_refused() {
    let ([listener0, listener1], addresses) = listeners();
    let mut zero = Side::start(0, listener0, &addresses, 10);
    let mut client = TcpStream::connect(addresses[0]).unwrap();
    let mut hello = Vec::new();
    let label = String::new();
    common::Hello { version: 1, label }.append_to(&mut hello);
    client.write_all(&hello).unwrap();
    let mut junk = TcpStream::connect(addresses[0]).unwrap();
    junk.write_all(&[0xff; 4096]).unwrap();
    let mut foreign = TcpStream::connect(addresses[0]).unwrap();
    let mut greeting = Vec::new();
    greeting_of_one(0xc2, PEER_VERSION).append_to(&mut greeting);
    foreign.write_all(&greeting).unwrap();
    // One of another cluster hears whom it found there, and nothing more: it may be the one in the wrong place.
    let greeting_bytes = greeting.len();
    for (stranger, heard_bytes) in [
        (&mut client, 0),
        (&mut junk, 0),
        (&mut foreign, greeting_bytes),
    ] {
        stranger.set_nonblocking(true).unwrap();
        let mut answer = Vec::new();
        pump(
            &mut [&mut zero],
            "the end of a stranger",
            |_| match stranger.read_to_end(&mut answer) {
                Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
                Ok(_) => true,
            },
        );
        assert_eq!(answer.len(), heard_bytes, "what a stranger heard");
    }
    let other = ClusterSettings {
        value_bytes_max: 1,
        ..ClusterSettings::default()
    };
    let mut one = Side::start_with(1, Some(listener1), &addresses, 11, other);
    let until = Instant::now() + Duration::from_millis(300);
    pump(&mut [&mut zero, &mut one], "time to pass", |_| {
        Instant::now() >= until
    });
    assert_eq!(zero.heard, []);
    assert_eq!(one.heard, []);
}

/// A machine that lost its power leaves a connection open here, on which nothing will ever come. Its successor is heard at
/// once all the same (FAULTS 6).
#[test]
fn half_open_connection() {
    let ([listener0, listener1], addresses) = listeners();
    let mut zero = Side::start(0, listener0, &addresses, 10);
    let mut gone = TcpStream::connect(addresses[0]).unwrap();
    let mut greeting = Vec::new();
    PeerGreeting {
        incarnation: Incarnation(11),
        ..greeting_of_one(0xc1, PEER_VERSION)
    }
    .append_to(&mut greeting);
    gone.write_all(&greeting).unwrap();
    pump(&mut [&mut zero], "the link to come up", |sides| {
        sides[0].is_up(1)
    });
    for nonce in 0..100 {
        zero.say(1, nonce);
        zero.turn();
    }
    let mut one = Side::start(1, listener1, &addresses, 11);
    let began = Instant::now();
    exchange(&mut [&mut zero, &mut one], 100);
    let took = began.elapsed();
    println!("the successor was heard after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// Whoever speaks another version is refused as a stranger is (FAULTS 6).
#[test]
fn another_version_is_refused() {
    let ([listener0, _one], addresses) = listeners();
    let mut zero = Side::start(0, listener0, &addresses, 10);
    for version in [0, PEER_VERSION + 1] {
        let mut stranger = TcpStream::connect(addresses[0]).unwrap();
        let mut greeting = Vec::new();
        greeting_of_one(0xc1, version).append_to(&mut greeting);
        stranger.write_all(&greeting).unwrap();
        stranger.set_nonblocking(true).unwrap();
        pump(
            &mut [&mut zero],
            "the end of a stranger",
            |_| match stranger.read(&mut [0; 1_000]) {
                Ok(bytes) => bytes == 0,
                Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
            },
        );
        assert!(!zero.is_up(1), "version {version}");
    }
}

/// What r1 says of itself, in a life before any that a test starts.
fn greeting_of_one(cluster: u64, version: u16) -> PeerGreeting {
    PeerGreeting {
        version,
        cluster,
        replica: ReplicaId(1),
        incarnation: Incarnation(1),
        birth: 1,
        settings: ClusterSettings::default(),
        seen_incarnation: Incarnation::default(),
        seen_serial: 0,
    }
}

#[test]
fn a_peer_that_never_reads_costs_bounded_memory_and_no_time() {
    let ([listener0, silent], addresses) = listeners();
    let mut zero = Side::start(0, listener0, &addresses, 10);
    let mut stopped = Side::start(1, silent, &addresses, 11);
    pump(&mut [&mut zero, &mut stopped], "both up", both_up);
    let requests = vec![7; 1 << 20];
    let began = Instant::now();
    for _ in 0..200 {
        let message = PeerMessage::Forward {
            requests: requests.clone(),
        };
        zero.links.send(ReplicaId(1), 0, message);
        zero.turn();
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "200 messages took {took:?}");
    zero.say(1, 99);
    pump(
        &mut [&mut zero, &mut stopped],
        "the newest message",
        |sides| sides[1].has_heard(0, 99),
    );
    let arrived = stopped
        .heard
        .iter()
        .filter(|event| matches!(event, LinkEvent::Message { .. }))
        .count();
    assert!(
        (10..150).contains(&arrived),
        "{arrived} of 201 messages arrived"
    );
}
