//! What the program says when nobody answers: why, address by address, and whether a write was ever sent.

use std::net::{TcpListener, UdpSocket};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Outcome, Refusal, Request};
use kvpaxos_client::{Client, ClientError, ClientOptions, Fate};

use crate::fake::{Fake, Reaction, endpoints};
use crate::program::{code, text};

/// Long enough to ask several, one attempt each.
const TIMEOUT: &str = "2500ms";

fn called(list: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kvpaxos-client"))
        .args(["--endpoints", list, "--timeout", TIMEOUT])
        .args(arguments)
        .output()
        .unwrap()
}

/// An address where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn each_address_is_named_with_what_was_wrong_there() {
    let nobody = nobody();
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = mute.local_addr().map(|address| (mute, address)).unwrap();
    let closing = TcpListener::bind("127.0.0.1:0").unwrap();
    let closes_at = closing.local_addr().unwrap();
    thread::spawn(move || closing.incoming().for_each(drop));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let datagrams = format!("udp://{}", socket.local_addr().unwrap());
    let silent = Fake::with(|_, _| Reaction::Silence);
    let list = format!(
        "{nobody},{},{closes_at},{datagrams},{}",
        mute.1, silent.address
    );
    let output = called(&list, &["get", "a"]);
    let said = text(&output.stderr);
    for part in [
        format!("{nobody}: cannot connect: Connection refused"),
        format!(
            "{}, {closes_at}: connected, but nobody greets as a replica does",
            mute.1
        ),
        format!("{datagrams}: no datagram comes back"),
        format!("{}: connected, but does not answer", silent.address),
    ] {
        assert!(said.contains(&part), "{part:?} is not in {said}");
    }
    assert!(!said.contains("the write"), "{said}");
    assert_eq!(code(&output), 4);
}

#[test]
fn a_write_that_was_never_sent_has_not_run_and_that_is_said() {
    let output = called(&nobody(), &["put", "a", "b"]);
    let said = text(&output.stderr);
    assert!(said.contains("; the write was not sent ("), "{said}");
    assert_eq!(code(&output), 4);
    let output = called(&nobody(), &["--json", "put", "a", "b"]);
    assert!(text(&output.stdout).contains("\"outcome_unknown\":false"));
    // A session is refused for want of a majority, so that the write has no name to be sent under.
    let lone = Fake::with(|request, outcome| {
        Reaction::Answer(match request {
            Request::OpenSession { .. } => Outcome::Refused(Refusal::NoQuorum { proposed: true }),
            _ => outcome,
        })
    });
    let output = called(&endpoints(&[&lone]), &["put", "a", "b"]);
    let said = text(&output.stderr);
    assert!(
        said.contains("could be reached; the write was not sent\n"),
        "{said}"
    );
    assert_eq!(code(&output), 5);
    assert!(lone.writes().is_empty());
}

#[test]
fn names_that_cannot_be_looked_up_fail_at_once_if_there_is_nothing_else() {
    let began = Instant::now();
    let list = "no-such-host.invalid:1111,udp://nor-this.invalid:5555";
    let output = Command::new(env!("CARGO_BIN_EXE_kvpaxos-client"))
        .args(["--endpoints", list, "--timeout", "1h", "put", "a", "b"])
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert!(said.contains("no-such-host.invalid:1111"), "{said}");
    assert!(said.contains("cannot be looked up: "), "{said}");
    assert!(said.contains("; the write was not sent"), "{said}");
    assert_eq!(code(&output), 4);
    assert!(
        began.elapsed() < Duration::from_secs(600),
        "{:?}",
        began.elapsed()
    );
    // Beside one that can be looked up it is passed over.
    let fake = Fake::store();
    let list = format!("no-such-host.invalid:1111,{}", fake.address);
    assert_eq!(code(&called(&list, &["put", "a", "b"])), 0);
}

#[test]
fn status_does_not_wait_for_those_that_are_gone() {
    let began = Instant::now();
    let list = format!("{},{}", Fake::store().address, nobody());
    let output = Command::new(env!("CARGO_BIN_EXE_kvpaxos-client"))
        .args(["--endpoints", &list, "--timeout", "1h", "status"])
        .output()
        .unwrap();
    assert_eq!(code(&output), 0);
    // The time that a replica has to answer is a second.
    assert!(
        began.elapsed() < Duration::from_millis(900),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn who_asks_each_endpoint_once_hears_at_once_that_all_have_failed() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let list = format!("{},{}", nobody(), mute.local_addr().unwrap());
    let mut options = ClientOptions::parse(&list).unwrap();
    options.timeout = Duration::from_secs(3_600);
    options.ask_each_once = true;
    let mut client = Client::new(options).unwrap();
    for _ in 0..2 {
        let error = client.get(b"a").unwrap_err();
        let ClientError::NoAnswer { troubles, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(troubles.as_slice().len(), 2);
    }
    // One that greets and then is silent has failed, too.
    let silent = Fake::with(|_, _| Reaction::Silence);
    let mut options = ClientOptions::parse(&endpoints(&[&silent])).unwrap();
    options.timeout = Duration::from_secs(3_600);
    options.ask_each_once = true;
    let error = Client::connect(options).unwrap_err();
    assert!(error.to_string().contains("does not answer"), "{error}");
}

#[test]
fn no_quorum_tells_what_the_replicas_say_of_it() {
    let lost = "the memory of r0, r1 is lost";
    let fake = Fake::with(move |_, outcome| {
        Reaction::Answer(match outcome {
            Outcome::Status(mut report) => {
                report.serving = false;
                report.remark = lost.to_owned();
                Outcome::Status(report)
            }
            _ => Outcome::Refused(Refusal::NoQuorum { proposed: false }),
        })
    });
    let list = format!("{},{}", fake.address, nobody());
    let output = called(&list, &["get", "a"]);
    let said: Vec<&str> = text(&output.stderr).lines().collect();
    assert_eq!(said[1], "kvpaxos-client: 1 of 2 endpoints answer");
    assert_eq!(said[2], format!("kvpaxos-client: r3 says: {lost}"));
    assert_eq!(code(&output), 5);
}

#[test]
fn a_call_that_waits_can_be_interrupted_and_the_next_one_works() {
    let interrupt = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupt);
    let mut puts = 0;
    let fake = Fake::with(move |request, outcome| {
        puts += u32::from(matches!(request, Request::Write { .. }));
        if puts == 1 && matches!(request, Request::Write { .. }) {
            flag.store(true, Ordering::Relaxed);
            return Reaction::Silence;
        }
        Reaction::Answer(outcome)
    });
    let mut options = ClientOptions::parse(&endpoints(&[&fake])).unwrap();
    options.timeout = Duration::from_secs(3_600);
    let mut client = Client::new(options).unwrap();
    client.interrupt_with(interrupt);
    let error = client.put(b"a", b"one").unwrap_err();
    let fate = Fate::Unknown;
    assert!(matches!(error, ClientError::Interrupted { fate: found } if found == fate));
    assert!(error.outcome_unknown());
    client.put(b"a", b"two").unwrap();
    assert_eq!(client.get(b"a").unwrap().unwrap().value, b"two");
}
