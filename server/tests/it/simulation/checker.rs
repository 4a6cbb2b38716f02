//! Judges a history: is there an order of the operations on each key that respects time and explains every answer?
//!
//! The search is Wing and Gong's with Lowe's memory of configurations ("Testing for linearizability", 2017): an operation
//! may come next if it was called before any other that is still to come returned. Keys are independent of each other,
//! so each is judged alone. An operation whose outcome is unknown may come at any time after its call, or never.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::history::{Kind, Operation};

/// Judges the operations of one key, which begins absent.
///
/// # Errors
/// Says which operations could not be explained, or that the search took too long to tell.
pub(crate) fn check_key(operations: &[Operation]) -> Result<(), String> {
    let mut operations = operations.to_vec();
    operations.sort_by_key(|operation| operation.called);
    Search::new(&operations).run()
}

struct Search<'a> {
    operations: &'a [Operation],
    /// Per operation the one of the same connection that must come before it.
    before: Vec<Option<usize>>,
    /// In what order operations are tried: those with an answer first, since it tells at once whether they fit.
    order: Vec<usize>,
    /// The place of each operation in that order.
    rank: Vec<usize>,
    done: Vec<bool>,
    known_left: usize,
    seen: HashSet<u64>,
    steps: u64,
    /// The operations of the longest prefix that could be explained.
    best: usize,
    stuck: String,
}

/// A step of the search, to be undone.
struct Step {
    operation: usize,
    value_before: Option<Vec<u8>>,
    next_candidate: usize,
}

impl<'a> Search<'a> {
    fn new(operations: &'a [Operation]) -> Self {
        let before = (0..operations.len())
            .map(|place| {
                let own = &operations[place];
                if !own.in_order {
                    return None;
                }
                (0..place)
                    .rev()
                    .find(|&earlier| operations[earlier].client == own.client)
                    .filter(|&earlier| {
                        operations[earlier].in_order && operations[earlier].returned.is_some()
                    })
            })
            .collect();
        let mut order: Vec<usize> = (0..operations.len()).collect();
        order.sort_by_key(|&place| operations[place].returned.is_none());
        let mut rank = vec![0; operations.len()];
        for (number, &place) in order.iter().enumerate() {
            rank[place] = number;
        }
        Self {
            order,
            rank,
            known_left: operations
                .iter()
                .filter(|operation| operation.returned.is_some())
                .count(),
            done: vec![false; operations.len()],
            operations,
            before,
            seen: HashSet::new(),
            steps: 0,
            best: 0,
            stuck: String::new(),
        }
    }

