//! Judges the history of one key: is there an order of the operations that respects time and explains every answer?
//!
//! The search is Wing and Gong's ("Testing and verifying concurrent objects", 1993) with Lowe's memory of configurations
//! ("Testing for linearizability", 2017): an operation may come next if it was called before any other that is still to
//! come returned, and no set of operations is tried twice with the same value. In the worst case that takes exponential
//! time, and no way is known that does not (Gibbons and Korach, "Testing shared memories", 1997). What keeps it from
//! happening is what values tell ([`problem`]) and when a choice need not be doubted ([`search`]); else it ends undecided.

mod problem;
mod search;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use super::content::Content;
use super::{Kind, Operation};
use problem::{Item, Problem};
use search::Search;

/// What came of judging a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order that explains every answer.
    Right,
    /// There is none.
    Wrong(Reason),
    /// The search took longer than it was given.
    Undecided,
}

/// Why there is no order. Operations are named by their places in the list that was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No write can have made what this operation read.
    NeverWritten {
        /// A GET.
        read: usize,
    },
    /// Two reads show two values of which one and the same write must have made the last part.
    TwoValues {
        /// The write.
        write: usize,
        /// Two GETs.
        reads: [usize; 2],
    },
    /// All orders were tried.
    NoOrder {
        /// The longest that explains its operations.
        explained: Vec<usize>,
    },
}

/// The operations of one key, in the little room that the judge needs.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    items: Vec<Item>,
    /// The longest value that was read; where there are only appends it shows the order of all before it.
    longest_read: Vec<u8>,
}

impl Judge {
    /// One more operation; they may come in any order.
    pub fn add(&mut self, operation: &Operation) {
        let place = self.items.len();
        self.items.push(Item::of(place, operation));
        if let Kind::Get { value: Some(value) } = &operation.kind
            && operation.returned.is_some()
            && value.len() > self.longest_read.len()
        {
            self.longest_read.clone_from(value);
        }
    }

    /// How many operations there are.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.items.len()
    }

    /// Judges them all. The key begins absent.
    ///
    /// `time` is how long it may take; without it the search is bounded by its steps and does not depend on any clock.
    #[must_use]
    pub fn judge(self, time: Option<Duration>) -> Verdict {
        let deadline = time.map(|time| Instant::now() + time);
        match Problem::new(self.items, &self.longest_read) {
            Ok(problem) => Search::new(problem).run(deadline),
            Err(reason) => Verdict::Wrong(reason),
        }
    }
}

/// Judges the operations of one key, which begins absent, with [`Judge`].
#[must_use]
pub fn judge_key(operations: &[Operation], time: Option<Duration>) -> Verdict {
    let mut judge = Judge::default();
    for operation in operations {
        judge.add(operation);
    }
    judge.judge(time)
}

/// The longest order of some of the operations that explains them, of those that the plain search tries in this time.
pub(super) fn longest_order(operations: &[Operation], time: Duration) -> Vec<usize> {
    let items = operations.iter().enumerate();
    let items = items
        .map(|(place, operation)| Item::of(place, operation))
        .collect();
    match Problem::new(items, &[]) {
        Ok(problem) => {
            Search::new(problem.without_what_values_tell()).longest(Instant::now() + time)
        }
        Err(_) => Vec::new(),
    }
}

/// Judges the operations of one key, which begins absent, within a bounded number of steps.
///
/// # Errors
/// Says which operations could not be explained, or that the search took too long to tell.
pub fn check_key(operations: &[Operation]) -> Result<(), String> {
    match judge_key(operations, None) {
        Verdict::Right => Ok(()),
        Verdict::Wrong(reason) => Err(format!("not linearizable: {}", text(operations, &reason))),
        Verdict::Undecided => Err("undecided: the search took too many steps".to_owned()),
    }
}

fn text(operations: &[Operation], reason: &Reason) -> String {
    match reason {
        Reason::NeverWritten { read } => {
            format!(
                "no write can have made what was read: {:?}",
                operations[*read]
            )
        }
        Reason::TwoValues { write, reads } => format!(
            "{:?} and {:?} cannot both show {:?}",
            operations[reads[0]], operations[reads[1]], operations[*write]
        ),
        Reason::NoOrder { explained } => {
            let mut is_left = vec![true; operations.len()];
            explained.iter().for_each(|&place| is_left[place] = false);
            let mut left: Vec<usize> = (0..operations.len())
                .filter(|&place| is_left[place])
                .collect();
            left.sort_by_key(|&place| operations[place].called);
            let left: Vec<String> = left
                .into_iter()
                .take(6)
                .map(|place| format!("{:?}", operations[place]))
                .collect();
            let value = value_after(operations, explained);
            let value = value.map(|value| String::from_utf8_lossy(&value).into_owned());
            format!(
                "after {} operations the value is {value:?}; then {}",
                explained.len(),
                left.join("; ")
            )
        }
    }
}

/// The value of a key after these of its operations, in this order.
#[must_use]
pub fn value_after(operations: &[Operation], order: &[usize]) -> Option<Vec<u8>> {
    order.iter().fold(None, |value: Option<Vec<u8>>, &place| {
        match &operations[place].kind {
            Kind::Put { value } => Some(value.clone()),
            Kind::Append { value: more, .. } => {
                let mut value = value.unwrap_or_default();
                value.extend_from_slice(more);
                Some(value)
            }
            Kind::Delete { .. } => None,
            Kind::Get { .. } => value,
        }
    })
}
