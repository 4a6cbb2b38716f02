//! The numbers of one session's writes: which comes next, which are still wanted, what each must say of the others.
//!
//! Owns the floor (RULES R8): the lowest number whose answer the client still wants. A number is finished when its
//! answer came or when it was given up, and then never runs later. It knows nothing of connections and time.

use std::collections::VecDeque;

use common::SessionId;

/// How far above the floor a session's answers are kept by the cluster.
const WIDTH: u64 = 1_024;

/// The writes of one open session.
#[derive(Debug)]
pub(crate) struct Numbering {
    session: SessionId,
    /// The lowest number that is not finished. Every number below it is.
    floor: u64,
    /// Whether each number from `floor` on that was given out is finished; the first never is.
    finished: VecDeque<bool>,
    /// The highest number that was given up and may still run, because nothing that ran has said otherwise; 0 for none.
    given_up: u64,
    /// The first number given out with a floor above `given_up`: once it has run, nothing given up can; 0 for none.
    closing: u64,
}

impl Numbering {
    /// No number has been given out.
    pub(crate) fn new(session: SessionId) -> Self {
        Self {
            session,
            floor: 1,
            finished: VecDeque::new(),
            given_up: 0,
            closing: 0,
        }
    }

    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    /// The lowest number still wanted; the next to be given out if none is.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Whether nothing is wanted, and nothing that was given up can run any more.
    pub(crate) fn is_settled(&self) -> bool {
        self.finished.is_empty() && self.given_up == 0
    }

    /// Gives out the next number, unless the cluster would not keep its answer.
    pub(crate) fn next(&mut self) -> Option<u64> {
        let count = self.finished.len() as u64;
        if count >= WIDTH {
            return None;
        }
        self.finished.push_back(false);
        let number = self.floor + count;
        if self.floor > self.given_up && self.closing == 0 {
            self.closing = number;
        }
        Some(number)
    }

    /// The highest number below `sequence` that is not finished; 0 for none.
    pub(crate) fn before(&self, sequence: u64) -> u64 {
        let end = self.place(sequence).unwrap_or(0);
        let found = self.finished.range(..end).rposition(|finished| !finished);
        found.map_or(0, |place| self.floor + place as u64)
    }

    /// The number ran, and its answer came.
    pub(crate) fn answered(&mut self, sequence: u64) {
        if self.closing > 0 && sequence >= self.closing {
            self.given_up = 0;
        }
        self.finish(sequence);
    }

    /// The answer is not waited for any more.
    pub(crate) fn give_up(&mut self, sequence: u64) {
        self.given_up = self.given_up.max(sequence);
        self.closing = 0;
        self.finish(sequence);
    }

    fn finish(&mut self, sequence: u64) {
        if let Some(place) = self.place(sequence) {
            self.finished[place] = true;
        }
        while self.finished.front() == Some(&true) {
            self.finished.pop_front();
            self.floor += 1;
        }
    }

    fn place(&self, sequence: u64) -> Option<usize> {
        let place = usize::try_from(sequence.checked_sub(self.floor)?).ok()?;
        (place < self.finished.len()).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbering() -> Numbering {
        Numbering::new(SessionId::default())
    }

    #[test]
    fn numbers_begin_with_one_and_follow_each_other() {
        let mut numbers = numbering();
        assert_eq!(numbers.floor(), 1);
        assert_eq!(numbers.next(), Some(1));
        assert_eq!(numbers.next(), Some(2));
        assert_eq!(numbers.floor(), 1);
    }

    #[test]
    fn the_floor_rises_over_what_is_finished_and_waits_for_the_rest() {
        let mut numbers = numbering();
        for _ in 0..3 {
            numbers.next();
        }
        numbers.answered(2);
        assert_eq!(numbers.floor(), 1);
        numbers.answered(1);
        assert_eq!(numbers.floor(), 3);
        numbers.answered(1);
        numbers.answered(3);
        assert_eq!(numbers.floor(), 4);
        assert!(numbers.is_settled());
        assert_eq!(numbers.next(), Some(4));
    }

    #[test]
    fn a_write_comes_after_the_unfinished_one_before_it() {
        let mut numbers = numbering();
        for _ in 0..4 {
            numbers.next();
        }
        assert_eq!(numbers.before(1), 0);
        assert_eq!(numbers.before(4), 3);
        numbers.answered(3);
        assert_eq!(numbers.before(4), 2);
        numbers.answered(1);
        numbers.answered(2);
        assert_eq!(numbers.before(4), 0);
    }

    #[test]
    fn no_number_is_given_out_whose_answer_would_not_be_kept() {
        let mut numbers = numbering();
        for expected in 1..=1_024 {
            assert_eq!(numbers.next(), Some(expected));
        }
        assert_eq!(numbers.next(), None);
        numbers.answered(500);
        assert_eq!(numbers.next(), None);
        numbers.answered(1);
        assert_eq!(numbers.next(), Some(1_025));
    }

    #[test]
    fn what_was_given_up_is_settled_by_an_answer_to_a_later_number_only() {
        let mut numbers = numbering();
        let (first, second, third) = (numbers.next().unwrap(), numbers.next().unwrap(), 3);
        numbers.give_up(first);
        numbers.answered(second);
        assert!(
            !numbers.is_settled(),
            "the second was sent with the old floor"
        );
        assert_eq!(numbers.next(), Some(third));
        numbers.give_up(third);
        assert!(!numbers.is_settled());
        let fourth = numbers.next().unwrap();
        numbers.answered(fourth);
        assert!(numbers.is_settled());
    }
}
