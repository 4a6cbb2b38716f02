//! Says in words why a history is wrong, in lines of at most 80 columns.

use std::fmt;
use std::time::Duration;

use common::quote::{ABSENT, Quoted};

use super::linearizability::longest_order;
use super::{Kind, Operation, Reason, Verdict, judge_key, shrink, value_after};

/// A short part of the history of one key that is not linearizable, and why.
#[derive(Clone, Debug)]
pub struct Explanation {
    key: Vec<u8>,
    /// How many operations the history of this key has.
    of: usize,
    operations: Vec<Operation>,
    /// None if more time would be needed to see what is wrong.
    reason: Option<Reason>,
}

impl Explanation {
    /// Looks so long for a short part of a key's wrong history.
    #[must_use]
    pub fn of(key: &[u8], operations: Vec<Operation>, time: Duration) -> Self {
        let of = operations.len();
        let operations = shrink(operations, time);
        Self {
            key: key.to_vec(),
            of,
            reason: reason(&operations, time / 8),
            operations,
        }
    }

    /// The part that is shown.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// What the operation of this line can say for itself when the value is this: why it does not come next.
    fn objection(&self, place: usize, value: Option<&[u8]>) -> Option<String> {
        let operation = &self.operations[place];
        let holds = shown(value);
        match &operation.kind {
            Kind::Get { value: heard } if heard.as_deref() != value => {
                Some(format!("it read {}, not {holds}", shown(heard.as_deref())))
            }
            Kind::Append {
                value: more,
                length: Some(length),
            } if *length != (value.map_or(0, <[u8]>::len) + more.len()) as u64 => Some(format!(
                "it heard a length of {length}, not {}",
                value.map_or(0, <[u8]>::len) + more.len()
            )),
            Kind::Delete {
                existed: Some(existed),
            } if *existed != value.is_some() => Some(format!(
                "it {} a value, and the key holds {holds}",
                if *existed { "removed" } else { "found no" }
            )),
            _ => None,
        }
    }

    /// Why an operation cannot be the next one of those that are left when this is the value.
    fn why_not_next(&self, place: usize, left: &[usize], value: Option<&[u8]>) -> String {
        let line = place + 1;
        let returns = left.iter();
        let returns = returns.filter_map(|&other| Some((self.operations[other].returned?, other)));
        if let Some((moment, first)) = returns.min()
            && self.operations[place].called > moment
        {
            return format!(
                "{line} was asked only when {} had been answered.",
                first + 1
            );
        }
        if let Some(earlier) = left.iter().find(|&&other| self.is_behind(place, other)) {
            return format!(
                "{line} cannot be next: {} must come before it.",
                earlier + 1
            );
        }
        match self.objection(place, value) {
            Some(objection) => format!("{line} cannot be next: {objection}."),
            None => format!("{line} next would leave others without their answer."),
        }
    }

    /// Whether an operation must come behind another one by its revision, or by the order of their client.
    fn is_behind(&self, place: usize, other: usize) -> bool {
        let (own, other) = (&self.operations[place], &self.operations[other]);
        let by_revision = own
            .revision
            .zip(other.revision)
            .is_some_and(|(own, other)| own > other);
        let by_client = own.in_order && other.in_order && own.client == other.client;
        by_revision || by_client && own.called > other.called
    }

