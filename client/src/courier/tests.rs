//! What the courier sends for each operation, under which name, and what comes of it.

use super::rig::{MS, Rig, put_done};
use super::*;

#[test]
fn the_first_write_opens_a_session_and_a_read_behind_it_keeps_its_place() {
    let mut rig = Rig::new(1);
    rig.put("a");
    rig.get("a");
    rig.greet(0);
    rig.open_session(0);
    assert_eq!(
        rig.sent(0),
        [
            "Write tag=1 session=1 seq=1 floor=1 after=0 PUT a 1 bytes",
            "Get tag=2 GET a"
        ]
    );
}

#[test]
fn a_client_that_only_reads_opens_no_session() {
    let mut rig = Rig::new(1);
    rig.get("a");
    rig.greet(0);
    assert_eq!(rig.sent(0), ["Get tag=1 GET a"]);
}

#[test]
fn pipelined_writes_say_what_they_follow_and_what_is_still_wanted() {
    let mut rig = Rig::with_session(1);
    let (second, third) = (rig.put("b"), rig.put("c"));
    assert_eq!(
        rig.sent(0),
        [
            "Write tag=2 session=1 seq=2 floor=2 after=0 PUT b 1 bytes",
            "Write tag=3 session=1 seq=3 floor=2 after=2 PUT c 1 bytes"
        ]
    );
    rig.answer(0, third.0, put_done());
    rig.put("d");
    assert_eq!(
        rig.sent(0),
        ["Write tag=4 session=1 seq=4 floor=2 after=2 PUT d 1 bytes"]
    );
    rig.answer(0, second.0, put_done());
    rig.put("e");
    assert_eq!(
        rig.sent(0),
        ["Write tag=5 session=1 seq=5 floor=4 after=4 PUT e 1 bytes"]
    );
}

#[test]
fn no_quorum_is_the_reason_when_that_is_all_that_was_heard() {
    let mut rig = Rig::with_session(2);
    let ticket = rig.put("a");
    rig.wait(MS * 500);
    rig.greet(1);
    rig.wait(MS * 4_500);
    rig.refuse(0, ticket, Refusal::NoQuorum { proposed: true });
    assert!(rig.done().is_empty(), "it is tried until the deadline");
    rig.wait(MS * 5_100);
    assert!(matches!(
        rig.error(),
        ClientError::NoQuorum {
            fate: crate::error::Fate::Unknown
        }
    ));
}

#[test]
fn a_write_that_is_given_up_is_below_the_floor_of_the_next() {
    let mut rig = Rig::with_session(1);
    rig.put("a");
    rig.wait(MS * 9_000);
    rig.sent(0);
    rig.put("b");
    rig.wait(MS * 1_100);
    let error = rig.error();
    assert!(error.outcome_unknown());
    assert!(
        error.to_string().starts_with("no answer within 100"),
        "{error}"
    );
    rig.put("c");
    // The connection was silent for so long that it was made anew.
    rig.greet(0);
    assert_eq!(
        rig.sent(0),
        [
            "Write tag=3 session=1 seq=3 floor=3 after=0 PUT b 1 bytes",
            "Write tag=4 session=1 seq=4 floor=3 after=3 PUT c 1 bytes"
        ]
    );
}

#[test]
fn an_expired_session_takes_its_writes_with_it_and_none_runs_again() {
    let mut rig = Rig::with_session(2);
    let (first, _second) = (rig.put("a"), rig.put("b"));
    rig.sent(0);
    rig.refuse(0, first, Refusal::SessionExpired);
    let unknown: Vec<bool> = rig
        .done()
        .into_iter()
        .map(|(_, result)| result.unwrap_err().outcome_unknown())
        .collect();
    assert_eq!(unknown, [false, true]);
    assert!(rig.sent(0).is_empty());
    rig.put("c");
    rig.open_session(0);
    assert_eq!(
        rig.sent(0),
        ["Write tag=4 session=2 seq=1 floor=1 after=0 PUT c 1 bytes"]
    );
}

