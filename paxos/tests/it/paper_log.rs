//! One test for each claim of "Paxos Made Simple" (Lamport, 2001), section 3: a log of many instances, a distinguished
//! proposer, and voters that change. See `paper` for the form of the tests.

use paxos::{Command, Envelope, Incarnation, Message, ReplicaId, Role, Slot, Space};

use crate::by_hand::{
    accept, accepted, accepted_slots, ballot, candidate, config, entry, hear, leader, prepare,
    promise, proposals, replica, reported,
};
use crate::cluster::{Cluster, Settings, agreed, word};

/// Section 3: a new leader executes phase 1 for infinitely many instances with "a single reasonably short message".
#[test]
fn one_prepare_covers_every_slot_to_come() {
    let mut acceptor = replica(0);
    let _ = hear(&mut acceptor, 1, prepare(ballot(5, 1), 3));

    let near = hear(&mut acceptor, 2, accept(ballot(4, 2), 3, "x"));
    let far = hear(&mut acceptor, 2, accept(ballot(4, 2), 1_000_000, "x"));

    assert_eq!(accepted_slots(&near), []);
    assert_eq!(accepted_slots(&far), []);
}

/// Section 3: an acceptor answers with more than an OK only for instances in which it received a phase 2 message.
#[test]
fn a_promise_lists_only_slots_in_which_something_was_accepted() {
    let mut acceptor = replica(0);
    let _ = hear(&mut acceptor, 1, accept(ballot(1, 1), 135, "x"));
    let _ = hear(&mut acceptor, 1, accept(ballot(1, 1), 140, "y"));

    let output = hear(&mut acceptor, 2, prepare(ballot(2, 2), 100));

    let expected = [entry(135, ballot(1, 1), "x"), entry(140, ballot(1, 1), "y")];
    assert_eq!(reported(&output), expected);
}

/// Section 3, its example with smaller numbers: the leader knows some commands, finds others in phase 1, and proposes
/// "a special no-op command that leaves the state unchanged" in the gap. Then it is free.
#[test]
fn a_new_leader_fills_the_gap_with_noops() {
    let (mut proposer, own) = candidate(3);
    let found = [entry(0, ballot(1, 1), "x"), entry(3, ballot(1, 1), "y")];

    let output = hear(&mut proposer, 1, promise(own, 1, &found));
    let next = proposer.propose(word("z"));

    let expected = [
        (Slot(0), word("x")),
        (Slot(1), Command::Noop),
        (Slot(2), Command::Noop),
        (Slot(3), word("y")),
    ];
    assert_eq!(proposals(&output), expected);
    assert_eq!(next, Ok(Slot(4)));
}

/// Section 3: the cost of choosing a command is that of phase 2 alone, while the leader is stable.
#[test]
fn a_stable_leader_needs_phase_two_only() {
    let mut cluster = Cluster::new(Settings::of(5));
    assert!(cluster.elect(ReplicaId(0)));
    cluster.settle();

    cluster.turn(ReplicaId(0), |leader| leader.propose(word("x")));
    let asked = std::mem::take(&mut cluster.network);
    for envelope in asked.clone() {
        cluster.deliver(envelope);
    }
    let answered = std::mem::take(&mut cluster.network);
    for envelope in answered.clone() {
        cluster.deliver(envelope);
    }

    assert_eq!((asked.len(), answered.len()), (4, 4));
    assert_eq!(cluster.node(ReplicaId(0)).applied, [word("x")]);
    assert!(cluster.network.is_empty());
}

/// Section 3: a leader may propose up to alpha commands ahead, so that the gap is bounded.
#[test]
fn a_leader_proposes_at_most_a_window_ahead() {
    let (mut leader, _) = leader(3);

    let proposed = (0..100)
        .filter(|_| leader.propose(word("x")).is_ok())
        .count();

    assert_eq!(proposed as u64, config(0).window);
}

/// Section 3: commands proposed together may be chosen out of order, and are executed in order.
#[test]
fn commands_are_executed_in_order() {
    let (mut leader, own) = leader(3);
    for text in ["x", "y"] {
        leader.propose(word(text)).unwrap();
    }
    let _ = leader.take_output();
    let own_votes = |slot| Envelope {
        from: ReplicaId(0),
        to: ReplicaId(0),
        message: accepted(own, 0, slot),
    };
    leader.step(own_votes(Slot(0)));
    leader.step(own_votes(Slot(1)));

    let second = hear(&mut leader, 1, accepted(own, 1, Slot(1)));
    let first = hear(&mut leader, 1, accepted(own, 1, Slot(0)));

    assert_eq!(second.chosen, []);
    assert_eq!(first.chosen, [(Slot(0), word("x")), (Slot(1), word("y"))]);
}

