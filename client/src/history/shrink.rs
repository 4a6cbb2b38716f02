//! Makes a wrong history of one key shorter, so that a person can see what is wrong with it.
//!
//! Nothing is done that could make a right history wrong, so what is left is wrong for a reason that was there before:
//! - A history is cut at a moment; what was outstanding then has an unknown outcome. If it was right, it is right up to there.
//! - An operation that changed nothing is taken out.
//! - What an answer said is forgotten: the length, whether the key was there, the revision, or the whole answer, which
//!   leaves a write of unknown outcome.
//! - A write of unknown outcome is taken out if nothing that is left could tell that it took effect.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::{Kind, Operation, Verdict, judge_key};

/// A part of a wrong history that is still wrong, as short as can be found in this time.
#[must_use]
pub fn shrink(operations: Vec<Operation>, time: Duration) -> Vec<Operation> {
    let began = Instant::now();
    // It is wrong; how long it takes to see that tells what a part of it may take.
    let _ = judge_key(&operations, Some(time));
    let mut shrinker = Shrinker {
        operations,
        deadline: began + time,
        judge_time: 2 * began.elapsed() + JUDGE_TIME_MIN,
    };
    shrinker.cut_the_end();
    shrinker.narrow(is_observation, |_| None);
    // What one of these passes takes out may be what kept another operation in.
    loop {
        let before = shrinker.operations.clone();
        shrinker.narrow(has_details, |operation| Some(without_details(operation)));
        shrinker.narrow(is_known_write, |operation| Some(without_answer(operation)));
        shrinker.narrow(is_observation, |_| None);
        shrinker.keep_if_wrong(without_the_unseen(shrinker.operations.clone()));
        if shrinker.operations == before || shrinker.is_late() {
            break;
        }
    }
    shrinker
        .operations
        .sort_by_key(|operation| operation.called);
    shrinker.operations
}

struct Shrinker {
    /// Wrong, whatever has been done to it.
    operations: Vec<Operation>,
    deadline: Instant,
    /// What forgets too much is hard to judge, and is better left as it is.
    judge_time: Duration,
}

impl Shrinker {
    fn is_late(&self) -> bool {
        Instant::now() > self.deadline
    }

    /// Keeps a shorter history if it is wrong as well.
    fn keep_if_wrong(&mut self, shorter: Vec<Operation>) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let is_wrong = matches!(
            judge_key(&shorter, Some(left.min(self.judge_time))),
            Verdict::Wrong(_)
        );
        if is_wrong {
            self.operations = shorter;
        }
        is_wrong
    }

    /// Finds the first return at which the history up to there is wrong.
    fn cut_the_end(&mut self) {
        let returns = self.operations.iter();
        let mut moments: Vec<u64> = returns.filter_map(|operation| operation.returned).collect();
        moments.sort_unstable();
        moments.dedup();
        while moments.len() > 1 && !self.is_late() {
            let middle = moments.len() / 2 - 1;
            let shorter = up_to(&self.operations, moments[middle]);
            if self.keep_if_wrong(shorter) {
                moments.truncate(middle + 1);
            } else {
                moments.drain(..=middle);
            }
        }
    }

    /// Changes or takes out operations of one sort, many at a time and then fewer, as long as the history stays wrong.
    fn narrow(
        &mut self,
        is_meant: impl Fn(&Operation) -> bool,
        change: impl Fn(&Operation) -> Option<Operation>,
    ) {
        let meant = self.operations.iter().filter(|one| is_meant(one)).count();
        let mut size = meant.next_power_of_two();
        while size > 0 {
            let mut first = 0;
            while !self.is_late() {
                let (shorter, count) =
                    changed(&self.operations, &is_meant, &change, first..first + size);
                if count == 0 {
                    break;
                }
                // What was changed is not meant any more, so the next ones have moved up.
                if !self.keep_if_wrong(without_the_unseen(shorter)) {
                    first += size;
                }
            }
            size /= 2;
        }
    }
}

/// The history with a range of the operations that are meant changed or taken out, and how many those were.
fn changed(
    operations: &[Operation],
    is_meant: impl Fn(&Operation) -> bool,
    change: impl Fn(&Operation) -> Option<Operation>,
    range: Range<usize>,
) -> (Vec<Operation>, usize) {
    let (mut number, mut count) = (0, 0);
    let mut kept = Vec::with_capacity(operations.len());
    for operation in operations {
        let is_chosen = is_meant(operation) && {
            number += 1;
            range.contains(&(number - 1))
        };
        if is_chosen {
            count += 1;
            kept.extend(change(operation));
        } else {
            kept.push(operation.clone());
        }
    }
    (kept, count)
}

