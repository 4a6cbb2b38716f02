//! When operations begin: as soon as one before them has ended, or at a fixed rate.
//!
//! At a fixed rate an operation is due at its time whether or not the cluster has kept up, and its latency counts from then.
//! So a stall is felt by all that were due meanwhile, as by users who come when they please, and not only by the few that a
//! closed loop had outstanding.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// What is due next, and who may begin it. `Id` names an operation among those of its client.
#[derive(Debug)]
pub(super) struct Pace<Id> {
    start: Instant,
    /// None: whenever one has ended.
    per_second: Option<f64>,
    /// How many were begun.
    begun: u64,
    /// The clients that may begin one, each once for every one that it may.
    free: VecDeque<usize>,
    /// When those that are outstanding were due.
    due: HashMap<(usize, Id), Instant>,
}

impl<Id: Hash + Eq> Pace<Id> {
    /// Each of the clients may have so many outstanding.
    pub(super) fn new(
        start: Instant,
        per_second: Option<f64>,
        clients: usize,
        pipeline: usize,
    ) -> Self {
        let each = || 0..clients;
        Self {
            start,
            per_second,
            begun: 0,
            free: (0..pipeline).flat_map(|_| each()).collect(),
            due: HashMap::new(),
        }
    }

    /// Who is to begin one now, and when it was due.
    pub(super) fn next(&mut self, now: Instant) -> Option<(usize, Instant)> {
        let due = self.next_due().unwrap_or(now);
        if due > now {
            return None;
        }
        let client = self.free.pop_front()?;
        self.begun += 1;
        Some((client, due))
    }

    /// It began under this number.
    pub(super) fn begun(&mut self, client: usize, id: Id, due: Instant) {
        if self.per_second.is_some() {
            self.due.insert((client, id), due);
        }
    }

    /// It ended: its client may begin another. Says when it was due, if that was not when it was submitted.
    pub(super) fn ended(&mut self, client: usize, id: Id) -> Option<Instant> {
        self.free.push_back(client);
        self.due.remove(&(client, id))
    }

    /// When to look again, if nothing ends before.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.next_due().filter(|_| !self.free.is_empty())
    }

    /// How many were due until `end` and were not begun, because all clients waited.
    pub(super) fn not_begun(&self, end: Instant) -> u64 {
        let Some(per_second) = self.per_second else {
            return 0;
        };
        let due = (end.saturating_duration_since(self.start).as_secs_f64() * per_second) as u64;
        due.saturating_sub(self.begun)
    }

    /// When the next one is due. The system wakes nobody for less than a millisecond: those of one are due at its end.
    fn next_due(&self) -> Option<Instant> {
        let after_ms = (self.begun as f64 * 1_000.0 / self.per_second?).ceil();
        Some(self.start + Duration::from_millis(after_ms as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn begun(pace: &mut Pace<u64>, now: Instant) -> usize {
        std::iter::from_fn(|| pace.next(now)).count()
    }

    #[test]
    fn a_closed_loop_begins_one_whenever_one_ends() {
        let start = Instant::now();
        let mut pace = Pace::new(start, None, 2, 3);
        assert_eq!(begun(&mut pace, start), 6);
        assert_eq!(pace.next_at(), None);
        assert_eq!(pace.ended(1, 7), None);
        assert_eq!(pace.next(start), Some((1, start)));
        assert_eq!(pace.next(start), None);
    }

    #[test]
    fn a_fixed_rate_begins_what_is_due_and_no_more() {
        let start = Instant::now();
        let mut pace = Pace::new(start, Some(2_000.0), 1, 100);
        assert_eq!(begun(&mut pace, start), 1);
        assert_eq!(pace.next_at(), Some(start + MS));
        assert_eq!(begun(&mut pace, start + 10 * MS), 20);
        assert_eq!(pace.not_begun(start + 10 * MS), 0);
    }

    #[test]
    fn latency_counts_from_when_it_was_due() {
        let start = Instant::now();
        let mut pace = Pace::new(start, Some(1_000.0), 1, 1);
        let (client, due) = pace.next(start).unwrap();
        pace.begun(client, 7, due);
        // The cluster stalls, and nobody is free.
        let late = start + 50 * MS;
        assert_eq!(pace.next(late), None);
        assert_eq!(pace.not_begun(late), 49);
        assert_eq!(pace.ended(client, 7), Some(start));
        assert_eq!(pace.next(late), Some((0, start + MS)));
    }
}
