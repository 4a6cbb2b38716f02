//! Whole servers asked over UDP: the same requests, the same answers, and one write whatever way its copies take.

use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use common::{Change, Outcome, Refusal, Request, SessionId, Write};
use kvpaxos_server::config::{Config, Member};
use kvpaxos_server::health::ask_status;
use kvpaxos_server::journal_thread::Fatal;
use kvpaxos_server::server::{Listeners, Server};
use kvpaxos_server::settings::GivenSettings;
use paxos::ReplicaId;
use tempfile::TempDir;

use crate::cluster::{Cluster, SIZE};
use crate::raw_client::{RawClient, get};
use crate::raw_datagrams::{RawDatagrams, datagram};

/// One replica in this process.
struct Lone {
    server: Server,
    _directory: TempDir,
}

impl Lone {
    fn start() -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let config = Config {
            replica: ReplicaId(0),
            members: vec![Member {
                id: ReplicaId(0),
                address: "127.0.0.1:0".into(),
            }],
            client_address: "127.0.0.1:0".into(),
            datagram_address: Some("127.0.0.1:0".into()),
            datagram_bytes_max: 1_200,
            peer_address: None,
            data: Some(directory.path().join("data")),
            workers: 2,
            no_quorum_after: Duration::from_millis(500),
            reads_through_log: false,
            cluster: GivenSettings::default(),
            connections_max: 100,
            failing: None,
        };
        let listeners = Listeners {
            clients: TcpListener::bind("127.0.0.1:0").unwrap(),
            datagrams: Some(UdpSocket::bind("127.0.0.1:0").unwrap()),
            peers: None,
        };
        let fatal = Fatal::new(|why| panic!("{why}"));
        let lone = Self {
            server: Server::start(&config, listeners, fatal).unwrap(),
            _directory: directory,
        };
        let address = lone.server.client_address().to_string();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !ask_status(&address).is_ok_and(|status| status.serving) {
            assert!(Instant::now() < deadline, "it does not serve");
            std::thread::sleep(Duration::from_millis(5));
        }
        lone
    }

    fn datagrams(&self) -> RawDatagrams {
        RawDatagrams::new(self.server.datagram_address().unwrap())
    }

    fn connection(&self) -> RawClient {
        RawClient::greeted(self.server.client_address())
    }
}

fn change(session: SessionId, sequence: u64, change: Change) -> Request {
    Request::Write {
        tag: sequence,
        write: Write {
            session,
            sequence,
            floor: 1,
            after: 0,
            change,
        },
    }
}

fn append(session: SessionId, sequence: u64, value: &[u8]) -> Request {
    let (key, value) = (b"k".to_vec(), value.to_vec());
    change(session, sequence, Change::Append { key, value })
}

