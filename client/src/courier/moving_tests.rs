//! Which replica the courier asks, when it turns to another, and which answers still count then.

use common::Outcome;
use common::frame::LENGTH_BYTES;

use super::rig::{MS, Rig, put_done};
use super::*;

#[test]
fn what_is_late_is_asked_of_the_next_replica_under_the_same_name() {
    let mut rig = Rig::with_session(2);
    let ticket = rig.put("a");
    let sent = rig.sent(0);
    rig.wait(MS * 500);
    rig.greet(1);
    assert_eq!(rig.sent(1), sent);
    rig.answer(1, ticket.0, put_done());
    assert!(rig.done()[0].1.is_ok());
}

#[test]
fn a_late_answer_lands_on_nothing_else() {
    let mut rig = Rig::with_session(2);
    let late = rig.get("a");
    rig.wait(MS * 500);
    rig.greet(1);
    let value = |value: &[u8]| Outcome::Value {
        revision: 1,
        value: value.to_vec(),
    };
    rig.answer(1, late.0, value(b"first"));
    let next = rig.get("b");
    rig.answer(1, late.0, value(b"late"));
    assert_eq!(rig.done().len(), 1);
    rig.answer(1, next.0, value(b"second"));
    let [(ticket, Ok(Reply::Value { value, .. }))] = &rig.done()[..] else {
        panic!("one value is awaited");
    };
    assert_eq!((*ticket, &value[..]), (next, &b"second"[..]));
}

#[test]
fn an_answer_counts_only_on_a_connection_that_was_asked() {
    let mut rig = Rig::with_session(2);
    let old = rig.get("a");
    rig.wait(MS * 500);
    rig.greet(1);
    rig.answer(1, old.0, Outcome::Absent { revision: 1 });
    assert_eq!(rig.done().len(), 1);
    // The lane that was left owes nothing any more and is closed; what it still says is not heard.
    assert_eq!(rig.courier.next_close(), Some(0));
    let next = rig.get("b");
    rig.answer(0, next.0, Outcome::Absent { revision: 1 });
    assert!(rig.done().is_empty());
}

#[test]
fn the_answer_of_a_replica_that_was_left_still_counts() {
    let mut rig = Rig::with_session(2);
    let ticket = rig.put("a");
    rig.wait(MS * 500);
    rig.greet(1);
    rig.answer(0, ticket.0, put_done());
    assert!(rig.done()[0].1.is_ok());
}

#[test]
fn a_lost_connection_is_replaced_and_all_is_sent_again_in_order() {
    let mut rig = Rig::with_session(2);
    for key in ["a", "b", "c"] {
        rig.put(key);
    }
    let sent = rig.sent(0);
    rig.courier.closed(0, "gone", rig.now);
    rig.greet(1);
    assert_eq!(rig.sent(1), sent);
}

#[test]
fn a_busy_replica_is_asked_again_after_a_pause_and_no_other_is_burdened() {
    let mut rig = Rig::with_session(2);
    let ticket = rig.put("a");
    let sent = rig.sent(0);
    let limit = Limit::RequestsHeld;
    rig.refuse(0, ticket, Refusal::Busy { limit });
    assert!(rig.sent(0).is_empty());
    rig.wait(MS * 20);
    assert_eq!(rig.sent(0), sent);
    assert_eq!(rig.courier.next_connect(rig.now), None);
}

#[test]
fn who_names_another_replica_is_left_for_it() {
    let mut rig = Rig::with_session(3);
    rig.courier.directory.note(2, 2);
    let ticket = rig.put("a");
    let sent = rig.sent(0);
    let replica = 2;
    rig.refuse(
        0,
        ticket,
        Refusal::AskReplica {
            replica,
            proposed: false,
        },
    );
    rig.greet(2);
    assert_eq!(rig.sent(2), sent);
}

#[test]
fn the_leader_is_followed_once_nothing_is_outstanding() {
    let mut rig = Rig::with(2, |options| options.follow_leader = true);
    let (first, second) = (rig.get("a"), rig.get("b"));
    rig.greet(0);
    let absent = || Outcome::Absent { revision: 1 };
    rig.answer_with_leader(0, first.0, absent(), Some(1));
    rig.sent(0);
    let third = rig.get("c");
    assert!(rig.sent(0).is_empty(), "what comes later waits");
    rig.answer_with_leader(0, second.0, absent(), Some(1));
    rig.greet(1);
    assert_eq!(rig.sent(1), ["Get tag=3 GET c"]);
    rig.answer_with_leader(1, third.0, absent(), Some(1));
    assert_eq!(rig.courier.next_connect(rig.now), None);
    assert_eq!(rig.done().len(), 3);
}

#[test]
fn a_leader_that_just_failed_is_not_followed() {
    let mut rig = Rig::with(2, |options| options.follow_leader = true);
    let first = rig.get("a");
    rig.greet(0);
    rig.courier.closed(0, "killed", rig.now);
    rig.greet(1);
    let absent = Outcome::Absent { revision: 1 };
    rig.answer_with_leader(1, first.0, absent, Some(0));
    assert_eq!(rig.courier.moving_to, None);
}

#[test]
fn a_replica_that_takes_no_connections_is_passed_over() {
    let mut rig = Rig::new(2);
    rig.get("a");
    rig.connect(0);
    let limit = Limit::Connections;
    rig.answer(0, 0, Outcome::Refused(Refusal::Busy { limit }));
    assert_eq!(rig.courier.next_close(), Some(0));
    rig.greet(1);
    assert_eq!(rig.sent(1), ["Get tag=1 GET a"]);
}

#[test]
fn frames_that_are_no_answers_are_skipped_and_broken_framing_ends_the_connection() {
    let mut rig = Rig::with_session(2);
    let ticket = rig.get("a");
    let mut bytes = Vec::new();
    Request::Status { tag: ticket.0 }.append_to(&mut bytes);
    bytes.extend_from_slice(&[0, 0, 0, 3, 0xfe, 1, 2]);
    rig.courier.received(0, &bytes, rig.now);
    assert!(rig.done().is_empty());
    assert_eq!(rig.courier.next_close(), None);
    rig.courier.received(0, &[0xff; LENGTH_BYTES], rig.now);
    assert_eq!(rig.courier.next_close(), Some(0));
    rig.greet(1);
    assert_eq!(rig.sent(1).last().unwrap(), "Get tag=2 GET a");
}

#[test]
fn when_all_replicas_are_down_they_are_tried_again_and_again_but_not_without_pause() {
    let mut rig = Rig::new(3);
    rig.get("a");
    let mut attempts = 0;
    for _ in 0..100 {
        while let Some(lane) = rig.courier.next_connect(rig.now) {
            attempts += 1;
            rig.courier.closed(lane, "refused", rig.now);
        }
        rig.wait(MS * 10);
    }
    assert!(
        (9..60).contains(&attempts),
        "{attempts} attempts in a second"
    );
}
