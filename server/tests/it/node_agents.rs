//! Agents of a node that fail, as its clients see it.

use common::{Change, Outcome, Request, SessionId, Write};
use kvpaxos_server::node::Recovery;
use paxos::Agent;

use crate::node::{Cluster, connection};

/// How long a request waits before it is refused, in ticks.
const NO_QUORUM_TICKS: u64 = 500;

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
    let mut cluster = Cluster::with_settings(3, true, Default::default());
    let session = cluster.open_session();
    cluster.ask(put(2, session, 1, 0));
    let follower = (cluster.leader() + 1) % 3;
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

    let mut recovery = Recovery::new(cluster.nodes[follower].cluster_settings());
    for persist in &cluster.journals[follower] {
        recovery.batch(persist.state, persist.records.clone());
    }
    cluster.nodes[follower].restore_agent(Agent::Learner, Some(recovery), 77, 0);
    for _ in 0..30 {
        cluster.tick();
    }
    assert_eq!(value_heard(&cluster, 4), Some(b"v".to_vec()));
}
