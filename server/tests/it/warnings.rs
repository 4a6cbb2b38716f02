//! What two modules of the server warn of, for tests without a process and a log file of their own.

use std::collections::BTreeSet;
use std::sync::{Mutex, Once};

use log::{LevelFilter, Log, Metadata, Record};

use crate::messages::says;

/// The only modules that are listened to: a simulation warns of much.
const TARGETS: [&str; 2] = [
    "kvpaxos_server::node::disk_space",
    "kvpaxos_server::snapshot_thread",
];

/// The different lines so far, those of tests that run at the same time among them.
static LINES: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

struct Listener;

impl Log for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        TARGETS.contains(&metadata.target())
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            LINES.lock().unwrap().insert(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Listens from here on, and for as long as the tests run.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Listener).unwrap();
        log::set_max_level(LevelFilter::Warn);
    });
}

/// Whether this message was heard since somebody listens.
pub(crate) fn has_heard(message: &str) -> bool {
    let lines = LINES.lock().unwrap();
    lines.iter().any(|line| says(line, message))
}
