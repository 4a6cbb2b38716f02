//! Whether something that must go on does: a frame that has begun, answers that wait to be read (FAULTS 10).

use std::time::{Duration, Instant};

/// How much a frame must gain, unless it ends, in [`PROGRESS_WAIT_MAX`], in bytes.
pub(super) const FRAME_PROGRESS_BYTES: u64 = 64 << 10;

/// In this time a begun frame must gain or end, and some answer must be read.
pub(super) const PROGRESS_WAIT_MAX: Duration = Duration::from_secs(10);

/// Remembers where something stood when it was last seen to move.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    mark: Option<(Instant, u64)>,
}

impl Progress {
    /// Looks at it: `done` is a count that grows, by at least `step` if it moves. Returns whether it stands still for
    /// too long.
    pub(super) fn is_stuck(&mut self, now: Instant, done: u64, step: u64) -> bool {
        let (since, before) = *self.mark.get_or_insert((now, done));
        if done - before >= step {
            self.mark = Some((now, done));
            return false;
        }
        now.duration_since(since) >= PROGRESS_WAIT_MAX
    }

    /// There is nothing that must go on.
    pub(super) fn rest(&mut self) {
        self.mark = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_stuck_when_it_moves_too_little_for_too_long() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut progress = Progress::default();
        assert!(!progress.is_stuck(at(0), 100, 64));
        assert!(!progress.is_stuck(at(9), 163, 64));
        assert!(progress.is_stuck(at(10), 163, 64));
        assert!(!progress.is_stuck(at(10), 164, 64));
        assert!(!progress.is_stuck(at(19), 164, 64));
        progress.rest();
        assert!(!progress.is_stuck(at(60), 164, 64));
    }
}
