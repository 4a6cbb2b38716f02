//! The requests that are not finished, in the order in which they were asked.

use std::collections::VecDeque;
use std::time::Instant;

use common::{ChangeRef, Refusal, SessionId, WriteRef};

use super::datagrams::Resend;
use super::lane::LaneSet;
use crate::operation::Operation;

/// The name of a write that has been sent at least once. It never changes (SPEC A4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WriteName {
    pub(super) session: SessionId,
    pub(super) sequence: u64,
}

/// One request that is not finished.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) operation: Operation,
    /// `None` for what is no write, and for a write that has not been sent.
    pub(super) name: Option<WriteName>,
    pub(super) submitted: Instant,
    /// When it is given up.
    pub(super) deadline: Instant,
    /// Where copies wait for an answer.
    pub(super) copies: LaneSet,
    /// Since when the current lane is expected to answer.
    pub(super) asked: Instant,
    /// When it is sent to the current lane again, if that is over UDP.
    pub(super) resend: Resend,
    /// Whether it or its answer is too long for a datagram.
    pub(super) needs_stream: bool,
    /// Whether a copy went without an answer, or in a datagram, which may come twice, or was answered "it may be under
    /// way".
    pub(super) maybe_proposed: bool,
    /// It was sent at least once.
    pub(super) is_sent: bool,
    /// It was sent once, on one connection.
    pub(super) in_order: bool,
    /// Why it was refused last, where that was worth another try.
    pub(super) last_refusal: Option<Refusal>,
}

impl Pending {
    /// Whether it is a write that may have run, or may yet run.
    pub(super) fn outcome_unknown(&self) -> bool {
        self.operation.is_write() && (self.maybe_proposed || !self.copies.is_empty())
    }

    /// The copy on this lane will not be answered.
    pub(super) fn lose_copy(&mut self, lane: usize) {
        if self.copies.remove(lane) {
            self.maybe_proposed = true;
        }
    }

    /// The write as it is to be sent; `None` for what is no write or has no name.
    pub(super) fn write(&self, floor: u64, after: u64) -> Option<WriteRef<'_>> {
        let WriteName { session, sequence } = self.name?;
        let change = match &self.operation {
            Operation::Put { key, value } => ChangeRef::Put { key, value },
            Operation::Append { key, value } => ChangeRef::Append { key, value },
            Operation::Delete { key } => ChangeRef::Delete { key },
            Operation::Get { .. } | Operation::Status => return None,
        };
        Some(WriteRef {
            session,
            sequence,
            floor,
            after,
            change,
        })
    }
}

/// Requests by tag. Tags count up from 1 and are never used twice, so a late answer finds nothing.
#[derive(Debug)]
pub(super) struct Queue {
    /// The tag of the first place.
    first: u64,
    places: VecDeque<Option<Pending>>,
    unfinished: usize,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            first: 1,
            places: VecDeque::new(),
            unfinished: 0,
        }
    }

    pub(super) fn push(&mut self, pending: Pending) -> u64 {
        self.places.push_back(Some(pending));
        self.unfinished += 1;
        self.end() - 1
    }

    pub(super) fn get_mut(&mut self, tag: u64) -> Option<&mut Pending> {
        let place = usize::try_from(tag.checked_sub(self.first)?).ok()?;
        self.places.get_mut(place)?.as_mut()
    }

    pub(super) fn get(&self, tag: u64) -> Option<&Pending> {
        let place = usize::try_from(tag.checked_sub(self.first)?).ok()?;
        self.places.get(place)?.as_ref()
    }

    pub(super) fn take(&mut self, tag: u64) -> Option<Pending> {
        let place = usize::try_from(tag.checked_sub(self.first)?).ok()?;
        let taken = self.places.get_mut(place)?.take()?;
        self.unfinished -= 1;
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
        Some(taken)
    }

    /// The lowest tag that may be unfinished.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The tag that will be given out next.
    pub(super) fn end(&self) -> u64 {
        self.first + self.places.len() as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unfinished == 0
    }

    pub(super) fn len(&self) -> usize {
        self.unfinished
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Pending)> {
        let tagged = (self.first..).zip(&self.places);
        tagged.filter_map(|(tag, place)| Some((tag, place.as_ref()?)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pending> {
        self.places.iter_mut().flatten()
    }

    /// The tags of those that meet a condition.
    pub(super) fn tags_where(&self, condition: impl Fn(&Pending) -> bool) -> Vec<u64> {
        self.iter()
            .filter(|(_, pending)| condition(pending))
            .map(|(tag, _)| tag)
            .collect()
    }
}
