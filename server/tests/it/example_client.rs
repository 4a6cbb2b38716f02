//! `docs/examples/client.py`, which was written from `docs/PROTOCOL.md` alone: what the page says is enough for a client
//! in another language. Needs python3, and fails without it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::process::Process;

/// The kind of the answer to an APPEND.
const APPENDED: u8 = 0x84;

/// Where the kind stands in a datagram of a replica.
const KIND_PLACE: usize = 7;

/// Runs the script; returns its exit code and what it printed.
fn client(endpoints: &str, arguments: &[&str]) -> (i32, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/client.py");
    let output = Command::new("python3")
        .arg(script)
        .args(["--endpoints", endpoints])
        .args(arguments)
        .output()
        .expect("python3 is needed to run the client of the protocol's page");
    let said = [output.stdout, output.stderr].concat();
    let code = output.status.code().unwrap();
    (code, String::from_utf8(said).unwrap())
}

fn said(code: i32, text: &str) -> (i32, String) {
    (code, format!("{text}\n"))
}

#[test]
fn the_page_is_enough_for_a_client_over_both_transports() {
    let server = Process::start(&[]);
    server.wait_until_healthy();
    let tcp = server.client_address().to_string();
    let udp = format!("udp://{}", server.datagram_address());
    for endpoints in [&tcp, &udp] {
        assert_eq!(client(endpoints, &["get", "a"]), said(1, "(absent)"));
        let (code, put) = client(endpoints, &["put", "a", "one"]);
        assert!(code == 0 && put.starts_with("OK revision="), "{put}");
        let appended = client(endpoints, &["append", "a", "two"]);
        assert_eq!(appended, said(0, "OK length=6"));
        assert_eq!(client(endpoints, &["get", "a"]), said(0, "onetwo"));
        assert_eq!(client(endpoints, &["delete", "a"]), said(0, "OK"));
        assert_eq!(client(endpoints, &["delete", "a"]), said(1, "(absent)"));
        assert_eq!(
            client(endpoints, &["put", "", "one"]),
            said(3, "not done: empty key")
        );
    }
    let given = ["--protocol", "udp", "get", "a"];
    let plain = server.datagram_address().to_string();
    assert_eq!(client(&plain, &given), said(1, "(absent)"));
}

#[test]
fn what_does_not_fit_a_datagram_goes_over_tcp() {
    let server = Process::start(&[]);
    server.wait_until_healthy();
    let udp = format!("udp://{}", server.datagram_address());
    let both = format!("{udp},tcp://{}", server.client_address());
    let long = "x".repeat(100_000);
    let (code, refused) = client(&udp, &["put", "a", &long]);
    assert!(code == 3 && refused.contains("no endpoint is tcp://"));
    assert_eq!(client(&both, &["put", "a", &long]).0, 0);
    assert_eq!(client(&both, &["get", "a"]), said(0, &long));
    let just_too_long = "x".repeat(1_200);
    assert_eq!(client(&both, &["put", "a", &just_too_long]).0, 0);
    assert_eq!(client(&both, &["get", "a"]), said(0, &just_too_long));
}

#[test]
fn an_append_whose_answer_is_lost_runs_once() {
    let server = Process::start(&[]);
    server.wait_until_healthy();
    let (forgetful_tcp, lost_tcp) = forgetful_stream(server.client_address());
    let (forgetful_udp, lost_udp) = forgetful_datagrams(server.datagram_address());
    let lists = [
        format!("{forgetful_tcp},{}", server.client_address()),
        format!("udp://{forgetful_udp},udp://{}", server.datagram_address()),
        format!("udp://{forgetful_udp},tcp://{}", server.client_address()),
        format!("tcp://{forgetful_tcp},udp://{}", server.datagram_address()),
    ];
    for (place, endpoints) in lists.iter().enumerate() {
        let length = format!("OK length={}", 3 * (place + 1));
        let appended = client(endpoints, &["append", "a", "one"]);
        assert_eq!(appended, said(0, &length), "{endpoints}");
    }
    let lost = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    assert_eq!((lost(&lost_tcp), lost(&lost_udp)), (2, 2));
}

#[test]
fn dead_and_silent_replicas_are_passed_over() {
    let server = Process::start(&[]);
    server.wait_until_healthy();
    let silent_tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = format!(
        "{},udp://{}",
        silent_tcp.local_addr().unwrap(),
        silent_udp.local_addr().unwrap()
    );
    let list = format!("127.0.0.1:1,{silent},{}", server.client_address());
    assert_eq!(client(&list, &["put", "a", "one"]).0, 0);
    let (code, gave_up) = client(&silent, &["--timeout", "1", "put", "a", "two"]);
    assert!(
        code == 3 && gave_up.starts_with("not done: no answer in 1 s"),
        "{gave_up}"
    );
    assert_eq!(client(&list, &["get", "a"]), said(0, "one"));
    let (mute, lost) = forgetful_stream(server.client_address());
    let arguments = ["--timeout", "1", "append", "a", "two"];
    let (code, unknown) = client(&mute.to_string(), &arguments);
    assert_eq!(code, 4, "{unknown}");
    assert!(unknown.contains("whether it was done is unknown") && lost.load(Ordering::Relaxed) > 0);
    assert_eq!(client(&list, &["get", "a"]), said(0, "onetwo"));
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
