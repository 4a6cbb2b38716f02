//! Which lane is current: leaving one that does not answer, following the leader, backing off.

use std::time::{Duration, Instant};

use log::{debug, info};

use super::Courier;
use super::datagrams::Resend;
use super::lane::LaneState;
use crate::directory::Place;
use crate::trouble::in_words;

/// A connection that owes answers and has been silent for so long is made anew when its turn comes again. Longer than
/// a server takes by default to answer "no quorum".
const SILENCE_MAX: Duration = Duration::from_secs(6);

impl Courier {
    /// The endpoint to which the driver is to connect now.
    pub(crate) fn next_connect(&mut self, now: Instant) -> Option<usize> {
        let lane = &mut self.lanes[self.current];
        if lane.state != LaneState::Wanted || now < lane.not_before {
            return None;
        }
        lane.open(&self.options.label, now);
        self.wake_by(now + self.options.attempt_timeout);
        Some(self.current)
    }

    /// A connection that the driver is to drop now.
    pub(crate) fn next_close(&mut self) -> Option<usize> {
        self.to_close.pop()
    }

    /// The connection stands; the greeting is to come.
    pub(crate) fn connected(&mut self, lane: usize) {
        self.lanes[lane].is_connected = true;
    }

    /// The connection could not be made, or broke, or was closed by the other side. The driver has dropped it.
    pub(crate) fn closed(&mut self, lane: usize, reason: &str, now: Instant) {
        let endpoint = &self.options.endpoints[lane];
        if self.lanes[lane].failed_before() {
            debug!("{endpoint}: {reason}, again");
        } else {
            info!("{endpoint}: {reason}");
        }
        let closed = &mut self.lanes[lane];
        // What is no port for clients, such as that of replicas, takes a connection and closes it again.
        let trouble = match closed.state {
            LaneState::Opening { .. } if closed.is_connected => closed.no_greeting(),
            _ => in_words(reason),
        };
        closed.trouble = Some(trouble.to_owned());
        self.lost(lane, now);
    }

    /// Makes sure that the current lane is a connection, or becomes one.
    pub(super) fn ensure_lane(&mut self, now: Instant) {
        let lane = &mut self.lanes[self.current];
        if lane.state != LaneState::Closed {
            return;
        }
        if lane.not_before <= now {
            lane.state = LaneState::Wanted;
            self.wake_by(now);
        } else {
            self.leave(None, now);
        }
    }

    /// Looks whether the current lane keeps up.
    pub(super) fn check_current_lane(&mut self, now: Instant) {
        match self.lanes[self.current].state {
            LaneState::Closed if !self.queue.is_empty() => self.ensure_lane(now),
            LaneState::Opening { since } if since + self.options.attempt_timeout <= now => {
                let reason = self.lanes[self.current].no_greeting();
                self.drop_lane(self.current, reason, now);
            }
            LaneState::Open { .. } if self.is_overdue(now) => {
                info!(
                    "{}: no answer in {} ms; asking the next replica",
                    self.options.endpoints[self.current],
                    self.options.attempt_timeout.as_millis()
                );
                let lane = &mut self.lanes[self.current];
                lane.trouble = Some(lane.no_answer().to_owned());
                self.give_up_if_each_failed(now);
                if !self.queue.is_empty() {
                    self.leave(None, now);
                }
            }
            _ => {}
        }
    }

    fn is_overdue(&self, now: Instant) -> bool {
        let lane = &self.lanes[self.current];
        let receiving = lane.frames.buffered_bytes() > 0
            && now.duration_since(lane.heard) < self.options.attempt_timeout;
        if receiving {
            return false;
        }
        let attempt_timeout = self.attempt_timeout();
        let late = |asked: Instant| asked + attempt_timeout <= now;
        let opening_is_late = self
            .session
            .opening()
            .is_some_and(|opening| opening.copies.contains(self.current) && late(opening.asked));
        opening_is_late
            || self
                .queue
                .iter()
                .any(|(_, pending)| pending.copies.contains(self.current) && late(pending.asked))
    }

    /// When something is due that concerns the current lane itself.
    pub(super) fn lane_wake(&self) -> Option<Instant> {
        let lane = &self.lanes[self.current];
        match lane.state {
            LaneState::Wanted => Some(lane.not_before),
            LaneState::Opening { since } => {
                let hello = lane.datagrams.as_ref().and_then(|lane| lane.hello.due());
                let given_up = since + self.options.attempt_timeout;
                Some(hello.map_or(given_up, |due| due.min(given_up)))
            }
            LaneState::Closed | LaneState::Open { .. } => None,
        }
    }

    /// The replica at the current lane does not serve, so it is left alone for a while.
    pub(super) fn turn_away(&mut self, toward: Option<usize>, now: Instant) {
        self.lanes[self.current].note_failure(now);
        self.leave(toward, now);
    }

    /// Another lane becomes current: `toward` if it is fit to be asked, otherwise the next that is.
    pub(super) fn leave(&mut self, toward: Option<usize>, now: Instant) {
        let next = toward
            .filter(|lane| self.lanes[*lane].not_before <= now)
            .unwrap_or_else(|| self.next_fit(now));
        self.switch(next, now);
    }

