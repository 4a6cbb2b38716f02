//! When a learner may fail, and what is not done while it is away (SPEC D6, RULES R16).

use common::{Change, Outcome, Request, SessionId, Write};
use kvpaxos_server::identity::ClusterSettings;
use kvpaxos_server::node::{Recovery, SnapshotProgress, SnapshotStep, TransferStep};
use kvpaxos_server::peers::PeerMessage;
use kvpaxos_server::snapshot_thread::SnapshotJob;
use paxos::{Agent, ReplicaId, Slot};

use crate::node::{Cluster, append, connection};

/// How long a request waits before it is refused, in ticks.
const NO_QUORUM_TICKS: u64 = 500;

/// How long each write is.
const WRITE_BYTES: usize = 500;

/// Three replicas, and a session.
fn cluster() -> (Cluster, SessionId) {
    let mut cluster = Cluster::with_settings(3, true, ClusterSettings::default());
    let session = cluster.open_session();
    (cluster, session)
}

/// Somebody who does not lead.
fn follower(cluster: &Cluster) -> usize {
    (cluster.leader() + 1) % 3
}

/// Writes of the session with these numbers, one slot each, and all that follows from them.
fn write(cluster: &mut Cluster, session: SessionId, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let leader = cluster.leader();
        let request = append(session, number, number, 0, WRITE_BYTES);
        cluster.nodes[leader].client(connection(1), request);
        cluster.tick();
    }
}

/// The learner comes back with what the journal of its replica holds.
fn restore_learner(cluster: &mut Cluster, place: usize) {
    let mut recovery = Recovery::new(ClusterSettings::default());
    for persist in &cluster.journals[place] {
        recovery.batch(persist.state, persist.records.clone());
    }
    cluster.nodes[place].restore_agent(Agent::Learner, Some(recovery), 0, 1_000);
    cluster.pump();
}

/// Whose snapshots were begun and left undone.
fn begun(cluster: &Cluster) -> Vec<usize> {
    let undone = cluster.undone.iter().flatten();
    let begun = undone.filter(|(_, job)| is_begin(job));
    begun.map(|(place, _)| *place).collect()
}

fn is_begin(job: &SnapshotJob) -> bool {
    matches!(job, SnapshotJob::Take(SnapshotStep::Begin { .. }))
}

#[test]
fn r16_a_learner_that_is_being_given_a_snapshot_does_not_fail() {
    let (mut cluster, session) = cluster();
    for node in &mut cluster.nodes {
        node.take_snapshots_every(4 << 10);
        node.keep_log_bytes(4 << 10);
    }
    let away = follower(&cluster);
    cluster.cut_off = Some(away);
    write(&mut cluster, session, 1..200);
    cluster.cut_off = None;
    cluster.undone = Some(Vec::new());
    let is_under_way = |cluster: &Cluster| {
        let undone = cluster.undone.iter().flatten();
        let mut pieces = undone.filter(|(_, job)| {
            matches!(job, SnapshotJob::Transfer(TransferStep::Read { to, .. }) if usize::from(to.0) == away)
        });
        pieces.next().is_some()
    };
    for _ in 0..300 {
        if !is_under_way(&cluster) {
            cluster.tick();
        }
    }
    assert!(is_under_way(&cluster), "no snapshot was asked for");
    let before = cluster.nodes[away].applied();
    assert!(!cluster.nodes[away].fail_agent(Agent::Learner));
    cluster.do_undone();
    for _ in 0..300 {
        cluster.tick();
    }
    let leader = cluster.leader();
    assert_eq!(
        cluster.nodes[away].applied(),
        cluster.nodes[leader].applied()
    );
    assert!(cluster.nodes[away].applied() > before);
    assert!(
        cluster.nodes[away].fail_agent(Agent::Learner),
        "it has its snapshot"
    );
}

#[test]
fn r16_no_snapshot_is_taken_while_a_learner_is_away() {
    let (mut cluster, session) = cluster();
    write(&mut cluster, session, 1..20);
    let place = follower(&cluster);
    assert!(cluster.nodes[place].fail_agent(Agent::Learner));
    cluster.undone = Some(Vec::new());
    for node in &mut cluster.nodes {
        node.take_snapshots_every(1);
    }
    write(&mut cluster, session, 20..40);
    let wants = PeerMessage::SnapshotRequest {
        from_slot: Slot(0),
        slot: Slot(0),
        offset: 0,
    };
    let peer = ReplicaId(cluster.leader() as u8);
    cluster.nodes[place].peer(peer, wants);
    // Idle for so long that a snapshot would be due for that reason too.
    for _ in 0..200 {
        cluster.tick();
    }
    let others = begun(&cluster);
    assert!(!others.contains(&place) && !others.is_empty(), "{others:?}");
    restore_learner(&mut cluster, place);
    cluster.tick();
    assert!(begun(&cluster).contains(&place), "then one is taken");
}

