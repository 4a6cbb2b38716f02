//! What five real processes leave on their disks (FAULTS 3, `disk_use`), and that snapshots stop nobody.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{Fleet, Operation};
use kvpaxos_server::identity::Identity;
use kvpaxos_server::journal::{Disk, FileDisk, JournalSettings, Storage, StorageSettings};
use kvpaxos_server::snapshot;
use paxos::{Record, Slot};
use tempfile::TempDir;

use crate::cluster::{Cluster, SIZE};

/// 100 rounds of a 1,000-byte put: all replicas together keep at most 20,000 bytes alive when they have been idle.
#[test]
fn disk_use() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client_of(0);
    for round in 0..100_u8 {
        client.put(b"key", &[round; 1_000]).unwrap();
    }
    let began = Instant::now();
    loop {
        let live: Vec<LiveData> = (0..SIZE)
            .filter_map(|id| LiveData::of(&cluster.data(id)))
            .collect();
        let bytes: u64 = live.iter().map(LiveData::bytes).sum();
        let waited = began.elapsed();
        if live.len() == SIZE && bytes <= 20_000 {
            println!("disk_use: {bytes} bytes are alive after {waited:?}: {live:?}");
            assert!(live.iter().all(|live| live.segments <= 3));
            return;
        }
        assert!(waited < Duration::from_secs(20), "{bytes} bytes: {live:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// 300,000 overwrites while one replica is down: the bytes on disk stay below the bound that `node/snapshots.rs` names, no
/// snapshot keeps clients waiting, and who was down comes back by a snapshot while the clients go on. Everything is there
/// after a restart, also where the newest snapshot is damaged (FAULTS 5).
#[test]
fn overwriting_does_not_fill_the_disk() {
    let mut cluster = Cluster::start(&[]);
    let away = (cluster.leader() + 1) % SIZE;
    cluster.kill(&[away]);
    let mut overwriting = Overwriting::begin(&cluster);
    overwriting.run(&cluster, WRITES);
    println!(
        "overwriting: {overwriting}, {} snapshots",
        snapshots(&cluster)
    );
    assert!(snapshots(&cluster) > SIZE, "too few snapshots were taken");

    let began = Instant::now();
    cluster.start_replica(away);
    while !cluster.log(away).contains("is installed, of ") {
        assert!(began.elapsed() < Duration::from_secs(60), "it is not back");
        overwriting.run(&cluster, 1_000);
    }
    println!(
        "who was down is back after {:?}: {overwriting}",
        began.elapsed()
    );
    overwriting.run(&cluster, 10_000);
    // On a machine with nothing else to do it is less than a tenth of that.
    assert!(
        overwriting.longest_gap < Duration::from_secs(1),
        "{overwriting}"
    );
    drop(overwriting);
    restart_with_a_spoilt_snapshot(&mut cluster);
    let mut client = cluster.client_of(0);
    for key in 0..KEYS {
        let found = client.get(&key.to_be_bytes()).unwrap().unwrap();
        assert_eq!(found.value.len(), 300);
    }
}

/// How many snapshots all replicas took.
fn snapshots(cluster: &Cluster) -> usize {
    let taken = |id| cluster.log(id).matches(" is complete, of ").count();
    (0..SIZE).map(taken).sum()
}

/// All are killed, and one finds that a bit of its newest snapshot is wrong.
fn restart_with_a_spoilt_snapshot(cluster: &mut Cluster) {
    let all: Vec<usize> = (0..SIZE).collect();
    cluster.kill(&all);
    let spoilt = spoil_newest_snapshot(&cluster.data(0));
    for id in all {
        cluster.start_replica(id);
    }
    cluster.wait_until_serving();
    let said = format!("{spoilt} is damaged");
    assert!(cluster.log(0).contains(&said), "{}", cluster.log(0));
    cluster.wait("all replicas hold the same", |cluster| {
        let states: Vec<_> = (0..SIZE)
            .filter_map(|id| cluster.status(id))
            .map(|status| (status.applied, status.state_hash))
            .collect();
        states.len() == SIZE && states.iter().all(|state| *state == states[0])
    });
}

/// Flips a bit in the middle of the file, and returns its name.
fn spoil_newest_snapshot(data: &Path) -> String {
    let names = fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    let newest = names.filter(|name| name.ends_with(".snap")).max().unwrap();
    let path = data.join(&newest);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    newest
}

/// Seven times 16 MiB, two snapshots of 1,000 keys, and the room for two more in the place of the oldest.
const DISK_BYTES_MAX: u64 = (7 << 24) + (128 << 10) + 1_000 * 350 * 7 / 2;

fn bytes_on_disk(data: &Path) -> u64 {
    let entries = fs::read_dir(data).unwrap().map(Result::unwrap);
    // A file may be removed between being listed and being looked at.
    let lengths = entries.filter_map(|entry| entry.metadata().ok());
    lengths.map(|metadata| metadata.len()).sum()
}

const CLIENTS: usize = 32;
/// How many PUTs each client has outstanding.
const PIPELINE: usize = 16;
const KEYS: u64 = 1_000;
const WRITES: u64 = 300_000;

/// Clients that overwrite a few keys, and a look at the disks now and then.
struct Overwriting {
    fleet: Fleet,
    began: Instant,
    submitted: u64,
    answered: u64,
    last_answer: Option<Instant>,
    /// The longest time in which none of the clients had an answer.
    longest_gap: Duration,
    /// The most that any replica had on its disk.
    most_bytes: u64,
}

impl Overwriting {
    fn begin(cluster: &Cluster) -> Self {
        Self {
            fleet: Fleet::new(cluster.options(), CLIENTS).unwrap(),
            began: Instant::now(),
            submitted: 0,
            answered: 0,
            last_answer: None,
            longest_gap: Duration::ZERO,
            most_bytes: 0,
        }
    }

    /// Until so many more are answered; others are outstanding then.
    fn run(&mut self, cluster: &Cluster, writes: u64) {
        let end = self.answered + writes;
        let mut done = Vec::new();
        while self.answered < end {
            for client in 0..CLIENTS {
                while self.fleet.unfinished(client) < PIPELINE {
                    self.fleet.submit(client, overwrite(self.submitted));
                    self.submitted += 1;
                }
            }
            self.fleet
                .turn(Duration::from_millis(50), &mut done)
                .unwrap();
            for (_, completion) in done.drain(..) {
                completion.result.unwrap();
                self.note_answer(cluster);
            }
        }
    }

    fn note_answer(&mut self, cluster: &Cluster) {
        self.answered += 1;
        let now = Instant::now();
        if let Some(last) = self.last_answer.replace(now) {
            self.longest_gap = self.longest_gap.max(now - last);
        }
        if self.answered.is_multiple_of(1_000) {
            let bytes = (0..SIZE).map(|id| bytes_on_disk(&cluster.data(id)));
            self.most_bytes = self.most_bytes.max(bytes.max().unwrap());
            assert!(self.most_bytes < DISK_BYTES_MAX, "{self}");
        }
    }
}

impl fmt::Display for Overwriting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} PUTs in {:?}, at most {} bytes on a replica's disk, longest gap {:?}",
            self.answered,
            self.began.elapsed(),
            self.most_bytes,
            self.longest_gap
        )
    }
}

