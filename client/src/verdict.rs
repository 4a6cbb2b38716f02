//! The command `check`: judges a history in a file and says what it found.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use kvpaxos_client::history::{
    Explanation, Judge, Line, Operation, ReadError, Status, Verdict, read_lines,
};
use serde_json::json;

use crate::args::CheckArguments;
use crate::exit::{Exit, Failure};

/// What a history holds, and what was found.
#[derive(Debug, Default)]
struct Report {
    ok: u64,
    unknown: u64,
    fail: u64,
    keys: usize,
    took: Duration,
    undecided_keys: usize,
    wrong_keys: usize,
    explanation: Option<Explanation>,
}

impl Report {
    fn operations(&self) -> u64 {
        self.ok + self.unknown + self.fail
    }
}

/// Judges a history and prints the verdict.
///
/// # Errors
/// The file cannot be read, a line of it is none, or nobody reads the output.
pub(crate) fn run(arguments: &CheckArguments, json: bool) -> Result<Exit, Failure> {
    let began = Instant::now();
    let (mut report, keys) = read(&arguments.file)?;
    let first_wrong = judge(&mut report, keys, began + arguments.limit);
    report.took = began.elapsed();
    if let Some(key) = first_wrong {
        let operations = operations_of(&arguments.file, &key)?;
        report.explanation = Some(Explanation::of(&key, operations, SHRINK_TIME));
    }
    let exit = if report.wrong_keys > 0 {
        Exit::Wrong
    } else if report.undecided_keys > 0 || report.operations() == 0 {
        Exit::Undecided
    } else {
        Exit::Done
    };
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", as_json(&report, exit))?;
    } else {
        write!(out, "{}", as_text(&report, exit, arguments))?;
    }
    Ok(exit)
}

fn read(path: &Path) -> Result<(Report, HashMap<Vec<u8>, Judge>), Failure> {
    let mut report = Report::default();
    let mut keys: HashMap<Vec<u8>, Judge> = HashMap::new();
    each_line(path, |line| {
        *match line.status {
            Status::Ok => &mut report.ok,
            Status::Unknown => &mut report.unknown,
            Status::Fail => &mut report.fail,
        } += 1;
        let judge = keys.entry(line.key).or_default();
        if line.status != Status::Fail {
            judge.add(&line.operation);
        }
    })?;
    report.keys = keys.len();
    Ok((report, keys))
}

/// Judges every key, those with few operations first, and returns the first one that is wrong.
fn judge(report: &mut Report, keys: HashMap<Vec<u8>, Judge>, deadline: Instant) -> Option<Vec<u8>> {
    let mut keys: Vec<(Vec<u8>, Judge)> = keys.into_iter().collect();
    keys.sort_by(|(one, a), (other, b)| (a.operations(), one).cmp(&(b.operations(), other)));
    let mut first_wrong = None;
    for (key, judge) in keys {
        let left = deadline.saturating_duration_since(Instant::now());
        match judge.judge(Some(left)) {
            Verdict::Right => {}
            Verdict::Undecided => report.undecided_keys += 1,
            Verdict::Wrong(_) => {
                report.wrong_keys += 1;
                first_wrong.get_or_insert(key);
            }
        }
    }
    first_wrong
}

fn operations_of(path: &Path, key: &[u8]) -> Result<Vec<Operation>, Failure> {
    let mut operations = Vec::new();
    each_line(path, |line| {
        if line.key == key && line.status != Status::Fail {
            operations.push(line.operation);
        }
    })?;
    Ok(operations)
}

fn each_line(path: &Path, each: impl FnMut(Line)) -> Result<(), Failure> {
    let failure = |error: ReadError| Failure::NoHistory {
        file: path.display().to_string(),
        error,
    };
    let file = File::open(path).map_err(|error| failure(error.into()))?;
    read_lines(BufReader::with_capacity(1 << 20, file), each).map_err(failure)
}

fn as_text(report: &Report, exit: Exit, arguments: &CheckArguments) -> String {
    let mut text = format!(
        "{} operations on {} keys: {} ok, {} unknown, {} fail; {:.1} s\n",
        report.operations(),
        report.keys,
        report.ok,
        report.unknown,
        report.fail,
        report.took.as_secs_f64()
    );
    if report.undecided_keys > 0 {
        text += &format!(
            "{} keys are undecided: --limit {} was not enough\n",
            report.undecided_keys,
            humantime::format_duration(arguments.limit)
        );
    }
    text += match exit {
        Exit::Wrong => "verdict: WRONG, this history is not linearizable\n",
        Exit::Undecided if report.operations() == 0 => {
            "verdict: undecided, there is nothing to judge\n"
        }
        Exit::Undecided => "verdict: undecided\n",
        _ => "verdict: right, this history is linearizable\n",
    };
    if let Some(explanation) = &report.explanation {
        if report.wrong_keys > 1 {
            text += &format!("{} keys are wrong; this is one:\n", report.wrong_keys);
        }
        text += &explanation.to_string();
    }
    text
}

fn as_json(report: &Report, exit: Exit) -> serde_json::Value {
    let verdict = match exit {
        Exit::Wrong => "wrong",
        Exit::Undecided => "undecided",
        _ => "right",
    };
    json!({
        "ok": report.ok,
        "unknown": report.unknown,
        "fail": report.fail,
        "keys": report.keys,
        "undecided_keys": report.undecided_keys,
        "wrong_keys": report.wrong_keys,
        "seconds": report.took.as_secs_f64(),
        "verdict": verdict,
        "explanation": report.explanation.as_ref().map(Explanation::to_string),
    })
}

/// How long a wrong part may be made shorter.
const SHRINK_TIME: Duration = Duration::from_secs(10);
