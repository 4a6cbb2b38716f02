//! Clients that append tags all the time, and the question whether every answered one is there once and in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::{Client, ClientOptions, Completion, Fleet, Operation};

/// How long a turn waits at most, so that a wish to stop is seen.
const TURN_WAIT: Duration = Duration::from_millis(50);

/// Clients at work in a thread of their own. Each appends its next tag to its own key when the last one is answered.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: Option<JoinHandle<Outcome>>,
}

/// What the clients saw.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How many appends were answered.
    pub(crate) answered: u64,
    /// What went wrong for a client.
    pub(crate) errors: Vec<String>,
    /// The longest time in which none of the clients had an answer.
    pub(crate) longest_gap: Duration,
    prefix: &'static str,
    fates: Vec<Vec<Fate>>,
}

/// What a client knows of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    Unknown,
    Refused,
}

impl Load {
    /// Starts so many clients.
    pub(crate) fn start(options: ClientOptions, clients: usize) -> Self {
        Self::start_under("load", options, clients)
    }

    /// Starts so many clients, whose keys begin with `prefix`, so that another load beside this one has its own.
    pub(crate) fn start_under(
        prefix: &'static str,
        options: ClientOptions,
        clients: usize,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let mut appenders = Appenders {
            fleet: Fleet::new(options, clients).unwrap(),
            outcome: Outcome {
                prefix,
                answered: 0,
                errors: Vec::new(),
                longest_gap: Duration::ZERO,
                fates: vec![Vec::new(); clients],
            },
            last_answer: None,
        };
        let (told, counted) = (Arc::clone(&stop), Arc::clone(&answered));
        let thread = std::thread::spawn(move || {
            appenders.run(&told, &counted);
            appenders.outcome
        });
        Self {
            stop,
            answered,
            thread: Some(thread),
        }
    }

    /// How many appends have been answered.
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
    /// Reads everything back: each answered tag is there exactly once, the others at most once and refused ones never,
    /// and all in the order in which they were asked for.
    pub(crate) fn assert_all_there(&self, reader: &mut Client) {
        for (client, fates) in self.fates.iter().enumerate() {
            let found = reader.get(&key(self.prefix, client)).unwrap();
            let value = found.map(|found| found.value).unwrap_or_default();
            let tags = tags_of(client, &value);
            assert!(
                tags.is_sorted_by(|one, next| one < next),
                "c{client}: {tags:?}"
            );
            for tag in &tags {
                let fate = fates.get(*tag);
                assert!(fate.is_some_and(|fate| *fate != Fate::Refused), "{fate:?}");
            }
            for (tag, fate) in fates.iter().enumerate() {
                let there = tags.binary_search(&tag).is_ok();
                assert!(there || *fate != Fate::Answered, "c{client}.{tag} is lost");
            }
        }
    }
}

/// The key of a client.
fn key(prefix: &str, client: usize) -> Vec<u8> {
    format!("{prefix}/{client}").into_bytes()
}

/// The numbers of the tags in the value of a client's key.
fn tags_of(client: usize, value: &[u8]) -> Vec<usize> {
    let text = std::str::from_utf8(value).unwrap();
    let prefix = format!("c{client}.");
    text.split_terminator(';')
        .map(|tag| tag.strip_prefix(&prefix).unwrap().parse().unwrap())
        .collect()
}

struct Appenders {
    fleet: Fleet,
    outcome: Outcome,
    last_answer: Option<Instant>,
}

impl Appenders {
    fn run(&mut self, stop: &AtomicBool, answered: &AtomicU64) {
        let clients = self.outcome.fates.len();
        for client in 0..clients {
            self.submit(client);
        }
        let mut done = Vec::new();
        while (0..clients).any(|client| self.fleet.unfinished(client) > 0) {
            self.fleet.turn(TURN_WAIT, &mut done).unwrap();
            for (client, completion) in done.drain(..) {
                self.note(client, &completion);
                answered.store(self.outcome.answered, Ordering::Relaxed);
                if !stop.load(Ordering::Relaxed) {
                    self.submit(client);
                }
            }
        }
    }

    fn submit(&mut self, client: usize) {
        let number = self.outcome.fates[client].len();
        let operation = Operation::Append {
            key: key(self.outcome.prefix, client),
            value: format!("c{client}.{number};").into_bytes(),
        };
        self.fleet.submit(client, operation);
    }

    fn note(&mut self, client: usize, completion: &Completion) {
        let fate = match &completion.result {
            Ok(_) => {
                self.note_answer();
                Fate::Answered
            }
            Err(error) => {
                self.outcome.errors.push(error.to_string());
                if error.outcome_unknown() {
                    Fate::Unknown
                } else {
                    Fate::Refused
                }
            }
        };
        self.outcome.fates[client].push(fate);
    }

    fn note_answer(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last_answer.replace(now) {
            self.outcome.longest_gap = self.outcome.longest_gap.max(now - last);
        }
        self.outcome.answered += 1;
    }
}
