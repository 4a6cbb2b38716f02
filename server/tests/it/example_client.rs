//! `docs/examples/client.py`, which was written from `docs/PROTOCOL.md` alone: what the page says is enough for a client
//! in another language. Needs python3, and fails without it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::cluster::{Cluster, SIZE};
use crate::process::Process;

/// The kind of the answer to an APPEND.
const APPENDED: u8 = 0x84;

/// Where the kind stands in a datagram of a replica.
const KIND_PLACE: usize = 7;

/// Runs the script with another time-out than its own.
const WITH_TIMEOUT: &str =
    "import sys, client; client.TIMEOUT_S = seconds; sys.exit(client.main())";

/// Runs the script; returns its exit code and what it printed.
fn client(endpoints: &str, arguments: &[&str]) -> (i32, String) {
    client_for(10, endpoints, arguments)
}

/// The same, where a request is given up after so many seconds.
fn client_for(timeout_s: u64, endpoints: &str, arguments: &[&str]) -> (i32, String) {
    let (code, said) = run(timeout_s, endpoints, arguments.iter().map(OsStr::new));
    (code, String::from_utf8(said).unwrap())
}

fn run<'a>(
    timeout_s: u64,
    endpoints: &str,
    arguments: impl Iterator<Item = &'a OsStr>,
) -> (i32, Vec<u8>) {
    let output = Command::new("python3")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples"))
        .args(["-B", "-c"])
        .arg(WITH_TIMEOUT.replace("seconds", &timeout_s.to_string()))
        .arg(endpoints)
        .args(arguments)
        .output()
        .expect("python3 is needed to run the client of the protocol's page");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), said)
}

fn said(code: i32, text: &str) -> (i32, String) {
    (code, format!("{text}\n"))
}

#[test]
#[ignore = "with python3: runs the client of the protocol's page"]
fn the_page_is_enough_for_a_client_over_both_transports() {
    let server = Process::start(&[]);
    server.wait_until_healthy();
    for endpoint in [tcp(server.client_address()), udp(server.datagram_address())] {
        assert_eq!(client(&endpoint, &["get", "a"]), said(1, "(absent)"));
        assert_eq!(client(&endpoint, &["put", "a", "one"]), said(0, "OK"));
        assert_eq!(client(&endpoint, &["append", "a", "two"]), said(0, "OK"));
        assert_eq!(client(&endpoint, &["get", "a"]), said(0, "onetwo"));
        assert_eq!(client(&endpoint, &["delete", "a"]), said(0, "OK"));
        assert_eq!(client(&endpoint, &["delete", "a"]), said(1, "(absent)"));
        assert_eq!(client(&endpoint, &["put", "a", ""]), said(0, "OK"));
        assert_eq!(client(&endpoint, &["get", "a"]), said(0, ""));
        let empty_key = client(&endpoint, &["put", "", "one"]);
        assert_eq!(empty_key, said(3, "empty key; not done"));
        let binary: Vec<u8> = (1..=255).collect();
        let put = ["put".as_bytes(), b"\xff\n", &binary].map(OsStr::from_bytes);
        assert_eq!(run(10, &endpoint, put.into_iter()).0, 0);
        let get = ["get".as_bytes(), b"\xff\n"].map(OsStr::from_bytes);
        let found = [&binary[..], b"\n"].concat();
        assert_eq!(run(10, &endpoint, get.into_iter()), (0, found));
        assert_eq!(client(&endpoint, &["remove", "a"]).0, 2);
        assert_eq!(client(&endpoint, &["delete", "a"]), said(0, "OK"));
    }
}

#[test]
#[ignore = "with python3: runs the client of the protocol's page"]
fn what_does_not_fit_a_datagram_goes_over_tcp() {
    let server = Process::start(&["--value-bytes-max", "110000"]);
    server.wait_until_healthy();
    let udp = udp(server.datagram_address());
    let both = format!("{udp},{}", tcp(server.client_address()));
    for bytes in [1_200, 100_000] {
        let long = "x".repeat(bytes);
        let (code, refused) = client_for(1, &udp, &["put", "a", &long]);
        assert_eq!(code, 3, "{refused}");
        assert!(refused.ends_with("; not done\n"), "{refused}");
        assert_eq!(client(&both, &["put", "a", &long]), said(0, "OK"));
        assert_eq!(client(&both, &["get", "a"]), said(0, &long));
    }
    let (_, refused) = client_for(1, &udp, &["get", "a"]);
    assert!(refused.contains("too large for UDP"), "{refused}");
    let too_long = "x".repeat(110_001);
    let refused = client(&both, &["put", "a", &too_long]);
    assert_eq!(refused, said(3, "too large; not done"));
}

