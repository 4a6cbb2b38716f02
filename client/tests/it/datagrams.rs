//! The library and the program over UDP, against replicas that lose, repeat, delay and garble what they say.

use std::fs;
use std::process::Command;
use std::time::Duration;

use common::{Answer, Outcome, Refusal, Request, ServerDatagram, ServerMessage};
use kvpaxos_client::{Client, ClientError, ClientOptions, Fleet, Operation};

use crate::fake::{Fake, Reaction, endpoints};
use crate::program::{code, run, text};

fn options(fakes: &[&Fake]) -> ClientOptions {
    ClientOptions::parse(&endpoints(fakes)).unwrap()
}

fn is_write(request: &Request) -> bool {
    matches!(request, Request::Write { .. })
}

#[test]
fn each_operation_gets_its_answer() {
    let fake = Fake::datagram_store();
    let mut client = Client::connect(options(&[&fake])).unwrap();
    client.put(b"a", b"one").unwrap();
    assert_eq!(client.append(b"a", b"two").unwrap().length, 6);
    assert_eq!(client.get(b"a").unwrap().unwrap().value, b"onetwo");
    assert!(client.delete(b"a").unwrap().existed);
    assert_eq!(client.get(b"a").unwrap(), None);
    assert_eq!(client.status().unwrap().ballot_round, 7);
    assert_eq!(client.replica(), Some(0));
}

#[test]
fn a_name_is_resolved_and_each_of_its_addresses_tried() {
    let fake = Fake::datagram_store();
    let list = format!("udp://localhost:{}", fake.address.port());
    let mut client = Client::connect(ClientOptions::parse(&list).unwrap()).unwrap();
    assert_eq!(client.get(b"a").unwrap(), None);
}

#[test]
fn what_is_lost_is_sent_again_under_the_same_name_and_lands_once() {
    let mut number = 0;
    let fake = Fake::datagrams(move |request, outcome| {
        number += u64::from(is_write(request));
        if is_write(request) && number < 3 {
            Reaction::Silence
        } else {
            Reaction::Answer(outcome)
        }
    });
    let mut client = Client::connect(options(&[&fake])).unwrap();
    client.put(b"a", b"one").unwrap();
    let writes = fake.writes();
    assert_eq!(writes.len(), 3, "{writes:?}");
    assert!(writes.iter().all(|write| *write == writes[0]), "{writes:?}");
}

#[test]
fn a_write_moves_between_transports_under_the_same_name() {
    let silent = Fake::datagrams(|request, outcome| {
        if is_write(request) {
            Reaction::Silence
        } else {
            Reaction::Answer(outcome)
        }
    });
    let good = Fake::store();
    let mut client = Client::connect(options(&[&silent, &good])).unwrap();
    client.put(b"a", b"one").unwrap();
    let (over_udp, over_tcp) = (silent.writes(), good.writes());
    assert!(over_udp.len() > 1, "it is sent again before it moves");
    assert!(over_udp.iter().all(|write| *write == over_tcp[0]));
    assert_eq!(over_tcp.len(), 1);
}

#[test]
fn junk_datagrams() {
    let fake = fake_with_junk();
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut expected = String::new();
    for number in 0..8 {
        let output = Command::new(env!("CARGO_BIN_EXE_kvpaxos-client"))
            .args(["--endpoints", &endpoints(&[&fake]), "--log-file"])
            .arg(&log)
            .args(["append", "k", &format!("{number};")])
            .output()
            .unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        expected.push_str(&format!("{number};"));
        let length = format!("OK length={} ", expected.len());
        assert!(shown.starts_with(&length), "{shown}");
        assert_eq!(output.status.code(), Some(0));
    }
    assert_eq!(fake.value(b"k").unwrap(), expected.as_bytes());
    let log = fs::read_to_string(log).unwrap();
    assert!(log.is_ascii(), "no raw bytes in\n{log}");
    let of_the_replica = format!("a datagram of 3 bytes from {} ", fake.address);
    let of_strangers = "is passed over";
    for part in [
        &of_the_replica[..],
        of_strangers,
        "an answer to nothing asked",
        "unknown kind",
    ] {
        assert!(log.contains(part), "{part} is not in\n{log}");
    }
}

