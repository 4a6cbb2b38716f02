//! One replica in sparse mode (RULES R20), spoken to by hand.

use paxos::{
    AcceptedCommand, Ballot, Config, DurableState, INSTANCES_IN_FLIGHT_MAX, Incarnation, Message,
    Output, ProposeError, Record, Recovered, Replica, Role, Slot, SlotRange, Space,
};

use crate::by_hand::{ballot, config, configuration, entry, hear, proposals, sent};
use crate::cluster::word;

/// After a restart an acceptor reports what it accepted, and what it learned under the candidate's own ballot.
#[test]
fn a_promise_after_a_restart_reports_what_was_accepted_and_what_was_learned() {
    let mut recovered = Recovered::new();
    let state = DurableState {
        promised: ballot(1, 1),
        forget_watermark: Slot(2),
        ..DurableState::default()
    };
    let accepted = |slot| Record::Accepted {
        slot: Slot(slot),
        ballot: ballot(1, 1),
        command: word("x"),
    };
    let learned = Record::Learned {
        slot: Slot(3),
        command: word("y"),
    };
    let journal = [1, 2, 3, 4].map(accepted).into_iter().chain([learned]);
    recovered.batch(state, journal.collect());
    let mut acceptor = Replica::sparse(config(0), configuration(3), recovered);

    assert_eq!(acceptor.max(), Some(Slot(4)));

    let output = hear(&mut acceptor, 2, prepare(2));

    let report = [
        entry(2, ballot(1, 1), "x"),
        entry(3, ballot(2, 2), "y"),
        entry(4, ballot(1, 1), "x"),
    ];
    assert_eq!(promise(&output).1, report);
}

/// Parts of two promises must not be put together: the second may be cut elsewhere.
#[test]
fn no_two_promises_are_one_sending() {
    let mut acceptor = Replica::sparse(config(0), configuration(3), Recovered::new());
    let (first, _) = promise(&hear(&mut acceptor, 2, prepare(2)));
    let (second, _) = promise(&hear(&mut acceptor, 2, prepare(2)));
    assert_ne!(first, second);
}

/// Phase 1 may find what was forgotten or learned while it was under way: that is not proposed.
#[test]
fn a_leader_proposes_neither_what_is_forgotten_nor_what_is_chosen() {
    let (mut proposer, own) = candidate(&[]);
    let _ = hear(
        &mut proposer,
        1,
        Message::ForgottenInstances { min: Slot(5) },
    );
    let _ = hear(&mut proposer, 1, chosen(7));

    let found = [4, 5, 7, 8].map(|slot| entry(slot, ballot(1, 1), "x"));
    let _ = hear(&mut proposer, 0, promise_of(own, 0, (0, 1), &[], &[]));
    let output = hear(&mut proposer, 1, promise_of(own, 1, (0, 1), &[], &found));

    let proposed = proposals(&output).into_iter().map(|(slot, _)| slot.0);
    assert_eq!(proposed.collect::<Vec<_>>(), [5, 8]);
}

