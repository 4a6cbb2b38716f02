//! One session at a time: what is asked of a write and in which order, and when a session is forgotten.

use common::ChangeRef;

use super::*;

/// Of a session without an answer.
const IMAGE_BYTES: usize = 30;
const PUT: Ran = Ran::Put { revision: 9 };

fn name(session: SessionId, sequence: u64, floor: u64, after: u64) -> WriteName {
    WriteName {
        session,
        sequence,
        floor,
        after,
    }
}

fn run(sessions: &mut Sessions, name: WriteName) {
    assert_eq!(sessions.judge(name, 0), Verdict::Run);
    sessions.record(name, PUT);
}

#[test]
fn a_retry_gets_the_first_answer() {
    let mut sessions = Sessions::default();
    let id = sessions.open(5, 77, 0);
    run(&mut sessions, name(id, 1, 1, 0));
    assert_eq!(sessions.judge(name(id, 1, 1, 0), 0), Verdict::Known(PUT));
    assert_eq!(sessions.final_verdict(id, 1, 5), Some(Verdict::Known(PUT)));
}

#[test]
fn a_lower_number_that_comes_later_still_runs() {
    let mut sessions = Sessions::default();
    let id = sessions.open(5, 77, 0);
    run(&mut sessions, name(id, 2, 1, 0));
    run(&mut sessions, name(id, 1, 1, 0));
}

#[test]
fn a_write_waits_for_the_one_before_it() {
    let mut sessions = Sessions::default();
    let id = sessions.open(5, 77, 0);
    assert_eq!(sessions.judge(name(id, 2, 1, 1), 0), Verdict::NotYet);
    run(&mut sessions, name(id, 1, 1, 0));
    run(&mut sessions, name(id, 2, 1, 1));
    run(&mut sessions, name(id, 4, 4, 3));
}

#[test]
fn the_answer_at_the_floor_is_still_wanted() {
    let mut sessions = Sessions::default();
    let id = sessions.open(5, 77, 0);
    for sequence in 1..=3 {
        run(&mut sessions, name(id, sequence, 1, 0));
    }
    for floor in 2..=3 {
        let retry = sessions.judge(name(id, floor, floor, 0), 0);
        assert_eq!(retry, Verdict::Known(PUT));
    }
}

#[test]
fn what_was_given_up_never_runs_later() {
    let mut sessions = Sessions::default();
    let id = sessions.open(5, 77, 0);
    run(&mut sessions, name(id, 2, 2, 1));
    assert_eq!(sessions.judge(name(id, 1, 1, 0), 0), Verdict::Closed);
    assert_eq!(sessions.final_verdict(id, 1, 5), Some(Verdict::Closed));
}

#[test]
fn another_nonce_is_another_session() {
    let mut sessions = Sessions::default();
    let id = sessions.open(5, 77, 0);
    let stranger = SessionId { nonce: 78, ..id };
    assert_eq!(sessions.judge(name(stranger, 1, 1, 0), 0), Verdict::Expired);
    assert_eq!(
        sessions.final_verdict(stranger, 1, 5),
        Some(Verdict::Expired)
    );
    let later = SessionId {
        revision: 6,
        nonce: 1,
    };
    assert_eq!(
        sessions.final_verdict(later, 1, 5),
        None,
        "not applied here yet"
    );
}

#[test]
fn r14_a_session_is_gone_for_good_where_its_opening_is_applied() {
    let mut sessions = Sessions::default();
    let id = sessions.open(5, 77, 0);
    sessions.expire(61, 60);
    assert_eq!(sessions.final_verdict(id, 1, 4), None);
    assert_eq!(sessions.final_verdict(id, 1, 5), Some(Verdict::Expired));
}

/// Whoever holds such a write asks before it proposes it; whatever else would come of it is for apply to say.
#[test]
fn a_write_awaits_the_one_before_it_while_that_may_still_run() {
    let mut sessions = Sessions::default();
    let id = sessions.open(5, 77, 0);
    run(&mut sessions, name(id, 3, 2, 0));
    let stranger = SessionId { nonce: 78, ..id };
    let awaits = |session, floor, after| {
        sessions.awaits(&WriteRef {
            session,
            sequence: 9,
            floor,
            after,
            change: ChangeRef::Delete { key: b"k" },
        })
    };
    assert!(awaits(id, 1, 2));
    assert!(!awaits(id, 1, 1), "below the floor");
    assert!(!awaits(id, 1, 3), "it has run");
    assert!(awaits(id, 4, 4));
    assert!(!awaits(id, 5, 4), "this write gives it up");
    assert!(!awaits(stranger, 1, 2));
}

#[test]
fn a_step_of_a_snapshot_has_as_many_sessions_as_fit_and_at_least_one() {
    let mut sessions = Sessions::default();
    for revision in 1..=4 {
        sessions.open(revision, 77, 0);
    }
    sessions.begin_walk();
    let mut steps = Vec::new();
    for bytes_max in [2 * IMAGE_BYTES, 1, 1_000] {
        let mut out = Vec::new();
        let is_last = sessions.step(bytes_max, &mut out);
        steps.push((out.len(), is_last));
    }
    let image = IMAGE_BYTES;
    assert_eq!(steps, [(2 * image, false), (image, false), (image, true)]);

    sessions.end_walk();
    assert!(sessions.walk.is_none(), "nothing is put aside any more");
}

