//! When sessions are forgotten: by the log's time, and at their limit (RULES R13, R24; FAULTS 7).

use common::{Limit, Outcome, Refusal, Request};
use kvpaxos_server::identity::ClusterSettings;

use crate::node::{Cluster, append};

const TICKS_PER_MINUTE: u64 = 6_000;

fn sessions(cluster: &mut Cluster) -> u64 {
    match cluster.ask(Request::Status { tag: 0 }) {
        Outcome::Status(report) => report.sessions,
        other => panic!("no status: {other:?}"),
    }
}

fn settings(session_expiry_s: u32) -> ClusterSettings {
    ClusterSettings {
        session_expiry_s,
        ..ClusterSettings::default()
    }
}

#[test]
fn r13_an_idle_cluster_forgets_sessions_too_and_then_leaves_the_log_alone() {
    let mut cluster = Cluster::with_settings(3, true, settings(150));
    let session = cluster.open_session();
    for _ in 0..2 * TICKS_PER_MINUTE {
        cluster.tick();
    }
    assert_eq!(sessions(&mut cluster), 1);
    for _ in 0..TICKS_PER_MINUTE {
        cluster.tick();
    }
    assert_eq!(sessions(&mut cluster), 0);
    let records = cluster.records;
    for _ in 0..3 * TICKS_PER_MINUTE {
        cluster.tick();
    }
    assert_eq!(cluster.records, records);
    let late = append(session, 1, 1, 0, 1);
    let expired = Outcome::Refused(Refusal::SessionExpired);
    assert_eq!(cluster.ask(late), expired, "the write does not run");
}

#[test]
fn r13_a_jump_of_the_ticks_moves_log_time_by_a_minute_at_most() {
    let mut cluster = Cluster::with_settings(1, true, settings(150));
    let session = cluster.open_session();
    for sequence in 1..=5 {
        for _ in 0..60 * TICKS_PER_MINUTE {
            cluster.nodes[0].tick();
        }
        let write = append(session, sequence, sequence, 0, 1);
        let answer = cluster.ask(write);
        assert!(matches!(answer, Outcome::Appended { .. }), "{answer:?}");
    }
}

/// A retry within the hour gets the first answer; one after it hears that the session is gone, and does not run (FAULTS 7).
#[test]
fn retry_an_hour_of_log_time_later() {
    let mut cluster = Cluster::with_settings(1, true, settings(3_600));
    let pass_minutes = |cluster: &mut Cluster, minutes| {
        for _ in 0..minutes {
            for _ in 0..TICKS_PER_MINUTE {
                cluster.nodes[0].tick();
            }
            cluster.pump();
        }
    };
    let session = cluster.open_session();
    let write = || append(session, 1, 1, 0, 10);
    let first = cluster.ask(write());
    assert!(matches!(first, Outcome::Appended { length: 10, .. }));
    pass_minutes(&mut cluster, 58);
    assert_eq!(cluster.ask(write()), first);
    pass_minutes(&mut cluster, 62);
    let expired = Outcome::Refused(Refusal::SessionExpired);
    assert_eq!(cluster.ask(write()), expired);
    let key = b"k".to_vec();
    match cluster.ask(Request::Get { tag: 2, key }) {
        Outcome::Value { value, .. } => assert_eq!(value.len(), 10, "it ran again"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn r24_a_flood_of_opens_takes_nobodys_session_who_wrote_in_the_last_ten_minutes() {
    let limits = ClusterSettings {
        sessions_max: 3,
        ..ClusterSettings::default()
    };
    let mut cluster = Cluster::with_settings(3, true, limits);
    let open = |nonce| Request::OpenSession { tag: 0, nonce };
    let idle = cluster.open_session();
    let busy = cluster.open_session();
    cluster.open_session();
    let refused = Outcome::Refused(Refusal::Busy {
        limit: Limit::Sessions,
    });
    for minute in 1..=10 {
        for nonce in 0..20 {
            assert_eq!(cluster.ask(open(nonce)), refused, "minute {minute}");
        }
        for _ in 0..TICKS_PER_MINUTE {
            cluster.tick();
        }
        let write = append(busy, minute, minute, 0, 1);
        assert!(matches!(cluster.ask(write), Outcome::Appended { .. }));
    }
    for _ in 0..TICKS_PER_MINUTE {
        cluster.tick();
    }
    let opened =
        [0, 1, 2].map(|nonce| matches!(cluster.ask(open(nonce)), Outcome::SessionOpened { .. }));
    assert_eq!(opened, [true, true, false], "two were idle for that long");
    let write = append(idle, 1, 1, 0, 1);
    let expired = Outcome::Refused(Refusal::SessionExpired);
    assert_eq!(cluster.ask(write), expired);
    let write = append(busy, 11, 11, 0, 1);
    assert!(matches!(cluster.ask(write), Outcome::Appended { .. }));
}
