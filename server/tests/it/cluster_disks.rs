//! Real replicas that lose their disks, or find them damaged (SPEC D7, RULES R1; the rows of FAULTS 3 about lost disks).

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use client::{Client, ClientError};
use common::Role;

use crate::cluster::{Cluster, SIZE};
use crate::cluster_load::Load;

/// Each replica in turn loses its disk under load, comes back, and votes before the next one loses its own.
#[test]
fn one_lost_disk() {
    let mut cluster = Cluster::start(&[]);
    let load = Load::start(cluster.options(), 5);
    for id in 0..SIZE {
        load.wait_for_more(100);
        lose_disk(&mut cluster, id);
        load.wait_for_more(50);
        cluster.start_replica(id);
        wait_for_vote(&cluster, id);
    }
    load.wait_for_more(100);
    let mut outcome = load.stop();
    assert_eq!(outcome.errors, Vec::<String>::new());
    for id in 0..SIZE {
        outcome.assert_all_there(&mut cluster.client_of(id));
    }
}

/// One loses its disk while another is down: the three that are left let it vote again, and then any two may be missing.
#[test]
fn one_lost_one_down() {
    let mut cluster = Cluster::start(&[]);
    let load = Load::start(cluster.options(), 5);
    load.wait_for_more(100);
    cluster.kill(&[1]);
    lose_disk(&mut cluster, 2);
    load.wait_for_more(50);
    cluster.start_replica(2);
    wait_for_vote(&cluster, 2);
    cluster.kill(&[3]);
    load.wait_for_more(50);
    cluster.start_replica(1);
    cluster.start_replica(3);
    let mut outcome = load.stop();
    assert_eq!(outcome.errors, Vec::<String>::new());
    cluster.wait_until_serving();
    outcome.assert_all_there(&mut cluster.client_of(1));
}

/// Clients append and read while one replica after the other is killed and comes back, three with their disks and three
/// without, the leader first each time.
#[test]
fn concurrent_crash() {
    let mut cluster = Cluster::start(&[]);
    let load = Load::start_mixed(cluster.options(), 5, 50);
    for keeps_disk in [true, false] {
        let first = cluster.leader();
        for id in [first, (first + 1) % SIZE, (first + 3) % SIZE] {
            load.wait_for_more(200);
            if keeps_disk {
                cluster.kill(&[id]);
            } else {
                lose_disk(&mut cluster, id);
            }
            load.wait_for_more(100);
            cluster.start_replica(id);
            wait_for_vote(&cluster, id);
        }
    }
    load.wait_for_more(100);
    let mut outcome = load.stop();
    println!(
        "concurrent_crash: {} answers, {} of them reads that were judged; longest gap {:?}",
        outcome.answered,
        outcome.reads(),
        outcome.longest_gap
    );
    assert_eq!(outcome.errors, Vec::<String>::new());
    assert!(outcome.reads() > 100, "{} reads", outcome.reads());
    for id in 0..SIZE {
        outcome.assert_all_there(&mut cluster.client_of(id));
    }
}

/// An append races the death of the replica that it was sent to, again and again, every fifth time the leader's. What is
/// answered has happened once; what is not, at most once.
#[test]
fn simultaneous() {
    const ROUNDS: usize = 50;
    let mut cluster = Cluster::start(&[]);
    let (mut unknown, mut after_the_kill, mut moved) = (Vec::new(), 0, 0);
    for round in 0..ROUNDS {
        let victim = if round % 5 == 0 {
            cluster.leader()
        } else {
            round % SIZE
        };
        let mut client = connected_to(&cluster, victim);
        let append = thread::spawn(move || {
            let result = client.append(KEY, format!("{round};").as_bytes());
            (result, Instant::now(), client.replica())
        });
        thread::sleep(Duration::from_micros(250 * (round as u64 % 8)));
        let killed = Instant::now();
        cluster.kill(&[victim]);
        match append.join().unwrap() {
            (Ok(_), answered, replica) => {
                after_the_kill += usize::from(answered > killed);
                moved += usize::from(replica != u8::try_from(victim).ok());
            }
            (Err(error), ..) => {
                assert!(error.outcome_unknown(), "round {round}: {error}");
                unknown.push(round);
            }
        }
        cluster.start_replica(victim);
        cluster.wait_until_serving();
    }
    println!(
        "simultaneous: of {ROUNDS} appends {after_the_kill} were answered after the kill, {moved} by another replica, and \
         {unknown:?} are of unknown outcome"
    );
    assert!(moved > 0, "no append was hit");
    for id in 0..SIZE {
        let value = cluster.client_of(id).get(KEY).unwrap().unwrap().value;
        let text = String::from_utf8(value).unwrap();
        let found: Vec<usize> = text
            .split_terminator(';')
            .map(|tag| tag.parse().unwrap())
            .collect();
        for round in 0..ROUNDS {
            let count = found.iter().filter(|tag| **tag == round).count();
            let is_right = count == 1 || (count == 0 && unknown.contains(&round));
            assert!(is_right, "r{id} has append {round} {count} times: {text}");
        }
    }
}

/// A client that begins with one replica, and has a session and a connection there.
fn connected_to(cluster: &Cluster, id: usize) -> Client {
    let mut options = cluster.options();
    options.first = id;
    options.follow_leader = false;
    let mut client = Client::new(options).unwrap();
    client.put(b"other", b"").unwrap();
    client
}

