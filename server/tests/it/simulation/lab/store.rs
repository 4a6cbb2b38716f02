//! FAULTS 2: the store on Paxos. (`unreliable_sequence`, `unreliable_one_key` and `frees_log_memory` are tests of real
//! processes and of memory.)

use std::time::Instant;

use super::client::{ONE_KEY, Work};
use super::network::Reliability;
use super::{Lab, MS, SECOND, report, with_seeds};

#[test]
fn basic() {
    with_seeds(|seed| {
        let mut lab = Lab::new(5, seed);
        for replica in 0..5 {
            let other = (replica + 1) % 5;
            let (writer, appender) = (
                lab.add_client_of(replica, Work::None),
                lab.add_client_of(other, Work::None),
            );
            let value = format!("of r{replica}");
            lab.clients[writer].ask_put(b"a", value.as_bytes());
            lab.wait("the put", Lab::is_quiet);
            for reader in (0..5).rev() {
                let read = lab.read_at(reader, b"a");
                assert_eq!(read.as_deref(), Some(value.as_bytes()), "at r{reader}");
            }
            let absent = format!("absent {replica}").into_bytes();
            lab.clients[writer].ask_append(&absent, b"one");
            lab.wait("the first append", Lab::is_quiet);
            lab.clients[appender].ask_append(&absent, b"two");
            lab.wait("the second append", Lab::is_quiet);
            assert_eq!(lab.read_at(0, &absent).as_deref(), Some(&b"onetwo"[..]));
        }
        lab.assert_linearizable();
    });
}

#[test]
fn concurrent() {
    with_seeds(|seed| {
        let began = Instant::now();
        let mut lab = Lab::new(5, seed);
        for _ in 0..15 {
            let replica = lab.random.between(0, 5) as usize;
            lab.add_client_of(replica, Work::Mixed { keys: 1 });
        }
        lab.run_for(3 * SECOND);
        lab.stop_clients();
        let first = lab.read_at(0, b"k0");
        for replica in 1..5 {
            assert_eq!(lab.read_at(replica, b"k0"), first, "at r{replica}");
        }
        lab.assert_linearizable();
        assert!(lab.answered() > 1_000, "{} answers", lab.answered());
        report("concurrent", &lab, began);
    });
}

/// Two of five are cut off, the leader with them or not: what is asked of them waits for the network, and comes after what
/// the others did meanwhile.
#[test]
fn partition() {
    with_seeds(|seed| {
        let mut lab = Lab::new(5, seed);
        let leader = lab.leader();
        for minority in [
            [leader, (leader + 1) % 5],
            [(leader + 1) % 5, (leader + 2) % 5],
        ] {
            cut_two_off(&mut lab, minority);
        }
        lab.assert_linearizable();
    });
}

fn cut_two_off(lab: &mut Lab, minority: [usize; 2]) {
    let majority: Vec<usize> = (0..5)
        .filter(|replica| !minority.contains(replica))
        .collect();
    lab.network.partition(&[&minority, &majority]);
    let write = |lab: &mut Lab, value: &[u8]| {
        let writer = lab.add_client_of(majority[0], Work::None);
        lab.clients[writer].ask_put(b"a", value);
        lab.clients[writer].ask_put(b"b", value);
        lab.wait("the majority to go on", |lab| lab.clients[writer].is_idle());
    };
    write(lab, b"first");
    let putter = lab.add_client_of(minority[0], Work::None);
    let getter = lab.add_client_of(minority[1], Work::None);
    lab.clients[putter].ask_put(b"a", b"of the minority");
    lab.clients[getter].ask_get(b"b");
    lab.run_for(SECOND);
    write(lab, b"latest");
    lab.run_for(SECOND);
    for client in [putter, getter] {
        assert!(!lab.clients[client].is_idle(), "the minority answers");
    }
    lab.network.heal();
    let put_returned = |lab: &Lab| lab.clients[putter].is_idle();
    lab.wait_at_most(3 * SECOND, "the put to return", put_returned);
    let get_returned = |lab: &Lab| lab.clients[getter].is_idle();
    lab.wait_at_most(7 * SECOND, "the get to return", get_returned);
    let latest = lab.clients[getter].last_value().unwrap();
    assert_eq!(latest.as_deref(), Some(&b"latest"[..]));
    for replica in 0..5 {
        let read = lab.read_at(replica, b"a");
        assert_eq!(read.as_deref(), Some(&b"of the minority"[..]));
    }
}

/// A leader is cut off with what it has in flight, and one other with it; then it is in another majority; then all is well.
#[test]
fn hole() {
    with_seeds(|seed| {
        let began = Instant::now();
        let mut lab = Lab::new(5, seed);
        for replica in 0..5 {
            lab.add_client_of(replica, Work::OwnKey);
        }
        for _ in 0..5 {
            lab.run_for(500 * MS);
            let first = lab.leader();
            let place = |step: usize| (first + step) % 5;
            lab.network
                .partition(&[&[place(0), place(1)], &[place(2), place(3), place(4)]]);
            lab.run_for(SECOND);
            lab.network
                .partition(&[&[place(0), place(1), place(2)], &[place(3), place(4)]]);
            lab.run_for(SECOND);
            lab.network.heal();
            lab.stop_clients();
            lab.assert_own_keys();
            lab.resume_clients();
        }
        lab.stop_clients();
        lab.wait_until_equal();
        assert!(lab.answered() > 500, "{} answers", lab.answered());
        report("hole", &lab, began);
    });
}

#[test]
fn many_partitions() {
    with_seeds(|seed| {
        let began = Instant::now();
        let mut lab = Lab::new(5, seed);
        lab.network.become_reliable(Reliability::AnswersDropped);
        for _ in 0..10 {
            lab.add_client(Work::OwnKey);
        }
        let (until, mut regroupings) = (lab.now + 20 * SECOND, 0);
        while lab.now < until {
            lab.network.regroup(3, &mut lab.random);
            regroupings += 1;
            let length = lab.random.between(0, 200 * MS);
            lab.run_for(length);
        }
        lab.network.heal();
        lab.stop_clients();
        lab.assert_own_keys();
        println!("{regroupings} regroupings");
        assert!(lab.answered() > 100, "{} answers", lab.answered());
        report("many_partitions", &lab, began);
    });
}

/// As above, where all append to one key while the network regroups.
#[test]
fn many_partitions_one_key() {
    with_seeds(|seed| {
        let began = Instant::now();
        let mut lab = Lab::new(5, seed);
        lab.network.become_reliable(Reliability::AnswersDropped);
        for _ in 0..5 {
            lab.add_client(Work::OneKey);
        }
        for _ in 0..100 {
            lab.network.regroup(2, &mut lab.random);
            let length = lab.random.between(0, 200 * MS);
            lab.run_for(length);
        }
        lab.network.heal();
        lab.stop_clients();
        lab.assert_one_key();
        assert!(lab.read_at(0, ONE_KEY).is_some());
        report("many_partitions_one_key", &lab, began);
    });
}
