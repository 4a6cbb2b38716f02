//! One real replica on a disk that is full (RULES R18, FAULTS 5): it lives, waits, and goes on by itself, and what it
//! answered is there whatever was killed meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use client::Client;

use crate::cluster::{self, server_command};
use crate::messages::says;
use crate::one_replica::Replica;
use crate::small_disk::SmallDisk;

const VALUE_BYTES: usize = 100_000;
const DISK_BYTES: u64 = 100_000_000;

#[test]
#[ignore = "as root: mounts a small file system"]
fn a_full_disk_stops_writes_and_not_the_process() {
    let disk = SmallDisk::new(DISK_BYTES);
    let mut replica = Replica::start(&disk.path().join("data"));
    let mut written = Written::default();
    written.put_many(&mut replica.client(), 20);
    disk.fill(0);
    let refused = written.put_until_refused(&mut replica.client());
    println!("with no free byte {} PUTs: {refused}", written.count);
    let message = "the disk takes only … MiB more; … MiB are kept in reserve";
    replica.wait("it to say so", |replica| says(&replica.log(), message));
    assert!(replica.runs(), "{}", replica.log());
    disk.empty();
    let began = Instant::now();
    replica.wait("a PUT", |replica| written.put(&mut replica.client()));
    println!("goes on {:?} after there is room", began.elapsed());
    written.assert_all_there(&mut replica.client());
    disk.fill(0);
    written.put_until_refused(&mut replica.client());
    let (status, took) = replica.terminate();
    println!("stopped after {took:?} on a full disk");
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    disk.empty();
    replica.start_again();
    written.assert_all_there(&mut replica.client());
}

#[test]
#[ignore = "as root: mounts a small file system"]
fn what_was_answered_survives_kills_and_starts_on_a_full_disk() {
    let disk = SmallDisk::new(DISK_BYTES);
    let mut replica = Replica::start(&disk.path().join("data"));
    let mut written = Written::default();
    for round in 0..3 {
        written.put_many(&mut replica.client(), 50);
        disk.fill(0);
        written.put_until_refused(&mut replica.client());
        for start in 0..4 {
            replica.kill();
            disk.fill(0);
            replica.start_again();
            // Whether there is room for it to lead again depends on where in its journal the disk became full.
            let answered = replica.client().get(&0_u64.to_be_bytes()).is_ok();
            println!("round {round}, start {start} on a full disk: it answers: {answered}");
            assert!(replica.runs(), "{}", replica.log());
        }
        disk.empty();
        written.assert_all_there(&mut replica.client());
        // One may slip in before the new leader has looked at its disk for all, which then takes it a heartbeat.
        replica.wait("PUTs for longer than a heartbeat", |replica| {
            let mut client = replica.client();
            (0..20).all(|_| {
                thread::sleep(Duration::from_millis(5));
                written.put(&mut client)
            })
        });
        println!("round {round}: {} PUTs, all there", written.count);
    }
}

/// Three times what the disk holds is written over ten keys.
#[test]
#[ignore = "as root: mounts a small file system"]
fn a_store_works_on_a_disk_of_100_mb() {
    // It writes as fast as it can, and snapshots must keep up.
    let _turn = cluster::turn();
    let disk = SmallDisk::new(DISK_BYTES);
    let replica = Replica::start(&disk.path().join("data"));
    let mut client = replica.client();
    let mut written = Written::default();
    let mut free_bytes_min = u64::MAX;
    for _ in 0..3_000 {
        assert!(written.put_one(&mut client).is_none(), "{}", replica.log());
        free_bytes_min = free_bytes_min.min(disk.free_bytes());
    }
    written.assert_all_there(&mut client);
    println!("300 MB of PUTs on 100 MB: at least {free_bytes_min} bytes were free");
}

#[test]
#[ignore = "as root: mounts a small file system"]
fn a_disk_without_a_free_byte_ends_the_first_start_with_a_sentence() {
    let disk = SmallDisk::new(1 << 20);
    let data = disk.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("lock"), "").unwrap();
    disk.fill(0);
    let ended = server_command()
        .args(["--tcp", "127.0.0.1:0", "--data"])
        .arg(&data)
        .output()
        .unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    let sentence = format!(
        "cannot use the files in {}: the disk is full",
        data.display()
    );
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("[ERROR]"))
        .collect();
    assert!(
        matches!(lines[..], [line] if line.contains(&sentence)),
        "{said}"
    );
    disk.empty();
    let mut replica = Replica::start(&disk.path().join("data"));
    assert!(Written::default().put(&mut replica.client()));
    assert!(replica.runs());
}

/// What was written, over ten keys in turn.
#[derive(Default)]
struct Written {
    count: u64,
    /// The number of the last PUT that was answered, by key.
    answered: BTreeMap<u64, u64>,
    /// The number of the last one that was not, by key: it may have happened.
    unknown: BTreeMap<u64, u64>,
}

impl Written {
    fn put_many(&mut self, client: &mut Client, count: u64) {
        for _ in 0..count {
            let refused = self.put_one(client);
            assert_eq!(refused, None);
        }
    }

    /// Whether it was answered.
    fn put(&mut self, client: &mut Client) -> bool {
        self.put_one(client).is_none()
    }

    /// Why no answer came, if none did.
    fn put_one(&mut self, client: &mut Client) -> Option<String> {
        let number = self.count;
        let key = number % 10;
        self.count += 1;
        match client.put(&key.to_be_bytes(), &value(number)) {
            Ok(_) => {
                self.answered.insert(key, number);
                None
            }
            Err(error) => {
                self.unknown.insert(key, number);
                Some(error.to_string())
            }
        }
    }

    /// Puts until there is no room; what it was told then.
    fn put_until_refused(&mut self, client: &mut Client) -> String {
        for _ in 0..1_000 {
            if let Some(error) = self.put_one(client) {
                return error;
            }
        }
        panic!("1,000 PUTs of 100,000 bytes on a full disk of 100 MB");
    }

    /// What was answered is there, unless a later one whose answer is missing overwrote it.
    fn assert_all_there(&self, client: &mut Client) {
        let deadline = Instant::now() + Duration::from_secs(30);
        for (key, number) in &self.answered {
            let found = loop {
                match client.get(&key.to_be_bytes()) {
                    Ok(found) => break found.expect("an answered PUT is there").value,
                    Err(error) => assert!(Instant::now() < deadline, "{error}"),
                }
            };
            let unknown = self.unknown.get(key).filter(|unknown| *unknown > number);
            let possible = [Some(number), unknown];
            assert!(
                possible
                    .into_iter()
                    .flatten()
                    .any(|number| found == value(*number)),
                "key {key}: not what was answered"
            );
        }
    }
}

/// Tells which PUT it was.
fn value(number: u64) -> Vec<u8> {
    let mut value = vec![b'v'; VALUE_BYTES];
    value[..8].copy_from_slice(&number.to_be_bytes());
    value
}
