//! What strangers send to the datagram port of a running cluster, and what it does to the log and to the clients.

use common::{
    Answer, Change, Cookie, DATAGRAM_MAGIC, DatagramHello, Outcome, Request, ServerDatagram,
    ServerMessage, SessionId, Write,
};

use crate::cluster::Cluster;
use crate::raw_client::{frame, get, hello};
use crate::raw_datagrams::{RawDatagrams, datagram};

/// How often everything is sent again, to see that the log and the memory bear it.
const ROUNDS: usize = 200;

/// What an allocator may keep, with room for what the cluster itself does.
const GROWTH_KIB_MAX: u64 = 4 * 1024;

#[test]
fn junk_datagrams() {
    // At this level no line is left out, however many there are in a second.
    let cluster = Cluster::start(&["--log-level", "debug"]);
    let mut bystander = RawDatagrams::new(cluster.datagram_address(0));
    let session = bystander.open_session(5);
    bystander.outcome(&put(session));
    for (what, bytes) in junk() {
        let mut sender = RawDatagrams::new(cluster.datagram_address(0));
        sender.send(&bytes);
        // Datagrams between two sockets of one machine keep their order: what came before the greeting is the answer.
        let (_, answers) = sender.greet();
        assert_eq!(answers, 0, "{what} is met with silence");
        let line = the_line_about(&cluster, &sender);
        let length = format!("a datagram of {} bytes from ", bytes.len());
        assert!(line.contains(&length), "{what}: {line}");
        println!("{what}: {line}");
        assert_served(&mut bystander);
    }
    let mut thief = RawDatagrams::new(cluster.datagram_address(0));
    thief.cookie = bystander.cookie;
    thief.ask(&get(1, b"k"));
    let answer = thief.hear().unwrap().message;
    assert!(
        matches!(answer, ServerMessage::Cookie { tag: 1, .. }),
        "{answer:?}"
    );
    let line = the_line_about(&cluster, &thief);
    assert!(line.contains("a cookie that was not made for it"), "{line}");
    let log = cluster.log(0);
    assert!(log.is_ascii(), "no raw bytes in\n{log}");
}

#[test]
fn junk_in_masses_costs_neither_memory_nor_service() {
    let cluster = Cluster::start(&[]);
    let mut bystander = RawDatagrams::new(cluster.datagram_address(0));
    let session = bystander.open_session(5);
    bystander.outcome(&put(session));
    flood(&cluster, ROUNDS / 4);
    assert_served(&mut bystander);
    let before = cluster.resident_kib(0);
    let sent = flood(&cluster, ROUNDS);
    assert_served(&mut bystander);
    let after = cluster.resident_kib(0);
    println!("{sent} pieces of junk: {before} KiB before, {after} KiB after");
    assert!(after < before + GROWTH_KIB_MAX, "{before} -> {after} KiB");
    cluster.wait("the count of lines that were not written", |cluster| {
        let log = cluster.log(0);
        log.contains("more lines about malformed datagrams were not written")
    });
    let log = cluster.log(0);
    let written = log
        .lines()
        .filter(|line| line.contains("a datagram of "))
        .count();
    println!("{written} lines about {sent} pieces of junk");
    assert!(written < sent / 2);
}

fn put(session: SessionId) -> Request {
    let (key, value) = (b"k".to_vec(), b"here".to_vec());
    Request::Write {
        tag: 1,
        write: Write {
            session,
            sequence: 1,
            floor: 1,
            after: 0,
            change: Change::Put { key, value },
        },
    }
}

fn assert_served(bystander: &mut RawDatagrams) {
    match bystander.outcome(&get(77, b"k")) {
        Outcome::Value { value, .. } => assert_eq!(value, b"here"),
        other => panic!("{other:?}"),
    }
}

/// What a server has nothing to say to.
fn junk() -> Vec<(&'static str, Vec<u8>)> {
    let random: Vec<u8> = (0..250_u32)
        .flat_map(|seed| seed.wrapping_mul(0x9e37_79b9).to_le_bytes())
        .collect();
    let good = datagram(&get(1, b"key"), Cookie::NONE);
    let changed = |place: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[place] = byte;
        bytes
    };
    let mut answer = Vec::new();
    ServerDatagram {
        replica: 0,
        message: ServerMessage::Answer(Answer {
            tag: 1,
            leader: None,
            outcome: Outcome::Absent { revision: 1 },
        }),
    }
    .append_to(&mut answer);
    let mut greeting = Vec::new();
    let label = "ab".to_owned();
    DatagramHello { tag: 1, label }.append_to(&mut greeting, Cookie::NONE);
    let unpadded = greeting[..60].to_vec();
    greeting[34] = 0xff;
    let mut over_long = DATAGRAM_MAGIC.to_vec();
    over_long.resize(60_000, 0xee);
    vec![
        ("three random bytes", vec![0x17, 0xfe, 0x88]),
        ("random bytes", random),
        ("an answer", answer),
        ("half a request", good[..good.len() - 2].to_vec()),
        ("another magic", changed(3, b'X')),
        ("version 0", changed(5, 0)),
        ("a later version", changed(5, 9)),
        ("a message between replicas", changed(23, 0x41)),
        ("an unknown kind", changed(23, 0x3e)),
        ("a length that is a lie", changed(32, 0xff)),
        ("an over-long datagram", over_long),
        ("a hello that is too short", unpadded),
        ("a name that is not UTF-8", greeting),
        ("the hello of a connection", hello()),
        ("the frame of a connection", frame(&get(1, b"k"))),
    ]
}

/// The one line about a sender's junk.
fn the_line_about(cluster: &Cluster, sender: &RawDatagrams) -> String {
    let sender = format!(" from {} ", sender.local_address());
    let mut lines = Vec::new();
    cluster.wait("a line about the junk", |cluster| {
        let log = cluster.log(0);
        let about = log.lines().filter(|line| line.contains(&sender));
        lines = about.map(str::to_owned).collect();
        !lines.is_empty()
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

/// Sends everything so many times; returns how many datagrams that were.
fn flood(cluster: &Cluster, rounds: usize) -> usize {
    let mut sender = RawDatagrams::new(cluster.datagram_address(0));
    let pieces = junk();
    for _ in 0..rounds {
        for (_, bytes) in &pieces {
            sender.send(bytes);
        }
        // What a full socket drops would not have been seen.
        sender.greet();
    }
    rounds * pieces.len()
}
