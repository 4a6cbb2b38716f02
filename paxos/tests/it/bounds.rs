//! Where one tick, one slot or one message more makes the difference, and what must not be done twice.
//!
//! Each test speaks to one replica by hand, because in a cluster the others would make up for what it does wrong.

use paxos::{
    Ballot, Command, Envelope, Incarnation, Message, Note, Output, ProposeError, Recovered,
    Replica, ReplicaId, Role, Slot, Space,
};

use crate::by_hand::{
    accept, accepted, accepted_slots, ballot, candidate, config, configuration, entry, hear,
    leader, prepare, promise, promises, proposals, replica, sent, until_candidate,
};
use crate::cluster::word;

/// A stranger belongs to another cluster, and so does a peer in the other mode: what they say means nothing here.
#[test]
fn strangers_and_peers_in_the_other_mode_are_not_heard() {
    let mut acceptor = replica(0);
    let of_the_other_mode = Message::PrepareInstances {
        ballot: ballot(1, 1),
        min: Slot(0),
        chosen: Vec::new(),
    };

    assert_eq!(
        hear(&mut acceptor, 9, prepare(ballot(1, 9), 0)),
        Output::default()
    );
    assert_eq!(hear(&mut acceptor, 1, of_the_other_mode), Output::default());

    assert_eq!(
        promises(&hear(&mut acceptor, 1, prepare(ballot(1, 1), 0))),
        1
    );
}

/// A transport says who speaks. Nobody proposes under another's ballot.
#[test]
fn a_ballot_is_heeded_from_its_owner_alone() {
    let mut acceptor = replica(0);
    let others = ballot(1, 1);
    for message in [
        prepare(others, 0),
        accept(others, 0, "x"),
        heartbeat(others, 0),
    ] {
        assert_eq!(hear(&mut acceptor, 2, message), Output::default());
    }
    assert_eq!(acceptor.leader(), None);
}

/// What was accepted in one ballot must not count for another, however many messages one turn takes in.
#[test]
fn what_one_turn_accepts_in_two_ballots_is_not_confirmed_in_one() {
    let mut acceptor = replica(0);
    acceptor.step(Envelope {
        from: ReplicaId(1),
        to: ReplicaId(0),
        message: accept(ballot(1, 1), 0, "x"),
    });

    let output = hear(&mut acceptor, 2, accept(ballot(2, 2), 1, "y"));

    let confirmed = output.messages_when_durable.iter();
    let confirmed = confirmed.filter(|envelope| envelope.to != ReplicaId(0));
    let confirmed: Vec<_> = confirmed.map(|envelope| &envelope.message).collect();
    assert_eq!(confirmed, [&accepted(ballot(2, 2), 0, Slot(1))]);
}

/// A Prepare may come twice, the second time long after its sender has gone.
#[test]
fn a_repeated_prepare_is_promised_again_and_does_not_put_off_an_election() {
    let mut acceptor = replica(0);
    let _ = hear(&mut acceptor, 1, prepare(ballot(1, 1), 0));
    while acceptor.role() == Role::Follower {
        acceptor.tick();
    }

    let output = hear(&mut acceptor, 1, prepare(ballot(1, 1), 0));

    assert_eq!(promises(&output), 1);
    assert_eq!(acceptor.role(), Role::Candidate);
}

/// RULES R20: below its min an acceptor says only that it has forgotten.
#[test]
fn an_instance_below_min_is_not_accepted_and_one_at_min_is() {
    let mut acceptor = Replica::sparse(config(0), configuration(3), Recovered::new());
    let forgotten = Message::ForgottenInstances { min: Slot(5) };
    let _ = hear(&mut acceptor, 1, forgotten.clone());

    let below = hear(&mut acceptor, 1, accept(ballot(1, 1), 4, "x"));
    let at = hear(&mut acceptor, 1, accept(ballot(1, 1), 5, "x"));

    assert_eq!(sent(&below), [forgotten]);
    assert_eq!(accepted_slots(&below), []);
    assert_eq!(sent(&at), []);
    assert_eq!(accepted_slots(&at), [Slot(5)]);
}

/// A watermark alone waits for the next batch, but not for ever: memory and restarts depend on it.
#[test]
fn what_every_program_is_done_with_reaches_the_journal_by_itself() {
    let config = config(0);
    let watermark_ticks = config.watermark_ticks;
    let mut replica = Replica::sparse(config, configuration(3), Recovered::new());
    let forgotten = Message::ForgottenInstances { min: Slot(5) };
    assert_eq!(hear(&mut replica, 1, forgotten).persist, None);

    let persisted: Vec<_> = (1..=watermark_ticks)
        .filter_map(|tick| {
            replica.tick();
            let persist = replica.take_output().persist?;
            Some((tick, persist.state.forget_watermark))
        })
        .collect();

    assert_eq!(persisted, [(watermark_ticks, Slot(5))]);
}

