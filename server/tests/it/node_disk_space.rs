//! What a cluster does and refuses while disks are nearly full (RULES R18).

use common::{Change, Outcome, Refusal, Request, SessionId, Write};
use kvpaxos_server::identity::ClusterSettings;

use crate::node::{Cluster, append, connection};
use crate::warnings;

const MIB: u64 = 1 << 20;
/// Less than the reserve, more than the rest.
const LITTLE: u64 = 20 * MIB;
const MUCH: u64 = 1_000 * MIB;

const FULL: Outcome = Outcome::Refused(Refusal::DiskFull {
    refuses_deletes: false,
});
const SPENT: Outcome = Outcome::Refused(Refusal::DiskFull {
    refuses_deletes: true,
});

fn cluster() -> (Cluster, SessionId) {
    let mut cluster = Cluster::with_settings(5, true, ClusterSettings::default());
    let session = cluster.open_session();
    (cluster, session)
}

/// The disks of these replicas take so much more, and everybody has heard of it.
fn set_room(cluster: &mut Cluster, places: &[usize], writable_bytes: u64) {
    for place in places {
        cluster.nodes[*place].note_room(writable_bytes, false);
    }
    run(cluster, 20);
}

fn run(cluster: &mut Cluster, ticks: u64) {
    for _ in 0..ticks {
        cluster.tick();
    }
}

/// What this replica answers, at once or within a second.
fn ask(cluster: &mut Cluster, place: usize, request: Request) -> Outcome {
    cluster.nodes[place].client(connection(7), request);
    cluster.pump();
    run(cluster, 100);
    cluster.answers.pop().expect("it is answered").outcome
}

fn delete(session: SessionId, sequence: u64) -> Request {
    let change = Change::Delete { key: b"k".to_vec() };
    let write = Write {
        session,
        sequence,
        floor: sequence,
        after: 0,
        change,
    };
    Request::Write { tag: 1, write }
}

fn get() -> Request {
    Request::Get {
        tag: 1,
        key: b"k".to_vec(),
    }
}

/// Those that do not lead.
fn followers(cluster: &Cluster) -> Vec<usize> {
    let leader = cluster.leader();
    (0..cluster.nodes.len())
        .filter(|place| *place != leader)
        .collect()
}

#[test]
fn r18_with_a_majority_nearly_full_nothing_is_added_and_delete_goes_on_until_there_is_room() {
    let (mut cluster, session) = cluster();
    let (leader, others) = (cluster.leader(), followers(&cluster));
    let written = ask(&mut cluster, leader, append(session, 1, 1, 0, 5));
    assert!(matches!(written, Outcome::Appended { .. }), "{written:?}");
    let records = cluster.records;
    set_room(&mut cluster, &others[..3], LITTLE);
    for place in [leader, others[0], others[3]] {
        assert_eq!(ask(&mut cluster, place, append(session, 2, 2, 0, 5)), FULL);
    }
    assert_eq!(cluster.records, records, "nothing was proposed");
    let again = ask(&mut cluster, others[0], append(session, 1, 1, 0, 5));
    assert_eq!(again, written, "what ran is told again");
    let read = ask(&mut cluster, others[1], get());
    assert!(matches!(read, Outcome::Value { .. }), "{read:?}");
    let deleted = ask(&mut cluster, others[1], delete(session, 3));
    assert!(matches!(deleted, Outcome::Deleted { .. }), "{deleted:?}");

    set_room(&mut cluster, &others[..3], MIB);
    assert_eq!(ask(&mut cluster, others[1], delete(session, 4)), SPENT);
    let open = Request::OpenSession { tag: 1, nonce: 9 };
    assert_eq!(ask(&mut cluster, leader, open), SPENT);
    let read = ask(&mut cluster, others[0], get());
    assert!(matches!(read, Outcome::Absent { .. }), "{read:?}");

    set_room(&mut cluster, &others[..1], MUCH);
    let written = ask(&mut cluster, others[1], append(session, 5, 5, 0, 5));
    assert!(matches!(written, Outcome::Appended { .. }), "{written:?}");
}

#[test]
fn r18_a_replica_alone_in_being_full_stops_nobody_and_does_not_lead() {
    warnings::listen();
    let (mut cluster, session) = cluster();
    let full = cluster.leader();
    cluster.nodes[full].note_room(MIB, true);
    let message = "the disk is full: this replica's acceptor is silent until there is room";
    assert!(warnings::has_heard(message));
    run(&mut cluster, 60);
    assert_ne!(cluster.leader(), full);
    let others = followers(&cluster);
    for (place, sequence) in others.iter().chain([&full]).zip(1..) {
        let write = append(session, sequence, sequence, 0, 5);
        let outcome = ask(&mut cluster, *place, write);
        assert!(matches!(outcome, Outcome::Appended { .. }), "{outcome:?}");
    }
    let status = ask(&mut cluster, full, Request::Status { tag: 1 });
    let Outcome::Status(report) = status else {
        panic!("no status: {status:?}");
    };
    assert_eq!(report.remark, "its disk takes only 1 MiB more");
}

#[test]
fn r18_what_was_forwarded_as_the_disks_filled_is_not_refused_and_runs_once_there_is_room() {
    let (mut cluster, session) = cluster();
    let (leader, others) = (cluster.leader(), followers(&cluster));
    for place in &others[..3] {
        cluster.nodes[*place].note_room(LITTLE, false);
    }
    // The leader knows between two heartbeats what the follower hears with the next one.
    let mut sequence = 0;
    let outcome = loop {
        sequence += 1;
        let write = append(session, sequence, sequence, 0, 5);
        cluster.nodes[others[3]].client(connection(7), write);
        cluster.pump();
        match cluster.answers.pop() {
            None => break None,
            Some(answer) if answer.outcome == FULL => break Some(answer),
            Some(_) => cluster.tick(),
        }
    };
    assert_eq!(outcome, None, "the leader dropped what was forwarded");
    run(&mut cluster, 150);
    assert_eq!(cluster.answers.pop(), None, "its outcome is not known");
    set_room(&mut cluster, &others[..3], MUCH);
    run(&mut cluster, 150);
    let answer = cluster.answers.pop().expect("it is answered");
    let Outcome::Appended { length, .. } = answer.outcome else {
        panic!("{answer}");
    };
    assert_eq!((answer.tag, length), (sequence, 5 * sequence));
    assert_eq!(cluster.leader(), leader);
}
