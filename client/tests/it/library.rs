//! The library over real sockets.

use std::time::Duration;

use common::{Outcome, Request};
use kvpaxos_client::{Client, ClientError, ClientOptions, Fleet, Operation, Reply};

use crate::fake::{Fake, Reaction, endpoints};

fn options(fakes: &[&Fake]) -> ClientOptions {
    ClientOptions::parse(&endpoints(fakes)).unwrap()
}

fn is_write(request: &Request) -> bool {
    matches!(request, Request::Write { .. })
}

/// A replica that does not answer writes.
fn silent_about_writes() -> Fake {
    Fake::with(|request, outcome| {
        if is_write(request) {
            Reaction::Silence
        } else {
            Reaction::Answer(outcome)
        }
    })
}

#[test]
fn each_operation_gets_its_answer() {
    let fake = Fake::store();
    let mut client = Client::connect(options(&[&fake])).unwrap();
    client.put(b"a", b"one").unwrap();
    assert_eq!(client.append(b"a", b"two").unwrap().length, 6);
    assert_eq!(client.get(b"a").unwrap().unwrap().value, b"onetwo");
    assert!(client.delete(b"a").unwrap().existed);
    assert!(!client.delete(b"a").unwrap().existed);
    assert_eq!(client.get(b"a").unwrap(), None);
    client.put(b"empty", b"").unwrap();
    assert_eq!(client.get(b"empty").unwrap().unwrap().value, b"");
    assert_eq!(client.status().unwrap().ballot_round, 7);
    assert_eq!(client.replica(), Some(0));
}

#[test]
fn a_silent_replica_is_left_for_the_next_under_the_same_session_and_number() {
    let (silent, good) = (silent_about_writes(), Fake::store());
    let mut client = Client::connect(options(&[&silent, &good])).unwrap();
    client.put(b"a", b"one").unwrap();
    assert_eq!(silent.writes(), good.writes());
    assert_eq!(good.writes().len(), 1);
    client.put(b"b", b"two").unwrap();
    assert_eq!(
        silent.writes().len(),
        1,
        "the client stays where it is answered"
    );
}

#[test]
fn a_closed_connection_is_replaced_and_the_write_has_the_same_name() {
    let mut closes = 3;
    let fake = Fake::with(move |request, outcome| {
        if is_write(request) && closes > 0 {
            closes -= 1;
            return Reaction::Close;
        }
        Reaction::Answer(outcome)
    });
    let mut client = Client::connect(options(&[&fake])).unwrap();
    client.put(b"a", b"one").unwrap();
    let writes = fake.writes();
    assert_eq!(writes.len(), 4);
    assert!(writes.iter().all(|write| *write == writes[0]));
}

#[test]
fn nobody_there_is_an_error_in_time() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = ClientOptions::parse(&gone.local_addr().unwrap().to_string()).unwrap();
    drop(gone);
    options.timeout = Duration::from_millis(200);
    let error = Client::connect(options).unwrap_err();
    assert!(matches!(error, ClientError::NoAnswer { .. }), "{error}");
}

#[test]
fn large_values_come_and_go_whole() {
    let fake = Fake::store();
    let mut client = Client::new(options(&[&fake])).unwrap();
    let value: Vec<u8> = (0..8_u32 << 20)
        .map(|place| ((place * 31) >> 7) as u8)
        .collect();
    client.put(b"a", &value).unwrap();
    assert!(client.get(b"a").unwrap().unwrap().value == value);
    let error = client.put(b"a", &vec![0; (8 << 20) + 1]).unwrap_err();
    assert!(matches!(error, ClientError::Refused(_)), "{error}");
    assert!(client.get(b"a").unwrap().is_some());
}

#[test]
fn a_name_is_resolved_and_each_of_its_addresses_tried() {
    let fake = Fake::store();
    let list = format!("localhost:{}", fake.address.port());
    let mut client = Client::connect(ClientOptions::parse(&list).unwrap()).unwrap();
    assert_eq!(client.get(b"a").unwrap(), None);
}

#[test]
fn a_fleet_pipelines_the_requests_of_each_client_in_order() {
    let fake = Fake::store();
    let mut fleet = Fleet::new(options(&[&fake]), 3).unwrap();
    for number in 0..200 {
        for client in 0..3 {
            let key = vec![b'a' + client as u8];
            let value = format!("{number};").into_bytes();
            fleet.submit(client, Operation::Append { key, value });
        }
    }
    let mut done = Vec::new();
    while done.len() < 600 {
        fleet.turn(Duration::from_secs(1), &mut done).unwrap();
    }
    assert!(
        done.iter()
            .all(|(_, found)| matches!(found.result, Ok(Reply::Appended { .. })))
    );
    let expected: String = (0..200).map(|number| format!("{number};")).collect();
    for key in [b"a", b"b", b"c"] {
        assert_eq!(fake.value(key).unwrap(), expected.as_bytes());
    }
    assert_eq!(fleet.unfinished(0), 0);
}

#[test]
fn refusals_that_are_final_are_told_at_once() {
    let fake = Fake::with(|request, outcome| {
        Reaction::Answer(match request {
            Request::Write { .. } => {
                Outcome::Refused(common::Refusal::StoreFull { bytes_max: 100 })
            }
            _ => outcome,
        })
    });
    let mut client = Client::new(options(&[&fake])).unwrap();
    let error = client.put(b"a", b"one").unwrap_err();
    assert!(!error.outcome_unknown());
    assert_eq!(
        error.to_string(),
        "refused: store full: the cluster may hold 100 bytes"
    );
}
