//! Whole servers in this process, with real sockets and disks: one replica, five, and what a start refuses.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Change, Outcome, Refusal, Request, SessionId, StatusReport, Write};
use kvpaxos_server::config::{Config, Member};
use kvpaxos_server::health::ask_status;
use kvpaxos_server::journal_thread::Fatal;
use kvpaxos_server::server::{Listeners, Server};
use kvpaxos_server::settings::GivenSettings;
use paxos::ReplicaId;
use tempfile::TempDir;

use crate::raw_client::{RawClient, get};

/// Replicas of one cluster, of which some may not run.
struct Cluster {
    directory: TempDir,
    members: Vec<Member>,
    servers: Vec<Option<Server>>,
    /// Kept so that nobody else takes the ports while a replica is away.
    peer_ports: Vec<TcpListener>,
}

impl Cluster {
    fn start(size: u8) -> Self {
        let peer_ports: Vec<TcpListener> = (0..size).map(|_| port()).collect();
        let members = (0..size)
            .zip(&peer_ports)
            .map(|(id, port)| Member {
                id: ReplicaId(id),
                address: port.local_addr().unwrap().to_string(),
            })
            .collect();
        let mut cluster = Self {
            directory: TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            members,
            servers: (0..size).map(|_| None).collect(),
            peer_ports,
        };
        for id in 0..size {
            cluster.start_replica(id);
        }
        cluster
    }

    fn config(&self, id: u8) -> Config {
        Config {
            replica: ReplicaId(id),
            members: self.members.clone(),
            client_address: "127.0.0.1:0".into(),
            datagram_address: None,
            datagram_bytes_max: 1_200,
            peer_address: None,
            data: Some(self.directory.path().join(id.to_string())),
            workers: 2,
            no_quorum_after: Duration::from_millis(500),
            reads_through_log: false,
            cluster: GivenSettings::default(),
            connections_max: 1_000,
            failing: None,
        }
    }

    fn start_replica(&mut self, id: u8) {
        let place = usize::from(id);
        let listeners = Listeners {
            clients: port(),
            datagrams: None,
            peers: Some(self.peer_ports[place].try_clone().unwrap()),
        };
        let fatal = Fatal::new(|why| panic!("{why}"));
        let server = Server::start(&self.config(id), listeners, fatal).unwrap();
        self.servers[place] = Some(server);
    }

    fn stop_replica(&mut self, id: u8) {
        self.servers[usize::from(id)].take().unwrap().stop();
    }

    fn address(&self, id: u8) -> SocketAddr {
        self.servers[usize::from(id)]
            .as_ref()
            .unwrap()
            .client_address()
    }

    fn status(&self, id: u8) -> StatusReport {
        ask_status(&self.address(id).to_string()).unwrap()
    }

