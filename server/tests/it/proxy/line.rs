//! One direction of one connection, or of one client's datagrams: draws what becomes of each parcel, and keeps those
//! that are late. It has no socket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Direction, State, count};

/// A swapped parcel waits so long for another to overtake it, and then goes by itself.
const OVERTAKEN_WITHIN: Duration = Duration::from_millis(50);

/// Nobody waits longer for something that may fall due, so that the end of the proxy and a switch are seen.
const WAIT_MAX: Duration = Duration::from_millis(20);

/// One direction.
#[derive(Debug)]
pub(super) struct Line {
    state: Arc<State>,
    direction: Direction,
    /// Whether a late parcel keeps back those behind it, as on a connection.
    in_order: bool,
    random: SmallRng,
    /// By when they are due and in which order they came.
    waiting: BTreeMap<(Instant, u64), Vec<u8>>,
    /// The parcel that the next one is to overtake, and until when.
    overtaken: Option<(Instant, Vec<u8>)>,
    next_serial: u64,
    /// On a connection nothing is due before it.
    free_at: Instant,
}

/// Whether a connection may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    GoesOn,
    IsCut,
}

impl Line {
    /// `number` tells this connection or client from the others of the proxy.
    pub(super) fn new(
        state: &Arc<State>,
        direction: Direction,
        number: u64,
        in_order: bool,
        now: Instant,
    ) -> Self {
        let inward = u64::from(direction == Direction::Inward);
        Self {
            state: Arc::clone(state),
            direction,
            in_order,
            random: SmallRng::seed_from_u64(state.faults.seed ^ ((2 * number + inward) << 32)),
            waiting: BTreeMap::new(),
            overtaken: None,
            next_serial: 0,
            free_at: now,
        }
    }

    /// A parcel came.
    pub(super) fn take(&mut self, parcel: Vec<u8>, now: Instant) -> Fate {
        let state = Arc::clone(&self.state);
        let tally = &state.tally;
        let rates = state.rates(self.direction);
        count(&tally.came);
        if state.is_blocked(self.direction) {
            count(&tally.blocked);
            return Fate::GoesOn;
        }
        if self.random.random_bool(rates.cut) {
            count(&tally.cut);
            return Fate::IsCut;
        }
        if self.random.random_bool(rates.drop) {
            count(&tally.dropped);
            return Fate::GoesOn;
        }
        let mut due = now;
        if self.random.random_bool(rates.delay) {
            count(&tally.delayed);
            due += rates.delay_max.mul_f64(self.random.random());
        }
        if self.random.random_bool(rates.double) {
            count(&tally.doubled);
            self.queue(parcel.clone(), due);
        }
        if self.overtaken.is_none() && self.random.random_bool(rates.swap) {
            count(&tally.swapped);
            self.overtaken = Some((due + OVERTAKEN_WITHIN, parcel));
            return Fate::GoesOn;
        }
        self.queue(parcel, due);
        if let Some((_, overtaken)) = self.overtaken.take() {
            self.queue(overtaken, due);
        }
        Fate::GoesOn
    }

    /// The next parcel that is due.
    pub(super) fn next_due(&mut self, now: Instant) -> Option<Vec<u8>> {
        if let Some((_, parcel)) = self.overtaken.take_if(|(until, _)| *until <= now) {
            self.queue(parcel, now);
        }
        let first = self.waiting.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// How long nothing will be due that is not there yet.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let waiting = self.waiting.first_key_value().map(|((due, _), _)| *due);
        let overtaken = self.overtaken.as_ref().map(|(until, _)| *until);
        let due = waiting.into_iter().chain(overtaken).min();
        let wait = due.map_or(WAIT_MAX, |due| due.saturating_duration_since(now));
        // A socket takes no time-out of nothing.
        wait.clamp(Duration::from_millis(1), WAIT_MAX)
    }

    fn queue(&mut self, parcel: Vec<u8>, due: Instant) {
        let due = if self.in_order {
            self.free_at = self.free_at.max(due);
            self.free_at
        } else {
            due
        };
        self.waiting.insert((due, self.next_serial), parcel);
        self.next_serial += 1;
    }
}