/// RULES R10: a round counts its own echoes. One of an earlier ballot may bear the same nonce.
#[test]
fn a_read_is_confirmed_by_echoes_of_its_ballot_in_lives_that_count() {
    let (mut leader, own) = leader(3);
    leader.read(1);
    let Message::Heartbeat { nonce, .. } = sent(&leader.take_output()).remove(0) else {
        panic!("the round begins with a heartbeat");
    };
    let mut of_another_life = echo(own, 1, nonce);
    if let Message::Echo { incarnation, .. } = &mut of_another_life {
        *incarnation = Incarnation(77);
    }

    let earlier = echo(ballot(own.round - 1, 0), 1, nonce);
    assert_eq!(hear(&mut leader, 1, earlier).reads, []);
    assert_eq!(hear(&mut leader, 1, of_another_life).reads, []);
    assert_eq!(hear(&mut leader, 1, echo(own, 1, nonce - 1)).reads, []);

    assert_eq!(hear(&mut leader, 1, echo(own, 1, nonce)).reads.len(), 1);
}

/// RULES R20: a promise in parts counts when all have come, and a part that cannot be one of them is none.
#[test]
fn a_part_beyond_those_announced_completes_no_promise() {
    let (mut proposer, own) = candidate(3);
    let part = |number| {
        let mut part = promise(own, 1, &[]);
        if let Message::Promise { part, parts, .. } = &mut part {
            (*part, *parts) = (number, 2);
        }
        part
    };

    let _ = hear(&mut proposer, 1, part(0));
    let _ = hear(&mut proposer, 1, part(2));
    assert_eq!(proposer.role(), Role::Candidate);

    let _ = hear(&mut proposer, 1, part(1));
    assert_eq!(proposer.role(), Role::Leader);
}

#[test]
fn a_part_of_a_promise_is_filled_to_the_last_byte() {
    let mut config = config(0);
    config.message_bytes_max = 2 * word("x").size_bytes();
    let mut acceptor = Replica::new(config, configuration(3), Recovered::new());
    for slot in 0..3 {
        let _ = hear(&mut acceptor, 1, accept(ballot(1, 1), slot, "x"));
    }

    let output = hear(&mut acceptor, 2, prepare(ballot(2, 2), 0));

    assert_eq!(promises(&output), 2);
}

#[test]
fn a_candidate_asks_again_those_alone_that_have_not_promised() {
    let (mut proposer, own) = candidate(5);
    let _ = hear(&mut proposer, 1, promise(own, 1, &[]));

    let asked = turns(&mut proposer, 20, |message| {
        matches!(message, Message::Prepare { .. })
    });

    assert_eq!(asked, [(20, 2), (20, 3), (20, 4)]);
}

#[test]
fn a_leader_asks_again_those_alone_that_have_not_accepted() {
    let (mut leader, own) = leader(5);
    assert_eq!(leader.propose(word("x")), Ok(Slot(0)));
    let _ = hear(&mut leader, 1, accepted(own, 1, Slot(0)));

    let asked = turns(&mut leader, 20, |message| {
        matches!(message, Message::Accept { .. })
    });

    assert_eq!(asked, [(20, 2), (20, 3), (20, 4)]);
}

/// What is known to be chosen above a hole is proposed there again, whatever phase 1 found.
#[test]
fn a_leader_proposes_what_it_knows_to_be_chosen() {
    let (mut proposer, own) = candidate(3);
    let chosen = Message::Chosen {
        from_slot: Slot(1),
        commands: vec![word("y")],
        chosen_watermark: Slot(0),
        trimmed_watermark: Slot(0),
    };
    let _ = hear(&mut proposer, 2, chosen);

    let found = [entry(1, ballot(1, 1), "x"), entry(2, ballot(1, 1), "z")];
    let output = hear(&mut proposer, 1, promise(own, 1, &found));

    let proposed = [Command::Noop, word("y"), word("z")];
    assert_eq!(
        proposals(&output),
        slots(0).zip(proposed).collect::<Vec<_>>()
    );
}

/// Enough bytes in flight close the window, however few slots they are.
#[test]
fn a_leader_proposes_until_enough_bytes_are_in_flight() {
    let mut config = config(0);
    config.in_flight_bytes_max = 2 * word("abcd").size_bytes();
    let starting = Replica::new(config, configuration(3), Recovered::new());
    let (mut leader, own) = until_candidate(starting, 3);
    for from in [0, 1] {
        let _ = hear(&mut leader, from, promise(own, from, &[]));
    }

    assert_eq!(leader.propose(word("abcd")), Ok(Slot(0)));
    assert_eq!(leader.propose(word("efgh")), Ok(Slot(1)));
    assert_eq!(leader.propose(word("i")), Err(ProposeError::WindowFull));

    for from in [1, 2] {
        let _ = hear(&mut leader, from, accepted(own, from, Slot(0)));
    }
    assert_eq!(leader.propose(word("i")), Ok(Slot(2)));
}

/// RULES R26: who is about to stop takes nothing more from its driver.
#[test]
fn a_leader_that_stands_down_has_no_room() {
    let (mut leader, _) = leader(3);
    assert!(leader.room() > 0);

    leader.stand_down();

    assert_eq!(leader.room(), 0);
    assert_eq!(leader.propose(word("x")), Err(ProposeError::NotLeading));
}

