//! Agreement as a library on a network that works: what `start`, `status`, `done`, `max` and `min` mean (SPEC E).

use std::time::{Duration, Instant};

use kvpaxos_server::peer::{Fate, MakeError, Peer, PeerSettings, StartError};
use paxos::INSTANCES_IN_FLIGHT_MAX;

use crate::library_group::{Group, WAIT_MAX, holds_for, wait_until};

#[test]
fn basic() {
    let group = Group::durable(3);
    group.start(0, 0, "hello");
    assert_eq!(group.wait_all(0), "hello");
    for me in 0..3 {
        group.start(me, 1, "same");
    }
    assert_eq!(group.wait_all(1), "same");
    for me in 0..3 {
        group.start(me, 2, &format!("of {me}"));
    }
    assert!(["of 0", "of 1", "of 2"].contains(&group.wait_all(2).as_str()));
    group.start(0, 7, "seven");
    group.start(0, 6, "six");
    group.start(1, 5, "five");
    group.wait_all(7);
    for peer in group.peers() {
        assert_eq!(peer.status(3), Fate::Pending);
        assert_eq!(peer.status(4), Fate::Pending);
    }
    group.start(0, 4, "four");
    group.start(1, 3, "three");
    for (seq, value) in [(3, "three"), (4, "four"), (5, "five"), (6, "six")] {
        assert_eq!(group.wait_all(seq), value);
    }
    let highest: Vec<_> = group.peers().map(Peer::max).collect();
    assert_eq!(highest, [Some(7); 3]);
}

#[test]
fn forget() {
    let group = Group::in_memory(6);
    for peer in group.peers() {
        assert_eq!((peer.min(), peer.max()), (0, None));
    }
    for seq in 0..3 {
        group.start(seq, seq as u64, "x");
        group.wait_all(seq as u64);
    }
    for peer in group.peers() {
        peer.done(0);
    }
    for peer in group.peers().skip(1) {
        peer.done(1);
    }
    let all_forgot_one = || group.peers().all(|peer| peer.min() == 1);
    wait_until("the minimum is 1 everywhere", all_forgot_one);
    for seq in 3..10 {
        group.start(seq % 6, seq as u64, "y");
        group.wait_all(seq as u64);
    }
    assert!(all_forgot_one(), "peer 0 is not done with 1");
    for peer in group.peers() {
        assert_eq!(peer.status(0), Fate::Forgotten);
        assert!(matches!(peer.status(1), Fate::Decided(_)));
    }
    group.network.partition(&[&[0, 1, 2], &[3, 4, 5]]);
    group.start(0, 10, "left");
    group.start(5, 10, "right");
    holds_for(
        Duration::from_secs(1),
        "three of six decide nothing",
        || group.decided(10) == 0,
    );
    group.network.partition(&[&[0, 1, 2, 3], &[4, 5]]);
    assert!(["left", "right"].contains(&group.wait_decided(10, 4).as_str()));
}

#[test]
fn done_max() {
    let group = Group::in_memory(3);
    for seq in 0..=10 {
        group.start(0, seq, "x");
        group.wait_all(seq);
    }
    group.be_done_everywhere(10);
    for (me, peer) in group.peers().enumerate() {
        group.start(me, 10, "again");
        assert_eq!(peer.max(), Some(10));
    }
    group.start(0, 9, "again");
    holds_for(Duration::from_millis(300), "the maximum stays", || {
        let stays = |peer: &Peer| peer.max() == Some(10) && peer.status(10) == Fate::Forgotten;
        group.peers().all(stays)
    });
}

#[test]
fn many() {
    let group = Group::durable(3);
    group.agree_on_all_of(0..50);
}

#[test]
fn old() {
    let mut group = Group::durable(5);
    group.start(0, 0, "founded");
    group.wait_all(0);
    group.stop_peer(4);
    group.start(1, 1, "first");
    assert_eq!(group.wait_all(1), "first");
    group.start_peer(4);
    group.start(4, 1, "second");
    assert_eq!(group.wait_all(1), "first");
    group.start(4, 2, "third");
    assert_eq!(group.wait_all(2), "third");
}

#[test]
fn a_restart_brings_everything_back() {
    let mut group = Group::durable(3);
    for seq in 0..20 {
        group.start(0, seq, &format!("value {seq}"));
        group.wait_all(seq);
    }
    group.be_done_everywhere(4);
    // An instance after the forgetting, so that its journal entries follow it.
    group.start(1, 30, "value 30");
    group.wait_all(30);
    for me in 0..3 {
        group.stop_peer(me);
    }
    for me in 0..3 {
        group.start_peer(me);
    }
    for seq in (5..20).chain([30]) {
        assert_eq!(group.wait_all(seq), format!("value {seq}"));
    }
    for peer in group.peers() {
        assert_eq!((peer.max(), peer.min()), (Some(30), 5));
        assert_eq!(peer.status(4), Fate::Forgotten);
    }
    group.start(2, 31, "goes on");
    assert_eq!(group.wait_all(31), "goes on");
}