    fn wait(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !condition(self) {
            assert!(Instant::now() < deadline, "waited for: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait_until_serving(&self) {
        self.wait("all running replicas to serve", |cluster| {
            (0u8..)
                .zip(&cluster.servers)
                .filter(|(_, server)| server.is_some())
                .all(|(id, _)| cluster.status(id).serving)
        });
    }

    fn stop(mut self) {
        for server in self.servers.iter_mut().filter_map(Option::take) {
            server.stop();
        }
    }
}

fn port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn open_session(client: &mut RawClient) -> SessionId {
    let request = Request::OpenSession { tag: 1, nonce: 42 };
    match client.outcome(&request) {
        Outcome::SessionOpened { session, .. } => session,
        other => panic!("{other:?}"),
    }
}

fn append(session: SessionId, sequence: u64, value: &[u8]) -> Request {
    Request::Write {
        tag: sequence,
        write: Write {
            session,
            sequence,
            floor: 1,
            after: 0,
            change: Change::Append {
                key: b"k".to_vec(),
                value: value.to_vec(),
            },
        },
    }
}

fn length(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Appended { length, .. } => *length,
        other => panic!("{other:?}"),
    }
}

fn value(outcome: Outcome) -> Vec<u8> {
    match outcome {
        Outcome::Value { value, .. } => value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_replica_keeps_what_it_answered() {
    let mut cluster = Cluster::start(1);
    cluster.wait_until_serving();
    let mut client = RawClient::greeted(cluster.address(0));
    let session = open_session(&mut client);
    assert_eq!(length(&client.outcome(&append(session, 1, b"one"))), 3);
    assert_eq!(length(&client.outcome(&append(session, 2, b"two"))), 6);
    cluster.stop_replica(0);
    client.assert_end();
    cluster.start_replica(0);
    cluster.wait_until_serving();
    let mut client = RawClient::greeted(cluster.address(0));
    assert_eq!(value(client.outcome(&get(9, b"k"))), b"onetwo");
    let retried = client.outcome(&append(session, 2, b"two"));
    assert_eq!(length(&retried), 6, "a retry gets its first answer");
    cluster.stop();
}

#[test]
fn five_replicas_agree_and_two_may_be_away() {
    let mut cluster = Cluster::start(5);
    cluster.wait_until_serving();
    let mut clients: Vec<RawClient> = (0..5)
        .map(|id| RawClient::greeted(cluster.address(id)))
        .collect();
    let session = open_session(&mut clients[0]);
    for sequence in 1..=50 {
        let client = &mut clients[(sequence % 5) as usize];
        let outcome = client.outcome(&append(session, sequence, b"x"));
        assert_eq!(length(&outcome), sequence);
        let reader = &mut clients[((sequence + 1) % 5) as usize];
        let read = value(reader.outcome(&get(1_000, b"k")));
        assert_eq!(
            read.len() as u64,
            sequence,
            "a read sees the write before it"
        );
    }
    let leader = cluster.status(0).leader.unwrap();
    let other = (leader + 1) % 5;
    cluster.stop_replica(leader);
    cluster.stop_replica(other);
    let left = (0..5).find(|id| *id != leader && *id != other).unwrap();
    let client = &mut clients[usize::from(left)];
    let began = Instant::now();
    let mut outcome = client.outcome(&append(session, 51, b"x"));
    while matches!(outcome, Outcome::Refused(_)) {
        assert!(began.elapsed() < Duration::from_secs(10), "{outcome:?}");
        outcome = client.outcome(&append(session, 51, b"x"));
    }
    assert_eq!(length(&outcome), 51);
    cluster.start_replica(leader);
    cluster.start_replica(other);
    cluster.wait_until_serving();
    cluster.wait("all to have applied the same", |cluster| {
        let statuses: Vec<StatusReport> = (0..5).map(|id| cluster.status(id)).collect();
        statuses
            .iter()
            .all(|status| status.applied == statuses[0].applied)
    });
    let mut client = RawClient::greeted(cluster.address(leader));
    assert_eq!(value(client.outcome(&get(1, b"k"))).len(), 51);
    cluster.stop();
}

#[test]
fn without_a_majority_the_answer_is_no_quorum_and_service_comes_back() {
    let mut cluster = Cluster::start(3);
    cluster.wait_until_serving();
    let mut client = RawClient::greeted(cluster.address(0));
    let session = open_session(&mut client);
    cluster.stop_replica(1);
    cluster.stop_replica(2);
    let refused = |outcome: &Outcome| {
        matches!(
            outcome,
            Outcome::Refused(Refusal::NoQuorum { .. } | Refusal::AskReplica { .. })
        )
    };
    let read = client.outcome(&get(1, b"k"));
    assert!(refused(&read), "{read:?}");
    let write = client.outcome(&append(session, 1, b"x"));
    assert!(refused(&write), "{write:?}");
    cluster.start_replica(1);
    let began = Instant::now();
    while refused(&client.outcome(&append(session, 1, b"x"))) {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "service does not come back"
        );
    }
    assert_eq!(value(client.outcome(&get(2, b"k"))), b"x");
    cluster.stop();
}

#[test]
fn a_stop_under_load_takes_less_than_two_seconds_and_leaves_nobody_hanging() {
    let mut cluster = Cluster::start(3);
    cluster.wait_until_serving();
    let address = cluster.address(0);
    let loaders: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = RawClient::greeted(address);
                let session = open_session(&mut client);
                for sequence in 1.. {
                    let mut request = append(session, sequence, b"x");
                    if let Request::Write { write, .. } = &mut request {
                        write.floor = sequence;
                    }
                    client.ask(&request);
                    if client.hear().is_none() {
                        return;
                    }
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    cluster.stop_replica(0);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    for loader in loaders {
        let _ = loader.join();
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "somebody hung for {took:?}");
    cluster.stop();
}

/// Asks again while the thread that prepares the next segment still holds the directory of the server before.
fn refusal_after_stop(config: &Config) -> String {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let said = refusal(config, listeners());
        if !said.contains("another server uses") || Instant::now() > deadline {
            return said;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn refusal(config: &Config, listeners: Listeners) -> String {
    let fatal = Fatal::new(|why| panic!("{why}"));
    match Server::start(config, listeners, fatal) {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

fn listeners() -> Listeners {
    Listeners {
        clients: port(),
        datagrams: None,
        peers: Some(port()),
    }
}

#[test]
fn a_start_that_cannot_be_right_is_refused_in_a_sentence() {
    let mut cluster = Cluster::start(1);
    cluster.wait_until_serving();
    let config = cluster.config(0);
    let said = refusal(&config, listeners());
    assert!(said.contains("another server uses the directory"), "{said}");
    let taken = Config {
        client_address: cluster.address(0).to_string(),
        ..config.clone()
    };
    let said = Listeners::bind(&taken).unwrap_err().to_string();
    assert!(said.contains("cannot listen at"), "{said}");
    cluster.stop_replica(0);
    let other_limit = Config {
        cluster: GivenSettings {
            value_bytes_max: Some(77),
            ..GivenSettings::default()
        },
        ..config.clone()
    };
    let said = refusal_after_stop(&other_limit);
    assert!(
        said.contains("--value-bytes-max 77 differs from 8388608"),
        "{said}"
    );
    let mut other_replica = config.clone();
    other_replica.replica = ReplicaId(1);
    other_replica.members[0].id = ReplicaId(1);
    let said = refusal(&other_replica, listeners());
    assert!(said.contains("the files belong to r0"), "{said}");
    let unwritable = Config {
        data: Some(Path::new("/proc/kvpaxos").to_owned()),
        ..config
    };
    let said = refusal(&unwritable, listeners());
    assert!(said.contains("cannot use the directory"), "{said}");
}
