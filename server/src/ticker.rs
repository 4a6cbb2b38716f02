//! Turns the monotonic clock into the node's ticks.

use std::time::{Duration, Instant};

/// What the node calls a tick.
pub const TICK: Duration = Duration::from_millis(10);

/// Counts ticks that are due.
#[derive(Debug)]
pub struct Ticker {
    /// When the last tick that was taken was due.
    last: Instant,
}

impl Ticker {
    /// The first tick is due one [`TICK`] after `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { last: now }
    }

    /// Takes the ticks that are due: a few at most. While this thread was held up it could neither hear nor be heard,
    /// so that time says nothing of the others' silence; and after a long pause it must not count at all (RULES R13).
    /// A clock that went back goes on from there.
    pub fn take_due(&mut self, now: Instant) -> u32 {
        self.last = self.last.min(now);
        let passed = now.saturating_duration_since(self.last);
        let due = passed.as_millis() / TICK.as_millis();
        if due > u128::from(CATCH_UP_TICKS_MAX) {
            self.last = now;
            return CATCH_UP_TICKS_MAX;
        }
        let due = u32::try_from(due).expect("at most what was just compared");
        self.last += TICK * due;
        due
    }

    /// How long until the next tick.
    #[must_use]
    pub fn until_next(&self, now: Instant) -> Duration {
        (self.last + TICK).saturating_duration_since(now)
    }
}

/// 100 ms: less than the shortest time after which a silent leader is doubted.
const CATCH_UP_TICKS_MAX: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_neither_drift_nor_make_up_for_a_pause() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut ticker = Ticker::new(start);
        assert_eq!(ticker.take_due(at(9)), 0);
        assert_eq!(ticker.until_next(at(9)), Duration::from_millis(1));
        assert_eq!(ticker.take_due(at(25)), 2);
        assert_eq!(ticker.take_due(at(30)), 1);
        assert_eq!(ticker.take_due(at(130)), 10);
        assert_eq!(ticker.take_due(at(3_600_000)), 10);
        assert_eq!(ticker.take_due(at(3_600_009)), 0);
        assert_eq!(ticker.take_due(at(3_600_010)), 1);
    }

    #[test]
    fn a_clock_that_goes_back_goes_on_from_there() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut ticker = Ticker::new(at(3_600_000));
        assert_eq!(ticker.take_due(at(5)), 0);
        assert_eq!(ticker.until_next(at(5)), Duration::from_millis(10));
        assert_eq!(ticker.take_due(at(15)), 1);
    }
}
