//! Five real processes whose clients go on while a nemesis kills, stops, parts, wipes and restarts them.
//!
//! The nemesis strikes once, undoes it, waits until all are well, and strikes again. Never more than two of five suffer,
//! but in strikes that are named for it: no majority, and a restart of all. What it does comes from a seed
//! (`NEMESIS_SEED`), how long it goes on from `NEMESIS_SECS`. What clients asked and heard is judged at the end.

mod clients;
mod nemesis;
mod schedule;
mod verdict;

use std::cell::Cell;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use client::Client;
use tempfile::TempDir;

use crate::cluster::{Cluster, SIZE};
use crate::cluster_kills::wait_for_same_hash;
use crate::cluster_load::Load;
use crate::proxy::{Faults, Proxy, Rates};
use clients::{Clients, over_both};
use nemesis::{Nemesis, Record};
use schedule::Schedule;
use verdict::Evidence;

/// Long enough for a few strikes.
const SECONDS: u64 = 10;

/// How many clients append tags, beside those whose history is written down.
const APPENDERS: usize = 4;

/// A strike and what comes after it take less than this on the average.
const SECONDS_PER_STRIKE_MAX: u64 = 8;

#[test]
fn what_clients_hear_is_right_whatever_the_nemesis_does() {
    let seed = from_environment("NEMESIS_SEED").unwrap_or_else(rand::random);
    let seconds = from_environment("NEMESIS_SECS").unwrap_or(SECONDS);
    println!("nemesis: NEMESIS_SEED={seed} NEMESIS_SECS={seconds}");
    let evidence = Evidence::new(seed);
    let mut cluster = Cluster::start_on_links(&[], links(seed));
    let clients = Clients::start(&cluster, evidence.path(), seed);
    let load = Load::start(over_both(&cluster), APPENDERS);
    let mut nemesis = Nemesis {
        cluster: &mut cluster,
        clients: &clients,
        record: Record::default(),
    };
    nemesis.wait_until_well();
    let mut schedule = Schedule::new(seed);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(seconds) {
        nemesis.strike(schedule.next());
    }
    let took = began.elapsed().as_secs();
    let (record, counts) = (std::mem::take(&mut nemesis.record), nemesis.counts());

    let mut appended = load.stop();
    appended.assert_all_there(&mut Client::new(cluster.options()).unwrap());
    let operations = clients.stop_and_read_all(&cluster);
    let slot = wait_for_same_hash(&cluster);
    let unknown = evidence.judge().unwrap_or_else(|wrong| panic!("{wrong}"));

    print!("{record}");
    println!("links: {counts}");
    println!(
        "all five agree at slot {slot}; at most {} MiB of memory and {} MiB of disk each; {} appends beside, all there once",
        record.resident_kib_max >> 10,
        record.disk_bytes_max >> 20,
        appended.answered,
    );
    println!(
        "nemesis: seconds={took} faults={} operations={operations} unknown={unknown} verdict=linearizable longest_gap_ms={}",
        record.strikes,
        record.longest_gap.as_millis()
    );
    assert!(
        record.strikes as u64 > seconds / SECONDS_PER_STRIKE_MAX,
        "too few strikes"
    );
    assert!(operations > 50 * seconds, "too few operations");
}

/// The disks of all five go back to what they held a while before, which no store survives: the judge must see it.
#[test]
fn a_history_of_lost_writes_is_found_wrong() {
    let evidence = Evidence::new(0);
    let mut cluster = Cluster::start(&[]);
    let clients = Clients::start(&cluster, evidence.path(), 0);
    clients.wait_for_more(&cluster, 1_000);
    let copies = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let copy = |id: usize| copies.path().join(id.to_string());
    restart_all(&mut cluster, |id, data| copy_files(data, &copy(id)));
    clients.wait_for_more(&cluster, 1_000);
    restart_all(&mut cluster, |id, data| {
        fs::remove_dir_all(data).unwrap();
        copy_files(&copy(id), data);
    });
    clients.wait_for_more(&cluster, 1_000);
    clients.stop_and_read_all(&cluster);
    let wrong = evidence.judge().unwrap_err();
    println!("{wrong}");
    assert!(wrong.contains("have no right order"), "{wrong}");
}

/// Kills all five, does this to the directory of each, and starts them again.
fn restart_all(cluster: &mut Cluster, change: impl Fn(usize, &Path)) {
    let all: Vec<usize> = (0..SIZE).collect();
    cluster.kill(&all);
    for id in all {
        change(id, &cluster.data(id));
        cluster.start_replica(id);
    }
    cluster.wait_until_serving();
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Links that are good until they are told otherwise.
fn links(seed: u64) -> impl FnMut(SocketAddr) -> Proxy {
    let next = Cell::new(seed);
    let rates = Rates {
        cut: 0.002,
        ..Rates::FIFTH
    };
    move |address| {
        next.set(next.get().wrapping_add(1));
        let proxy = Proxy::stream(address, Faults::both_ways(next.get(), rates));
        proxy.set_faulty(false);
        proxy
    }
}

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
}