/// A peer need not be told what its promise said that it knows; only the first part says so.
#[test]
fn a_leader_tells_each_what_that_did_not_report_to_know() {
    let (mut leader, own) = candidate(&[0, 1]);
    let _ = hear(&mut leader, 0, promise_of(own, 0, (0, 1), &[], &[]));
    let known = [SlotRange {
        start: Slot(0),
        end: Slot(1),
    }];
    let _ = hear(&mut leader, 1, promise_of(own, 1, (0, 2), &known, &[]));
    let _ = hear(&mut leader, 1, promise_of(own, 1, (1, 2), &[], &[]));
    assert_eq!(leader.role(), Role::Leader);

    leader.tick();

    let messages = leader.take_output().messages.into_iter();
    let told = messages.filter_map(|envelope| match envelope.message {
        Message::ChosenInstance { slot, .. } => Some((envelope.to.0, slot.0)),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [(1, 1), (2, 0), (2, 1)]);
}

/// One that does not lead passes a command on to the leader that it hears, and what was passed on before to nobody.
#[test]
fn a_forwarded_command_goes_in_no_circle() {
    let mut follower = follower();

    assert_eq!(sent(&hear(&mut follower, 2, forward(3, true))), []);
    assert_eq!(sent(&hear(&mut follower, 1, forward(3, false))), []);
    let passed_on = hear(&mut follower, 2, forward(3, false));
    assert_eq!(sent(&passed_on), [forward(3, true)]);
}

#[test]
fn what_a_program_began_it_does_not_begin_again() {
    let mut follower = follower();
    for (text, asked) in [("x", 1), ("y", 0)] {
        assert_eq!(follower.propose_at(Slot(3), word(text)), Ok(()));
        assert_eq!(
            sent(&follower.take_output()),
            vec![forward(3, false); asked]
        );
    }
}

#[test]
fn what_a_program_began_is_proposed_when_its_replica_comes_to_lead() {
    let (mut leader, own) = candidate(&[]);
    assert_eq!(leader.propose_at(Slot(3), word("x")), Ok(()));
    for from in [0, 1] {
        let _ = hear(&mut leader, from, promise_of(own, from, (0, 1), &[], &[]));
    }

    leader.tick();

    assert_eq!(proposals(&leader.take_output()), [(Slot(3), word("x"))]);
}

/// Beyond the bounds a program hears of it, and what others began waits for room.
#[test]
fn no_more_is_in_flight_than_the_bounds_allow() {
    let in_flight_max = INSTANCES_IN_FLIGHT_MAX as u64;
    let bytes_of_two = 2 * word("x").size_bytes();
    for (bytes_max, proposed) in [(usize::MAX, INSTANCES_IN_FLIGHT_MAX), (bytes_of_two, 2)] {
        let mut config = config(0);
        config.in_flight_bytes_max = bytes_max;
        let (mut leader, own) = until_candidate(config, &[]);
        for from in [0, 1] {
            let _ = hear(&mut leader, from, promise_of(own, from, (0, 1), &[], &[]));
        }
        for slot in 0..in_flight_max {
            assert_eq!(leader.propose_at(Slot(slot), word("x")), Ok(()));
        }
        let full = leader.propose_at(Slot(in_flight_max), word("x"));
        assert_eq!(full, Err(ProposeError::WindowFull));
        let own = leader.take_output();
        let others = hear(&mut leader, 1, forward(in_flight_max, false));
        leader.tick();
        let later = leader.take_output();

        let outputs = [own, others, later];
        let came = outputs.iter().map(|output| proposals(output).len());
        assert_eq!(came.sum::<usize>(), proposed);
    }
}

/// One that hears replica 1 lead.
fn follower() -> Replica {
    let mut follower = Replica::sparse(config(0), configuration(3), Recovered::new());
    let heartbeat = Message::Heartbeat {
        ballot: ballot(1, 1),
        nonce: 1,
        chosen_watermark: Slot(0),
        forget_watermark: Slot(0),
        has_majority: true,
        space: Space::Ample,
    };
    let _ = hear(&mut follower, 1, heartbeat);
    follower
}

fn forward(slot: u64, relayed: bool) -> Message {
    Message::ForwardInstance {
        slot: Slot(slot),
        relayed,
        command: word("x"),
    }
}

/// One that knows these to be chosen, and has asked for promises.
fn candidate(known: &[u64]) -> (Replica, Ballot) {
    until_candidate(config(0), known)
}

fn until_candidate(config: Config, known: &[u64]) -> (Replica, Ballot) {
    let mut replica = Replica::sparse(config, configuration(3), Recovered::new());
    for slot in known {
        let _ = hear(&mut replica, 1, chosen(*slot));
    }
    loop {
        replica.tick();
        let Some(Message::Canvass { nonce, .. }) = sent(&replica.take_output()).pop() else {
            continue;
        };
        let follow = Message::CanvassReply {
            nonce,
            follow: true,
            incarnation: Incarnation(1),
            leader: None,
            chosen_watermark: Slot(0),
        };
        let Some(Message::PrepareInstances { ballot, .. }) =
            sent(&hear(&mut replica, 1, follow)).pop()
        else {
            panic!("a majority would follow");
        };
        return (replica, ballot);
    }
}

fn chosen(slot: u64) -> Message {
    Message::ChosenInstance {
        slot: Slot(slot),
        command: word("y"),
    }
}

fn promise_of(
    ballot: Ballot,
    from: u8,
    (part, parts): (u32, u32),
    chosen: &[SlotRange],
    accepted: &[AcceptedCommand],
) -> Message {
    Message::PromiseInstances {
        ballot,
        incarnation: Incarnation(from.into()),
        sending: 1,
        part,
        parts,
        min: Slot(0),
        chosen: chosen.to_vec(),
        accepted: accepted.to_vec(),
    }
}

/// From replica 2.
fn prepare(round: u64) -> Message {
    Message::PrepareInstances {
        ballot: ballot(round, 2),
        min: Slot(0),
        chosen: Vec::new(),
    }
}

/// The sending and the report of the one promise in one part.
fn promise(output: &Output) -> (u64, Vec<AcceptedCommand>) {
    let promises = output.messages_when_durable.iter();
    let mut promises = promises.filter_map(|envelope| match &envelope.message {
        Message::PromiseInstances {
            sending, accepted, ..
        } => Some((*sending, accepted.clone())),
        _ => None,
    });
    let promise = promises.next().expect("it promises");
    assert_eq!(promises.next(), None);
    promise
}