    /// How far the operations can be put in order, and why none of the others can come next.
    fn write_no_order(&self, f: &mut fmt::Formatter<'_>, explained: &[usize]) -> fmt::Result {
        let value = value_after(&self.operations, explained);
        let value = value.as_deref();
        if explained.is_empty() {
            write_wrapped(
                f,
                &format!("The key begins as {ABSENT}, and none can be first."),
            )?;
        } else {
            let left_out = explained.len().saturating_sub(ORDER_MAX);
            let order = explained.iter().skip(left_out);
            let order: Vec<String> = order.map(|place| (place + 1).to_string()).collect();
            let dots = if left_out > 0 { "..., " } else { "" };
            let order = dots.to_owned() + &order.join(", ");
            write_wrapped(
                f,
                &format!(
                    "The order that explains most is {order}. Then the key holds {}.",
                    shown(value)
                ),
            )?;
        }
        let left: Vec<usize> = (0..self.operations.len())
            .filter(|place| !explained.contains(place))
            .collect();
        let known = left
            .iter()
            .filter(|&&place| self.operations[place].returned.is_some());
        for &place in known.clone().take(SENTENCES_MAX) {
            write_wrapped(f, &self.why_not_next(place, &left, value))?;
        }
        match known.count().saturating_sub(SENTENCES_MAX) {
            0 => Ok(()),
            more => write_wrapped(f, &format!("Nor can {more} others be next.")),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = cut(&Quoted(&self.key).to_string(), 40);
        let (part, of) = (self.operations.len(), self.of);
        write_wrapped(
            f,
            &format!("key {key}: {part} of its {of} operations have no right order."),
        )?;
        writeln!(f, " line  client       asked    answered")?;
        let start = self
            .operations
            .iter()
            .map(|operation| operation.called)
            .min();
        let start = start.unwrap_or(0);
        let left_out = part.saturating_sub(LINES_MAX);
        if left_out > 0 {
            writeln!(f, "  ...  {left_out} before these")?;
        }
        for (place, operation) in self.operations.iter().enumerate().skip(left_out) {
            let answered = operation
                .returned
                .map_or_else(|| "-".to_owned(), |at| time(at - start));
            let (client, asked) = (operation.client, time(operation.called - start));
            let line = format!("{:5}  {client:6}  {asked:>10}  {answered:>10}  ", place + 1);
            writeln!(f, "{line}{}", cut(&said(operation), COLUMNS - line.len()))?;
        }
        if self
            .operations
            .iter()
            .any(|operation| operation.returned.is_none())
        {
            write_wrapped(
                f,
                "-: of unknown outcome, or answered at a time that does not matter here.",
            )?;
        }
        match &self.reason {
            Some(Reason::NeverWritten { read }) => write_wrapped(
                f,
                &format!(
                    "No write that was asked before {0} was answered makes what {0} read.",
                    read + 1
                ),
            ),
            Some(Reason::TwoValues { write, reads }) => write_wrapped(
                f,
                &format!(
                    "{} and {} both end with what {} wrote, which it wrote once; but what stands before it differs.",
                    reads[0] + 1,
                    reads[1] + 1,
                    write + 1
                ),
            ),
            Some(Reason::NoOrder { explained }) => self.write_no_order(f, explained),
            None => Ok(()),
        }
    }
}

/// Why this has no order. Where there are orders to try, the longest is looked for without what tells beforehand that
/// it leads nowhere: a person has not been told.
fn reason(operations: &[Operation], time: Duration) -> Option<Reason> {
    match judge_key(operations, Some(time)) {
        Verdict::Wrong(Reason::NoOrder { .. }) => Some(Reason::NoOrder {
            explained: longest_order(operations, time),
        }),
        Verdict::Wrong(reason) => Some(reason),
        Verdict::Right | Verdict::Undecided => None,
    }
}

/// What was asked and heard.
fn said(operation: &Operation) -> String {
    let order = if operation.in_order {
        ", in its client's order"
    } else {
        ""
    };
    let revision = operation
        .revision
        .map_or(String::new(), |revision| format!(", revision {revision}"));
    let words = match &operation.kind {
        Kind::Put { value } => format!("PUT {}", shown(Some(value))),
        Kind::Append { value, length } => {
            let length = length.map_or(String::new(), |length| format!(": length {length}"));
            format!("APPEND {}{length}", shown(Some(value)))
        }
        Kind::Delete { existed } => match existed {
            Some(true) => "DELETE: it was there".to_owned(),
            Some(false) => format!("DELETE: {ABSENT}"),
            None => "DELETE".to_owned(),
        },
        Kind::Get { value } => format!("GET: {}", shown(value.as_deref())),
    };
    words + &revision + order
}

/// A value on the screen. Of a long one start and end are shown.
fn shown(value: Option<&[u8]>) -> String {
    match value {
        None => ABSENT.to_owned(),
        Some(value) if value.len() > VALUE_BYTES_MAX => {
            let (start, rest) = value.split_at(VALUE_BYTES_MAX / 3);
            let end = &rest[rest.len() - VALUE_BYTES_MAX / 3..];
            format!(
                "{}...{} ({} bytes)",
                Quoted(start),
                Quoted(end),
                value.len()
            )
        }
        Some(value) => Quoted(value).to_string(),
    }
}

/// A time after the first, in the unit that suits it.
fn time(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{} us", ns / 1_000),
        10_000_000..10_000_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{} s", ns / 1_000_000_000),
    }
}

fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take(columns.saturating_sub(3)).collect();
    kept + "..."
}

/// Writes a sentence in lines that fit a terminal.
fn write_wrapped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut line = String::new();
    for word in text.split(' ') {
        let word = cut(word, COLUMNS);
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            writeln!(f, "{line}")?;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    writeln!(f, "{line}")
}

const COLUMNS: usize = 80;

/// Of a longer order the end is shown.
const ORDER_MAX: usize = 12;

/// With more operations that are left, the first ones tell enough.
const SENTENCES_MAX: usize = 5;

/// More lines than this tell nobody more.
const LINES_MAX: usize = 30;

/// So much of a value leaves room for the rest of its line.
const VALUE_BYTES_MAX: usize = 24;
