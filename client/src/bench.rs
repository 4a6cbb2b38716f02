//! The load generator (SPEC F6): many clients on one thread, each with so many requests outstanding.
//!
//! A run has up to four parts: filling in keys that are to be read, the measured part, waiting for what is still
//! outstanding at its end (not measured), and reading back what was appended, if that is to be checked.

mod load;
mod measure;
mod record;
mod watch;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use common::quote::Elided;
use kvpaxos_client::{
    Check, CheckPlan, CheckReport, ClientOptions, Completion, Fleet, Operation, Reply,
};

use crate::args::{BenchArguments, BenchOperation};
use crate::exit::{Exit, Failure};
use load::Load;
use measure::Measure;
use record::Record;
use watch::Watch;

/// How often progress is shown.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Runs the load generator and prints its report.
///
/// # Errors
/// The options cannot be used, the history cannot be written, nobody reads the output, or a check failed.
pub(crate) fn run(
    mut options: ClientOptions,
    arguments: &BenchArguments,
    json: bool,
) -> Result<Exit, Failure> {
    if arguments.check && arguments.op == BenchOperation::Get {
        let reason = "--check needs something to read: --op append or --op mixed";
        return Err(Failure::Usage(reason.to_owned()));
    }
    options.follow_leader = !arguments.spread;
    let plan = plan(arguments, options.uses_datagrams());
    let mut bench = Bench {
        fleet: Fleet::new(options, plan.clients)?,
        load: Load::new(arguments),
        watch: Watch::start()?,
        check: arguments.check.then(|| Check::new(plan)),
        record: arguments
            .history
            .as_deref()
            .map(Record::create)
            .transpose()?,
        pipeline: arguments.pipeline as usize,
        done: Vec::new(),
    };
    bench.fill_in()?;
    let measure = bench.measure(Duration::from_secs_f64(arguments.seconds))?;
    let left = bench.keys_left();
    let check = bench.read_back()?;
    if let Some(record) = bench.record.take() {
        record.finish()?;
    }
    report(arguments, &measure, check.as_ref(), json)?;
    eprintln!("left in the store: {left}");
    Ok(match check {
        Some(check) if !check.is_right() => Exit::Wrong,
        _ if measure.ops() == 0 => Exit::NoAnswer,
        _ => Exit::Done,
    })
}

/// What is done where the answers are checked: of the operations that are no reads, every one is an append.
fn plan(arguments: &BenchArguments, uses_datagrams: bool) -> CheckPlan {
    CheckPlan {
        clients: arguments.clients as usize,
        keys: arguments.keys as usize,
        read_percent: if arguments.op == BenchOperation::Mixed {
            arguments.read_percent
        } else {
            0
        },
        tag_bytes_min: arguments.value_bytes as usize,
        uses_datagrams,
        any_order: uses_datagrams && arguments.pipeline > 1,
    }
}

#[derive(Debug)]
struct Bench {
    fleet: Fleet,
    load: Load,
    watch: Watch,
    check: Option<Check>,
    record: Option<Record>,
    pipeline: usize,
    /// What a turn finished; kept to spare allocations.
    done: Vec<(usize, Completion)>,
}

impl Bench {
    fn clients(&self) -> usize {
        self.load.clients()
    }

    /// Fills in the keys that are to be read.
    fn fill_in(&mut self) -> Result<(), Failure> {
        if !self.load.reads() || self.check.is_some() {
            return Ok(());
        }
        eprintln!("filling in {} keys", self.load.keys());
        let mut operations = self.load.filling();
        // Deep enough that few clients fill in many keys quickly.
        let depth = (256 / self.clients()).max(1);
        self.run_all(depth, &mut operations, |_| {})
    }

    /// Runs operations to their end, each client with so many outstanding.
    fn run_all(
        &mut self,
        depth: usize,
        operations: &mut impl Iterator<Item = (usize, Operation)>,
        mut finished: impl FnMut(&Completion),
    ) -> Result<(), Failure> {
        let mut outstanding = 0;
        let outstanding_max = depth * self.clients();
        loop {
            for (client, operation) in operations.by_ref().take(outstanding_max - outstanding) {
                self.fleet.submit(client, operation);
                outstanding += 1;
            }
            if outstanding == 0 {
                return Ok(());
            }
            self.fleet.turn(PROGRESS_EVERY, &mut self.done)?;
            outstanding -= self.done.len();
            for (_, completion) in &self.done {
                self.watch.note(completion)?;
            }
            let now = Instant::now();
            for (client, completion) in self.done.drain(..) {
                finished(&completion);
                if let Some(record) = &mut self.record {
                    record.note(client, completion, now)?;
                }
            }
        }
    }