#[test]
#[ignore = "with python3: runs the client of the protocol's page"]
fn an_append_whose_answer_is_lost_runs_once() {
    let server = Process::start(&[]);
    server.wait_until_healthy();
    let (forgetful_tcp, lost_tcp) = forgetful_stream(server.client_address());
    let (forgetful_udp, lost_udp) = forgetful_datagrams(server.datagram_address());
    let forgetful = [tcp(forgetful_tcp), udp(forgetful_udp)];
    let whole = [tcp(server.client_address()), udp(server.datagram_address())];
    let mut expected = String::new();
    for first in &forgetful {
        for second in &whole {
            let endpoints = format!("{first},{second}");
            assert_eq!(client(&endpoints, &["append", "a", "one"]), said(0, "OK"));
            expected += "one";
            let found = client(second, &["get", "a"]);
            assert_eq!(found, said(0, &expected), "{endpoints}");
        }
    }
    let lost = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    assert_eq!((lost(&lost_tcp), lost(&lost_udp)), (2, 2));
}

#[test]
#[ignore = "with python3: runs the client of the protocol's page"]
fn dead_and_silent_replicas_are_passed_over() {
    let server = Process::start(&[]);
    server.wait_until_healthy();
    let silent_tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = [
        tcp(silent_tcp.local_addr().unwrap()),
        udp(silent_udp.local_addr().unwrap()),
    ];
    let all = format!(
        "tcp://127.0.0.1:1,{},{}",
        silent.join(","),
        tcp(server.client_address())
    );
    assert_eq!(client(&all, &["put", "a", "one"]), said(0, "OK"));
    let (code, gave_up) = client_for(1, &silent.join(","), &["put", "a", "two"]);
    assert_eq!(code, 3, "{gave_up}");
    assert!(gave_up.starts_with("no answer in 1 s"), "{gave_up}");
    assert_eq!(client(&all, &["get", "a"]), said(0, "one"));
    let (mute, lost) = forgetful_stream(server.client_address());
    let (code, unknown) = client_for(1, &tcp(mute), &["append", "a", "two"]);
    assert_eq!(code, 4, "{unknown}");
    assert!(unknown.ends_with("; it may have run, once\n"), "{unknown}");
    assert!(lost.load(Ordering::Relaxed) > 0);
    assert_eq!(client(&all, &["get", "a"]), said(0, "onetwo"));
}

#[test]
#[ignore = "with python3: runs the client of the protocol's page"]
fn it_outlives_killed_replicas_and_says_when_too_many_are_gone() {
    let mut cluster = Cluster::start(&["--no-quorum-after", "500ms"]);
    let endpoints = |cluster: &Cluster, id| {
        let of = |id| {
            [
                tcp(cluster.client_address(id)),
                udp(cluster.datagram_address(id)),
            ]
        };
        (0..SIZE)
            .flat_map(|place| of((id + place) % SIZE))
            .collect::<Vec<_>>()
            .join(",")
    };
    let leader = cluster.leader();
    let list = endpoints(&cluster, leader);
    assert_eq!(client(&list, &["append", "a", "one"]), said(0, "OK"));
    cluster.kill(&[leader]);
    assert_eq!(client(&list, &["append", "a", "two"]), said(0, "OK"));
    assert_eq!(client(&list, &["get", "a"]), said(0, "onetwo"));
    cluster.kill(&[(leader + 1) % SIZE, (leader + 2) % SIZE]);
    let (code, refused) = client_for(2, &list, &["append", "a", "three"]);
    assert_eq!(
        code, 3,
        "no session is opened, so nothing is written: {refused}"
    );
    assert!(refused.contains("no quorum"), "{refused}");
}

fn tcp(address: SocketAddr) -> String {
    format!("tcp://{address}")
}

fn udp(address: SocketAddr) -> String {
    format!("udp://{address}")
}

/// Stands before a server and passes on everything but the answers to an APPEND, which it counts.
fn forgetful_stream(server: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let lost = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lost);
    thread::spawn(move || {
        for near in listener.incoming() {
            let (near, far) = (near.unwrap(), TcpStream::connect(server).unwrap());
            let (mut heard, mut told) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            thread::spawn(move || io::copy(&mut heard, &mut told));
            let count = Arc::clone(&count);
            // It ends when either side does.
            thread::spawn(move || pass_frames(far, near, &count));
        }
    });
    (address, lost)
}

fn pass_frames(mut from: TcpStream, mut to: TcpStream, lost: &AtomicUsize) -> io::Result<()> {
    loop {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        from.read_exact(&mut message)?;
        if message[0] == APPENDED {
            lost.fetch_add(1, Ordering::Relaxed);
        } else {
            to.write_all(&[&length, &message[..]].concat())?;
        }
    }
}

/// The same for datagrams; to the server each client has a socket of its own, since cookies belong to addresses.
fn forgetful_datagrams(server: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let near = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = near.local_addr().unwrap();
    let lost = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lost);
    thread::spawn(move || {
        let mut datagram = [0; 65_536];
        let mut sockets: BTreeMap<SocketAddr, UdpSocket> = BTreeMap::new();
        loop {
            let (bytes, client) = near.recv_from(&mut datagram).unwrap();
            let bind = || UdpSocket::bind("127.0.0.1:0").unwrap();
            let far = sockets.entry(client).or_insert_with(bind);
            far.send_to(&datagram[..bytes], server).unwrap();
            let bytes = far.recv(&mut datagram).unwrap();
            if datagram[KIND_PLACE] == APPENDED {
                count.fetch_add(1, Ordering::Relaxed);
            } else {
                near.send_to(&datagram[..bytes], client).unwrap();
            }
        }
    });
    (address, lost)
}