#[test]
fn r16_a_snapshot_that_is_being_taken_ends_with_its_learner() {
    let (mut cluster, session) = cluster();
    write(&mut cluster, session, 1..20);
    let place = follower(&cluster);
    cluster.undone = Some(Vec::new());
    cluster.nodes[place].take_snapshots_every(1);
    cluster.tick();
    assert_eq!(begun(&cluster), [place]);
    assert!(cluster.nodes[place].fail_agent(Agent::Learner));
    // The file is begun; the first piece of what is no more is never handed out.
    cluster.do_undone();
    cluster.undone = Some(Vec::new());
    for _ in 0..20 {
        cluster.tick();
    }
    assert_eq!(cluster.undone.as_ref().map(Vec::len), Some(0));
    restore_learner(&mut cluster, place);
    cluster.tick();
    cluster.do_undone();
    for _ in 0..20 {
        cluster.tick();
    }
    assert_eq!(
        cluster.nodes[place].state_hash(),
        cluster.nodes[cluster.leader()].state_hash()
    );
    assert_eq!(cluster.stops, []);
}

#[test]
fn r16_what_is_said_of_a_given_up_snapshot_is_not_taken_for_the_next_ones() {
    let (mut cluster, session) = cluster();
    write(&mut cluster, session, 1..20);
    let place = follower(&cluster);
    cluster.undone = Some(Vec::new());
    cluster.nodes[place].take_snapshots_every(1);
    cluster.tick();
    assert_eq!(begun(&cluster), [place]);
    assert!(cluster.nodes[place].fail_agent(Agent::Learner));
    restore_learner(&mut cluster, place);
    let node = &mut cluster.nodes[place];
    // The next one is begun, and before that is handed out, the beginning of the first is said to be written.
    node.tick();
    node.snapshot_progress(SnapshotProgress::Written);
    let step = node.take_output().snapshot;
    assert!(matches!(step, Some(SnapshotStep::Begin { .. })), "{step:?}");
    assert!(node.take_output().snapshot.is_none());
    node.snapshot_progress(SnapshotProgress::Written);
    let step = node.take_output().snapshot;
    assert!(matches!(step, Some(SnapshotStep::Piece(_))), "{step:?}");
}

fn put(tag: u64, session: SessionId, sequence: u64, after: u64) -> Request {
    let write = Write {
        session,
        sequence,
        floor: 1,
        after,
        change: Change::Put {
            key: b"k".to_vec(),
            value: b"v".to_vec(),
        },
    };
    Request::Write { tag, write }
}

fn value_heard(cluster: &Cluster, tag: u64) -> Option<Vec<u8>> {
    let answer = cluster.answers.iter().find(|answer| answer.tag == tag)?;
    match &answer.outcome {
        Outcome::Value { value, .. } => Some(value.clone()),
        other => panic!("the read heard {other:?}"),
    }
}

/// Its watermark was applied by the learner before, and it waited behind a write that is refused in the end.
#[test]
fn r16_a_read_that_waits_is_not_answered_from_less_than_the_failed_learner_had_applied() {
    let (mut cluster, session) = cluster();
    cluster.ask(put(2, session, 1, 0));
    let follower = follower(&cluster);
    // It follows a write that never comes, so it is refused when its time is up.
    cluster.nodes[follower].client(connection(7), put(3, session, 3, 2));
    for _ in 0..100 {
        cluster.tick();
    }
    let read = Request::Get {
        tag: 4,
        key: b"k".to_vec(),
    };
    cluster.nodes[follower].client(connection(7), read);
    cluster.pump();

    assert!(cluster.nodes[follower].fail_agent(Agent::Learner));
    for _ in 0..NO_QUORUM_TICKS - 50 {
        cluster.tick();
    }
    let heard = |tag| cluster.answers.iter().any(|answer| answer.tag == tag);
    assert!(heard(3), "the write was not given up");
    assert_eq!(value_heard(&cluster, 4), None);

    restore_learner(&mut cluster, follower);
    for _ in 0..30 {
        cluster.tick();
    }
    assert_eq!(value_heard(&cluster, 4), Some(b"v".to_vec()));
}