/// The history as it was known at a moment.
fn up_to(operations: &[Operation], moment: u64) -> Vec<Operation> {
    let called = operations
        .iter()
        .filter(|operation| operation.called <= moment);
    let known = called.filter_map(|operation| match operation.returned {
        Some(returned) if returned <= moment => Some(operation.clone()),
        _ if matches!(operation.kind, Kind::Get { .. }) => None,
        _ => Some(without_answer(operation)),
    });
    known.collect()
}

fn is_observation(operation: &Operation) -> bool {
    matches!(
        operation.kind,
        Kind::Get { .. }
            | Kind::Delete {
                existed: Some(false)
            }
    )
}

fn is_known_write(operation: &Operation) -> bool {
    operation.returned.is_some() && !matches!(operation.kind, Kind::Get { .. })
}

fn has_details(operation: &Operation) -> bool {
    operation.revision.is_some() || operation.in_order || *operation != without_details(operation)
}

/// A GET stays what it is: what it read is all that it says.
fn without_details(operation: &Operation) -> Operation {
    let kind = match &operation.kind {
        Kind::Append { value, .. } => Kind::Append {
            value: value.clone(),
            length: None,
        },
        Kind::Delete { .. } => Kind::Delete { existed: None },
        kind @ (Kind::Put { .. } | Kind::Get { .. }) => kind.clone(),
    };
    Operation {
        kind,
        in_order: false,
        revision: None,
        ..operation.clone()
    }
}

fn without_answer(operation: &Operation) -> Operation {
    Operation {
        returned: None,
        ..without_details(operation)
    }
}

/// Takes out the writes of unknown outcome that could as well not have been.
fn without_the_unseen(operations: Vec<Operation>) -> Vec<Operation> {
    let said = Said::of(&operations);
    if said.reads.len() > READS_MAX {
        return operations;
    }
    let last_return = operations
        .iter()
        .filter_map(|operation| operation.returned)
        .max();
    let needed = |operation: &Operation| {
        // What was called later than all answers came is behind all of them in any order.
        let is_in_time = last_return.is_some_and(|last| operation.called <= last);
        operation.returned.is_some() || is_in_time && said.can_tell(&operation.kind)
    };
    let needed: Vec<bool> = operations.iter().map(needed).collect();
    let mut needed = needed.into_iter();
    let mut kept = operations.clone();
    kept.retain(|_| needed.next().unwrap_or(true));
    kept
}

/// What the answers say that could tell whether a write took effect.
struct Said<'a> {
    reads: Vec<&'a [u8]>,
    absent: bool,
    /// Some answer depends on the value in a way that no read shows.
    details: bool,
    appends: bool,
}

impl<'a> Said<'a> {
    fn of(operations: &'a [Operation]) -> Self {
        let mut said = Self {
            reads: Vec::new(),
            absent: false,
            details: false,
            appends: false,
        };
        for operation in operations {
            said.details |= operation.revision.is_some();
            match &operation.kind {
                Kind::Get { value: Some(value) } => said.reads.push(value),
                Kind::Get { value: None } => said.absent = true,
                Kind::Append { length, .. } => {
                    said.appends = true;
                    said.details |= length.is_some();
                }
                Kind::Delete { existed } => {
                    said.details |= existed.is_some();
                    said.absent |= *existed == Some(false);
                }
                Kind::Put { .. } => {}
            }
        }
        said
    }

    /// If no answer can, then wherever the write stands in an order, no read follows before the value is replaced or
    /// removed, so the order explains as much without it.
    fn can_tell(&self, kind: &Kind) -> bool {
        let is_part = |value: &[u8]| {
            let mut reads = self.reads.iter();
            value.is_empty()
                || reads.any(|read| read.windows(value.len()).any(|part| part == value))
        };
        self.details
            || match kind {
                Kind::Put { value } | Kind::Append { value, .. } => is_part(value),
                Kind::Delete { .. } => self.appends || self.absent,
                Kind::Get { .. } => true,
            }
    }
}

/// A short history is given so long.
const JUDGE_TIME_MIN: Duration = Duration::from_millis(50);

/// With more reads it would take long to look for a value in all of them.
const READS_MAX: usize = 64;
