//! What is given up: past its deadline, because nobody can be reached at all, or because the caller wants no more of it.
//!
//! A write that was never sent has not run, and that is said. Of any other that is given up the outcome is unknown.

use std::io;
use std::time::Instant;

use log::warn;

use super::Courier;
use super::lane::LaneState;
use super::queue::Pending;
use super::session::Session;
use crate::error::{ClientError, Fate};
use crate::trouble::{Trouble, Troubles};

impl Courier {
    /// Gives up what is past its deadline. Its number is finished: it will not run after the next write.
    pub(super) fn give_up_overdue(&mut self, now: Instant) {
        self.give_up_where(now, |pending| pending.deadline <= now);
    }

    fn give_up_where(&mut self, now: Instant, condition: impl Fn(&Pending) -> bool) {
        for tag in self.queue.tags_where(condition) {
            let troubles = self.troubles(tag);
            let pending = self.queue.get_mut(tag).expect("it was just found");
            let error = pending.give_up_error(now, troubles);
            warn!("gave up tag={tag} {}: {error}", pending.operation);
            self.complete(tag, Err(error));
        }
        self.forget_needless_opening();
    }

    /// The caller waits no longer.
    pub(crate) fn interrupt(&mut self) {
        for tag in self.queue.tags_where(|_| true) {
            let pending = self.queue.get_mut(tag).expect("it was just found");
            let error = ClientError::Interrupted {
                fate: pending.fate(),
            };
            warn!("gave up tag={tag} {}: {error}", pending.operation);
            self.complete(tag, Err(error));
        }
        self.forget_needless_opening();
    }

    /// The name of an endpoint could not be looked up. Where no endpoint was ever reached and none has a name that can be
    /// looked up, waiting would be in vain: all is given up at once.
    pub(crate) fn unresolved(&mut self, lane: usize, error: &io::Error, now: Instant) {
        self.lanes[lane].is_unresolved = true;
        self.closed(lane, &format!("cannot be looked up: {error}"), now);
        let is_hopeless = |lane: &super::Lane| lane.is_unresolved && !lane.has_greeted;
        if self.lanes.iter().all(is_hopeless) {
            self.give_up_where(now, |_| true);
        }
    }

    /// Gives all up where the caller would not have any endpoint asked again and each has failed.
    pub(super) fn give_up_if_each_failed(&mut self, now: Instant) {
        let failed = |lane: &super::Lane| lane.trouble.is_some();
        if self.options.ask_each_once && self.lanes.iter().all(failed) {
            self.give_up_where(now, |_| true);
        }
    }

    /// What was last wrong with each endpoint, for an operation that no replica answered.
    fn troubles(&self, tag: u64) -> Troubles {
        let copies = self.queue.get(tag).map(|pending| pending.copies);
        let lanes = self.lanes.iter().zip(&self.options.endpoints).enumerate();
        let trouble = |(place, (lane, endpoint)): (usize, (&super::Lane, &super::Endpoint))| {
            let owes = copies.is_some_and(|copies| copies.contains(place));
            let cause = match lane.state {
                _ if owes => Some(lane.no_answer().to_owned()),
                LaneState::Opening { .. } if lane.trouble.is_none() => {
                    Some(lane.no_greeting().to_owned())
                }
                _ => lane.trouble.clone(),
            };
            Some(Trouble {
                endpoint: endpoint.to_string(),
                cause: cause?,
            })
        };
        lanes.filter_map(trouble).collect()
    }

    /// A session that no write waits for need not be opened.
    pub(super) fn forget_needless_opening(&mut self) {
        let wanted = |pending: &Pending| pending.operation.is_write() && pending.name.is_none();
        if self.queue.iter().any(|(_, pending)| wanted(pending)) {
            return;
        }
        if let Session::Opening(opening) = &self.session {
            let copies = opening.copies;
            self.session = Session::None;
            self.release_copies(copies);
        }
    }
}

impl Pending {
    /// What is known of it when it is given up. Only what was never sent is known not to have run: who wants to be certain
    /// of more gets it from a refusal.
    fn fate(&self) -> Fate {
        match (self.operation.is_write(), self.is_sent) {
            (false, _) => Fate::NoWrite,
            (true, false) => Fate::NotSent,
            (true, true) => Fate::Unknown,
        }
    }

    /// Why it is given up (SPEC F5).
    fn give_up_error(&self, now: Instant, troubles: Troubles) -> ClientError {
        let fate = self.fate();
        match &self.last_refusal {
            Some(common::Refusal::NoQuorum { .. }) => ClientError::NoQuorum { fate },
            Some(refusal) if self.copies.is_empty() && !self.maybe_proposed => {
                ClientError::Refused(refusal.clone())
            }
            _ => ClientError::NoAnswer {
                waited: now.duration_since(self.submitted),
                fate,
                troubles,
            },
        }
    }
}