    /// Depth first, without recursion: a history may be thousands of operations deep.
    fn run(mut self) -> Result<(), String> {
        let mut value: Option<Vec<u8>> = None;
        let mut path: Vec<Step> = Vec::new();
        let mut candidate = 0;
        while self.known_left > 0 {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                let stuck = self.stuck;
                return Err(format!("undecided after {STEPS_MAX} steps: {stuck}"));
            }
            if candidate == 0
                && let Some(read) = self.fitting_read(&value)
            {
                self.mark(read, true);
                path.push(Step {
                    operation: read,
                    value_before: value.clone(),
                    next_candidate: self.operations.len(),
                });
                self.note_progress(path.len(), &value);
                continue;
            }
            if let Some((operation, after)) = self.next_step(candidate, &value) {
                self.mark(operation, true);
                let next_candidate = self.rank[operation] + 1;
                let fresh = self.seen.insert(self.configuration(&after));
                if fresh {
                    path.push(Step {
                        operation,
                        value_before: std::mem::replace(&mut value, after),
                        next_candidate,
                    });
                    candidate = 0;
                    self.note_progress(path.len(), &value);
                } else {
                    self.mark(operation, false);
                    candidate = next_candidate;
                }
                continue;
            }
            let Some(step) = path.pop() else {
                return Err(format!("not linearizable: {}", self.stuck));
            };
            self.mark(step.operation, false);
            value = step.value_before;
            candidate = step.next_candidate;
        }
        Ok(())
    }

    /// The next operation at or after `candidate` that may come now, and the value after it.
    fn next_step(
        &self,
        candidate: usize,
        value: &Option<Vec<u8>>,
    ) -> Option<(usize, Option<Vec<u8>>)> {
        self.next_operations(candidate)
            .find_map(|place| Some((place, apply(&self.operations[place].kind, value)?)))
    }

    /// A read that may come now and fits. It changes nothing and is in nobody's way, so that no other order need be tried.
    fn fitting_read(&self, value: &Option<Vec<u8>>) -> Option<usize> {
        self.next_operations(0).find(
            |&place| matches!(&self.operations[place].kind, Kind::Get { value: heard } if heard == value),
        )
    }

    /// The operations at or after `candidate` that may come next, as far as time, their connections' order and the
    /// revisions that answers named tell.
    fn next_operations(&self, candidate: usize) -> impl Iterator<Item = usize> + '_ {
        let returns = self
            .left()
            .filter_map(|place| self.operations[place].returned);
        let horizon = returns.min().unwrap_or(u64::MAX);
        let revisions = self
            .left()
            .filter_map(|place| self.operations[place].revision());
        let next_revision = revisions.min();
        self.order[candidate..]
            .iter()
            .copied()
            .filter(move |&place| self.operations[place].called <= horizon && !self.done[place])
            .filter(move |&place| {
                let revision = self.operations[place].revision();
                revision.is_none() || revision == next_revision
            })
            .filter(|&place| self.before[place].is_none_or(|before| self.done[before]))
    }

    fn left(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.operations.len()).filter(|&place| !self.done[place])
    }

    fn mark(&mut self, operation: usize, done: bool) {
        self.done[operation] = done;
        if self.operations[operation].returned.is_some() {
            if done {
                self.known_left -= 1;
            } else {
                self.known_left += 1;
            }
        }
    }

    fn configuration(&self, value: &Option<Vec<u8>>) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.done, value).hash(&mut hasher);
        hasher.finish()
    }

    fn note_progress(&mut self, length: usize, value: &Option<Vec<u8>>) {
        if length > self.best {
            self.best = length;
            let next: Vec<String> = self
                .left()
                .take(6)
                .map(|place| format!("{:?}", self.operations[place]))
                .collect();
            let value = value
                .as_ref()
                .map(|value| String::from_utf8_lossy(value).into_owned());
            self.stuck = format!(
                "after {length} operations the value is {value:?}; then {}",
                next.join("; ")
            );
        }
    }
}

/// The value after the operation, or `None` if its answer does not fit the value before.
fn apply(kind: &Kind, value: &Option<Vec<u8>>) -> Option<Option<Vec<u8>>> {
    match kind {
        Kind::Put { value } => Some(Some(value.clone())),
        Kind::Append {
            value: more,
            length,
        } => {
            let mut after = value.clone().unwrap_or_default();
            after.extend_from_slice(more);
            length
                .is_none_or(|length| length == after.len() as u64)
                .then_some(Some(after))
        }
        Kind::Delete { existed } => existed
            .is_none_or(|existed| existed == value.is_some())
            .then_some(None),
        Kind::Get { value: heard } => (heard == value).then(|| value.clone()),
    }
}