/// Section 3: several servers may think that they are leaders; safety is preserved.
#[test]
fn two_leaders_never_choose_differently() {
    let mut cluster = Cluster::new(Settings::of(3));
    assert!(cluster.elect(ReplicaId(0)));
    cluster.cut(ReplicaId(0), ReplicaId(1));
    cluster.cut(ReplicaId(1), ReplicaId(0));
    for id in [ReplicaId(1), ReplicaId(2)] {
        for _ in 0..25 {
            cluster.tick(id);
        }
        cluster.network.clear();
    }
    cluster.cut(ReplicaId(2), ReplicaId(0));
    assert!(cluster.elect(ReplicaId(1)));
    let leading = |cluster: &Cluster, id| cluster.replica(id).role() == Role::Leader;
    assert!(leading(&cluster, ReplicaId(0)) && leading(&cluster, ReplicaId(1)));

    cluster.turn(ReplicaId(0), |leader| leader.propose(word("x")));
    cluster.turn(ReplicaId(1), |leader| leader.propose(word("y")));
    cluster.settle();
    cluster.mend_all();
    cluster.run(200);

    assert_eq!(agreed(&cluster).values().collect::<Vec<_>>(), [&word("y")]);
}

/// Section 3: who takes part in instance i + alpha may be set by the state after command i.
#[test]
fn a_change_of_voters_is_in_force_a_window_later() {
    let (mut leader, own) = leader(3);
    let (replica, incarnation) = (ReplicaId(2), Incarnation(77));
    let slot = leader
        .propose(Command::Rejoin {
            replica,
            incarnation,
        })
        .unwrap();
    let _ = leader.take_output();

    let _ = hear(&mut leader, 1, accepted(own, 1, slot));
    let _ = hear(&mut leader, 2, accepted(own, 2, slot));

    let in_force = |slot| leader.configuration().in_force(replica, Slot(slot));
    assert_eq!(in_force(config(0).window - 1), Some(Incarnation(2)));
    assert_eq!(in_force(config(0).window), Some(incarnation));
}

/// An extension of section 3 (RULES R1): a vote of any kind counts only in the life that the configuration names.
#[test]
fn votes_of_another_incarnation_do_not_count() {
    let another = Incarnation(99);
    let (mut candidate, own) = candidate(3);
    let mut promised = promise(own, 1, &[]);
    if let Message::Promise { incarnation, .. } = &mut promised {
        *incarnation = another;
    }
    let _ = hear(&mut candidate, 1, promised);
    assert_eq!(candidate.role(), Role::Candidate);

    let (mut leader, own) = leader(3);
    let slot = leader.propose(word("x")).unwrap();
    leader.read(7);
    let round = leader.take_output().messages.into_iter().rev();
    let nonce = round
        .into_iter()
        .find_map(|envelope| match envelope.message {
            Message::Heartbeat { nonce, .. } => Some(nonce),
            _ => None,
        });
    let mut vote = accepted(own, 1, slot);
    if let Message::Accepted { incarnation, .. } = &mut vote {
        *incarnation = another;
    }
    leader.step(Envelope {
        from: ReplicaId(0),
        to: ReplicaId(0),
        message: accepted(own, 0, slot),
    });
    let echo = |incarnation| Message::Echo {
        ballot: own,
        nonce: nonce.unwrap(),
        incarnation,
        durable_watermark: Slot(0),
        space: Space::Ample,
    };

    let unheeded = [
        hear(&mut leader, 1, vote),
        hear(&mut leader, 1, echo(another)),
    ];
    let heeded = [
        hear(&mut leader, 1, accepted(own, 1, slot)),
        hear(&mut leader, 1, echo(Incarnation(1))),
    ];

    assert!(
        unheeded
            .iter()
            .all(|output| output.chosen.is_empty() && output.reads.is_empty())
    );
    assert_eq!(heeded[0].chosen, [(slot, word("x"))]);
    assert_eq!(heeded[1].reads.len(), 1);
}
