//! A leader's process that stands still for five seconds, as under a debugger or a stopped machine, and goes on as if
//! nothing had happened (FAULTS 6).

use std::time::{Duration, Instant};

use client::Client;
use common::Outcome;

use crate::cluster::{Cluster, SIZE};
use crate::raw_client::{RawClient, get};

/// What the row says.
const PAUSE: Duration = Duration::from_secs(5);

/// How many connections ask just before it stands still, and as many while it does.
const READERS: usize = 20;

/// What waits in the leader's sockets when it goes on was asked after another write had been answered elsewhere: the old
/// value would be stale, however sure of its lead it was.
#[test]
fn paused_leader_answers_no_stale_read() {
    let cluster = Cluster::start(&[]);
    let leader = cluster.leader();
    let mut options = cluster.options();
    options.first = (leader + 1) % SIZE;
    options.follow_leader = false;
    let mut writer = Client::new(options).unwrap();
    writer.put(b"k", b"old").unwrap();
    let greet = |_| RawClient::greeted(cluster.client_address(leader));
    let mut early: Vec<RawClient> = (0..READERS).map(greet).collect();
    let mut late: Vec<RawClient> = (0..READERS).map(greet).collect();
    for reader in &mut early {
        reader.ask(&get(1, b"k"));
    }
    cluster.pause(leader);
    let paused = Instant::now();
    writer.put(b"k", b"new").unwrap();
    let took = paused.elapsed();
    println!("the others took a write {took:?} after r{leader} stood still");
    assert!(took < PAUSE, "the others need {took:?} without r{leader}");
    for reader in &mut late {
        reader.ask(&get(2, b"k"));
    }
    std::thread::sleep(PAUSE.saturating_sub(paused.elapsed()));
    cluster.resume(leader);
    for reader in &mut early {
        match reader.hear_answer().outcome {
            Outcome::Value { value, .. } => assert!(value == b"old" || value == b"new"),
            Outcome::Refused(_) => {}
            other => panic!("{other}"),
        }
    }
    let mut read = 0;
    for reader in &mut late {
        match reader.hear_answer().outcome {
            Outcome::Value { value, .. } => {
                assert_eq!(value, b"new", "a stale read");
                read += 1;
            }
            Outcome::Refused(_) => {}
            other => panic!("{other}"),
        }
    }
    println!("{read} of {READERS} late reads were answered with the value, the others refused");
    let value = cluster.client_of(leader).get(b"k").unwrap().unwrap().value;
    assert_eq!(value, b"new");
}