#[test]
fn a_replica_says_how_far_behind_it_is() {
    let mut follower = replica(0);
    assert_eq!(follower.slots_behind(), 0);
    let chosen = Message::Chosen {
        from_slot: Slot(0),
        commands: vec![word("x"), word("y")],
        chosen_watermark: Slot(9),
        trimmed_watermark: Slot(0),
    };

    let _ = hear(&mut follower, 1, chosen);

    assert_eq!(follower.slots_behind(), 7);
}

/// RULES R1: a life votes from slot 0 on if the founding record names it, otherwise a window after its Rejoin.
#[test]
fn a_replica_says_from_where_on_it_votes() {
    assert_eq!(replica(0).votes_from(), Some(Slot(0)));
    let mut config = config(0);
    config.incarnation = Incarnation(77);
    let rejoin = Message::Chosen {
        from_slot: Slot(0),
        commands: vec![
            word("x"),
            Command::Rejoin {
                replica: config.me,
                incarnation: config.incarnation,
            },
        ],
        chosen_watermark: Slot(2),
        trimmed_watermark: Slot(0),
    };
    let window = config.window;
    let mut blank = Replica::new(config, configuration(3), Recovered::new());
    assert_eq!(blank.votes_from(), None);

    let _ = hear(&mut blank, 1, rejoin);

    assert_eq!(blank.votes_from(), Some(Slot(1).plus(window)));
}

/// Reads that nobody waits for any more are not answered, by whomever they were to be.
#[test]
fn cancelled_reads_are_not_answered() {
    let (mut leader, own) = leader(3);
    let mut follower = replica(0);
    let _ = hear(&mut follower, 1, heartbeat(ballot(1, 1), 0));
    let asked = [&mut leader, &mut follower].map(|replica| {
        replica.read(1);
        replica.read(2);
        let asked = replica.take_output();
        replica.cancel_reads_below(2);
        sent(&asked).remove(0)
    });

    let Message::Heartbeat { nonce, .. } = asked[0] else {
        panic!("{}", asked[0]);
    };
    let confirmed = hear(&mut leader, 1, echo(own, 1, nonce));
    let Message::ReadQuery { nonce } = asked[1] else {
        panic!("{}", asked[1]);
    };
    let read_watermark = Slot(0);
    let answer = Message::ReadAnswer {
        nonce,
        read_watermark,
    };
    let answered = hear(&mut follower, 1, answer);

    for output in [confirmed, answered] {
        let tickets = output.reads.iter().map(|read| read.ticket);
        assert_eq!(tickets.collect::<Vec<_>>(), [2]);
    }
}

/// RULES R17: who promised a higher ballot defends its leader no longer.
#[test]
fn who_promised_above_its_leader_hears_none() {
    let mut follower = replica(0);
    let _ = hear(&mut follower, 1, heartbeat(ballot(1, 1), 0));
    assert_eq!(follower.leader(), Some(ReplicaId(1)));

    let _ = hear(&mut follower, 2, prepare(ballot(2, 2), 0));

    assert_eq!(follower.leader(), None);
}

#[test]
fn a_leader_that_is_heard_again_is_no_news() {
    let mut follower = replica(0);
    let followed = [Note::Following(ballot(1, 1), ReplicaId(1))];
    assert_eq!(
        hear(&mut follower, 1, heartbeat(ballot(1, 1), 0)).notes,
        followed
    );
    while follower.role() == Role::Follower {
        follower.tick();
    }
    let _ = follower.take_output();

    let output = hear(&mut follower, 1, heartbeat(ballot(1, 1), 0));

    assert_eq!(follower.role(), Role::Follower);
    assert_eq!(output.notes, []);
}

fn heartbeat(ballot: Ballot, chosen_watermark: u64) -> Message {
    Message::Heartbeat {
        ballot,
        nonce: 1,
        chosen_watermark: Slot(chosen_watermark),
        forget_watermark: Slot(0),
        has_majority: true,
        space: Space::Ample,
    }
}

fn echo(ballot: Ballot, from: u8, nonce: u64) -> Message {
    Message::Echo {
        ballot,
        nonce,
        incarnation: Incarnation(u64::from(from)),
        durable_watermark: Slot(0),
        space: Space::Ample,
    }
}

fn slots(from: u64) -> impl Iterator<Item = Slot> {
    (from..).map(Slot)
}

/// Lets so many ticks pass: at which of them, and to whom, such messages left.
fn turns(replica: &mut Replica, ticks: u64, counts: fn(&Message) -> bool) -> Vec<(u64, u8)> {
    let mut left = Vec::new();
    for tick in 1..=ticks {
        replica.tick();
        let output = replica.take_output();
        let messages = output.messages.iter();
        let counted = messages.filter(|envelope| counts(&envelope.message));
        left.extend(counted.map(|envelope| (tick, envelope.to.0)));
    }
    left
}