/// 100 MiB of instances go through journals that hold the last few, and a restart still knows what is forgotten.
#[test]
fn what_is_forgotten_leaves_the_disk() {
    const COUNT: u64 = 400;
    const SEGMENT_BYTES: u64 = 16 << 20;
    let mut group = Group::durable(3);
    let value = "v".repeat(256 << 10);
    let mut most = 0;
    for seq in 0..COUNT {
        group.start(0, seq, &value);
        group.wait_all(seq);
        group.peers().for_each(|peer| peer.done(seq));
        most = most.max((0..3).map(|me| group.journal_bytes(me)).max().unwrap());
    }
    println!("a journal takes at most {most} bytes");
    // The first segment is shorter; one is being removed, one is closed and still needed, one is written, one is ready.
    assert!(most <= 4 * SEGMENT_BYTES, "{most} bytes");
    group.be_done_everywhere(COUNT - 1);
    for me in 0..3 {
        group.stop_peer(me);
        group.start_peer(me);
    }
    group.start(1, COUNT, "after");
    assert_eq!(group.wait_all(COUNT), "after");
    for peer in group.peers() {
        assert_eq!((peer.min(), peer.max()), (COUNT, Some(COUNT)));
        assert_eq!(peer.status(COUNT - 1), Fate::Forgotten);
    }
}

#[test]
fn message_count() {
    let mut first_min = u64::MAX;
    let mut group = Group::in_memory(3);
    // Where two peers come to ask for the lead at the same moment, their election takes more messages.
    for _ in 0..FIRST_ATTEMPTS_MAX {
        group.start(0, 0, "first");
        group.wait_all(0);
        first_min = first_min.min(beside_heartbeats(&group));
        if first_min <= FIRST_MESSAGES_MAX {
            break;
        }
        group = Group::in_memory(3);
    }
    println!("the very first agreement, with the election: {first_min} messages");
    assert!(first_min <= FIRST_MESSAGES_MAX, "{first_min} messages");
    let began = Instant::now();
    for me in 0..3 {
        group.network.take_sent();
        for seq in 0..ROUNDS {
            group.start(me, 10 + 100 * me as u64 + seq, "alone");
            group.wait_all(10 + 100 * me as u64 + seq);
        }
        let count = beside_heartbeats(&group);
        println!("peer {me} alone: {count} messages for {ROUNDS} agreements");
        assert!(
            (6 * ROUNDS..=9 * ROUNDS).contains(&count),
            "{count} messages"
        );
    }
    for seq in 1_000..1_000 + ROUNDS {
        for me in 0..3 {
            group.start(me, seq, &format!("of {me}"));
        }
        group.wait_all(seq);
    }
    let count = beside_heartbeats(&group);
    println!("three at once: {count} messages for {ROUNDS} agreements");
    assert!(count <= 45 * ROUNDS, "{count} messages");
    let beats_max = began.elapsed().as_millis() as u64 / HEARTBEAT_MS + 2;
    let beats = group.network.take_sent();
    assert!(beats.values().sum::<u64>() <= 4 * beats_max, "{beats:?}");
}

/// How many messages left, heartbeats and their answers not counted.
fn beside_heartbeats(group: &Group) -> u64 {
    let sent = group.network.take_sent();
    println!("  {sent:?}");
    let counted = sent
        .iter()
        .filter(|(kind, _)| !["Heartbeat", "EchoInstances"].contains(&kind.as_str()));
    counted.map(|(_, count)| count).sum()
}

#[test]
fn too_many_at_once_are_an_error() {
    let group = Group::in_memory(3);
    group.network.partition(&[]);
    let peer = group.peer(0);
    for seq in 0..INSTANCES_IN_FLIGHT_MAX as u64 {
        peer.start(seq, [1]).unwrap();
    }
    assert_eq!(peer.start(5_000, [1]), Err(StartError::TooManyInFlight));
    assert_eq!(peer.start(7, [2]), Ok(()));
    let bytes = (8 << 20) + 1;
    let too_long = Err(StartError::ValueTooLong { bytes });
    assert_eq!(peer.start(1, vec![0; bytes]), too_long);
    let seq = 1 << 62;
    assert_eq!(peer.start(seq, [1]), Err(StartError::SeqTooHigh { seq }));
    group.network.heal();
    let last = INSTANCES_IN_FLIGHT_MAX as u64 - 1;
    for seq in [0, 7, last] {
        assert_eq!(peer.wait(seq, WAIT_MAX), Fate::Decided([1].into()));
    }
}

#[test]
fn a_peer_whose_files_are_lost_is_refused() {
    let mut group = Group::durable(3);
    group.start(0, 0, "kept");
    group.wait_all(0);
    group.lose_files(2);
    wait_until("it says why", || group.peer(2).failure().is_some());
    assert_eq!(group.peer(2).start(1, [1]), Err(StartError::Stopped));
    group.start(0, 1, "on");
    assert_eq!(group.wait_decided(1, 2), "on");
}

#[test]
fn one_peer_alone_agrees_with_itself() {
    let peer = Peer::make(&["127.0.0.1:0".to_owned()], 0, PeerSettings::in_memory()).unwrap();
    peer.start(3, [1]).unwrap();
    assert_eq!(peer.wait(3, WAIT_MAX), Fate::Decided([1].into()));
    assert_eq!(peer.wait(4, Duration::from_millis(20)), Fate::Pending);
    peer.done(3);
    wait_until("it forgets", || peer.min() == 4);
    let stranger = Peer::make(&["127.0.0.1:0".to_owned()], 1, PeerSettings::in_memory());
    assert!(matches!(
        stranger,
        Err(MakeError::NotInGroup { me: 1, count: 1 })
    ));
}

const ROUNDS: u64 = 10;
/// Asking and promising take 8, a forwarded agreement 7.
const FIRST_MESSAGES_MAX: u64 = 15;
const FIRST_ATTEMPTS_MAX: u32 = 5;
/// As in `paxos::Config::new`, at ten milliseconds a tick.
const HEARTBEAT_MS: u64 = 50;
