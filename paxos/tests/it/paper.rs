//! One test for each claim of "Paxos Made Simple" (Lamport, 2001), section 2; those of section 3 stand in `paper_log`.
//!
//! Each test speaks to one replica with messages made by hand, so that the claim is about that replica alone, or to a
//! cluster where the claim is about all.

use paxos::{Ballot, Message, Recovered, Replica, ReplicaId, Role, Slot};

use crate::by_hand::{
    accept, accepted, accepted_slots, ballot, candidate, config, configuration, entry, hear,
    leader, prepare, promise, promises, proposals, replica, reported, sent, until_candidate,
};
use crate::cluster::{Cluster, Settings, agreed, word};

/// Section 2.2, P1: "An acceptor must accept the first proposal that it receives."
#[test]
fn an_acceptor_accepts_the_first_proposal() {
    let mut acceptor = replica(0);

    let output = hear(&mut acceptor, 1, accept(ballot(1, 1), 0, "x"));

    assert_eq!(accepted_slots(&output), [Slot(0)]);
}

/// Section 2.2, P1a: it accepts a proposal numbered n if it has not responded to a prepare request greater than n.
#[test]
fn an_acceptor_accepts_unless_it_promised_higher() {
    let mut acceptor = replica(0);
    let _ = hear(&mut acceptor, 1, prepare(ballot(5, 1), 0));

    let lower = hear(&mut acceptor, 2, accept(ballot(4, 2), 0, "x"));
    let equal = hear(&mut acceptor, 1, accept(ballot(5, 1), 0, "y"));
    let higher = hear(&mut acceptor, 2, accept(ballot(6, 2), 0, "z"));

    assert_eq!(accepted_slots(&lower), []);
    assert_eq!(accepted_slots(&equal), [Slot(0)]);
    assert_eq!(accepted_slots(&higher), [Slot(0)]);
}

/// Section 2.2, phase 1b: it promises, and reports the highest-numbered proposal that it has accepted.
#[test]
fn a_promise_reports_the_highest_numbered_accepted_proposal() {
    let mut acceptor = replica(0);
    let _ = hear(&mut acceptor, 1, accept(ballot(1, 1), 0, "x"));
    let _ = hear(&mut acceptor, 2, accept(ballot(2, 2), 0, "y"));

    let output = hear(&mut acceptor, 1, prepare(ballot(3, 1), 0));

    assert_eq!(reported(&output), [entry(0, ballot(2, 2), "y")]);
}

/// Section 2.2, phase 1b: only to a prepare request greater than any to which it has already responded. A lower one
/// need not be answered; here it is refused aloud, so that its proposer can give up.
#[test]
fn a_lower_prepare_is_refused_with_the_ballot_in_its_way() {
    let mut acceptor = replica(0);
    let _ = hear(&mut acceptor, 1, prepare(ballot(5, 1), 0));

    let output = hear(&mut acceptor, 2, prepare(ballot(4, 2), 0));

    assert_eq!(promises(&output), 0);
    let refusal = Message::Refused {
        ballot: ballot(4, 2),
        promised: ballot(5, 1),
        hears_leader: false,
    };
    assert_eq!(sent(&output), [refusal]);
}

/// Section 2.2, P2c: the proposal has the value of the highest-numbered proposal among those reported.
#[test]
fn a_proposal_has_the_value_of_the_highest_reported() {
    let (mut proposer, own) = candidate(5);

    let _ = hear(
        &mut proposer,
        1,
        promise(own, 1, &[entry(0, ballot(1, 1), "x")]),
    );
    let output = hear(
        &mut proposer,
        2,
        promise(own, 2, &[entry(0, ballot(2, 2), "y")]),
    );

    assert_eq!(proposals(&output), [(Slot(0), word("y"))]);
}

/// Section 2.2, phase 2a: "or is any value if the responses reported no proposals."
#[test]
fn a_proposer_is_free_where_nothing_was_reported() {
    let (mut proposer, own) = candidate(3);

    let output = hear(&mut proposer, 1, promise(own, 1, &[]));
    let slot = proposer.propose(word("mine"));

    assert_eq!(proposals(&output), []);
    assert_eq!(slot, Ok(Slot(0)));
    assert_eq!(
        proposals(&proposer.take_output()),
        [(Slot(0), word("mine"))]
    );
}