#[test]
fn the_width_is_bounded() {
    let mut sessions = Sessions::default();
    let id = sessions.open(5, 77, 0);
    run(&mut sessions, name(id, SESSION_WIDTH, 1, 0));
    assert_eq!(
        sessions.judge(name(id, SESSION_WIDTH + 1, 1, 0), 0),
        Verdict::TooManyOutstanding
    );
    run(&mut sessions, name(id, SESSION_WIDTH + 1, 2, 0));
}

#[test]
fn the_highest_numbers_that_a_client_can_name_are_judged_like_others() {
    let mut sessions = Sessions::default();
    let id = sessions.open(5, 77, 0);
    let highest = name(id, u64::MAX, u64::MAX - SESSION_WIDTH, 0);
    assert_eq!(sessions.judge(highest, 0), Verdict::TooManyOutstanding);
    run(&mut sessions, name(id, u64::MAX, u64::MAX, u64::MAX - 1));
}

#[test]
fn the_hash_tells_what_is_remembered_not_how_it_came() {
    let mut one = Sessions::default();
    let id = one.open(5, 77, 0);
    run(&mut one, name(id, 1, 1, 0));
    run(&mut one, name(id, 2, 2, 0));
    let mut other = Sessions::default();
    let same = other.open(5, 77, 0);
    let before = other.hash();
    run(&mut other, name(same, 2, 2, 0));
    assert_eq!(one.hash(), other.hash());
    assert_ne!(before, other.hash());
}

/// A snapshot and the hash know an answer by these alone.
#[test]
fn every_answer_comes_back_from_its_words_and_no_two_have_the_same() {
    let (revision, bytes, bytes_max) = (7, 8, 9);
    let answers = [
        Ran::Put { revision },
        Ran::Appended {
            revision,
            length: bytes,
        },
        Ran::Deleted {
            revision,
            existed: true,
        },
        Ran::Deleted {
            revision,
            existed: false,
        },
        Ran::TooLarge { bytes, bytes_max },
        Ran::StoreFull { bytes_max },
    ];
    for ran in answers {
        assert_eq!(Ran::from_words(ran.words()), Some(ran));
    }
    assert_eq!(Ran::from_words([3, revision, 2]), None);
    assert_eq!(Ran::from_words([6, revision, 0]), None);
    let words = answers.iter().map(|ran| ran.words());
    assert_eq!(words.collect::<BTreeSet<_>>().len(), answers.len());
}

/// Replicas that differ in any of this must find out (RULES R21).
#[test]
fn the_hash_tells_all_that_is_remembered_of_a_session() {
    let hash_of = |revision, nonce, used_s, floor| {
        let mut sessions = Sessions::default();
        let id = sessions.open(revision, nonce, 0);
        let verdict = sessions.judge(name(id, floor, floor, 0), used_s);
        assert_eq!(verdict, Verdict::Run);
        sessions.hash()
    };
    let hashes = BTreeSet::from([
        hash_of(5, 77, 0, 1),
        hash_of(6, 77, 0, 1),
        hash_of(5, 78, 0, 1),
        hash_of(5, 77, 1, 1),
        hash_of(5, 77, 0, 2),
    ]);
    assert_eq!(hashes.len(), 5);
}

#[test]
fn r13_a_session_is_forgotten_when_it_was_idle_for_longer_than_the_expiry() {
    let mut sessions = Sessions::default();
    let (idle, busy) = (sessions.open(5, 77, 10), sessions.open(6, 77, 10));
    assert_eq!(sessions.judge(name(busy, 1, 1, 0), 50), Verdict::Run);
    sessions.record(name(busy, 1, 1, 0), PUT);
    sessions.expire(70, 60);
    assert_eq!(sessions.len(), 2, "not a second early");
    sessions.expire(71, 60);
    assert_eq!(sessions.final_verdict(idle, 1, 6), Some(Verdict::Expired));
    assert_eq!(
        sessions.final_verdict(busy, 1, 6),
        Some(Verdict::Known(PUT))
    );
    sessions.expire(111, 60);
    assert_eq!((sessions.len(), sessions.hash()), (0, 0));
    assert!(sessions.by_use.is_empty());
}

#[test]
fn r13_at_most_a_thousand_are_forgotten_at_once_the_oldest_first() {
    let mut sessions = Sessions::default();
    for revision in 1..=2_500 {
        // The later half was used earlier.
        sessions.open(revision, 77, if revision <= 1_250 { 2 } else { 1 });
    }
    let mut left = Vec::new();
    for _ in 0..3 {
        sessions.expire(100, 60);
        left.push((sessions.len(), sessions.sessions.contains_key(&1)));
    }
    assert_eq!(left, [(1_500, true), (500, false), (0, false)]);
}

#[test]
fn r24_at_the_limit_only_what_was_idle_for_ten_minutes_makes_room() {
    let mut sessions = Sessions::default();
    let idle = sessions.open(1, 77, 0);
    sessions.open(2, 77, 300);
    assert!(!sessions.make_room(600));
    assert!(sessions.make_room(601));
    assert!(!sessions.make_room(601), "the other one may be retrying");
    assert_eq!(sessions.final_verdict(idle, 1, 2), Some(Verdict::Expired));
    assert_eq!(sessions.len(), 1);
}

#[test]
fn a_session_with_one_answer_has_no_memory_of_its_own() {
    assert_eq!(size_of::<Session>(), 56);
    let mut sessions = Sessions::default();
    let id = sessions.open(5, 77, 0);
    for sequence in 1..4 {
        run(&mut sessions, name(id, sequence, sequence, 0));
        let session = &sessions.sessions[&5];
        assert!(matches!(session.answers, Answers::One(_)));
    }
}
