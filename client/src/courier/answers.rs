//! What comes from a lane: the greeting, answers, refusals, and what should not have come.

use std::time::{Duration, Instant};

use common::{Answer, DecodeError, FrameError, Greeting, Outcome, Refusal, ServerFrame, SessionId};
use log::{debug, info, warn};

use super::lane::LaneState;
use super::session::Session;
use super::{Courier, is_busy};
use crate::error::ClientError;
use crate::operation::Reply;

/// How long nothing is sent after the first "busy" in a row; doubled for each further one.
const BUSY_PAUSE_MIN: Duration = Duration::from_millis(10);

/// After so many "busy" in a row the next replica is asked.
const BUSY_IN_A_ROW_MAX: u32 = 4;

impl Courier {
    /// Bytes came from a lane's connection.
    pub(crate) fn received(&mut self, lane: usize, bytes: &[u8], now: Instant) {
        self.lanes[lane].heard = now;
        self.lanes[lane].frames.extend(bytes);
        while self.take_frame(lane, now) {}
        self.move_if_drained(now);
        self.pump(now);
    }

    /// Handles one frame. False when there is no whole one, or the connection is over.
    fn take_frame(&mut self, lane: usize, now: Instant) -> bool {
        let found = &mut self.lanes[lane];
        if matches!(found.state, LaneState::Closed | LaneState::Wanted) {
            return false;
        }
        let (length, decoded) = match found.frames.next_frame() {
            Ok(Some(payload)) => (payload.len(), ServerFrame::decode(payload)),
            Ok(None) => return false,
            Err(error) => {
                self.break_off(lane, error, now);
                return false;
            }
        };
        match decoded {
            Ok(frame) => self.handle_frame(lane, frame, now),
            Err(error) => self.handle_unreadable(lane, length, &error, now),
        }
        true
    }

    /// Framing is broken: where the next frame would begin is not known (SPEC B3).
    fn break_off(&mut self, lane: usize, error: FrameError, now: Instant) {
        warn!("{}: {error}; closed", self.options.endpoints[lane]);
        self.drop_lane(lane, "framing broken", now);
    }

    fn handle_unreadable(&mut self, lane: usize, length: usize, error: &DecodeError, now: Instant) {
        if let Some(skipped) = self.unreadable.admit(now) {
            let endpoint = &self.options.endpoints[lane];
            warn!("{endpoint}: a frame of {length} bytes {error} ({skipped} such lines skipped)");
        }
        if matches!(self.lanes[lane].state, LaneState::Opening { .. }) {
            self.drop_lane(lane, "does not greet as a replica", now);
        }
    }

    fn handle_frame(&mut self, lane: usize, frame: ServerFrame, now: Instant) {
        let opening = matches!(self.lanes[lane].state, LaneState::Opening { .. });
        match frame {
            ServerFrame::Greeting(greeting) if opening => {
                self.handle_greeting(lane, &greeting, now);
            }
            ServerFrame::Answer(answer) if opening => self.handle_rejection(lane, answer, now),
            ServerFrame::Answer(answer) => self.handle_answer(lane, answer, now),
            ServerFrame::Greeting(_) => self.drop_lane(lane, "greets twice", now),
        }
    }

    fn handle_greeting(&mut self, lane: usize, greeting: &Greeting, now: Instant) {
        info!("{}: connected; {greeting}", self.options.endpoints[lane]);
        self.lanes[lane].greeted(greeting.replica, greeting.limits);
        self.directory.note(lane, greeting.replica);
        self.consider_leader(lane, greeting.leader, now);
    }

    /// An answer in place of the greeting: the replica does not take the connection.
    fn handle_rejection(&mut self, lane: usize, answer: Answer, now: Instant) {
        info!("<- {} {answer}", self.options.endpoints[lane]);
        self.drop_lane(lane, "did not take the connection", now);
        if let Outcome::Refused(refusal) = answer.outcome {
            self.note_refusal_of_unsent(&refusal);
            self.lanes[lane].trouble = Some(refusal.to_string());
        }
    }

    pub(super) fn handle_answer(&mut self, lane: usize, answer: Answer, now: Instant) {
        debug!("<- {} {answer}", self.options.endpoints[lane]);
        if self
            .session
            .opening()
            .is_some_and(|opening| opening.tag == answer.tag)
        {
            self.consider_leader(lane, answer.leader, now);
            self.handle_opening_answer(lane, answer, now);
            return;
        }
        let asked_here = self
            .queue
            .get_mut(answer.tag)
            .is_some_and(|pending| pending.copies.contains(lane));
        if !asked_here {
            self.handle_unasked(lane, &answer, now);
            return;
        }
        self.consider_leader(lane, answer.leader, now);
        match answer.outcome {
            Outcome::Refused(refusal) => self.handle_refusal(lane, answer.tag, refusal, now),
            outcome => self.handle_outcome(lane, answer.tag, outcome),
        }
    }

    /// Late answers to what another copy answered, or what was given up, are expected; others are noted.
    fn handle_unasked(&mut self, lane: usize, answer: &Answer, now: Instant) {
        let once_given_out = answer.tag < self.queue.end()
            || (super::OPENING_TAG_MIN..self.next_opening_tag).contains(&answer.tag);
        let endpoint = &self.options.endpoints[lane];
        if once_given_out {
            debug!("{endpoint}: a late answer, not needed any more: {answer}");
        } else if let Some(skipped) = self.unasked.admit(now) {
            warn!(
                "{endpoint}: an answer to nothing asked: {answer} ({skipped} such lines skipped)"
            );
        }
    }

