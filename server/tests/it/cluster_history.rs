//! What clients of five real processes asked and heard while their leader was killed again and again: written to a file,
//! read back, and judged.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::history::{
    Explanation, Kind, Operation, Recorder, Status, Verdict, judge_key, read_lines,
};
use client::{ClientOptions, Fleet, Operation as Request};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::cluster::Cluster;

const CLIENTS: usize = 32;

/// Few, so that the clients meet.
const KEYS: u32 = 6;

/// How often the leader is killed.
const KILLS: usize = 3;

/// How long judging a key may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Clients that do everything that can be done to a key, until they are told to stop.
struct Clients {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Clients {
    fn start(options: ClientOptions, history: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let (told, counted) = (Arc::clone(&stop), Arc::clone(&answered));
        let thread = std::thread::spawn(move || run(options, &history, &told, &counted));
        Self {
            stop,
            answered,
            thread: Some(thread),
        }
    }

    /// Waits until so many more operations are finished.
    fn wait_for_more(&self, cluster: &Cluster, count: u64) {
        let from = self.answered.load(Ordering::Relaxed);
        cluster.wait("answers", |_| {
            self.answered.load(Ordering::Relaxed) >= from + count
        });
    }

    fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn run(options: ClientOptions, history: &Path, stop: &AtomicBool, answered: &AtomicU64) {
    let mut random = SmallRng::seed_from_u64(17);
    let mut fleet = Fleet::new(options, CLIENTS).unwrap();
    let mut recorder = Recorder::create(history).unwrap();
    for client in 0..CLIENTS {
        fleet.submit(client, next(&mut random));
    }
    let mut done = Vec::new();
    while (0..CLIENTS).any(|client| fleet.unfinished(client) > 0) {
        fleet.turn(Duration::from_millis(50), &mut done).unwrap();
        let now = Instant::now();
        for (client, completion) in done.drain(..) {
            recorder.note(client, completion, now).unwrap();
            answered.fetch_add(1, Ordering::Relaxed);
            if !stop.load(Ordering::Relaxed) {
                fleet.submit_at(client, next(&mut random), now);
            }
        }
    }
    recorder.finish().unwrap();
}

fn next(random: &mut SmallRng) -> Request {
    let key = format!("history/{}", random.random_range(0..KEYS)).into_bytes();
    let value = format!("{:016x};", random.random::<u64>()).into_bytes();
    match random.random_range(0..10) {
        0..2 => Request::Put { key, value },
        2..4 => Request::Append { key, value },
        4 => Request::Delete { key },
        _ => Request::Get { key },
    }
}

/// The history by keys.
fn read(history: &Path) -> BTreeMap<Vec<u8>, Vec<Operation>> {
    let mut keys: BTreeMap<Vec<u8>, Vec<Operation>> = BTreeMap::new();
    let input = BufReader::new(File::open(history).unwrap());
    read_lines(input, |line| {
        if line.status != Status::Fail {
            keys.entry(line.key).or_default().push(line.operation);
        }
    })
    .unwrap();
    keys
}

/// Changes the answer of a read so that three reads, one after the other, show a value, another one, and the first again.
/// All values are distinct, so it cannot come back.
fn alter(operations: &mut [Operation]) {
    let mut reads: Vec<usize> = (0..operations.len())
        .filter(|&place| matches!(operations[place].kind, Kind::Get { value: Some(_) }))
        .collect();
    reads.sort_by_key(|&place| operations[place].called);
    let first = reads[0];
    let follows = |place: usize, other: usize| {
        operations[place].called > operations[other].returned.unwrap()
            && operations[place].kind != operations[other].kind
    };
    let second = reads.iter().copied().find(|&place| follows(place, first));
    let second = second.unwrap();
    let third = reads
        .iter()
        .copied()
        .find(|&place| follows(place, second) && operations[place].kind != operations[first].kind);
    operations[third.unwrap()].kind = operations[first].kind.clone();
}

#[test]
fn what_clients_saw_while_leaders_were_killed_is_linearizable() {
    let mut cluster = Cluster::start(&[]);
    let history = cluster.directory().join("history.jsonl");
    let clients = Clients::start(cluster.options(), history.clone());
    for _ in 0..KILLS {
        clients.wait_for_more(&cluster, 1_000);
        let leader = cluster.leader();
        cluster.kill(&[leader]);
        clients.wait_for_more(&cluster, 1_000);
        cluster.start_replica(leader);
        cluster.wait_until_serving();
    }
    clients.stop();
    let keys = read(&history);
    assert_eq!(keys.len(), KEYS as usize);
    for (key, mut operations) in keys {
        let began = Instant::now();
        assert_eq!(judge_key(&operations, Some(LIMIT)), Verdict::Right);
        println!(
            "{}: {} operations judged in {:?}",
            String::from_utf8_lossy(&key),
            operations.len(),
            began.elapsed()
        );
        alter(&mut operations);
        let verdict = judge_key(&operations, Some(LIMIT));
        assert!(matches!(verdict, Verdict::Wrong(_)), "{verdict:?}");
        let explanation = Explanation::of(&key, operations, Duration::from_secs(2));
        let shown = explanation.operations().len();
        assert!(shown < 100, "{shown} operations are shown\n{explanation}");
        println!("{explanation}");
    }
}
