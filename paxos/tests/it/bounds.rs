//! Where one tick, one slot or one message more makes the difference, and what must not be done twice.
//!
//! Each test speaks to one replica by hand, because in a cluster the others would make up for what it does wrong.

use paxos::{
    Ballot, Message, Output, ProposeError, Recovered, Replica, ReplicaId, Role, Slot, Space,
};

use crate::by_hand::{
    accepted, ballot, candidate, config, configuration, entry, hear, prepare, promise, promises,
    proposals, replica, until_candidate,
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
fn a_candidate_asks_again_those_alone_that_have_not_promised() {
    let (mut proposer, own) = candidate(5);
    let _ = hear(&mut proposer, 1, promise(own, 1, &[]));

    let asked = turns(&mut proposer, 20, |message| {
        matches!(message, Message::Prepare { .. })
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

    let proposed = [paxos::Command::Noop, word("y"), word("z")];
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

/// RULES R17: who promised a higher ballot defends its leader no longer.
#[test]
fn who_promised_above_its_leader_hears_none() {
    let mut follower = replica(0);
    let _ = hear(&mut follower, 1, heartbeat(ballot(1, 1), 0));
    assert_eq!(follower.leader(), Some(ReplicaId(1)));

    let _ = hear(&mut follower, 2, prepare(ballot(2, 2), 0));

    assert_eq!(follower.leader(), None);
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
