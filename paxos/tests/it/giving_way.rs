//! Who leads, or tries to, gives way to a higher ballot, and to nothing else; and what an agent's successor makes up for.

use paxos::{
    Agent, Ballot, DurableState, Envelope, Incarnation, Message, Output, Recovered, Replica,
    ReplicaId, Role, Slot, Space,
};

use crate::by_hand::{
    accept, accepted, ballot, candidate, config, configuration, entry, hear, leader, promise,
    promises, proposals, replica, sent, until_candidate,
};
use crate::cluster::word;

#[test]
fn who_leads_or_tries_to_gives_way_to_an_accept_in_a_higher_ballot() {
    for (mut replica, own) in [leader(3), candidate(3)] {
        let role = replica.role();
        let lower = ballot(own.round - 1, 1);
        let _ = hear(&mut replica, 1, accept(lower, 0, "x"));
        assert_eq!(replica.role(), role);

        let higher = ballot(own.round + 1, 1);
        let _ = hear(&mut replica, 1, accept(higher, 0, "x"));
        assert_eq!(replica.role(), Role::Follower);
    }
}

#[test]
fn a_candidate_that_no_majority_promises_gives_up_after_the_longest_timeout() {
    let (mut candidate, _) = candidate(3);
    let ticks = (1..).find(|_| {
        candidate.tick();
        candidate.role() == Role::Follower
    });
    assert_eq!(ticks, Some(config(0).election_timeout_ticks_max));
}

/// A refusal may be late, and speak of a ballot that was given up long ago.
#[test]
fn who_leads_or_tries_to_gives_way_to_a_refusal_of_its_ballot_alone() {
    for (mut replica, own) in [leader(3), candidate(3)] {
        let role = replica.role();
        let (earlier, higher) = (ballot(own.round - 1, 0), ballot(own.round + 1, 2));
        let mut refuse = |ballot, promised| {
            let refused = Message::Refused {
                ballot,
                promised,
                hears_leader: true,
            };
            let _ = hear(&mut replica, 1, refused);
            replica.role()
        };
        assert_eq!(refuse(earlier, higher), role);
        assert_eq!(refuse(own, own), role, "nothing stands in its way");
        assert_eq!(refuse(own, higher), Role::Follower);
    }
}

/// RULES R18: who is silent writes nothing, but has a timeout to echo, as everybody has under a new leader.
#[test]
fn who_echoes_no_more_is_taken_to_have_no_room_after_a_timeout() {
    let timeout_ticks = config(0).election_timeout_ticks_min;
    for silent_after in [0, 5] {
        let (mut leader, own) = leader(3);
        let ticks = (1..).find(|tick| {
            leader.tick();
            let mut echoes = vec![(1, Space::Spent)];
            if *tick <= silent_after {
                echoes.push((2, Space::Ample));
            }
            hear_echoes(&mut leader, own, &echoes);
            leader.space() == Space::Spent
        });
        assert_eq!(leader.role(), Role::Leader);
        assert_eq!(ticks, Some(silent_after + timeout_ticks));
    }
}

/// RULES R18: leading is handed over to one with more room, not to one with as little.
#[test]
fn a_leader_short_of_space_stays_while_it_hears_of_none_with_more() {
    let (mut leader, own) = leader(5);
    leader.note_space(Space::Reserve);
    for echoed in [Space::Reserve, Space::Ample] {
        for _ in 0..10 {
            leader.tick();
            hear_echoes(&mut leader, own, &[(1, echoed)]);
        }
        assert_eq!(leader.role() == Role::Leader, echoed == Space::Reserve);
    }
}

/// RULES R26: whoever is to lead next was heard lately, however much room it had before.
#[test]
fn a_leader_hands_over_to_one_that_it_hears() {
    let (mut leader, own) = leader(3);
    let last_echo = 5;
    let mut heirs = Vec::new();
    for tick in 1..=last_echo + config(0).election_timeout_ticks_min {
        leader.tick();
        let mut echoes = vec![(2, Space::Reserve)];
        if tick <= last_echo {
            echoes.push((1, Space::Ample));
        }
        hear_echoes(&mut leader, own, &echoes);
        heirs.push(leader.clone().hand_over_lead());
    }
    assert_eq!(
        heirs[heirs.len() - 2..],
        [Some(ReplicaId(1)), Some(ReplicaId(2))]
    );
}