/// A replica that sends something else before each answer to a write, and a stranger the same.
fn fake_with_junk() -> Fake {
    let mut number = 0;
    Fake::datagrams(move |request, outcome| {
        if !is_write(request) {
            return Reaction::Answer(outcome);
        }
        number += 1;
        let wrong_tag = Answer {
            tag: request.tag().wrapping_add(1 << 40),
            leader: Some(9),
            outcome: Outcome::Appended {
                revision: 1,
                length: 999,
            },
        };
        let mut bytes = Vec::new();
        match number % 4 {
            0 => bytes.extend([0xde, 0xad, 0xbe]),
            1 => ServerDatagram {
                replica: 0,
                message: ServerMessage::Answer(wrong_tag),
            }
            .append_to(&mut bytes),
            2 => request.append_datagram_to(&mut bytes, common::Cookie::NONE),
            _ => bytes.extend(b"KVPR\0\x01\0\xff junk"),
        }
        Reaction::BytesThenAnswer(bytes)
    })
}

#[test]
fn late_answers_do_not_land_on_the_wrong_requests() {
    let mut number = 0;
    let fake = Fake::datagrams(move |request, outcome| {
        number += 1;
        if matches!(request, Request::Get { .. }) && number % 2 == 0 {
            Reaction::Late
        } else {
            Reaction::Answer(outcome)
        }
    });
    let mut client = Client::new(options(&[&fake])).unwrap();
    for number in 0..10 {
        client.put(&[b'a' + number], &[number]).unwrap();
    }
    for number in 0..10 {
        let found = client.get(&[b'a' + number]).unwrap().unwrap();
        assert_eq!(found.value, [number]);
    }
}

/// The first write is not answered before the next request comes, and then late.
#[test]
fn unresponsive_server() {
    let mut first = true;
    let fake = Fake::datagrams(move |request, outcome| {
        if is_write(request) && std::mem::take(&mut first) {
            return Reaction::Late;
        }
        Reaction::Answer(outcome)
    });
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    // It is given up before it would be sent again.
    let arguments = ["--timeout", "100ms", "--log-file", log.to_str().unwrap()];
    let arguments = [&arguments[..], &["repl"]].concat();
    let output = run(&[&fake], &arguments, b"PUT a one\nPUT b two\nGET b\n");
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert!(
        lines[0].starts_with("error: no answer within 1"),
        "{lines:?}"
    );
    assert!(lines[0].contains("; the outcome of the write is unknown (udp://"));
    assert_eq!(lines[1..], ["OK revision=3", "two"]);
    assert_eq!(code(&output), 4);
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("gave up tag="), "{log}");
}

#[test]
fn what_does_not_fit_is_an_error_that_says_to_use_tcp_or_goes_there_by_itself() {
    let (datagrams, stream) = (Fake::datagram_store(), Fake::store());
    let value = vec![b'v'; 2_000];
    let mut alone = Client::new(options(&[&datagrams])).unwrap();
    let error = alone.put(b"a", &value).unwrap_err();
    let too_large = matches!(
        error,
        ClientError::Refused(Refusal::TooLargeForDatagram { .. })
    );
    assert!(too_large, "{error}");
    for _ in 0..3 {
        alone.append(b"a", &value[..800]).unwrap();
    }
    let error = alone.get(b"a").unwrap_err().to_string();
    assert!(error.ends_with("use TCP"), "{error}");

    let mut both = Client::new(options(&[&datagrams, &stream])).unwrap();
    both.put(b"a", &value).unwrap();
    both.put(b"b", b"short").unwrap();
    assert_eq!(stream.value(b"a"), Some(value));
    assert_eq!(stream.value(b"b"), None, "what fits goes over UDP again");
    assert_eq!(datagrams.value(b"b").unwrap(), b"short");
    both.get(b"a").unwrap();
}

#[test]
fn a_fleet_keeps_many_requests_outstanding() {
    let fake = Fake::datagram_store();
    let mut fleet = Fleet::new(options(&[&fake]), 3).unwrap();
    for number in 0..200 {
        for client in 0..3 {
            let key = format!("{client}/{number}").into_bytes();
            let value = b"v".to_vec();
            fleet.submit(client, Operation::Put { key, value });
        }
    }
    let mut done = Vec::new();
    while done.len() < 600 {
        fleet.turn(Duration::from_secs(1), &mut done).unwrap();
    }
    assert!(done.iter().all(|(_, found)| found.result.is_ok()));
}