#[test]
fn a_session_that_was_idle_for_long_is_not_used_again() {
    for expiry_s in [2, 3_600] {
        let mut rig = Rig::new(1);
        rig.expiry_s = expiry_s;
        rig.begin_session();
        let half = Duration::from_secs(expiry_s.into()) / 2;
        rig.now += half - Duration::from_millis(1);
        let ticket = rig.put("a");
        assert_eq!(
            rig.sent(0),
            ["Write tag=2 session=1 seq=2 floor=2 after=0 PUT a 1 bytes"]
        );
        rig.answer(0, ticket.0, put_done());
        rig.now += half;
        rig.put("b");
        rig.open_session(0);
        assert_eq!(
            rig.sent(0),
            ["Write tag=3 session=2 seq=1 floor=1 after=0 PUT b 1 bytes"]
        );
    }
}

#[test]
fn what_is_too_large_is_refused_before_it_is_sent() {
    let mut rig = Rig::with_session(1);
    let key = vec![b'k'; 4_097];
    rig.courier.submit(Operation::Get { key }, rig.now);
    let too_large = matches!(rig.error(), ClientError::Refused(Refusal::TooLarge { .. }));
    assert!(too_large);
    rig.get("");
    assert!(matches!(
        rig.error(),
        ClientError::Refused(Refusal::EmptyKey)
    ));
    assert!(rig.sent(0).is_empty());
}

#[test]
fn a_refusal_after_a_lost_copy_is_not_certain() {
    let mut rig = Rig::with_session(2);
    let ticket = rig.put("a");
    rig.courier.closed(0, "gone", rig.now);
    rig.greet(1);
    rig.refuse(1, ticket, Refusal::Closed);
    assert!(matches!(rig.error(), ClientError::RefusedRetry(_)));
}

#[test]
fn a_full_store_is_the_answer_of_every_copy() {
    let mut rig = Rig::with_session(2);
    let ticket = rig.put("a");
    rig.courier.closed(0, "gone", rig.now);
    rig.greet(1);
    rig.refuse(1, ticket, Refusal::StoreFull { bytes_max: 1 });
    assert!(matches!(rig.error(), ClientError::Refused(_)));
}

#[test]
fn a_full_disk_is_said_at_once_and_what_was_sent_before_stays_unknown() {
    let refusal = Refusal::DiskFull {
        refuses_deletes: false,
    };
    let mut rig = Rig::with_session(2);
    let ticket = rig.put("a");
    rig.refuse(0, ticket, refusal.clone());
    assert!(matches!(rig.error(), ClientError::Refused(_)));
    let ticket = rig.put("a");
    rig.courier.closed(0, "gone", rig.now);
    rig.greet(1);
    rig.refuse(1, ticket, refusal);
    assert!(matches!(rig.error(), ClientError::RefusedRetry(_)));
}

#[test]
fn busy_to_the_end_is_a_refusal_if_no_copy_is_about() {
    let mut rig = Rig::with(1, |options| options.timeout = MS * 10);
    let ticket = rig.get("a");
    rig.greet(0);
    let limit = Limit::RequestsHeld;
    rig.refuse(0, ticket, Refusal::Busy { limit });
    rig.wait(MS * 20);
    assert!(matches!(
        rig.error(),
        ClientError::Refused(Refusal::Busy { .. })
    ));
}

#[test]
fn an_answer_of_another_kind_is_an_error_and_no_answer() {
    let mut rig = Rig::with_session(1);
    let ticket = rig.get("a");
    rig.answer(0, ticket.0, put_done());
    assert!(matches!(rig.error(), ClientError::WrongAnswer { .. }));
}

#[test]
fn no_more_is_outstanding_than_the_replica_allows() {
    let mut rig = Rig::with_session(1);
    let tickets: Vec<Ticket> = (0..1_100).map(|_| rig.put("a")).collect();
    assert_eq!(rig.sent(0).len(), 1_024);
    rig.answer(0, tickets[0].0, put_done());
    assert_eq!(rig.sent(0).len(), 1);
}
