//! What one module of the server warns of, for tests without a process and a log file of its own.

use std::collections::BTreeSet;
use std::sync::{Mutex, Once};

use log::{LevelFilter, Log, Metadata, Record};

/// The only module that is listened to: a simulation warns of much.
const TARGET: &str = "kvpaxos_server::node::disk_space";

/// The different lines so far, those of tests that run at the same time among them.
static LINES: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

struct Listener;

impl Log for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET
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

/// Whether this was said since somebody listens.
pub(crate) fn has_heard(line: &str) -> bool {
    LINES.lock().unwrap().contains(line)
}