    fn handle_outcome(&mut self, lane: usize, tag: u64, outcome: Outcome) {
        let pending = self.queue.get_mut(tag).expect("it was just found");
        let result =
            Reply::to(&pending.operation, outcome).map_err(|outcome| ClientError::WrongAnswer {
                answer: outcome.to_string(),
                outcome_unknown: pending.outcome_unknown(),
            });
        self.busy_in_a_row = 0;
        self.lanes[lane].served();
        self.complete(tag, result);
    }

    fn handle_refusal(&mut self, lane: usize, tag: u64, refusal: Refusal, now: Instant) {
        let pending = self.queue.get_mut(tag).expect("it was just found");
        pending.copies.remove(lane);
        pending.maybe_proposed |= may_be_under_way(&refusal);
        pending.last_refusal = Some(refusal.clone());
        let outcome_unknown = pending.outcome_unknown();
        let name = pending.name;
        self.release_copy(lane);
        match refusal {
            Refusal::SessionExpired => match name {
                Some(name) => self.expire(name.session),
                None => self.complete(tag, Err(ClientError::Refused(refusal))),
            },
            Refusal::TooLargeForDatagram { .. } => self.move_to_stream(tag, refusal, now),
            // The first two are the answer of the write itself: every copy of it is told the same.
            Refusal::TooLarge { .. }
            | Refusal::StoreFull { .. }
            | Refusal::EmptyKey
            | Refusal::Malformed { .. } => {
                self.complete(tag, Err(ClientError::Refused(refusal)));
            }
            Refusal::Closed | Refusal::DiskFull { .. } if outcome_unknown => {
                self.complete(tag, Err(ClientError::RefusedRetry(refusal)));
            }
            Refusal::Closed | Refusal::DiskFull { .. } => {
                self.complete(tag, Err(ClientError::Refused(refusal)));
            }
            retriable => self.try_again(lane, tag, &retriable, now),
        }
    }

    /// The request is still wanted, and this refusal of it is no last word.
    fn try_again(&mut self, lane: usize, tag: u64, refusal: &Refusal, now: Instant) {
        self.lanes[lane].trouble = Some(refusal.to_string());
        if lane != self.current {
            return;
        }
        self.cursor = self.cursor.min(tag);
        if is_busy(refusal) {
            self.pause(now);
            return;
        }
        let toward = match refusal {
            Refusal::AskReplica { replica, .. } => {
                let transport = self.options.endpoints[lane].transport();
                self.directory.at(*replica, transport)
            }
            _ => None,
        };
        self.turn_away(toward, now);
    }

    /// Waits a little, then sends again here; after several times, elsewhere. What is outstanding is not sent to
    /// another replica meanwhile: a cluster that has too much to do is not given it twice.
    fn pause(&mut self, now: Instant) {
        let until = now + BUSY_PAUSE_MIN * (1 << self.busy_in_a_row.min(BUSY_IN_A_ROW_MAX));
        self.paused_until = Some(until);
        self.wake_by(until);
        self.busy_in_a_row += 1;
        if self.busy_in_a_row.is_multiple_of(BUSY_IN_A_ROW_MAX) && self.lanes.len() > 1 {
            self.moving_to = Some(self.next_fit(now));
        }
    }

    /// The cluster forgot a session. None of its writes is sent again; those whose other copies are unanswered may
    /// have run before.
    fn expire(&mut self, session: SessionId) {
        self.session = Session::None;
        let of_session =
            |pending: &super::Pending| pending.name.is_some_and(|name| name.session == session);
        for tag in self.queue.tags_where(of_session) {
            let pending = self.queue.get_mut(tag).expect("it was just found");
            let outcome_unknown = pending.outcome_unknown();
            warn!("session {session} expired: {}", pending.operation);
            self.complete(tag, Err(ClientError::SessionExpired { outcome_unknown }));
        }
    }

    fn handle_opening_answer(&mut self, lane: usize, answer: Answer, now: Instant) {
        let opening = self
            .session
            .opening_mut()
            .expect("its tag was just compared");
        if !opening.copies.remove(lane) {
            self.handle_unasked(lane, &answer, now);
            return;
        }
        let (nonce, others) = (opening.nonce, opening.copies);
        self.release_copy(lane);
        match answer.outcome {
            Outcome::SessionOpened { session, expiry_s } if session.nonce == nonce => {
                self.session = Session::opened(session, expiry_s, now);
                self.release_copies(others);
            }
            Outcome::Refused(refusal @ Refusal::DiskFull { .. }) => {
                self.release_copies(others);
                self.session = Session::None;
                self.refuse_unnamed(&refusal);
            }
            Outcome::Refused(refusal) => {
                self.note_refusal_of_unsent(&refusal);
                if lane == self.current {
                    self.retry_opening(&refusal, now);
                }
            }
            outcome => warn!("{outcome} is no answer to an opening"),
        }
    }

    /// No session can be opened now: what waits for one is not done.
    fn refuse_unnamed(&mut self, refusal: &Refusal) {
        let waits =
            |pending: &super::Pending| pending.operation.is_write() && pending.name.is_none();
        for tag in self.queue.tags_where(waits) {
            self.complete(tag, Err(ClientError::Refused(refusal.clone())));
        }
    }

    fn retry_opening(&mut self, refusal: &Refusal, now: Instant) {
        if is_busy(refusal) {
            self.pause(now);
        } else {
            self.turn_away(None, now);
        }
    }

    /// Requests that could not even be sent get this as their reason when they are given up.
    fn note_refusal_of_unsent(&mut self, refusal: &Refusal) {
        for pending in self.queue.iter_mut() {
            if pending.copies.is_empty() && !pending.maybe_proposed {
                pending.last_refusal = Some(refusal.clone());
            }
        }
    }
}

fn may_be_under_way(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::NoQuorum { proposed } | Refusal::AskReplica { proposed, .. } => *proposed,
        _ => false,
    }
}
