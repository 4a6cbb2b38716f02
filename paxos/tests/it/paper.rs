//! One test for each claim of "Paxos Made Simple" (Lamport, 2001), sections 2.2, 2.3, 2.4, 2.5 and 3.
//!
//! Each test speaks to one replica with messages made by hand, so that the claim is about that replica alone, or to a
//! cluster where the claim is about all.

use paxos::{
    AcceptedCommand, Ballot, Command, Config, Configuration, Envelope, Incarnation, Message,
    Output, Recovered, Replica, ReplicaId, Role, Slot, Space,
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

fn config(id: u8) -> Config {
    Config::new(ReplicaId(id), Incarnation(u64::from(id)), 5)
}

fn configuration(members: u8) -> Configuration {
    let members: Vec<_> = (0..members)
        .map(|id| (ReplicaId(id), Incarnation(u64::from(id))))
        .collect();
    Configuration::founded(&members)
}

/// One of three, which knows nothing yet.
fn replica(id: u8) -> Replica {
    Replica::new(config(id), configuration(3), Recovered::new())
}

/// Replica 0 of so many, which has asked for promises; nobody has promised yet, and its own is not durable.
fn candidate(members: u8) -> (Replica, Ballot) {
    let replica = Replica::new(config(0), configuration(members), Recovered::new());
    let (mut candidate, ballot) = until_candidate(replica, members);
    let own = promise(ballot, 0, &[]);
    candidate.step(Envelope {
        from: ReplicaId(0),
        to: ReplicaId(0),
        message: own,
    });
    (candidate, ballot)
}

/// Lets time pass until all have said that they would follow.
fn until_candidate(mut replica: Replica, members: u8) -> (Replica, Ballot) {
    for _ in 0..100 {
        replica.tick();
        let asked = replica.take_output().messages;
        let canvass = asked
            .into_iter()
            .find_map(|envelope| match envelope.message {
                Message::Canvass { nonce, .. } => Some((envelope.from, nonce)),
                _ => None,
            });
        let Some((me, nonce)) = canvass else {
            continue;
        };
        for from in (0..members).map(ReplicaId).filter(|from| *from != me) {
            let message = Message::CanvassReply {
                nonce,
                follow: true,
                incarnation: Incarnation(u64::from(from.0)),
                leader: None,
                chosen_watermark: Slot(0),
            };
            replica.step(Envelope {
                from,
                to: me,
                message,
            });
        }
        let prepared = replica.take_output().messages;
        let ballot = prepared
            .into_iter()
            .find_map(|envelope| match envelope.message {
                Message::Prepare { ballot, .. } => Some(ballot),
                _ => None,
            });
        return (replica, ballot.expect("all would follow"));
    }
    panic!("it never asks who would follow");
}

/// Replica 0 of so many, which found nothing.
fn leader(members: u8) -> (Replica, Ballot) {
    let (mut leader, own) = candidate(members);
    for from in 1..members {
        let _ = hear(&mut leader, from, promise(own, from, &[]));
    }
    assert_eq!(leader.role(), Role::Leader);
    (leader, own)
}

/// What replica 0 does about one message.
fn hear(replica: &mut Replica, from: u8, message: Message) -> Output {
    replica.step(Envelope {
        from: ReplicaId(from),
        to: ReplicaId(0),
        message,
    });
    replica.take_output()
}

fn ballot(round: u64, id: u8) -> Ballot {
    Ballot {
        round,
        replica: ReplicaId(id),
        birth: 5,
    }
}

fn prepare(ballot: Ballot, from_slot: u64) -> Message {
    Message::Prepare {
        ballot,
        from_slot: Slot(from_slot),
    }
}

fn accept(ballot: Ballot, slot: u64, text: &str) -> Message {
    Message::Accept {
        ballot,
        slot: Slot(slot),
        command: word(text),
        chosen_watermark: Slot(0),
    }
}

fn promise(ballot: Ballot, from: u8, accepted: &[AcceptedCommand]) -> Message {
    Message::Promise {
        ballot,
        incarnation: Incarnation(u64::from(from)),
        from_slot: Slot(0),
        part: 0,
        parts: 1,
        accepted: accepted.to_vec(),
        chosen_watermark: Slot(0),
        trimmed_watermark: Slot(0),
    }
}

fn accepted(ballot: Ballot, from: u8, slot: Slot) -> Message {
    Message::Accepted {
        ballot,
        incarnation: Incarnation(u64::from(from)),
        slots: vec![slot],
        durable_watermark: Slot(0),
    }
}

fn entry(slot: u64, ballot: Ballot, text: &str) -> AcceptedCommand {
    AcceptedCommand {
        slot: Slot(slot),
        ballot,
        command: word(text),
    }
}

/// What was sent without waiting for the disk.
fn sent(output: &Output) -> Vec<Message> {
    let messages = output.messages.iter();
    messages.map(|envelope| envelope.message.clone()).collect()
}

/// What was proposed to replica 1.
fn proposals(output: &Output) -> Vec<(Slot, Command)> {
    let to_one = output
        .messages
        .iter()
        .filter(|envelope| envelope.to == ReplicaId(1));
    to_one
        .filter_map(|envelope| match &envelope.message {
            Message::Accept { slot, command, .. } => Some((*slot, command.clone())),
            _ => None,
        })
        .collect()
}

fn promises(output: &Output) -> usize {
    let messages = output.messages_when_durable.iter();
    let promises = messages.filter(|envelope| matches!(envelope.message, Message::Promise { .. }));
    promises.count()
}

fn reported(output: &Output) -> Vec<AcceptedCommand> {
    let messages = output.messages_when_durable.iter();
    messages
        .filter_map(|envelope| match &envelope.message {
            Message::Promise { accepted, .. } => Some(accepted.clone()),
            _ => None,
        })
        .flatten()
        .collect()
}

/// The slots confirmed to others.
fn accepted_slots(output: &Output) -> Vec<Slot> {
    let messages = output.messages_when_durable.iter();
    messages
        .filter(|envelope| envelope.to != envelope.from)
        .filter_map(|envelope| match &envelope.message {
            Message::Accepted { slots, .. } => Some(slots.clone()),
            _ => None,
        })
        .flatten()
        .collect()
}