fn value(outcome: Outcome) -> Vec<u8> {
    match outcome {
        Outcome::Value { value, .. } => value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_write_retried_over_both_transports_runs_once_with_one_answer() {
    let lone = Lone::start();
    let (mut udp, mut tcp) = (lone.datagrams(), lone.connection());
    let session = udp.open_session(5);
    let first = udp.outcome(&append(session, 1, b"one"));
    assert!(matches!(first, Outcome::Appended { length: 3, .. }));
    assert_eq!(tcp.outcome(&append(session, 1, b"one")), first);
    let second = tcp.outcome(&append(session, 2, b"two"));
    assert!(matches!(second, Outcome::Appended { length: 6, .. }));
    assert_eq!(udp.outcome(&append(session, 2, b"two")), second);
    assert_eq!(lone.datagrams().outcome(&append(session, 1, b"one")), first);
    assert_eq!(value(udp.outcome(&get(9, b"k"))), b"onetwo");
    assert_eq!(value(tcp.outcome(&get(9, b"k"))), b"onetwo");
    lone.server.stop();
}

#[test]
fn what_does_not_fit_a_datagram_goes_over_tcp_under_the_same_name() {
    let lone = Lone::start();
    let (mut udp, mut tcp) = (lone.datagrams(), lone.connection());
    let (greeting, _) = udp.greet();
    assert_eq!(greeting.datagram_bytes_max, 1_200);
    assert_eq!(greeting.value_bytes_max, 8 << 20);
    let session = udp.open_session(5);
    let write = append(session, 1, &[b'v'; 1_500]);
    let bytes = datagram(&write, udp.cookie).len() as u64;
    let too_large = |bytes| {
        Outcome::Refused(Refusal::TooLargeForDatagram {
            bytes,
            bytes_max: 1_200,
        })
    };
    assert_eq!(udp.outcome(&write), too_large(bytes));
    assert!(matches!(
        tcp.outcome(&write),
        Outcome::Appended { length: 1_500, .. }
    ));
    assert_eq!(udp.outcome(&get(7, b"k")), too_large(1_530));
    assert_eq!(value(tcp.outcome(&get(7, b"k"))).len(), 1_500);
    assert!(matches!(
        udp.outcome(&Request::Status { tag: 8 }),
        Outcome::Status(report) if report.serving
    ));
    lone.server.stop();
}

#[test]
fn a_datagram_that_comes_twice_is_answered_twice_and_runs_once() {
    let lone = Lone::start();
    let mut udp = lone.datagrams();
    let session = udp.open_session(5);
    let write = append(session, 1, b"x");
    for _ in 0..20 {
        udp.ask(&write);
    }
    let answers: Vec<_> = (0..20).map(|_| udp.hear().unwrap()).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(value(udp.outcome(&get(7, b"k"))), b"x");
    lone.server.stop();
}

#[test]
fn a_write_sent_to_five_replicas_at_once_over_both_transports_runs_once() {
    let cluster = Cluster::start(&[]);
    let mut first = RawDatagrams::new(cluster.datagram_address(0));
    let session = first.open_session(5);
    let mut answers = 0;
    for sequence in 1..=20 {
        let write = append(session, sequence, b"x");
        let over_udp: Vec<RawDatagrams> = (0..SIZE)
            .map(|id| RawDatagrams::new(cluster.datagram_address(id)))
            .collect();
        let over_tcp: Vec<RawClient> = (0..SIZE)
            .map(|id| RawClient::greeted(cluster.client_address(id)))
            .collect();
        let copies: Vec<_> = over_udp
            .into_iter()
            .map(|mut udp| {
                let write = write.clone();
                std::thread::spawn(move || udp.outcome(&write))
            })
            .chain(over_tcp.into_iter().map(|mut tcp| {
                let write = write.clone();
                std::thread::spawn(move || tcp.outcome(&write))
            }))
            .collect();
        let outcomes: Vec<Outcome> = copies
            .into_iter()
            .map(|copy| copy.join().unwrap())
            .collect();
        assert!(
            matches!(outcomes[0], Outcome::Appended { length, .. } if length == sequence),
            "{outcomes:?}"
        );
        assert!(
            outcomes.iter().all(|outcome| *outcome == outcomes[0]),
            "{outcomes:?}"
        );
        answers += outcomes.len();
    }
    assert_eq!(value(first.outcome(&get(7, b"k"))), [b'x'; 20]);
    println!("{answers} copies of 20 writes were answered alike");
}

#[test]
fn five_replicas_any() {
    let cluster = Cluster::start(&[]);
    let mut clients: Vec<RawDatagrams> = (0..SIZE)
        .map(|id| RawDatagrams::new(cluster.datagram_address(id)))
        .collect();
    let session = clients[0].open_session(5);
    let mut sequence = 0;
    for asked in 0..SIZE {
        let mut run = |make: fn(Vec<u8>) -> Change| {
            sequence += 1;
            let request = change(session, sequence, make(format!("k{asked}").into_bytes()));
            clients[asked].outcome(&request)
        };
        let outcome = run(|key| Change::Put {
            key,
            value: b"put".to_vec(),
        });
        assert!(matches!(outcome, Outcome::Put { .. }), "{outcome:?}");
        let outcome = run(|key| Change::Append {
            key,
            value: b"+more".to_vec(),
        });
        assert!(
            matches!(outcome, Outcome::Appended { length: 8, .. }),
            "{outcome:?}"
        );
        let outcome = run(|mut key| {
            key.push(b'-');
            Change::Delete { key }
        });
        assert!(
            matches!(outcome, Outcome::Deleted { existed: false, .. }),
            "{outcome:?}"
        );
        let key = format!("k{asked}").into_bytes();
        for reader in &mut clients {
            assert_eq!(value(reader.outcome(&get(1_000, &key))), b"put+more");
        }
        let gone = clients[asked].outcome(&get(1_001, b"nothing"));
        assert!(matches!(gone, Outcome::Absent { .. }), "{gone:?}");
    }
    for (id, client) in clients.iter_mut().enumerate() {
        match client.outcome(&Request::Status { tag: 2_000 }) {
            Outcome::Status(report) => assert_eq!(usize::from(report.replica), id),
            other => panic!("{other:?}"),
        }
    }
}
