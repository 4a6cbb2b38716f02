//! Bounds the log lines that foreign input can cause.

use std::time::{Duration, Instant};

/// Lines a second, per cause: enough to see what happens, too few to fill a disk.
const LINES_PER_S_MAX: u32 = 10;

/// Counts the lines of one cause.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    second: Option<Instant>,
    written: u32,
    skipped: u64,
}

impl Throttle {
    /// Whether a line may be written now; if so, how many were skipped since the last one.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<u64> {
        let fresh = self
            .second
            .is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1));
        if fresh {
            self.second = Some(now);
            self.written = 0;
        }
        if self.written >= LINES_PER_S_MAX {
            self.skipped += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.skipped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second_are_written_and_the_others_counted() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        let written = (0..25).filter(|_| throttle.admit(start).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(throttle.admit(start + Duration::from_secs(1)), Some(15));
        assert_eq!(throttle.admit(start + Duration::from_secs(1)), Some(0));
    }
}
