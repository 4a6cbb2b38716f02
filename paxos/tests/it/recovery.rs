//! What rests on the journal, where it must be written by hand to show it.

use paxos::{
    Ballot, Command, Config, Configuration, DurableState, Envelope, Incarnation, Message, Record,
    Recovered, Replica, ReplicaId, Slot,
};

use crate::by_hand::{config, configuration};
use crate::cluster::word;

/// RULES R1: a Rejoin learned above a hole is in force as soon as the watermark passes it, in the next life too.
/// Without this a restarted replica counts the votes of a life that was replaced.
#[test]
fn a_rejoin_learned_above_a_hole_survives_a_restart() {
    let (replica, incarnation) = (ReplicaId(2), Incarnation(77));
    let rejoin = Command::Rejoin {
        replica,
        incarnation,
    };
    let journal = vec![
        Record::Learned {
            slot: Slot(1),
            command: rejoin.clone(),
        },
        accepted(0, "x"),
    ];

    let mut restarted = restart(0, journal);
    restarted.step(from_one(Message::Advance {
        ballot: BALLOT,
        chosen_watermark: Slot(1),
    }));

    let chosen = restarted.take_output().chosen;
    assert_eq!(chosen, [(Slot(0), word("x")), (Slot(1), rejoin)]);
    let votes = |slot| restarted.configuration().in_force(replica, Slot(slot));
    assert_eq!(votes(64), Some(Incarnation(2)));
    assert_eq!(votes(65), Some(incarnation));
}

/// RULES R20: a promise that is repeated after a restart reports the same, or parts of both, put together, would lack
/// a command. What was learned in the meantime does not take away what was accepted.
#[test]
fn a_promise_reports_the_same_after_a_restart() {
    let before = vec![accepted(1, "w"), accepted(2, "x")];
    let learned = Record::Learned {
        slot: Slot(1),
        command: word("v"),
    };
    let after = before.iter().cloned().chain([learned]).collect();

    assert_eq!(
        reported(before),
        [(Slot(1), word("w")), (Slot(2), word("x"))]
    );
    assert_eq!(
        reported(after),
        [(Slot(1), word("w")), (Slot(2), word("x"))]
    );
}

/// RULES R6: where another command was learned than was accepted, the learned one is chosen.
#[test]
fn what_was_learned_outweighs_what_was_accepted() {
    let mut recovered = Recovered::new();
    let learned = Record::Learned {
        slot: Slot(0),
        command: word("v"),
    };
    let state = DurableState {
        promised: BALLOT,
        chosen_watermark: Slot(1),
        ..DurableState::default()
    };

    let chosen = recovered.batch(state, vec![accepted(0, "w"), learned]);

    assert_eq!(chosen, [(Slot(0), word("v"))]);
}

/// RULES R7: a repeated acceptance claims no more of the journal than it was handed. Without this others forget what
/// this replica knows to be chosen and its journal does not.
#[test]
fn a_repeated_acceptance_claims_only_what_the_journal_holds() {
    let mut acceptor = restart(0, Vec::new());
    let accept = Message::Accept {
        ballot: BALLOT,
        slot: Slot(0),
        command: word("x"),
        chosen_watermark: Slot(0),
    };
    let advance = Message::Advance {
        ballot: BALLOT,
        chosen_watermark: Slot(1),
    };
    for message in [accept.clone(), advance] {
        acceptor.step(from_one(message));
        let _ = acceptor.take_output();
    }

    acceptor.step(from_one(accept));
    let output = acceptor.take_output();

    assert_eq!(acceptor.chosen_watermark(), Slot(1));
    assert_eq!(output.persist, None);
    let claims = output
        .messages_when_durable
        .iter()
        .map(|envelope| match envelope.message {
            Message::Accepted {
                durable_watermark, ..
            } => Some(durable_watermark),
            _ => None,
        });
    assert_eq!(claims.collect::<Vec<_>>(), [Some(Slot(0))]);
}

