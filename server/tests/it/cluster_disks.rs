//! Real replicas that lose their disks, or find them damaged (SPEC D7, RULES R1; the rows of FAULTS 3 about lost disks).

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

use client::Client;
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
    let outcome = load.stop();
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
    let outcome = load.stop();
    assert_eq!(outcome.errors, Vec::<String>::new());
    cluster.wait_until_serving();
    outcome.assert_all_there(&mut cluster.client_of(1));
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
    assert_eq!(get(&cluster), Some(b"first".to_vec()));
    put(&cluster, "second");
    assert_eq!(get(&cluster), Some(b"second".to_vec()));
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
    assert_eq!(get(&cluster), Some(expected.into_bytes()));
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
    let outcome = load.stop();
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
fn wait_for_vote(cluster: &Cluster, id: usize) {
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

fn get(cluster: &Cluster) -> Option<Vec<u8>> {
    let mut options = cluster.options();
    options.timeout = Duration::from_secs(20);
    let found = Client::new(options).unwrap().get(KEY).unwrap();
    found.map(|found| found.value)
}

fn assert_nothing_succeeds(cluster: &Cluster) {
    let mut options = cluster.options();
    options.timeout = Duration::from_secs(3);
    let mut client = Client::new(options).unwrap();
    let answer = client.get(KEY);
    assert!(answer.is_err(), "a read without a quorum gave {answer:?}");
}

const KEY: &[u8] = b"key";