/// RULES R26: who stops waits for what it has proposed, and for what it found and could not propose yet.
#[test]
fn what_a_leader_waits_for_is_in_flight() {
    let (mut waiting, own) = leader(3);
    assert!(!waiting.has_in_flight());
    assert_eq!(waiting.propose(word("x")), Ok(Slot(0)));
    assert!(waiting.has_in_flight());
    for from in [1, 2] {
        let _ = hear(&mut waiting, from, accepted(own, from, Slot(0)));
    }
    assert!(!waiting.has_in_flight());

    let mut config = config(0);
    config.window = 1;
    let starting = Replica::new(config, configuration(3), Recovered::new());
    let (mut lagging, own) = until_candidate(starting, 3);
    let mut ahead = promise(own, 1, &[entry(5, ballot(1, 1), "x")]);
    if let Message::Promise {
        chosen_watermark, ..
    } = &mut ahead
    {
        *chosen_watermark = Slot(5);
    }
    let _ = hear(&mut lagging, 0, promise(own, 0, &[]));
    assert_eq!(proposals(&hear(&mut lagging, 1, ahead)), []);
    assert_eq!(lagging.role(), Role::Leader);
    assert!(lagging.has_in_flight());
}

/// The heartbeat that is due now, if one is, is echoed by these.
fn hear_echoes(leader: &mut Replica, ballot: Ballot, echoes: &[(u8, Space)]) {
    let nonces = sent(&leader.take_output()).into_iter();
    let nonce = nonces.last().and_then(|message| match message {
        Message::Heartbeat { nonce, .. } => Some(nonce),
        _ => None,
    });
    for &(from, space) in echoes {
        let echo = nonce.map(|nonce| Message::Echo {
            ballot,
            nonce,
            incarnation: Incarnation(from.into()),
            durable_watermark: Slot(0),
            space,
        });
        let _ = echo.map(|echo| hear(leader, from, echo));
    }
}

/// RULES R22: what a leader proposed below a snapshot it cannot compare with what was chosen there. One that began where
/// the snapshot ends proposed nothing below.
#[test]
fn a_leader_gives_way_to_a_snapshot_beyond_its_start() {
    let (mut lagging, own) = candidate(3);
    let mut ahead = promise(own, 1, &[]);
    if let Message::Promise {
        chosen_watermark, ..
    } = &mut ahead
    {
        *chosen_watermark = Slot(5);
    }
    let _ = hear(&mut lagging, 1, ahead);

    assert!(lagging.install(Slot(5), &configuration(3)));
    assert_eq!(lagging.role(), Role::Leader);
    assert_eq!(lagging.propose(word("x")), Ok(Slot(5)));

    assert!(lagging.install(Slot(6), &configuration(3)));
    assert_eq!(lagging.role(), Role::Follower);

    let (mut leader, _) = leader(3);
    assert_eq!(leader.propose(word("x")), Ok(Slot(0)));
    assert!(leader.install(Slot(5), &configuration(3)));
    assert_eq!(leader.role(), Role::Follower);
}

/// RULES R16: what the agent that ended had not sent it never says; the others go on.
#[test]
fn only_the_words_of_the_agent_that_ended_are_withheld() {
    let mut follower = replica(0);
    let heartbeat = Message::Heartbeat {
        ballot: ballot(1, 1),
        nonce: 1,
        chosen_watermark: Slot(0),
        forget_watermark: Slot(0),
        has_majority: true,
        space: Space::Ample,
    };
    let catch_up = Message::CatchUp { from_slot: Slot(0) };
    for message in [heartbeat, catch_up] {
        follower.step(Envelope {
            from: ReplicaId(1),
            to: ReplicaId(0),
            message,
        });
    }

    follower.fail(Agent::Acceptor);

    let said = sent(&follower.take_output());
    assert!(matches!(said[..], [Message::Chosen { .. }]), "{said:?}");
}

/// RULES R16: nobody sends a replica its own Accepts and Prepares again, so the proposer asks the new acceptor.
#[test]
fn a_proposer_asks_the_successor_of_its_acceptor_for_what_it_lacks() {
    let (mut leader, own) = leader(3);
    assert_eq!(leader.propose(word("x")), Ok(Slot(0)));
    let output = replace_acceptor(&mut leader, own);
    let votes = output.messages_when_durable.iter();
    let votes = votes.filter(|envelope| {
        matches!(&envelope.message, Message::Accepted { ballot, slots, .. }
            if *ballot == own && *slots == [Slot(0)])
    });
    assert_eq!(votes.count(), 1);

    let (mut promised, own) = candidate(3);
    assert_eq!(promises(&replace_acceptor(&mut promised, own)), 0);

    let starting = Replica::new(config(0), configuration(3), Recovered::new());
    let (mut unpromised, own) = until_candidate(starting, 3);
    assert_eq!(promises(&replace_acceptor(&mut unpromised, own)), 1);
}

/// The acceptor ends before anything of it is durable but its promise, and is replaced.
fn replace_acceptor(replica: &mut Replica, promised: Ballot) -> Output {
    replica.fail(Agent::Acceptor);
    let _ = replica.take_output();
    let mut recovered = Recovered::new();
    let state = DurableState {
        promised,
        ..DurableState::default()
    };
    recovered.batch(state, Vec::new());
    replica.restore_acceptor(recovered);
    replica.take_output()
}