/// SPEC D5: with a snapshot, a journal says only what is above it, whether it was trimmed or not.
#[test]
fn what_a_snapshot_covers_is_passed_over() {
    let state = |chosen| DurableState {
        promised: BALLOT,
        chosen_watermark: Slot(chosen),
        ..DurableState::default()
    };
    let mut whole = Recovered::from_snapshot(Slot(3));
    let mut trimmed = Recovered::from_snapshot(Slot(3));

    assert_eq!(
        whole.batch(state(2), vec![accepted(0, "x"), accepted(1, "x")]),
        []
    );
    let rest = || vec![accepted(2, "x"), accepted(3, "y"), accepted(4, "z")];
    let chosen = [
        whole.batch(state(4), rest()),
        trimmed.batch(state(4), rest()),
    ];

    let expected = [(Slot(3), word("y"))];
    assert_eq!(chosen, [expected.clone(), expected]);
    assert_eq!(whole.chosen_watermark(), Slot(4));
}

/// RULES R5: a slot below a replica's snapshot is not an empty one, also when its journal is. Without this a candidate
/// fills it with a no-op.
#[test]
fn a_slot_below_the_snapshot_is_said_to_be_trimmed() {
    let mut restarted = restart_from(Recovered::from_snapshot(Slot(3)), 0, Vec::new());
    restarted.step(from_one(Message::Prepare {
        ballot: BALLOT_2,
        from_slot: Slot(0),
    }));
    let promised = restarted.take_output().messages_when_durable;
    let said = promised.iter().find_map(|envelope| match envelope.message {
        Message::Promise {
            chosen_watermark,
            trimmed_watermark,
            ..
        } => Some((chosen_watermark, trimmed_watermark)),
        _ => None,
    });
    assert_eq!(said, Some((Slot(3), Slot(3))));
}

/// SPEC D4: after all have restarted, one that lags behind still learns by log what the journals of the others hold below
/// their newest snapshots; but nothing of which the journal does not say that it is chosen.
#[test]
fn the_log_between_two_snapshots_is_kept_for_others() {
    let chosen = |watermark| {
        let state = DurableState {
            promised: BALLOT,
            chosen_watermark: Slot(watermark),
            ..DurableState::default()
        };
        let mut recovered = Recovered::from_snapshots(Slot(1), Slot(4));
        let journal = [0, 2, 1, 3, 4].map(|slot| accepted(slot, "x")).to_vec();
        let delivered = recovered.batch(state, journal);
        let mut restarted = restart_from(recovered, 0, Vec::new());
        restarted.step(from_one(Message::CatchUp { from_slot: Slot(1) }));
        let answer = restarted.take_output().messages.pop().unwrap().message;
        let Message::Chosen {
            commands,
            trimmed_watermark,
            ..
        } = answer
        else {
            panic!("{answer}");
        };
        (delivered.len(), commands.len(), trimmed_watermark)
    };
    assert_eq!(chosen(3), (0, 0, Slot(4)));
    assert_eq!(chosen(4), (0, 3, Slot(1)));
    assert_eq!(chosen(5), (1, 4, Slot(1)));
}

/// What was accepted below a snapshot that came from a peer need not be what was chosen there: nobody is told of it.
#[test]
fn what_lies_below_a_received_snapshot_is_told_to_nobody() {
    let mut recovered = Recovered::from_snapshot(Slot(4));
    let state = DurableState {
        promised: BALLOT,
        chosen_watermark: Slot(5),
        ..DurableState::default()
    };
    let journal = (0..5).map(|slot| accepted(slot, "x")).collect();
    assert_eq!(recovered.batch(state, journal), [(Slot(4), word("x"))]);
    let mut restarted = restart_from(recovered, 0, Vec::new());

    restarted.step(from_one(Message::CatchUp { from_slot: Slot(3) }));

    let nothing = Message::Chosen {
        from_slot: Slot(3),
        commands: Vec::new(),
        chosen_watermark: Slot(5),
        trimmed_watermark: Slot(4),
    };
    assert_eq!(restarted.take_output().messages[0].message, nothing);
}

/// SPEC D5: the log that a snapshot covers is kept as long as there is room for it, before and after a restart.
#[test]
fn the_log_below_a_snapshot_gives_way_after_a_restart_too() {
    let mut restarted = with_log_below_snapshot(usize::MAX);
    assert_eq!(restarted.durable_watermark(), Slot(5));
    assert_eq!(restarted.trimmed_watermark(), Slot(1));

    restarted.keep_log_bytes(0);
    let _ = restarted.take_output();

    assert_eq!(restarted.trimmed_watermark(), Slot(4));
}