/// With two disks lost and two replicas down nobody may vote in the place of those who know: nothing is answered, and when
/// the two come back nothing is lost.
#[test]
fn rejoin_must_refuse() {
    let mut cluster = Cluster::start(&[]);
    put(&cluster, "first");
    cluster.kill(&[3, 4]);
    for id in [1, 2] {
        lose_disk(&mut cluster, id);
        cluster.start_replica(id);
    }
    assert_nothing_succeeds(&cluster);
    cluster.start_replica(3);
    cluster.start_replica(4);
    for id in [1, 2] {
        wait_for_vote(&cluster, id);
    }
    let has_run = has_run_at_most_once(&get(&cluster), "first");
    put(&cluster, "second");
    let has_run_late = has_run_at_most_once(&get(&cluster), "second");
    assert!(!(has_run && has_run_late), "the append ran twice");
}

/// What three replicas chose while two were away is known, of these five, to one that lost its disk and to two that are
/// down. The other two and the wiped one must not choose anything there again.
#[test]
fn rejoin_must_not_rechoose() {
    let mut cluster = Cluster::start(&[]);
    put(&cluster, "");
    cluster.kill(&[1, 2]);
    let mut client = Client::new(cluster.options()).unwrap();
    for number in 0..100 {
        let text = format!("{number};");
        client.append(KEY, text.as_bytes()).unwrap();
    }
    lose_disk(&mut cluster, 0);
    cluster.kill(&[3, 4]);
    for id in [0, 1, 2] {
        cluster.start_replica(id);
    }
    assert_nothing_succeeds(&cluster);
    cluster.start_replica(3);
    wait_for_vote(&cluster, 0);
    let expected: String = (0..100).map(|number| format!("{number};")).collect();
    has_run_at_most_once(&get(&cluster), &expected);
}

/// A journal with a flipped bit in the middle is not believed: the replica says so, learns from the others, and votes again.
#[test]
fn damaged_journal_rejoins() {
    let mut cluster = Cluster::start(&[]);
    let load = Load::start(cluster.options(), 5);
    load.wait_for_more(300);
    cluster.kill(&[4]);
    let mut segment = fs::OpenOptions::new()
        .write(true)
        .open(first_segment(&cluster, 4))
        .unwrap();
    segment.seek(SeekFrom::Start(3 * 4_096 + 100)).unwrap();
    segment.write_all(&[0xff; 8]).unwrap();
    segment.sync_all().unwrap();
    cluster.start_replica(4);
    wait_for_vote(&cluster, 4);
    assert!(cluster.log(4).contains("damaged"), "the log says why");
    load.wait_for_more(50);
    let mut outcome = load.stop();
    assert_eq!(outcome.errors, Vec::<String>::new());
    outcome.assert_all_there(&mut cluster.client_of(4));
}

fn lose_disk(cluster: &mut Cluster, id: usize) {
    cluster.kill(&[id]);
    fs::remove_dir_all(cluster.data(id)).unwrap();
}

fn first_segment(cluster: &Cluster, id: usize) -> PathBuf {
    let names = fs::read_dir(cluster.data(id)).unwrap();
    let paths = names.map(|entry| entry.unwrap().path());
    let segments = paths.filter(|path| path.extension().is_some_and(|end| end == "log"));
    segments.min().unwrap()
}

/// Waits until a replica that was blank takes part as before.
pub(crate) fn wait_for_vote(cluster: &Cluster, id: usize) {
    cluster.wait("a replica to vote again", |cluster| {
        cluster.status(id).is_some_and(|status| {
            status.serving && !matches!(status.role, Role::Blank | Role::Founding)
        })
    });
}

fn put(cluster: &Cluster, value: &str) {
    let mut client = Client::new(cluster.options()).unwrap();
    client.put(KEY, value.as_bytes()).unwrap();
}

fn get(cluster: &Cluster) -> String {
    let mut options = cluster.options();
    options.timeout = Duration::from_secs(20);
    let found = Client::new(options).unwrap().get(KEY).unwrap();
    String::from_utf8(found.unwrap().value).unwrap()
}

/// An operation that is not to succeed.
type Attempt = fn(&mut Client) -> Result<(), ClientError>;

/// For three seconds neither a read nor a write is answered with success. What becomes of the writes nobody knows.
fn assert_nothing_succeeds(cluster: &Cluster) {
    let attempts: [Attempt; 3] = [
        |client| client.get(KEY).map(drop),
        |client| client.append(KEY, LATE.as_bytes()).map(drop),
        |client| client.put(b"other", b"late").map(drop),
    ];
    let running = attempts.map(|attempt| {
        let mut options = cluster.options();
        options.timeout = Duration::from_secs(3);
        thread::spawn(move || attempt(&mut Client::new(options).unwrap()))
    });
    for (name, running) in ["get", "append", "put"].into_iter().zip(running) {
        let result = running.join().unwrap();
        assert!(result.is_err(), "a {name} without a quorum succeeded");
    }
}

/// Whether the append of [`assert_nothing_succeeds`] has run after all, in a value that was something else before.
fn has_run_at_most_once(value: &str, before: &str) -> bool {
    let added = value.strip_prefix(before);
    assert!(
        added.is_some_and(|added| added.is_empty() || added == LATE),
        "{value}"
    );
    added == Some(LATE)
}

/// What is appended while nothing may succeed.
const LATE: &str = "late;";

const KEY: &[u8] = b"key";