    /// The next lane that is not left alone; if all are, the one whose time is up first.
    pub(super) fn next_fit(&self, now: Instant) -> usize {
        let count = self.lanes.len();
        let streams_only = self.needs_stream();
        let mut others = (1..=count)
            .map(|step| (self.current + step) % count)
            .filter(|lane| !streams_only || self.lanes[*lane].datagrams.is_none());
        others
            .clone()
            .find(|lane| self.lanes[*lane].not_before <= now)
            .or_else(|| {
                others
                    .by_ref()
                    .min_by_key(|lane| self.lanes[*lane].not_before)
            })
            .unwrap_or(self.current)
    }

    /// Makes a lane current and sends there whatever is unfinished.
    pub(super) fn switch(&mut self, next: usize, now: Instant) {
        let left = std::mem::replace(&mut self.current, next);
        self.moving_to = None;
        self.cursor = self.queue.first();
        self.retire(left);
        self.drop_if_silent(next, now);
        if self.lanes[next].state == LaneState::Closed {
            self.lanes[next].state = LaneState::Wanted;
        }
        let not_before = self.lanes[next].not_before;
        self.paused_until = Some(not_before).filter(|until| now < *until);
        self.wake_by(not_before.max(now));
        self.restart_attempts(next, now);
        self.resend_due(now);
        self.pump(now);
    }

    /// A lane that is not current is kept only for the answers that it owes.
    fn retire(&mut self, lane: usize) {
        match self.lanes[lane].state {
            _ if lane == self.current => {}
            LaneState::Wanted => self.lanes[lane].state = LaneState::Closed,
            LaneState::Opening { .. } => {
                self.lanes[lane].reset();
                self.to_close.push(lane);
            }
            LaneState::Closed | LaneState::Open { .. } => self.close_if_left(lane),
        }
    }

    /// Closes a lane that was left and owes nothing. One over UDP costs the replica nothing, and another hello and
    /// cookie would be needed to return to it.
    pub(super) fn close_if_left(&mut self, lane: usize) {
        let found = &mut self.lanes[lane];
        let is_open = matches!(found.state, LaneState::Open { .. }) && found.datagrams.is_none();
        if lane != self.current && is_open && found.outstanding == 0 {
            found.reset();
            self.to_close.push(lane);
        }
    }

    /// Over UDP nothing tells whether the address is still that of the replica, so that its name is resolved anew.
    fn drop_if_silent(&mut self, lane: usize, now: Instant) {
        let found = &self.lanes[lane];
        let is_open = matches!(found.state, LaneState::Open { .. });
        let is_kept = found.outstanding > 0 || (is_open && found.datagrams.is_some());
        if is_kept && now.duration_since(found.heard) > SILENCE_MAX {
            info!("{}: silent; connecting anew", self.options.endpoints[lane]);
            self.forget_connection(lane);
            self.to_close.push(lane);
        }
    }

    /// Copies that wait on the lane since it was current before get another attempt's time; datagrams are sent again.
    fn restart_attempts(&mut self, lane: usize, now: Instant) {
        let resend = match self.lanes[lane].datagrams {
            Some(_) => Resend::at_once(now),
            None => Resend::default(),
        };
        let waiting = |pending: &&mut super::Pending| pending.copies.contains(lane);
        for pending in self.queue.iter_mut().filter(waiting) {
            pending.asked = now;
            pending.resend = resend;
        }
        if let Some(opening) = self.session.opening_mut() {
            opening.asked = now;
            opening.resend = resend;
        }
        self.wake_by(now + self.attempt_timeout());
    }

    /// The connection is to be dropped by the driver: it broke the protocol, or does not greet.
    pub(super) fn drop_lane(&mut self, lane: usize, reason: &str, now: Instant) {
        info!("{}: {reason}", self.options.endpoints[lane]);
        self.lanes[lane].trouble = Some(reason.to_owned());
        self.to_close.push(lane);
        self.lost(lane, now);
    }

    fn lost(&mut self, lane: usize, now: Instant) {
        self.lanes[lane].note_failure(now);
        self.forget_connection(lane);
        self.give_up_if_each_failed(now);
        if lane == self.current && !self.queue.is_empty() {
            self.leave(None, now);
        }
    }

    /// Nothing more will come from this connection: what was sent there may have run.
    fn forget_connection(&mut self, lane: usize) {
        for pending in self.queue.iter_mut() {
            pending.lose_copy(lane);
        }
        if let Some(opening) = self.session.opening_mut() {
            opening.copies.remove(lane);
        }
        self.lanes[lane].reset();
    }

    /// Notes who leads, as the replica at the current lane says, and arranges to go there.
    pub(super) fn consider_leader(&mut self, lane: usize, leader: Option<u8>, now: Instant) {
        let Some(leader) = leader else { return };
        let settled = lane != self.current || self.moving_to.is_some();
        if !self.options.follow_leader || settled || self.lanes[lane].replica() == Some(leader) {
            return;
        }
        let transport = self.options.endpoints[lane].transport();
        let place = self.directory.find(leader, transport);
        let (Place::At(target) | Place::Perhaps(target)) = place else {
            return;
        };
        if target != lane && self.lanes[target].distrusted_until <= now {
            debug!("replica {leader} leads; going there once nothing is outstanding");
            self.moving_to = Some(target);
        }
    }

    /// Goes where it was arranged to go, once nothing is outstanding here.
    pub(super) fn move_if_drained(&mut self, now: Instant) {
        if self.lanes[self.current].outstanding > 0 {
            return;
        }
        if let Some(target) = self.moving_to {
            self.switch(target, now);
        }
    }
}
