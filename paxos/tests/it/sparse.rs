//! One replica in sparse mode (RULES R20), spoken to by hand.

use paxos::{AcceptedCommand, DurableState, Message, Output, Record, Recovered, Replica, Slot};

use crate::by_hand::{ballot, config, configuration, entry, hear};
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
