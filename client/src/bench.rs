//! The load generator (SPEC F6): many clients on one thread, each with so many requests outstanding.
//!
//! A run has up to four parts: filling in keys that are to be read, the measured part, waiting for what is still
//! outstanding at its end (not measured), and reading back what was appended, if that is to be checked.

mod load;
mod measure;
mod pace;
mod record;
mod series;
mod watch;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use common::quote::Elided;
use kvpaxos_client::{
    Check, CheckPlan, CheckReport, Client, ClientOptions, Completion, Fleet, Operation, Reply,
    Ticket,
};

use crate::args::{BenchArguments, BenchOperation};
use crate::exit::{Exit, Failure};
use load::Load;
use measure::Measure;
use pace::Pace;
use record::Record;
use series::Series;
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
    see_that_somebody_answers(&options)?;
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
        used: Vec::new(),
        done: Vec::new(),
    };
    if !arguments.no_fill {
        bench.fill_in()?;
    }
    let measure = bench.measure(arguments)?;
    let left = bench.keys_left();
    let check = bench.read_back()?;
    if let Some(record) = bench.record.take() {
        record.finish()?;
    }
    report(arguments, &measure, check.as_ref(), json)?;
    if measure.ops() > 0 {
        eprintln!("left in the store: {left}");
    }
    Ok(match check {
        Some(check) if !check.is_right() => Exit::Wrong,
        _ if measure.ops() == 0 => Exit::NoAnswer,
        _ => Exit::Done,
    })
}

/// Against nobody there is nothing to measure, and no reason to wait.
fn see_that_somebody_answers(options: &ClientOptions) -> Result<(), Failure> {
    let options = ClientOptions {
        ask_each_once: true,
        ..options.clone()
    };
    let connected = Client::connect(options);
    connected.map(|_| ()).map_err(|error| Failure::load(&error))
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

/// The measured part.
#[derive(Debug)]
struct Run {
    end: Instant,
    pace: Pace<Ticket>,
    measure: Measure,
    series: Series,
}

#[derive(Debug)]
struct Bench {
    fleet: Fleet,
    load: Load,
    watch: Watch,
    check: Option<Check>,
    record: Option<Record>,
    /// What is finished, for its memory.
    used: Vec<Operation>,
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
    fn measure(&mut self, arguments: &BenchArguments) -> Result<Measure, Failure> {
        let series = Series::begin(arguments.csv.as_deref())?;
        self.watch.begin_measuring();
        let start = Instant::now();
        let pipeline = arguments.pipeline as usize;
        let mut run = Run {
            end: start + Duration::from_secs_f64(arguments.seconds),
            pace: Pace::new(start, arguments.rate, self.clients(), pipeline),
            measure: Measure::new(start),
            series,
        };
        let mut second_began = start;
        loop {
            let now = Instant::now();
            if self.watch.is_stopped() {
                eprintln!("stopping once all is answered; Ctrl-C again ends at once");
                run.end = now;
            }
            let second_ends = run.end.min(second_began + PROGRESS_EVERY);
            if now >= second_ends && second_ends > second_began {
                run.series
                    .end_second(second_ends - start, second_ends - second_began)?;
                second_began = second_ends;
            }
            if now >= run.end {
                break;
            }
            self.begin_due(now, &mut run.pace);
            let wake_at = run.pace.next_at().unwrap_or(run.end);
            let wake_at = wake_at.min(run.end).min(second_began + PROGRESS_EVERY);
            let wait = wake_at.saturating_duration_since(Instant::now());
            self.fleet.turn(wait, &mut self.done)?;
            self.handle_done(&mut run)?;
        }
        run.measure.end(run.end, run.pace.not_begun(run.end));
        while (0..self.clients()).any(|client| self.fleet.unfinished(client) > 0) {
            self.fleet.turn(PROGRESS_EVERY, &mut self.done)?;
            self.handle_done(&mut run)?;
        }
        Ok(run.measure)
    }

    fn begin_due(&mut self, now: Instant, pace: &mut Pace<Ticket>) {
        while let Some((client, due)) = pace.next(now) {
            let operation = match &mut self.check {
                Some(check) => check.next(client, now),
                None => self.load.next(self.used.pop()),
            };
            let ticket = self.fleet.submit_at(client, operation, now);
            pace.begun(client, ticket, due);
        }
    }

    fn handle_done(&mut self, run: &mut Run) -> Result<(), Failure> {
        let now = Instant::now();
        for (client, completion) in self.done.drain(..) {
            self.watch.note(&completion)?;
            let due = run.pace.ended(client, completion.ticket);
            let due = due.unwrap_or(completion.submitted);
            run.measure
                .note(&completion, due, now, run.end, &mut run.series);
            if let Some(check) = &mut self.check {
                check.note(client, &completion, now);
            }
            match &mut self.record {
                Some(record) => record.note(client, completion, now)?,
                // Where answers are checked the operations come from there, and nobody would take these.
                None if self.check.is_some() => {}
                None => self.used.push(completion.operation),
            }
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
