//! Clients of both transports that do everything that can be done to a key, write down what they asked and heard, and tell
//! how long none of them succeeded.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::history::Recorder;
use client::{ClientOptions, Fleet, Operation};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::cluster::{Cluster, SIZE};

pub(super) const CLIENTS: usize = 32;

/// How long an operation is tried: less than some faults last, so that writes are given up of which nobody knows what will
/// become of them.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A client waits between two operations for 5 to 15 ms, so that the cluster and not the machine is measured.
const THINK_MS: std::ops::Range<u64> = 5..15;

/// Few at a time, so that the clients meet; not fewer, because each write of unknown outcome on a key doubles the orders that
/// may have to be tried.
const KEYS: u64 = 12;

/// So many operations go to the same keys at most; then come others, so that each can be judged.
const OPERATIONS_PER_GENERATION: u64 = 2_400;

/// When the clients last succeeded, and how long they did not.
#[derive(Debug)]
pub(super) struct Progress {
    successes: u64,
    last_success: Instant,
    longest_gap: Duration,
}

impl Progress {
    fn note_success(&mut self, now: Instant) {
        self.longest_gap = self.longest_gap.max(now - self.last_success);
        self.last_success = now;
        self.successes += 1;
    }

    /// The longest time without a success since the last [`Progress::forget`], the present moment included.
    pub(super) fn longest_gap(&self) -> Duration {
        self.longest_gap.max(self.last_success.elapsed())
    }

    pub(super) fn forget(&mut self) {
        self.longest_gap = Duration::ZERO;
    }
}

/// The clients, in a thread of their own.
#[derive(Debug)]
pub(super) struct Clients {
    stop: Arc<AtomicBool>,
    progress: Arc<Mutex<Progress>>,
    /// Which keys are in use.
    generation: Arc<AtomicU64>,
    thread: Option<JoinHandle<(Recorder, u64)>>,
}

impl Clients {
    pub(super) fn start(cluster: &Cluster, history: &Path, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let progress = Arc::new(Mutex::new(Progress {
            successes: 0,
            last_success: Instant::now(),
            longest_gap: Duration::ZERO,
        }));
        let generation = Arc::new(AtomicU64::new(0));
        let mut work = Work {
            fleet: Fleet::new(over_both(cluster), CLIENTS).unwrap(),
            recorder: Recorder::create(history).unwrap(),
            random: SmallRng::seed_from_u64(seed),
            generation: Arc::clone(&generation),
            submitted: 0,
            idle: Vec::new(),
        };
        let (told, watched) = (Arc::clone(&stop), Arc::clone(&progress));
        let thread = std::thread::spawn(move || {
            work.run(&told, &watched);
            (work.recorder, work.submitted)
        });
        Self {
            stop,
            progress,
            generation,
            thread: Some(thread),
        }
    }

    pub(super) fn progress(&self) -> parking_lot::MutexGuard<'_, Progress> {
        self.progress.lock()
    }

    /// From now on they use other keys: what one strike leaves unknown is not judged together with what another does.
    pub(super) fn change_keys(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until so many more operations have succeeded.
    pub(super) fn wait_for_more(&self, cluster: &Cluster, count: u64) {
        let from = self.progress().successes;
        cluster.wait("clients to succeed", |_| {
            self.progress().successes >= from + count
        });
    }

    /// Lets them finish, then reads each of their keys once more at each replica. Returns how many operations there were.
    pub(super) fn stop_and_read_all(mut self, cluster: &Cluster) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let (mut recorder, submitted) = self.thread.take().unwrap().join().unwrap();
        let generations = 1 + self.generation.load(Ordering::Relaxed);
        for id in 0..SIZE {
            let options = ClientOptions::parse(&cluster.client_address(id).to_string()).unwrap();
            let mut fleet = Fleet::new(options, 1).unwrap();
            for (generation, place) in
                (0..generations).flat_map(|generation| (0..KEYS).map(move |key| (generation, key)))
            {
                let key = key(generation, place);
                fleet.submit(0, Operation::Get { key });
            }
            let mut done = Vec::new();
            while fleet.unfinished(0) > 0 {
                fleet.turn(Duration::from_millis(50), &mut done).unwrap();
                let now = Instant::now();
                for (_, completion) in done.drain(..) {
                    assert!(completion.result.is_ok(), "r{id}: {completion:?}");
                    recorder.note(CLIENTS + id, completion, now).unwrap();
                }
            }
        }
        recorder.finish().unwrap();
        submitted + generations * KEYS * SIZE as u64
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A history of which the end is missing would look wrong.
        if let Some(Ok((recorder, _))) = self.thread.take().map(JoinHandle::join) {
            let _ = recorder.finish();
        }
    }
}

/// Another replica and the other transport with each step through the list; each client begins at another step.
pub(super) fn over_both(cluster: &Cluster) -> ClientOptions {
    let endpoint = |step: usize| match (step % 2, step % SIZE) {
        (0, id) => format!("udp://{}", cluster.datagram_address(id)),
        (_, id) => format!("tcp://{}", cluster.client_address(id)),
    };
    let list: Vec<String> = (0..2 * SIZE).map(endpoint).collect();
    let mut options = ClientOptions::parse(&list.join(",")).unwrap();
    options.timeout = TIMEOUT;
    options
}

#[derive(Debug)]
struct Work {
    fleet: Fleet,
    recorder: Recorder,
    random: SmallRng,
    generation: Arc<AtomicU64>,
    submitted: u64,
    /// Who waits, and until when.
    idle: Vec<(Instant, usize)>,
}

impl Work {
    /// Until told to stop, and then until all that was asked for is finished.
    fn run(&mut self, stop: &AtomicBool, progress: &Mutex<Progress>) {
        let now = Instant::now();
        self.idle = (0..CLIENTS).map(|client| (now, client)).collect();
        let mut done = Vec::new();
        loop {
            if !stop.load(Ordering::Relaxed) {
                self.submit_what_is_due();
            } else if (0..CLIENTS).all(|client| self.fleet.unfinished(client) == 0) {
                return;
            }
            let wait = Duration::from_millis(THINK_MS.start / 2);
            self.fleet.turn(wait, &mut done).unwrap();
            let now = Instant::now();
            for (client, completion) in done.drain(..) {
                if completion.result.is_ok() {
                    progress.lock().note_success(now);
                }
                self.recorder.note(client, completion, now).unwrap();
                let think = Duration::from_millis(self.random.random_range(THINK_MS));
                self.idle.push((now + think, client));
            }
        }
    }

    fn submit_what_is_due(&mut self) {
        let now = Instant::now();
        let due = self.idle.extract_if(.., |(until, _)| *until <= now);
        for (_, client) in due.collect::<Vec<_>>() {
            let operation = self.next();
            self.fleet.submit_at(client, operation, now);
        }
    }

    /// All values are distinct.
    fn next(&mut self) -> Operation {
        let generation = self.generation.load(Ordering::Relaxed);
        let key = key(generation, self.random.random_range(0..KEYS));
        let value = format!("{};", self.submitted).into_bytes();
        self.submitted += 1;
        if self.submitted.is_multiple_of(OPERATIONS_PER_GENERATION) {
            self.generation.fetch_add(1, Ordering::Relaxed);
        }
        match self.random.random_range(0..10) {
            0..2 => Operation::Put { key, value },
            2..5 => Operation::Append { key, value },
            5 => Operation::Delete { key },
            _ => Operation::Get { key },
        }
    }
}

fn key(generation: u64, place: u64) -> Vec<u8> {
    format!("nemesis/{generation}/{place}").into_bytes()
}