/// The value tells which write it was.
fn overwrite(number: u64) -> Operation {
    let mut value = vec![b'v'; 300];
    value[..8].copy_from_slice(&number.to_be_bytes());
    Operation::Put {
        key: (number % KEYS).to_be_bytes().to_vec(),
        value,
    }
}

/// What a replica's files hold that it still needs, without padding and preallocated space.
#[derive(Debug)]
struct LiveData {
    identity: u64,
    snapshots: u64,
    /// The records at or above the older snapshot.
    log: u64,
    segments: usize,
}

impl LiveData {
    /// Reads a copy of the files, because the process has them open. `None` if it was changing them.
    fn of(data: &Path) -> Option<Self> {
        let copy = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for entry in fs::read_dir(data).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != "lock" {
                fs::copy(entry.path(), copy.path().join(entry.file_name())).ok()?;
            }
        }
        let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(copy.path()).unwrap());
        let identity = Identity::load(&*disk).ok()??;
        let founding = identity.founding.as_ref()?;
        let loaded = snapshot::load(&*disk, founding.cluster).ok()?;
        let slots = loaded.kept_slots();
        let base = slots.last().copied().unwrap_or_default();
        let oldest = if slots.len() == 2 { slots[0] } else { Slot(0) };
        let settings = StorageSettings {
            replica: identity.replica,
            members: founding.members.iter().map(|member| member.0).collect(),
            journal: JournalSettings::default(),
        };
        let mut log = 0;
        let mut replay = |_, records: Vec<Record>| {
            log += records
                .iter()
                .filter_map(|record| bytes_above(oldest, record))
                .sum::<u64>();
        };
        let storage = Storage::open_above(base, &disk, &settings, &mut rand::random, &mut replay);
        assert_eq!(storage.ok()?.blank, None);
        let names = disk.list().unwrap();
        Some(Self {
            identity: disk.length("identity").unwrap(),
            snapshots: loaded.kept.iter().map(|kept| kept.bytes).sum(),
            log,
            segments: names
                .iter()
                .filter(|name| name.starts_with("segment-"))
                .count(),
        })
    }

    fn bytes(&self) -> u64 {
        self.identity + self.snapshots + self.log
    }
}

/// What a record takes in the journal, if its slot is not below this one.
fn bytes_above(oldest: Slot, record: &Record) -> Option<u64> {
    let (Record::Accepted { slot, command, .. } | Record::Learned { slot, command }) = record;
    (*slot >= oldest).then(|| 31 + command.size_bytes() as u64)
}
