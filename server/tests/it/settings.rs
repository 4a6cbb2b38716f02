//! What belongs to the cluster and not to a server: fixed at the founding, and the same on every replica (SPEC C5).

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::time::Duration;

use client::{Client, ClientOptions};
use common::{Change, Outcome, Refusal, Request, Write};
use crossbeam_channel::{Receiver, Sender, unbounded};
use kvpaxos_server::config::{Config, Member};
use kvpaxos_server::health::ask_status;
use kvpaxos_server::journal_thread::Fatal;
use kvpaxos_server::server::{Listeners, Server};
use kvpaxos_server::settings::GivenSettings;
use paxos::ReplicaId;
use tempfile::TempDir;

use crate::raw_client::{RawClient, get};

pub(crate) fn directory() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

pub(crate) fn port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

pub(crate) fn config(id: u8, ports: &[TcpListener], data: &Path, cluster: GivenSettings) -> Config {
    let member = |(id, port): (u8, &TcpListener)| Member {
        id: ReplicaId(id),
        address: port.local_addr().unwrap().to_string(),
    };
    Config {
        replica: ReplicaId(id),
        members: (0..).zip(ports).map(member).collect(),
        client_address: "127.0.0.1:0".into(),
        datagram_address: None,
        datagram_bytes_max: 1_200,
        peer_address: None,
        data: Some(data.join(id.to_string())),
        workers: 1,
        no_quorum_after: Duration::from_secs(5),
        reads_through_log: false,
        cluster,
        connections_max: 100,
        failing: None,
    }
}

pub(crate) fn start(
    config: &Config,
    ports: &[TcpListener],
    last_words: &Sender<(u8, String)>,
) -> Server {
    let id = config.replica.0;
    let listeners = Listeners {
        clients: port(),
        datagrams: config
            .datagram_address
            .as_deref()
            .map(|address| UdpSocket::bind(address).unwrap()),
        peers: Some(ports[usize::from(id)].try_clone().unwrap()),
    };
    let last_words = last_words.clone();
    let fatal = Fatal::new(move |why| last_words.send((id, why.to_owned())).unwrap());
    Server::start(config, listeners, fatal).unwrap()
}

/// Who ends first, and what it says. Here the fatal end lets the replica go on.
fn first_to_end(ends: &Receiver<(u8, String)>) -> (u8, String) {
    ends.recv_timeout(Duration::from_secs(20)).unwrap()
}

#[test]
fn a_replica_with_other_settings_than_the_founder_ends_and_prints_both() {
    let (directory, ports) = (directory(), [port(), port()]);
    let (last_words, ends) = unbounded();
    let other = GivenSettings {
        session_expiry_s: Some(60),
        store_bytes_max: Some(1_000),
        ..GivenSettings::default()
    };
    let own = config(0, &ports, directory.path(), GivenSettings::default());
    let others = config(1, &ports, directory.path(), other);
    let servers = [own, others].map(|config| start(&config, &ports, &last_words));
    let (id, said) = first_to_end(&ends);
    assert_eq!(id, 1, "{said}");
    let both =
        "--session-expiry 3600 there and 60 here, --store-bytes-max 4294967296 there and 1000 here";
    assert!(said.contains(both), "{said}");
    servers.into_iter().for_each(Server::stop);
}

/// A client hears from the cluster when its session expires, and opens another when it was idle for half of that (R15):
/// over either transport.
#[test]
fn an_idle_client_opens_another_session_in_time() {
    let (directory, ports) = (directory(), [port()]);
    let (last_words, _ends) = unbounded();
    let cluster = GivenSettings {
        session_expiry_s: Some(4),
        ..GivenSettings::default()
    };
    let mut config = config(0, &ports, directory.path(), cluster);
    config.datagram_address = Some("127.0.0.1:0".into());
    let server = start(&config, &ports, &last_words);
    let endpoints = [
        format!("tcp://{}", server.client_address()),
        format!("udp://{}", server.datagram_address().unwrap()),
    ];
    for endpoint in endpoints {
        let mut client = Client::new(ClientOptions::parse(&endpoint).unwrap()).unwrap();
        let mut sessions = || {
            client.put(b"k", b"v").unwrap();
            ask_status(&server.client_address().to_string())
                .unwrap()
                .sessions
        };
        let first = sessions();
        std::thread::sleep(Duration::from_millis(2_100));
        assert_eq!(sessions(), first + 1, "{endpoint}");
    }
    server.stop();
}

#[test]
fn a_full_store_refuses_what_would_grow_it_and_serves_the_rest() {
    let (directory, ports) = (directory(), [port()]);
    let (last_words, _ends) = unbounded();
    let cluster = GivenSettings {
        store_bytes_max: Some(100),
        ..GivenSettings::default()
    };
    let config = config(0, &ports, directory.path(), cluster);
    let server = start(&config, &ports, &last_words);
    let mut client = RawClient::greeted(server.client_address());
    let open = Request::OpenSession { tag: 1, nonce: 5 };
    let Outcome::SessionOpened { session, .. } = client.outcome(&open) else {
        panic!("no session");
    };
    let mut sequence = 0;
    let mut write = |change| {
        sequence += 1;
        let write = Write {
            session,
            sequence,
            floor: sequence,
            after: 0,
            change,
        };
        client.outcome(&Request::Write { tag: 1, write })
    };
    let key = |name: &str| name.as_bytes().to_vec();
    let put = |name, bytes| Change::Put {
        key: key(name),
        value: vec![b'v'; bytes],
    };
    let append = |name, bytes| Change::Append {
        key: key(name),
        value: vec![b'v'; bytes],
    };
    let full = Outcome::Refused(Refusal::StoreFull { bytes_max: 100 });
    assert!(full.to_string().contains("the cluster may hold 100 bytes"));
    assert!(matches!(write(put("a", 99)), Outcome::Put { .. }));
    assert_eq!(write(put("b", 1)), full);
    assert_eq!(write(append("a", 1)), full);
    assert!(
        matches!(write(put("a", 99)), Outcome::Put { .. }),
        "it does not grow"
    );
    assert!(matches!(write(put("a", 50)), Outcome::Put { .. }));
    assert!(matches!(write(append("a", 49)), Outcome::Appended { .. }));
    assert_eq!(write(append("b", 1)), full);
    assert!(matches!(
        write(Change::Delete { key: key("a") }),
        Outcome::Deleted { .. }
    ));
    assert!(matches!(write(put("b", 1)), Outcome::Put { .. }));
    let read = client.outcome(&get(2, b"b"));
    assert!(matches!(read, Outcome::Value { .. }), "{read:?}");
    server.stop();
}