/// Section 2.2, phase 2a: it proposes when it has responses from a majority, and not before.
#[test]
fn a_proposer_waits_for_a_majority_of_promises() {
    let (mut proposer, own) = candidate(5);

    let _ = hear(&mut proposer, 1, promise(own, 1, &[]));
    let _ = hear(&mut proposer, 1, promise(own, 1, &[]));
    assert_eq!(proposer.role(), Role::Candidate);

    let _ = hear(&mut proposer, 2, promise(own, 2, &[]));
    assert_eq!(proposer.role(), Role::Leader);
}

/// Section 2.2: a response to an earlier, abandoned proposal does not count for the present one.
#[test]
fn promises_of_another_ballot_do_not_count() {
    let (mut proposer, own) = candidate(3);

    let _ = hear(&mut proposer, 1, promise(ballot(own.round - 1, 0), 1, &[]));

    assert_eq!(proposer.role(), Role::Candidate);
}

/// Section 2.2: "a proposer should abandon a proposal if it learns of a higher-numbered one".
#[test]
fn a_refused_candidate_abandons_its_proposal() {
    let (mut proposer, own) = candidate(3);
    let refusal = Message::Refused {
        ballot: own,
        promised: ballot(own.round + 7, 1),
        hears_leader: true,
    };

    let _ = hear(&mut proposer, 1, refusal);
    let _ = hear(&mut proposer, 2, promise(own, 2, &[]));

    assert_eq!(proposer.role(), Role::Follower);
}

/// Section 2.2: an acceptor must remember its promise and what it accepted "even if it fails and then restarts".
#[test]
fn an_acceptor_remembers_across_a_restart() {
    let mut journal = Recovered::new();
    let mut acceptor = replica(0);
    for message in [accept(ballot(1, 1), 0, "x"), prepare(ballot(5, 1), 0)] {
        let persist = hear(&mut acceptor, 1, message).persist.unwrap();
        journal.batch(persist.state, persist.records);
    }

    let mut restarted = Replica::new(config(0), configuration(3), journal);
    let lower = hear(&mut restarted, 2, prepare(ballot(4, 2), 0));
    let higher = hear(&mut restarted, 2, prepare(ballot(6, 2), 0));

    assert_eq!(promises(&lower), 0);
    assert_eq!(reported(&higher), [entry(0, ballot(1, 1), "x")]);
}

/// Section 2.2: a proposer may forget everything, "as long as it never tries to issue another proposal with the same
/// number". Its ballots name its life.
#[test]
fn a_proposer_never_uses_a_ballot_twice() {
    let forgetful = |birth| {
        let mut config = config(0);
        config.birth = birth;
        until_candidate(Replica::new(config, configuration(3), Recovered::new()), 3).1
    };

    let (before, after) = (forgetful(1), forgetful(2));

    assert_eq!(before.round, after.round);
    assert!(before != after);
}

/// Section 2.5: different proposers choose their numbers from disjoint sets.
#[test]
fn two_proposers_never_use_the_same_ballot() {
    let numbers: Vec<Ballot> = (0..3).map(|id| until_candidate(replica(id), 3).1).collect();

    assert!(numbers[0] < numbers[1] && numbers[1] < numbers[2]);
}

/// Section 2.3: a value is chosen when a majority of acceptors has accepted it, in one proposal.
#[test]
fn a_command_is_chosen_by_a_majority_of_acceptors() {
    let (mut leader, own) = leader(5);
    let slot = leader.propose(word("x")).unwrap();
    let _ = leader.take_output();

    let one = hear(&mut leader, 1, accepted(own, 1, slot));
    let again = hear(&mut leader, 1, accepted(own, 1, slot));
    let two = hear(&mut leader, 2, accepted(own, 2, slot));
    let three = hear(&mut leader, 3, accepted(own, 3, slot));

    assert_eq!(one.chosen, []);
    assert_eq!(again.chosen, []);
    assert_eq!(two.chosen, []);
    assert_eq!(three.chosen, [(slot, word("x"))]);
}

