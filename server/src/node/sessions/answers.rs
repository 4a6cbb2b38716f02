//! The answers that a session keeps. A client that waits for each answer before it writes again has one at most, so one
//! is kept in place.

use std::slice;

use common::{Limit, Outcome, Refusal};

use super::super::hash::digest;

/// The answer of a write that has run. A refusal that every replica finds alike is an answer too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    Put { revision: u64 },
    Appended { revision: u64, length: u64 },
    Deleted { revision: u64, existed: bool },
    TooLarge { bytes: u64, bytes_max: u64 },
    StoreFull { bytes_max: u64 },
}

impl Ran {
    /// As the client is told.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Put { revision } => Outcome::Put { revision },
            Self::Appended { revision, length } => Outcome::Appended { revision, length },
            Self::Deleted { revision, existed } => Outcome::Deleted { revision, existed },
            Self::TooLarge { bytes, bytes_max } => Outcome::Refused(Refusal::TooLarge {
                limit: Limit::ValueBytes,
                bytes,
                bytes_max,
            }),
            Self::StoreFull { bytes_max } => Outcome::Refused(Refusal::StoreFull { bytes_max }),
        }
    }

    pub(super) fn words(self) -> [u64; 3] {
        match self {
            Self::Put { revision } => [1, revision, 0],
            Self::Appended { revision, length } => [2, revision, length],
            Self::Deleted { revision, existed } => [3, revision, u64::from(existed)],
            Self::TooLarge { bytes, bytes_max } => [4, bytes, bytes_max],
            Self::StoreFull { bytes_max } => [5, bytes_max, 0],
        }
    }

    pub(super) fn from_words([kind, first, second]: [u64; 3]) -> Option<Self> {
        let ran = match kind {
            1 => Self::Put { revision: first },
            2 => Self::Appended {
                revision: first,
                length: second,
            },
            3 => Self::Deleted {
                revision: first,
                existed: second == 1,
            },
            4 => Self::TooLarge {
                bytes: first,
                bytes_max: second,
            },
            5 => Self::StoreFull { bytes_max: first },
            _ => return None,
        };
        (ran.words() == [kind, first, second]).then_some(ran)
    }
}

/// Answers in order of the numbers of their writes.
#[derive(Debug)]
pub(super) enum Answers {
    None,
    One((u64, Ran)),
    #[expect(
        clippy::box_collection,
        reason = "the vector in place would make every session longer by a word"
    )]
    Many(Box<Vec<(u64, Ran)>>),
}

impl Answers {
    pub(super) fn as_slice(&self) -> &[(u64, Ran)] {
        match self {
            Self::None => &[],
            Self::One(answer) => slice::from_ref(answer),
            Self::Many(answers) => answers,
        }
    }

    /// The answer of the write of this number.
    pub(super) fn find(&self, sequence: u64) -> Option<Ran> {
        let answers = self.as_slice();
        let place = answers.binary_search_by_key(&sequence, |(number, _)| *number);
        Some(answers[place.ok()?].1)
    }

    /// Adds the answer of a write that has none.
    pub(super) fn insert(&mut self, sequence: u64, ran: Ran) {
        let answer = (sequence, ran);
        match self {
            Self::None => *self = Self::One(answer),
            Self::One(other) => {
                let mut both = vec![*other, answer];
                both.sort_unstable_by_key(|(number, _)| *number);
                *self = Self::Many(Box::new(both));
            }
            Self::Many(answers) => {
                let place = answers.partition_point(|(number, _)| *number < sequence);
                answers.insert(place, answer);
            }
        }
    }

    /// Forgets the answers below the floor, and gives the sum of their digests.
    pub(super) fn forget_below(&mut self, revision: u64, floor: u64) -> u128 {
        let heard = self
            .as_slice()
            .partition_point(|(sequence, _)| *sequence < floor);
        let (forgotten, kept) = self.as_slice().split_at(heard);
        let sum = sum_of_digests(revision, forgotten);
        if kept.is_empty() {
            *self = Self::None;
        } else if let Self::Many(answers) = self {
            answers.drain(..heard);
            answers.shrink_to(2 * answers.len());
        }
        sum
    }

    /// What the answers of a session add to the hash.
    pub(super) fn digest(&self, revision: u64) -> u128 {
        sum_of_digests(revision, self.as_slice())
    }
}

fn sum_of_digests(revision: u64, answers: &[(u64, Ran)]) -> u128 {
    answers
        .iter()
        .map(|(sequence, ran)| digest_of_answer(revision, *sequence, *ran))
        .fold(0, u128::wrapping_add)
}

/// What one answer adds to the hash.
pub(super) fn digest_of_answer(revision: u64, sequence: u64, ran: Ran) -> u128 {
    let [kind, first, second] = ran.words();
    digest(&[3, revision, sequence, kind, first, second])
}
