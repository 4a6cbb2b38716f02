//! Agreement as a library on networks that lose, divide and regroup: never two values, and a decision once a majority is
//! together.

use std::time::{Duration, Instant};

use kvpaxos_server::peer::Fate;

use crate::library_group::{Group, Random, WAIT_MAX, holds_for, wait_until};

#[test]
fn deaf() {
    let group = Group::in_memory(5);
    group.start(0, 0, "hello");
    group.wait_all(0);
    group.network.deafen(&[0, 4]);
    group.start(1, 1, "goodbye");
    assert_eq!(group.wait_decided(1, 3), "goodbye");
    assert_eq!(group.peer(0).status(1), Fate::Pending);
    assert_eq!(group.peer(4).status(1), Fate::Pending);
    group.start(0, 1, "of 0");
    group.network.deafen(&[4]);
    assert_eq!(group.wait_decided(1, 4), "goodbye");
    group.start(4, 1, "of 4");
    group.network.deafen(&[]);
    assert_eq!(group.wait_all(1), "goodbye");
}

/// Whoever leads, one of these pairs separates it from another.
#[test]
fn a_peer_cut_off_from_the_leader_alone_is_served() {
    let group = Group::in_memory(3);
    for (round, (one, other)) in [(0, 1), (1, 2), (0, 2)].into_iter().enumerate() {
        group.network.cut(one, other);
        for me in 0..3 {
            let seq = (3 * round + me) as u64;
            group.start(me, seq, "x");
            let fate = group.peer(me).wait(seq, WAIT_MAX);
            assert_eq!(fate, Fate::Decided((*b"x").into()), "{one} and {other} cut");
        }
    }
}

#[test]
fn many_forget() {
    const COUNT: u64 = 20;
    let group = Group::in_memory(3);
    group.network.set_unreliable(true);
    let mut random = Random(1);
    for seq in random.shuffled(COUNT) {
        for (me, peer) in group.peers().enumerate() {
            peer.start(seq, format!("{seq} of {me}").into_bytes())
                .unwrap();
        }
    }
    wait_until("every instance is decided or forgotten", || {
        let seq = random.below(COUNT);
        group.decided(seq);
        for peer in group.peers() {
            if seq >= peer.min() && peer.status(seq) != Fate::Pending && random.below(4) == 0 {
                peer.done(seq);
            }
        }
        group
            .peers()
            .all(|peer| (0..COUNT).all(|seq| peer.status(seq) != Fate::Pending))
    });
    group.be_done_everywhere(COUNT - 1);
}

#[test]
fn many_unreliable() {
    let group = Group::in_memory(3);
    group.network.set_unreliable(true);
    group.agree_on_all_of(0..50);
}

#[test]
fn partition() {
    let group = Group::in_memory(5);
    group.network.partition(&[&[0, 2], &[1, 3], &[4]]);
    group.start(1, 1, "first");
    holds_for(Duration::from_secs(3), "two of five decide nothing", || {
        group.decided(1) == 0
    });
    group.network.partition(&[&[0], &[1, 2, 3], &[4]]);
    assert_eq!(group.wait_decided(1, 3), "first");
    group.start(0, 1, "of 0");
    group.start(4, 1, "of 4");
    holds_for(
        Duration::from_secs(1),
        "whoever is alone learns nothing",
        || group.decided(1) == 3,
    );
    group.network.heal();
    assert_eq!(group.wait_all(1), "first");
}

#[test]
fn partition_one_peer_changes_sides() {
    change_sides(false);
}

#[test]
fn partition_one_peer_changes_sides_unreliable() {
    change_sides(true);
}

fn change_sides(unreliable: bool) {
    let group = Group::in_memory(5);
    group.network.set_unreliable(unreliable);
    for seq in 0..20 {
        group.network.partition(&[&[0, 1, 2], &[3, 4]]);
        group.start(0, seq, &format!("{seq} of 0"));
        group.start(3, seq, &format!("{seq} of 3"));
        let value = group.wait_decided(seq, 3);
        assert_eq!(value, format!("{seq} of 0"), "the minority decided");
        group.network.partition(&[&[0, 1], &[2, 3, 4]]);
        assert_eq!(group.wait_all(seq), value);
        group.network.heal();
    }
}

#[test]
fn lots() {
    let group = Group::in_memory(5);
    group.network.set_unreliable(true);
    let mut random = Random(3);
    let began = Instant::now();
    let (mut regroup_at, mut start_at) = (began, began);
    let mut count = 0;
    let mut decided_early = 0;
    holds_for(LOTS_TIME, "no instance has two values", || {
        let now = Instant::now();
        if now >= regroup_at {
            group.network.regroup(&mut random);
            regroup_at = now + Duration::from_millis(random.below(200));
        }
        if now >= start_at {
            for me in 0..5 {
                group.start(me, count, &format!("{count} of {me}"));
            }
            count += 1;
            start_at = now + Duration::from_millis(random.below(300));
        }
        decided_early = (0..count).filter(|seq| group.decided(*seq) > 0).count();
        true
    });
    println!("{decided_early} of {count} instances were decided before the network healed");
    group.network.heal();
    group.network.set_unreliable(false);
    for seq in 0..count {
        group.wait_all(seq);
    }
    assert!(count > 50, "only {count} instances were begun");
}

const LOTS_TIME: Duration = Duration::from_secs(20);