/// SPEC D4: who is sent a snapshot finds the log above it, unless that has grown too long.
#[test]
fn the_log_is_held_for_a_receiver_up_to_a_bound() {
    let kept_bytes = 4 * word("x").size_bytes();
    for (held_bytes_max, kept_from) in [(kept_bytes, 2), (kept_bytes - 1, 4)] {
        let mut restarted = with_log_below_snapshot(held_bytes_max);
        assert_eq!(restarted.kept_bytes(), kept_bytes);
        restarted.keep_log_bytes(0);
        assert!(!restarted.holds_log());

        restarted.hold_log(Some(Slot(2)));
        assert_eq!(restarted.holds_log(), kept_from == 2);
        let _ = restarted.take_output();
        assert_eq!(restarted.trimmed_watermark(), Slot(kept_from));

        restarted.hold_log(None);
        let _ = restarted.take_output();
        assert_eq!(restarted.trimmed_watermark(), Slot(4));
    }
}

/// A replica with a snapshot of slot 4, an older one of slot 1, and the journal of slots 0 to 4.
fn with_log_below_snapshot(held_bytes_max: usize) -> Replica {
    let mut recovered = Recovered::from_snapshots(Slot(1), Slot(4));
    let state = DurableState {
        promised: BALLOT,
        chosen_watermark: Slot(5),
        ..DurableState::default()
    };
    recovered.batch(state, (0..5).map(|slot| accepted(slot, "x")).collect());
    let mut config = config(0);
    config.held_bytes_max = held_bytes_max;
    let mut restarted = Replica::new(config, configuration(3), recovered);
    let _ = restarted.take_output();
    restarted
}

/// RULES R7: a snapshot of one replica lets no other forget: what all can replay is another number.
#[test]
fn a_snapshot_claims_nothing_for_others() {
    let mut restarted = restart_from(Recovered::from_snapshot(Slot(3)), 0, Vec::new());
    restarted.step(from_one(Message::Prepare {
        ballot: BALLOT_2,
        from_slot: Slot(0),
    }));
    let state = restarted.take_output().persist.unwrap().state;
    assert_eq!(state.chosen_watermark, Slot(3));
    assert_eq!(state.forget_watermark, Slot(0));
}

/// What a restarted replica says that it accepted.
fn reported(journal: Vec<Record>) -> Vec<(Slot, Command)> {
    let mut restarted = restart(0, journal);
    let ballot = Ballot {
        round: 9,
        replica: ReplicaId(1),
        birth: 9,
    };
    restarted.step(from_one(Message::Prepare {
        ballot,
        from_slot: Slot(0),
    }));
    let promised = restarted.take_output().messages_when_durable;
    let reported = promised
        .into_iter()
        .filter_map(|envelope| match envelope.message {
            Message::Promise { accepted, .. } => Some(accepted),
            _ => None,
        });
    reported
        .flatten()
        .map(|entry| (entry.slot, entry.command))
        .collect()
}

fn from_one(message: Message) -> Envelope {
    Envelope {
        from: ReplicaId(1),
        to: ReplicaId(0),
        message,
    }
}

fn restart(id: u8, journal: Vec<Record>) -> Replica {
    restart_from(Recovered::new(), id, journal)
}

fn restart_from(mut recovered: Recovered, id: u8, journal: Vec<Record>) -> Replica {
    let state = DurableState {
        promised: BALLOT,
        ..DurableState::default()
    };
    assert!(recovered.batch(state, journal).is_empty());
    let founders: Vec<_> = (0..3)
        .map(|id| (ReplicaId(id), Incarnation(u64::from(id))))
        .collect();
    let config = Config::new(ReplicaId(id), Incarnation(u64::from(id)), 5);
    Replica::new(config, Configuration::founded(&founders), recovered)
}

fn accepted(slot: u64, text: &str) -> Record {
    Record::Accepted {
        slot: Slot(slot),
        ballot: BALLOT,
        command: word(text),
    }
}

const BALLOT: Ballot = Ballot {
    round: 1,
    replica: ReplicaId(1),
    birth: 1,
};

const BALLOT_2: Ballot = Ballot { round: 2, ..BALLOT };
