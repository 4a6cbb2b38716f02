//! Snapshots between real processes: who was away comes back by one, under load (FAULTS 2 and 3; SPEC D4, D5).

use std::time::{Duration, Instant};

use client::Client;
use common::{Change, Outcome, Request, SessionId, Write};

use crate::cluster::{Cluster, SIZE};
use crate::cluster_load::Load;
use crate::raw_client::RawClient;

/// A replica that was down while others wrote far more than they keep for it comes back by a snapshot, while clients
/// write; and it knows the answer that a client got while it was away.
#[test]
fn snapshot_catch_up() {
    let mut cluster = Cluster::start(&[]);
    let away = (cluster.leader() + 1) % SIZE;
    cluster.kill(&[away]);
    let asked = (away + 1) % SIZE;
    let (session, first) = append_once(&cluster, asked);
    overwrite(&cluster, 180, 200_000);
    let load = Load::start(cluster.options(), 4);
    load.wait_for_more(50);
    let taken = (0..SIZE).filter(|&id| id != away);
    for status in taken.filter_map(|id| cluster.status(id)) {
        assert!(
            status.snapshot_slot > 0,
            "no snapshot was taken: {status:?}"
        );
    }
    let began = Instant::now();
    cluster.start_replica(away);
    cluster.wait(
        "the replica that was away to install a snapshot",
        |cluster| cluster.log(away).contains("is installed, of "),
    );
    println!(
        "snapshot_catch_up: back by snapshot after {:?}",
        began.elapsed()
    );
    load.wait_for_more(50);
    let mut outcome = load.stop();
    assert_eq!(outcome.errors, Vec::<String>::new());
    outcome.assert_all_there(&mut cluster.client_of(away));
    assert_same_state(&cluster);
    assert_eq!(append_again(&cluster, away, session), first);
}

#[test]
fn snapshot_recover() {
    recover_by_snapshot(1);
}

#[test]
fn snapshot_recover_many_clients() {
    recover_by_snapshot(20);
}

/// Three rounds of load, each of which makes the replicas take snapshots and ends with all of them killed.
fn recover_by_snapshot(clients: usize) {
    let mut cluster = Cluster::start(&[]);
    let (session, first) = append_once(&cluster, 0);
    for _ in 0..3 {
        let load = Load::start(cluster.options(), clients);
        overwrite(&cluster, 100, 200_000);
        load.wait_for_more(20);
        let all: Vec<usize> = (0..SIZE).collect();
        cluster.kill(&all);
        for id in all {
            cluster.start_replica(id);
        }
        cluster.wait_until_serving();
        load.wait_for_more(20);
        let mut outcome = load.stop();
        assert_eq!(outcome.errors, Vec::<String>::new());
        outcome.assert_all_there(&mut cluster.client_of(1));
    }
    for id in 0..SIZE {
        let status = cluster.status(id).unwrap();
        assert!(status.snapshot_slot > 0, "r{id} took no snapshot");
        assert_eq!(append_again(&cluster, id, session), first);
    }
    assert_same_state(&cluster);
}

/// Ten keys of 1 MB, overwritten again and again: the log in memory does not grow, however often.
#[test]
fn frees_log_memory() {
    let cluster = Cluster::start(&[]);
    let before = resident_kib(&cluster);
    overwrite(&cluster, 40, 1_000_000);
    let once = resident_kib(&cluster);
    overwrite(&cluster, 80, 1_000_000);
    let after = resident_kib(&cluster);
    println!(
        "frees_log_memory: {before} KiB at first, {once} after 40 overwrites, {after} after 120"
    );
    let grown = after.saturating_sub(before);
    assert!(grown <= GROWN_KIB_MAX, "memory grew by {grown} KiB");
}

/// What each replica has at most beside what it began with: 10 MB of values, as much that is set aside while a snapshot is
/// taken, what the log keeps, and what the allocator does not give back. 120 MB were written to each.
const GROWN_KIB_MAX: u64 = 40_000 * SIZE as u64;

fn resident_kib(cluster: &Cluster) -> u64 {
    (0..SIZE).map(|id| cluster.resident_kib(id)).sum()
}

/// Puts so many values of so many bytes, to ten keys in turn, one after the other: many at once would keep a busy machine
/// from electing a leader.
fn overwrite(cluster: &Cluster, times: usize, bytes: usize) {
    let mut options = cluster.options();
    options.timeout = Duration::from_secs(40);
    let mut client = Client::new(options).unwrap();
    for place in 0..times {
        let key = format!("large{}", place % 10);
        let value = vec![place.to_le_bytes()[0]; bytes];
        client.put(key.as_bytes(), &value).unwrap();
    }
}

/// Appends as the first write of a session, and gives that and its answer.
fn append_once(cluster: &Cluster, id: usize) -> (SessionId, Outcome) {
    let mut client = RawClient::greeted(cluster.client_address(id));
    let request = Request::OpenSession { tag: 1, nonce: 42 };
    let Outcome::SessionOpened { session, .. } = client.outcome(&request) else {
        panic!("no session was opened");
    };
    let answer = append_again(cluster, id, session);
    assert!(matches!(answer, Outcome::Appended { .. }), "{answer:?}");
    (session, answer)
}

/// The same write again, which must get the same answer.
fn append_again(cluster: &Cluster, id: usize, session: SessionId) -> Outcome {
    let mut client = RawClient::greeted(cluster.client_address(id));
    client.outcome(&Request::Write {
        tag: 2,
        write: Write {
            session,
            sequence: 1,
            floor: 1,
            after: 0,
            change: Change::Append {
                key: b"once".to_vec(),
                value: b"x".to_vec(),
            },
        },
    })
}

fn assert_same_state(cluster: &Cluster) {
    cluster.wait("all replicas to hold the same", |cluster| {
        let states: Vec<_> = (0..SIZE)
            .filter_map(|id| cluster.status(id))
            .map(|status| (status.applied, status.state_hash))
            .collect();
        states.len() == SIZE && states.iter().all(|state| *state == states[0])
    });
    let value = |mut client: Client| client.get(b"once").unwrap().map(|found| found.value);
    assert_eq!(value(cluster.client_of(0)), Some(b"x".to_vec()));
}