/// Section 2.3: acceptances of different proposals do not add up.
#[test]
fn acceptances_of_another_ballot_do_not_count() {
    let (mut leader, own) = leader(3);
    let slot = leader.propose(word("x")).unwrap();
    let _ = leader.take_output();

    let output = hear(&mut leader, 1, accepted(ballot(own.round + 1, 2), 1, slot));

    assert_eq!(output.chosen, []);
}

/// Section 2.3: acceptors respond to a distinguished learner, "which in turn informs the other learners".
#[test]
fn the_leader_tells_the_other_learners() {
    let mut cluster = Cluster::new(Settings::of(3));
    assert!(cluster.elect(ReplicaId(0)));
    cluster.turn(ReplicaId(0), |leader| leader.propose(word("x")));
    cluster.settle();
    let before: Vec<usize> = cluster
        .nodes
        .iter()
        .map(|node| node.applied.len())
        .collect();

    cluster.tick(ReplicaId(0));
    cluster.settle();

    let after: Vec<usize> = cluster
        .nodes
        .iter()
        .map(|node| node.applied.len())
        .collect();
    assert_eq!(before, [1, 0, 0]);
    assert_eq!(after, [1, 1, 1]);
}

/// Section 2.3: a value may be chosen with no learner finding out; "it can have a proposer issue a proposal".
#[test]
fn what_was_chosen_unnoticed_is_found_by_another_proposal() {
    let mut cluster = Cluster::new(Settings::of(3));
    assert!(cluster.elect(ReplicaId(0)));
    cluster.turn(ReplicaId(0), |leader| leader.propose(word("x")));
    cluster.crash(ReplicaId(0));
    cluster.settle();
    assert!(agreed(&cluster).is_empty());

    cluster.run(100);

    assert_eq!(agreed(&cluster).values().collect::<Vec<_>>(), [&word("x")]);
}

/// Section 2.4: two proposers that outbid each other choose nothing; with one distinguished proposer that can reach a
/// majority a value is chosen, and a learner that reaches one proposer and nobody else cannot prevent it.
#[test]
fn a_distinguished_proposer_makes_progress() {
    let mut cluster = Cluster::new(Settings::of(3));
    let (mut proposed, mut ticks) = (false, 0);
    while agreed(&cluster).is_empty() {
        cluster.run(1);
        ticks += 1;
        assert!(ticks < 300, "nothing is chosen in {ticks} ticks");
        let ids = cluster.ids();
        for id in ids {
            if !proposed {
                let tried = cluster.turn(id, |replica| replica.propose(word("x")));
                proposed = tried.is_some_and(|slot| slot.is_ok());
            }
        }
    }

    let leading = |id: &ReplicaId| cluster.replica(*id).role() == Role::Leader;
    assert_eq!(cluster.ids().iter().filter(|id| leading(id)).count(), 1);
}

/// Section 2.4: by trying again, a proposer that learns of higher numbers "will eventually choose a high enough
/// proposal number".
#[test]
fn a_candidate_goes_above_what_it_has_seen() {
    let (mut proposer, own) = candidate(3);
    let refusal = Message::Refused {
        ballot: own,
        promised: ballot(own.round + 7, 1),
        hears_leader: false,
    };
    let _ = hear(&mut proposer, 1, refusal);

    let (_, next) = until_candidate(proposer, 3);

    assert!(next > ballot(own.round + 7, 1), "{next}");
}

/// Section 2.5: "An acceptor records its intended response in stable storage before actually sending the response."
#[test]
fn responses_wait_for_stable_storage() {
    let mut acceptor = replica(0);

    let promise = hear(&mut acceptor, 1, prepare(ballot(1, 1), 0));
    let accepted = hear(&mut acceptor, 1, accept(ballot(1, 1), 0, "x"));

    assert_eq!(
        promise.persist.as_ref().unwrap().state.promised,
        ballot(1, 1)
    );
    assert_eq!((promise.messages.len(), promises(&promise)), (0, 1));
    assert_eq!(accepted.persist.as_ref().unwrap().records.len(), 1);
    assert_eq!(accepted.messages, []);
    assert_eq!(accepted_slots(&accepted), [Slot(0)]);
}
