//! FAULTS 6: loss, duplication, delay and reordering, on each link and each direction by itself; messages that outlive a
//! restart; a process that stands still.

use std::time::Instant;

use super::client::Work;
use super::network::Link;
use super::{Event, Lab, MS, SECOND, longest_gap_us, report, with_seeds};

/// Spoils each direction of each link for a while, one after the other, and has clients at work; all go on all the time.
fn spoil_each_link(what: &str, spoilt: &Link) {
    with_seeds(|seed| {
        let began = Instant::now();
        let mut lab = Lab::new(5, seed);
        for _ in 0..5 {
            lab.add_client(Work::OwnKey);
        }
        for from in 0..5 {
            for to in (0..5).filter(|to| *to != from) {
                *lab.network.link(from, to) = spoilt.clone();
                let gap = longest_gap_us(&mut lab, SPOILT_US);
                *lab.network.link(from, to) = Link::QUIET;
                assert!(
                    gap < GAP_US_MAX,
                    "{what} from r{from} to r{to}: nothing is answered for {gap} us"
                );
            }
        }
        lab.stop_clients();
        lab.wait_until_equal();
        lab.assert_own_keys();
        report(what, &lab, began);
    });
}

/// Twice as long as an election takes.
const SPOILT_US: u64 = 600 * MS;

/// Who meets the spoilt link asks another after 200 ms, and an election takes little more.
const GAP_US_MAX: u64 = 500 * MS;

#[test]
fn loss_on_each_link_and_direction() {
    for loss in [300, 1_000] {
        let spoilt = Link {
            loss,
            ..Link::QUIET
        };
        spoil_each_link(&format!("a loss of {loss} in 1,000"), &spoilt);
    }
}

#[test]
fn duplication_on_each_link_and_direction() {
    let spoilt = Link {
        duplication: 1_000,
        ..Link::QUIET
    };
    spoil_each_link("duplication", &spoilt);
}

#[test]
fn delay_on_each_link_and_direction() {
    for ms in [50, 700] {
        let spoilt = Link {
            delay_us: ms * MS..(ms + 1) * MS,
            ..Link::QUIET
        };
        spoil_each_link(&format!("a delay of {ms} ms"), &spoilt);
    }
}

#[test]
fn reordering_on_each_link_and_direction() {
    let spoilt = Link {
        overtaken: 500,
        duplication: 200,
        ..Link::QUIET
    };
    spoil_each_link("reordering", &spoilt);
}

/// All that replicas ever said is said once more after all have restarted, in any order, while clients are at work.
#[test]
fn messages_from_before_a_restart() {
    with_seeds(|seed| {
        let began = Instant::now();
        let mut lab = Lab::new(5, seed);
        lab.kept = Some(Vec::new());
        for _ in 0..5 {
            lab.add_client(Work::OwnKey);
        }
        for _ in 0..3 {
            lab.run_for(SECOND);
            let kept = lab.kept.replace(Vec::new()).unwrap();
            lab.restart_all();
            println!("{} messages come again", kept.len());
            assert!(kept.len() > 1_000, "{} messages", kept.len());
            for (from, to, message) in kept {
                let delay = lab.random.between(0, SECOND);
                lab.schedule(delay, Event::Peer { from, to, message });
            }
            lab.run_for(2 * SECOND);
        }
        lab.stop_clients();
        lab.wait_until_equal();
        lab.assert_own_keys();
        report("messages_from_before_a_restart", &lab, began);
    });
}

/// A leader stands still for five seconds, with reads in flight and more that come meanwhile; then it goes on as if nothing
/// had happened, and what it says is not of before.
#[test]
fn paused_leader_answers_no_stale_read() {
    with_seeds(|seed| {
        let began = Instant::now();
        let mut lab = Lab::new(5, seed);
        for round in 0..5_u8 {
            let leader = lab.leader();
            let writer = lab.add_client_of((leader + 1) % 5, Work::None);
            lab.clients[writer].ask_put(b"a", &[round, 0]);
            lab.wait("the first write", |lab| lab.clients[writer].is_idle());
            let readers: Vec<usize> = (0..10)
                .map(|_| lab.add_client_of(leader, Work::None))
                .collect();
            let (early, late) = readers.split_at(5);
            for &reader in early {
                lab.clients[reader].ask_get(b"a");
            }
            // Some are on their way, some wait for a majority's word.
            lab.run_for(200 + 100 * u64::from(round));
            lab.pause(leader, 5 * SECOND);
            lab.clients[writer].ask_put(b"a", &[round, 1]);
            lab.wait_at_most(4 * SECOND, "the others to go on", |lab| {
                lab.clients[writer].is_idle()
            });
            for &reader in late {
                lab.clients[reader].ask_get(b"a");
            }
            lab.wait("all reads", Lab::is_quiet);
            for &reader in late {
                let read = lab.clients[reader].last_value().unwrap();
                assert_eq!(read.as_deref(), Some(&[round, 1][..]), "a stale read");
            }
        }
        lab.assert_linearizable();
        report("paused_leader_answers_no_stale_read", &lab, began);
    });
}