    /// The measured part, and after it the wait for what is outstanding.
    fn measure(&mut self, duration: Duration) -> Result<Measure, Failure> {
        self.watch.begin_measuring();
        let start = Instant::now();
        let mut end = start + duration;
        let mut measure = Measure::new(start);
        for client in 0..self.clients() {
            for _ in 0..self.pipeline {
                self.submit(client, start, None);
            }
        }
        let mut next_progress = start + PROGRESS_EVERY;
        loop {
            let now = Instant::now();
            if self.watch.is_stopped() {
                eprintln!("stopping once all is answered; Ctrl-C again ends at once");
                end = now;
            }
            if now >= end {
                break;
            }
            if now >= next_progress {
                measure.show_progress();
                next_progress += PROGRESS_EVERY;
            }
            let wait = end.min(next_progress).saturating_duration_since(now);
            self.fleet.turn(wait, &mut self.done)?;
            self.handle_done(end, &mut measure)?;
        }
        if end >= next_progress {
            measure.show_progress();
        }
        measure.end(end);
        self.drain(end, &mut measure)?;
        Ok(measure)
    }

    fn handle_done(&mut self, end: Instant, measure: &mut Measure) -> Result<(), Failure> {
        let now = Instant::now();
        let mut done = std::mem::take(&mut self.done);
        for (client, completion) in done.drain(..) {
            self.watch.note(&completion)?;
            measure.note(&completion, now, end);
            if let Some(check) = &mut self.check {
                check.note(client, &completion, now);
            }
            let used = match &mut self.record {
                Some(record) => {
                    record.note(client, completion, now)?;
                    None
                }
                None => Some(completion.operation),
            };
            if now < end {
                self.submit(client, now, used);
            }
        }
        self.done = done;
        Ok(())
    }

    fn submit(&mut self, client: usize, now: Instant, used: Option<Operation>) {
        let operation = match &mut self.check {
            Some(check) => check.next(client, now),
            None => self.load.next(used),
        };
        self.fleet.submit_at(client, operation, now);
    }

    fn drain(&mut self, end: Instant, measure: &mut Measure) -> Result<(), Failure> {
        let clients = self.clients();
        while (0..clients).any(|client| self.fleet.unfinished(client) > 0) {
            self.fleet.turn(PROGRESS_EVERY, &mut self.done)?;
            self.handle_done(end, measure)?;
        }
        Ok(())
    }

    /// Which keys stay behind.
    fn keys_left(&self) -> String {
        let Some(check) = &self.check else {
            return self.load.keys_left();
        };
        let keys = check.keys();
        let first = keys.first().map(|(_, key)| key.as_slice());
        format!(
            "{} keys, {} and such",
            keys.len(),
            Elided(first.unwrap_or_default())
        )
    }

    /// Reads back what was appended and compares. For a history without a check, reads every key: it could not show
    /// otherwise that a write was lost.
    fn read_back(&mut self) -> Result<Option<CheckReport>, Failure> {
        let Some(mut check) = self.check.take() else {
            if self.record.is_some() {
                eprintln!("reading back {} keys", self.load.keys());
                let mut operations = self.load.reading_back();
                self.run_all(1, &mut operations, |_| {})?;
            }
            return Ok(None);
        };
        eprintln!("reading back what was appended");
        let keys = check.keys();
        let mut operations = keys
            .into_iter()
            .map(|(client, key)| (client, Operation::Get { key }));
        self.run_all(1, &mut operations, |completion| {
            note_read_back(&mut check, completion);
        })?;
        Ok(Some(check.report().clone()))
    }
}

fn note_read_back(check: &mut Check, completion: &Completion) {
    let value: Option<&[u8]> = match &completion.result {
        Ok(Reply::Value { value, .. }) => Some(value),
        Ok(_) => Some(b""),
        Err(error) => {
            eprintln!("{}: {error}", completion.operation);
            None
        }
    };
    let key = completion.operation.key().expect("a key is read back");
    check.note_read_back(key, value, Instant::now());
}

fn report(
    arguments: &BenchArguments,
    measure: &Measure,
    check: Option<&CheckReport>,
    json: bool,
) -> Result<(), Failure> {
    let text = if json {
        let mut object = measure.as_json(arguments);
        if let Some(check) = check {
            for (name, count) in check.counts() {
                object.insert(name.replace(' ', "_"), count.into());
            }
            object.insert("wrong".to_owned(), check.sentences().into());
        }
        serde_json::Value::Object(object).to_string()
    } else {
        let check = check.map(|check| format!("\n{check}")).unwrap_or_default();
        format!("{measure}{check}")
    };
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}
