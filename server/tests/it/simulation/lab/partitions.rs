//! FAULTS 3 and 6: partitions, whole and partial ones, and links that come and go.

use std::time::Instant;

use super::client::Work;
use super::{Lab, MS, SECOND, longest_gap_us, report, with_seeds};

/// An election takes a quarter of it.
const GAP_US_MAX: u64 = SECOND;

/// Five clients that ask whomever they like; they have begun.
fn loaded(seed: u64) -> Lab {
    let mut lab = Lab::new(5, seed);
    for _ in 0..5 {
        lab.add_client(Work::OwnKey);
    }
    lab.run_for(SECOND);
    lab
}

/// Everything is whole again: all finish, and nothing is lost or twice.
fn end(lab: &mut Lab, what: &str, began: Instant) {
    lab.network.heal();
    lab.stop_clients();
    lab.wait_until_equal();
    lab.assert_own_keys();
    report(what, lab, began);
}

/// The leader is in the minority: the others go on without it, and what it was asked is done after healing.
#[test]
fn one_partition() {
    with_seeds(|seed| {
        let began = Instant::now();
        let mut lab = loaded(seed);
        let leader = lab.leader();
        let other = (leader + 1) % 5;
        let writer = lab.add_client_of(leader, Work::None);
        let reader = lab.add_client_of(other, Work::None);
        let (majority, minority): (Vec<usize>, Vec<usize>) =
            (0..5).partition(|&replica| replica != leader && replica != other);
        lab.network.partition(&[&minority, &majority]);
        lab.clients[writer].ask_append(b"a", b"x");
        lab.clients[reader].ask_get(b"a");
        let gap = longest_gap_us(&mut lab, 5 * SECOND);
        println!("nothing was answered for {gap} us at most");
        assert!(gap < GAP_US_MAX, "{gap} us");
        let is_answered = |lab: &Lab, client: usize| lab.clients[client].is_idle();
        for client in [writer, reader] {
            assert!(!is_answered(&lab, client), "the minority has answered");
        }
        lab.network.heal();
        lab.wait_at_most(3 * SECOND, "what waited in the minority", |lab| {
            is_answered(lab, writer) && is_answered(lab, reader)
        });
        assert_eq!(lab.read_at(leader, b"a").as_deref(), Some(&b"x"[..]));
        end(&mut lab, "one_partition", began);
    });
}

/// Each reaches its neighbours only, in every order.
#[test]
fn chain() {
    with_seeds(|seed| {
        let began = Instant::now();
        let mut lab = loaded(seed);
        let mut order: Vec<usize> = (0..5).collect();
        for round in 0..5 {
            order.rotate_left(1);
            order.swap(0, 1 + round % 4);
            let place = |replica: usize| order.iter().position(|&other| other == replica);
            let neighbours = |one: usize, other: usize| {
                let (one, other) = (place(one).unwrap(), place(other).unwrap());
                one.abs_diff(other) == 1
            };
            lab.network.connect(neighbours);
            assert_goes_on(&mut lab, &format!("a chain {order:?}"));
        }
        end(&mut lab, "chain", began);
    });
}

/// Two pairs that reach each other through one replica alone, each of the five in turn.
#[test]
fn bridge() {
    with_seeds(|seed| {
        let began = Instant::now();
        let mut lab = loaded(seed);
        for bridge in 0..5 {
            let side = |replica: usize| (replica + 5 - bridge) % 5 < 3;
            lab.network
                .connect(|one, other| one == bridge || other == bridge || side(one) == side(other));
            assert_goes_on(&mut lab, &format!("the bridge r{bridge}"));
        }
        end(&mut lab, "bridge", began);
    });
}

/// After a moment in which a leader is found there is one who serves, and stays.
fn assert_goes_on(lab: &mut Lab, what: &str) {
    let before = lab.answered();
    lab.wait_at_most(3 * SECOND, what, |lab| lab.answered() > before + 50);
    let gap = longest_gap_us(lab, 2 * SECOND);
    println!("{what}: then nothing was answered for {gap} us at most");
    assert!(gap < GAP_US_MAX, "{what}: {gap} us");
}

/// Each link in turn goes up and down ten times a second, those of the leader among them.
#[test]
fn flapping_link() {
    with_seeds(|seed| {
        let began = Instant::now();
        let mut lab = loaded(seed);
        for one in 0..5 {
            for other in one + 1..5 {
                let before = lab.answered();
                let mut longest = 0;
                for flap in 0..20 {
                    lab.network.cut(one, other, flap % 2 == 0);
                    longest = longest.max(longest_gap_us(&mut lab, 50 * MS));
                }
                lab.network.heal();
                let answered = lab.answered() - before;
                assert!(
                    answered > 50,
                    "r{one} and r{other}: {answered} answers in a second, gaps of {longest} us"
                );
            }
        }
        end(&mut lab, "flapping_link", began);
    });
}
