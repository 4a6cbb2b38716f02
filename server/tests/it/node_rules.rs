//! What a client of any replica may rely on while agreement goes on behind it (RULES R9, R12, R14).

use common::{Outcome, Request, SessionId};
use kvpaxos_server::identity::ClusterSettings;

use crate::node::{Cluster, append, connection};

fn cluster() -> Cluster {
    Cluster::with_settings(3, true, ClusterSettings::default())
}

/// One that does not lead: what it is asked takes its way through another.
fn follower(cluster: &Cluster) -> usize {
    (cluster.leader() + 1) % cluster.nodes.len()
}

fn get(tag: u64) -> Request {
    let key = b"k".to_vec();
    Request::Get { tag, key }
}

/// What was answered, in that order: the tag, and the length of the value that was read or made.
fn lengths(cluster: &mut Cluster) -> Vec<(u64, u64)> {
    let answers = std::mem::take(&mut cluster.answers).into_iter();
    let length = |outcome| match outcome {
        Outcome::Appended { length, .. } => length,
        Outcome::Value { value, .. } => value.len() as u64,
        Outcome::Absent { .. } => 0,
        other => panic!("{other:?}"),
    };
    answers
        .map(|answer| (answer.tag, length(answer.outcome)))
        .collect()
}

#[test]
fn r9_a_get_sees_the_writes_before_it_on_its_connection_and_none_behind_it() {
    for asks_leader in [true, false] {
        let mut cluster = cluster();
        let session = cluster.open_session();
        let asked = if asks_leader {
            cluster.leader()
        } else {
            follower(&cluster)
        };
        for request in [
            get(101),
            append(session, 1, 1, 0, 1),
            get(102),
            append(session, 2, 1, 1, 1),
            get(103),
        ] {
            cluster.nodes[asked].client(connection(7), request);
        }
        for _ in 0..100 {
            cluster.tick();
        }
        let seen = lengths(&mut cluster);
        let reads: Vec<_> = seen.iter().filter(|(tag, _)| *tag > 100).collect();
        assert_eq!(reads, [&(101, 0), &(102, 1), &(103, 2)], "of {seen:?}");
    }
}

#[test]
fn r12_two_sessions_that_are_opened_in_one_batch_are_two() {
    let mut cluster = cluster();
    let (leader, records) = (cluster.leader(), cluster.records);
    for number in [1, 2] {
        let (tag, nonce) = (number, 40 + number);
        cluster.nodes[leader].client(connection(number), Request::OpenSession { tag, nonce });
    }
    cluster.pump();
    assert_eq!(cluster.records - records, 3, "one slot, on three replicas");
    let answers = std::mem::take(&mut cluster.answers).into_iter();
    let sessions: Vec<SessionId> = answers
        .map(|answer| match answer.outcome {
            Outcome::SessionOpened { session, .. } => session,
            other => panic!("no session was opened: {other:?}"),
        })
        .collect();
    assert_ne!(sessions[0].revision, sessions[1].revision);
    for (session, expected) in sessions.into_iter().zip([1, 2]) {
        let outcome = cluster.ask(append(session, 1, 1, 0, 1));
        let Outcome::Appended { length, .. } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(length, expected, "the first write of each session runs");
    }
}

#[test]
fn r14_who_lags_does_not_call_a_session_expired_that_it_has_not_met() {
    let mut cluster = cluster();
    let behind = follower(&cluster);
    cluster.cut_off = Some(behind);
    let session = cluster.open_session();
    cluster.nodes[behind].client(connection(7), append(session, 1, 1, 0, 1));
    for _ in 0..20 {
        cluster.tick();
    }
    assert_eq!(cluster.answers, [], "it cannot know");
    cluster.cut_off = None;
    for _ in 0..200 {
        cluster.tick();
    }
    assert_eq!(lengths(&mut cluster), [(1, 1)]);
}
