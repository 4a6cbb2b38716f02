//! A replica whose state differs from the others' finds out and stops (RULES R21).

use common::{Outcome, SessionId};
use kvpaxos_server::identity::ClusterSettings;

use crate::messages::says;
use crate::node::{Cluster, append};

const HASH_INTERVAL: u32 = 16;

fn cluster(replicas: u8) -> (Cluster, SessionId) {
    let settings = ClusterSettings {
        hash_interval: HASH_INTERVAL,
        ..ClusterSettings::default()
    };
    let mut cluster = Cluster::with_settings(replicas, true, settings);
    let session = cluster.open_session();
    (cluster, session)
}

/// Writes of the session, from `first` on, one slot each; whether all were answered.
fn write(cluster: &mut Cluster, session: SessionId, first: u64, count: u64) -> bool {
    for sequence in first..first + count {
        let Some(leader) = cluster.find_leader() else {
            return false;
        };
        let connection = crate::node::connection(1);
        cluster.nodes[leader].client(connection, append(session, sequence, sequence, 0, 3));
        cluster.pump();
        let answer = cluster.answers.pop().map(|answer| answer.outcome);
        if !matches!(answer, Some(Outcome::Appended { .. })) {
            return false;
        }
    }
    true
}

fn stopped(cluster: &Cluster) -> Vec<usize> {
    let mut stopped: Vec<usize> = cluster.stops.iter().map(|(place, _)| *place).collect();
    stopped.sort_unstable();
    stopped
}

#[test]
fn r21_replicas_that_agree_go_on_and_log_each_hash_once() {
    let (mut cluster, session) = cluster(5);
    assert!(write(&mut cluster, session, 1, 100));
    for _ in 0..500 {
        cluster.tick();
    }
    assert_eq!(stopped(&cluster), [0; 0]);
    let slots: Vec<u64> = cluster.nodes.iter().map(|node| node.applied().0).collect();
    let hashes = slots[0] - slots[0] * 15 / 16;
    assert!(slots[0] <= 101 + hashes + 1, "{slots:?}");
    let rest = slots[0];
    for _ in 0..500 {
        cluster.tick();
    }
    assert_eq!(
        cluster.nodes[0].applied().0,
        rest,
        "an idle log stays as it is"
    );
}

#[test]
fn r21_a_replica_that_differs_stops_and_the_others_serve() {
    let (mut cluster, session) = cluster(5);
    let victim = (cluster.leader() + 1) % 5;
    cluster.misled = vec![(victim, b'w')];
    assert!(write(&mut cluster, session, 1, 3));
    cluster.misled.clear();
    assert_eq!(stopped(&cluster), [0; 0]);
    assert!(write(
        &mut cluster,
        session,
        4,
        2 * u64::from(HASH_INTERVAL)
    ));
    assert_eq!(stopped(&cluster), [victim]);
    let said = &cluster.stops[0].1;
    let message = "the state hash of this replica after … slots is …, and a majority has …";
    assert!(says(said, message), "{said}");
}

#[test]
fn r21_a_leader_that_differs_stops_itself_and_not_the_others() {
    let (mut cluster, session) = cluster(3);
    let leader = cluster.leader();
    cluster.misled = (0..3)
        .filter(|place| *place != leader)
        .map(|place| (place, b'w'))
        .collect();
    assert!(write(&mut cluster, session, 1, 3));
    cluster.misled.clear();
    write(&mut cluster, session, 4, 2 * u64::from(HASH_INTERVAL));
    assert_eq!(stopped(&cluster), [leader]);
    for _ in 0..500 {
        cluster.tick();
    }
    let follower = (leader + 1) % 3;
    let next = cluster.nodes[follower]
        .leader()
        .map(|next| usize::from(next.0));
    assert!(next.is_some_and(|next| next != leader), "{next:?}");
}

#[test]
fn r21_without_a_majority_nobody_serves() {
    let (mut cluster, session) = cluster(3);
    let leader = cluster.leader();
    cluster.misled = vec![((leader + 1) % 3, b'w'), ((leader + 2) % 3, b'x')];
    assert!(write(&mut cluster, session, 1, 3));
    write(&mut cluster, session, 4, 2 * u64::from(HASH_INTERVAL));
    for _ in 0..1_000 {
        cluster.tick();
    }
    // Whoever stops last may not hear of the entry, and is alone then.
    assert!(stopped(&cluster).len() >= 2, "{:?}", cluster.stops);
    assert_eq!(cluster.find_leader(), None);
    let said = &cluster.stops[0].1;
    let message = "no majority of the replicas has the same state hash after … slots";
    assert!(says(said, message), "{said}");
}
