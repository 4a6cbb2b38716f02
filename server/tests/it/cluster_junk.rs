//! What strangers send to the ports of a running cluster, and what it does to the log, the memory and the clients.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use common::{Answer, Outcome};
use kvpaxos_server::identity::ClusterSettings;
use kvpaxos_server::peers::{PEER_VERSION, PeerGreeting};
use paxos::{Incarnation, ReplicaId};

use crate::cluster::Cluster;
use crate::raw_client::{frame, get, hello};

/// How often everything is sent again while the memory is watched.
const ROUNDS: usize = 60;

/// What an allocator may keep of the largest piece of junk that came, with room for what the cluster itself does.
const GROWTH_KIB_MAX: u64 = 4 * 1024;

#[test]
fn junk_frames() {
    let mut cluster = Cluster::start(&[]);
    let mut bystander = cluster.client_of(0);
    bystander.put(b"k", b"here").unwrap();
    for (on_peer_port, what, bytes) in cases() {
        let sender = throw(port(&cluster, on_peer_port), &bytes);
        let line = the_line_about(&cluster, sender);
        println!("{what}: {line}");
        assert!(line.is_ascii() && line.contains(" bytes"), "{what}: {line}");
        assert_eq!(bystander.get(b"k").unwrap().unwrap().value, b"here");
    }
    // The first rounds let the allocator take what it keeps.
    flood(&cluster, ROUNDS / 4);
    let before = cluster.resident_kib(0);
    flood(&cluster, ROUNDS);
    let after = cluster.resident_kib(0);
    println!("{before} KiB before {ROUNDS} rounds of junk, {after} KiB after");
    assert!(after < before + GROWTH_KIB_MAX, "{before} -> {after} KiB");
    assert!(cluster.runs(0));
    cluster.wait("the count of lines that were not written", |cluster| {
        cluster.log(0).contains(" were not written: at most ")
    });
    let log = cluster.log(0);
    assert!(log.is_ascii(), "no raw bytes in\n{log}");
    let written = log.lines().filter(|line| line.contains(" bytes")).count();
    println!("{written} lines about {} pieces of junk", thrown_in_all());
    assert!(written < thrown_in_all() / 2, "{written} lines");
    assert_eq!(bystander.get(b"k").unwrap().unwrap().value, b"here");
    bystander.put(b"k", b"still").unwrap();
}

fn port(cluster: &Cluster, on_peer_port: bool) -> SocketAddr {
    if on_peer_port {
        cluster.peer_address(0)
    } else {
        cluster.client_address(0)
    }
}

/// Whether it goes to the peer port, what it is, and its bytes.
fn cases() -> Vec<(bool, &'static str, Vec<u8>)> {
    let mut cases = Vec::new();
    for on_peer_port in [false, true] {
        cases.extend(
            junk()
                .into_iter()
                .map(|(what, bytes)| (on_peer_port, what, bytes)),
        );
    }
    let after_hello = [hello(), answer()].concat();
    cases.push((false, "an answer as a request", after_hello));
    let mut nameless = hello();
    let name = nameless.len() - 4;
    nameless[name] = 0xff;
    cases.push((false, "a name that is not UTF-8", nameless));
    let unknown = [hello(), vec![0, 0, 0, 3, 0x17, 0xfe, 0x88]].concat();
    cases.push((false, "three random bytes as a request", unknown));
    let mut cut_write = hello();
    cut_write.extend(2_000_000_u32.to_be_bytes());
    cut_write.push(3);
    cut_write.resize(1_000_000, 0);
    cases.push((false, "a write that is cut short", cut_write));
    cases.push((true, "a client's greeting", hello()));
    cases.push((false, "a replica's greeting", stranger(1)));
    cases.push((true, "a stranger's greeting", stranger(1)));
    cases.push((true, "a greeting of no member", stranger(77)));
    cases
}

fn junk() -> Vec<(&'static str, Vec<u8>)> {
    let mut random = Vec::new();
    for seed in 0..20_000_u32 {
        random.extend(seed.wrapping_mul(0x9e37_79b9).to_le_bytes());
    }
    let mut truncated = 3_000_000_u32.to_be_bytes().to_vec();
    truncated.resize(100_000, 1);
    vec![
        ("three random bytes", vec![0x17, 0xfe, 0x88]),
        ("random bytes", random),
        ("a truncated frame", truncated),
        ("an over-long frame", vec![0xff; 1_000]),
        ("a frame of nothing", vec![0; 4]),
        ("an answer as a first request", answer()),
        ("a request without a hello", frame(&get(1, b"k"))),
    ]
}

fn answer() -> Vec<u8> {
    let mut out = Vec::new();
    Answer {
        tag: 1,
        leader: None,
        outcome: Outcome::Absent { revision: 1 },
    }
    .append_to(&mut out);
    out
}

/// The greeting of a replica of another cluster.
fn stranger(id: u8) -> Vec<u8> {
    let mut out = Vec::new();
    PeerGreeting {
        version: PEER_VERSION,
        cluster: 0xbad,
        replica: ReplicaId(id),
        incarnation: Incarnation(1),
        birth: 1,
        settings: ClusterSettings::default(),
        seen_incarnation: Incarnation(0),
        seen_serial: 0,
    }
    .append_to(&mut out);
    out
}

/// Sends the bytes and the end, and waits for the other's end. Returns the address that they came from.
fn throw(address: SocketAddr, bytes: &[u8]) -> SocketAddr {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let sender = stream.local_addr().unwrap();
    // The server may close before it has taken all.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
    sender
}

/// The one line about a sender. The sender is heard of no more after it, since the server has closed the connection.
fn the_line_about(cluster: &Cluster, sender: SocketAddr) -> String {
    let sender = sender.to_string();
    let mut lines = Vec::new();
    cluster.wait("a line about the junk", |cluster| {
        let log = cluster.log(0);
        lines = log
            .lines()
            .filter(|line| line.contains(&sender))
            .map(str::to_owned)
            .collect();
        !lines.is_empty()
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

fn thrown_in_all() -> usize {
    cases().len() * (1 + ROUNDS / 4 + ROUNDS)
}

fn flood(cluster: &Cluster, rounds: usize) {
    for _ in 0..rounds {
        for (on_peer_port, _, bytes) in cases() {
            throw(port(cluster, on_peer_port), &bytes);
        }
    }
}
