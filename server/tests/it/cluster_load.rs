//! Clients that append tags and read them all the time, and the question whether all that they saw was right.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::{Check, CheckPlan, Client, ClientOptions, Completion, Fleet};

/// How long a turn waits at most, so that a wish to stop is seen.
const TURN_WAIT: Duration = Duration::from_millis(50);

/// Clients at work in a thread of their own. Each asks for the next thing when the last one is answered, and appends to a
/// key of its own.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: Option<JoinHandle<Outcome>>,
}

/// What the clients saw.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How many operations were answered.
    pub(crate) answered: u64,
    /// What went wrong for a client.
    pub(crate) errors: Vec<String>,
    /// The longest time in which none of the clients had an answer.
    pub(crate) longest_gap: Duration,
    check: Check,
}

impl Load {
    /// Starts so many clients, which append.
    pub(crate) fn start(options: ClientOptions, clients: usize) -> Self {
        Self::start_mixed(options, clients, 0)
    }

    /// Starts so many clients, of whose operations some are reads of any of their keys.
    pub(crate) fn start_mixed(options: ClientOptions, clients: usize, read_percent: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let plan = CheckPlan {
            clients,
            keys: clients,
            read_percent,
            tag_bytes_min: 0,
            uses_datagrams: options.uses_datagrams(),
            any_order: false,
        };
        let mut workload = Workload {
            fleet: Fleet::new(options, clients).unwrap(),
            outcome: Outcome {
                answered: 0,
                errors: Vec::new(),
                longest_gap: Duration::ZERO,
                check: Check::new(plan),
            },
            last_answer: None,
        };
        let (told, counted) = (Arc::clone(&stop), Arc::clone(&answered));
        let thread = std::thread::spawn(move || {
            workload.run(clients, &told, &counted);
            workload.outcome
        });
        Self {
            stop,
            answered,
            thread: Some(thread),
        }
    }

    /// How many operations have been answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many more are answered.
    pub(crate) fn wait_for_more(&self, count: u64) {
        let (from, began) = (self.answered(), Instant::now());
        while self.answered() < from + count {
            let answered = self.answered() - from;
            let waited = began.elapsed();
            assert!(
                waited < Duration::from_secs(60),
                "{answered} of {count} came"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Lets the clients finish what they asked for.
    pub(crate) fn stop(mut self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Outcome {
    /// How many reads were judged while others appended.
    pub(crate) fn reads(&self) -> u64 {
        self.check.report().reads
    }

    /// Every read was right, and each answered tag is there.
    pub(crate) fn assert_all_there(&mut self, reader: &mut Client) {
        for (_, key) in self.check.keys() {
            let found = reader.get(&key).unwrap();
            let value = found.map(|found| found.value).unwrap_or_default();
            self.check
                .note_read_back(&key, Some(&value), Instant::now());
        }
        let report = self.check.report();
        assert!(report.is_right(), "{report}");
    }
}

struct Workload {
    fleet: Fleet,
    outcome: Outcome,
    last_answer: Option<Instant>,
}

impl Workload {
    fn run(&mut self, clients: usize, stop: &AtomicBool, answered: &AtomicU64) {
        for client in 0..clients {
            self.submit(client);
        }
        let mut done = Vec::new();
        while (0..clients).any(|client| self.fleet.unfinished(client) > 0) {
            self.fleet.turn(TURN_WAIT, &mut done).unwrap();
            let now = Instant::now();
            for (client, completion) in done.drain(..) {
                self.note(client, &completion, now);
                answered.store(self.outcome.answered, Ordering::Relaxed);
                if !stop.load(Ordering::Relaxed) {
                    self.submit(client);
                }
            }
        }
    }

    fn submit(&mut self, client: usize) {
        let now = Instant::now();
        let operation = self.outcome.check.next(client, now);
        self.fleet.submit_at(client, operation, now);
    }

    fn note(&mut self, client: usize, completion: &Completion, now: Instant) {
        self.outcome.check.note(client, completion, now);
        match &completion.result {
            Ok(_) => self.note_answer(now),
            Err(error) => self
                .outcome
                .errors
                .push(format!("{}: {error}", completion.operation)),
        }
    }

    fn note_answer(&mut self, now: Instant) {
        if let Some(last) = self.last_answer.replace(now) {
            self.outcome.longest_gap = self.outcome.longest_gap.max(now - last);
        }
        self.outcome.answered += 1;
    }
}