/// A search that takes longer has met a history that tells too little; the clients here are made to tell more.
const STEPS_MAX: u64 = 3_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(client: u64, called: u64, returned: u64, kind: Kind) -> Operation {
        Operation {
            client,
            kind,
            called,
            returned: (returned > 0).then_some(returned),
            in_order: true,
            revision: None,
        }
    }

    fn put(value: &str) -> Kind {
        Kind::Put {
            value: value.into(),
        }
    }

    fn append(value: &str, length: u64) -> Kind {
        Kind::Append {
            value: value.into(),
            length: Some(length),
        }
    }

    fn get(value: &str) -> Kind {
        Kind::Get {
            value: Some(value.into()),
        }
    }

    const ABSENT: Kind = Kind::Get { value: None };

    #[test]
    fn ten_right_histories_are_accepted() {
        let unknown = Kind::Append {
            value: "u".into(),
            length: None,
        };
        let histories = [
            vec![],
            vec![operation(0, 1, 2, ABSENT)],
            vec![operation(0, 1, 2, put("a")), operation(1, 3, 4, get("a"))],
            vec![
                operation(0, 1, 9, put("a")),
                operation(1, 2, 3, ABSENT),
                operation(1, 4, 5, get("a")),
            ],
            vec![operation(0, 1, 9, put("a")), operation(1, 2, 3, get("a"))],
            vec![
                operation(0, 1, 0, unknown.clone()),
                operation(1, 5, 6, ABSENT),
                operation(1, 7, 8, get("u")),
            ],
            vec![
                operation(0, 1, 0, unknown),
                operation(1, 5, 6, ABSENT),
                operation(1, 7, 8, ABSENT),
            ],
            vec![
                operation(0, 1, 5, append("a", 2)),
                operation(1, 1, 5, append("b", 1)),
                operation(2, 6, 7, get("ba")),
            ],
            vec![
                operation(0, 1, 2, put("a")),
                operation(
                    0,
                    3,
                    4,
                    Kind::Delete {
                        existed: Some(true),
                    },
                ),
                operation(0, 5, 6, ABSENT),
            ],
            vec![operation(0, 1, 2, put("")), operation(0, 3, 4, get(""))],
        ];
        for (place, history) in histories.iter().enumerate() {
            assert_eq!(check_key(history), Ok(()), "history {place}");
        }
    }

    #[test]
    fn ten_wrong_histories_are_refused() {
        let histories = [
            vec![operation(0, 1, 2, get("a"))],
            vec![operation(0, 1, 2, put("a")), operation(1, 3, 4, ABSENT)],
            vec![
                operation(0, 1, 2, put("a")),
                operation(0, 3, 4, put("b")),
                operation(1, 5, 6, get("a")),
            ],
            vec![
                operation(0, 1, 9, put("a")),
                operation(1, 2, 3, get("a")),
                operation(1, 4, 5, ABSENT),
            ],
            vec![
                operation(0, 1, 2, append("a", 1)),
                operation(1, 3, 4, get("aa")),
            ],
            vec![operation(0, 1, 2, append("a", 2))],
            vec![operation(
                0,
                1,
                2,
                Kind::Delete {
                    existed: Some(true),
                },
            )],
            vec![
                operation(0, 1, 2, put("a")),
                operation(
                    0,
                    3,
                    4,
                    Kind::Delete {
                        existed: Some(false),
                    },
                ),
            ],
            vec![operation(0, 1, 9, put("a")), operation(0, 2, 8, ABSENT)],
            vec![operation(0, 1, 2, put("")), operation(0, 3, 4, ABSENT)],
        ];
        for (place, history) in histories.iter().enumerate() {
            assert!(check_key(history).is_err(), "history {place} was accepted");
        }
    }

    #[test]
    fn changes_take_effect_in_the_order_of_their_revisions() {
        let with_revision = |operation: Operation, revision| Operation {
            revision: Some(revision),
            ..operation
        };
        let first = operation(1, 1, 2, put("a"));
        let second = operation(2, 3, 4, put("b"));
        let right = [
            with_revision(first.clone(), 7),
            with_revision(second.clone(), 8),
        ];
        let wrong = [with_revision(first, 8), with_revision(second, 7)];
        assert_eq!(check_key(&right), Ok(()));
        assert!(check_key(&wrong).is_err());
    }

    #[test]
    fn what_saw_a_revision_stands_behind_the_change_that_made_it() {
        let absent_delete = Kind::Delete {
            existed: Some(false),
        };
        let history = |seen| {
            let change = operation(1, 1, 9, put("a"));
            let delete = operation(2, 2, 3, absent_delete.clone());
            [(change, 7), (delete, seen)].map(|(operation, revision)| Operation {
                revision: Some(revision),
                ..operation
            })
        };
        assert_eq!(check_key(&history(6)), Ok(()));
        assert!(check_key(&history(7)).is_err(), "it was there by then");
    }
}
