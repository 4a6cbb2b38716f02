//! Linearizable reads without clocks or leases (RULES R10).
//!
//! The leader notes its chosen watermark, asks all whether anybody has promised a higher ballot, and when a majority has
//! not, whatever was chosen before the read began lies below that watermark. One round serves all reads that were
//! waiting when it began; a read that comes later waits for the next. A follower asks the leader for such a watermark
//! and answers from its own store once it has applied that far.

use std::collections::BTreeMap;

use crate::ballot::{Incarnation, ReplicaId, Slot};

/// The leader's side: rounds, one at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ReadRounds {
    /// The nonce of the last round begun. Fresh within the ballot, and a ballot is never used twice.
    nonce: u64,
    /// This replica's own reads that wait for the next round.
    tickets: Vec<u64>,
    /// The followers that wait for the next round, and the nonce of each one's last question.
    queries: BTreeMap<ReplicaId, u64>,
    round: Option<Round>,
}

/// A round under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Round {
    /// The chosen watermark when it began.
    watermark: Slot,
    tickets: Vec<u64>,
    queries: BTreeMap<ReplicaId, u64>,
    /// Who has confirmed, and in which life.
    echoes: BTreeMap<ReplicaId, Incarnation>,
}

/// The reads that a finished round releases.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Released {
    pub(crate) watermark: Slot,
    pub(crate) tickets: Vec<u64>,
    pub(crate) queries: BTreeMap<ReplicaId, u64>,
}

impl ReadRounds {
    /// A read of this replica's own joins the next round.
    pub(crate) fn take_in(&mut self, ticket: u64) {
        self.tickets.push(ticket);
    }

    /// A follower's question joins the next round. A follower has one question open, so a later one replaces it.
    pub(crate) fn take_in_query(&mut self, follower: ReplicaId, nonce: u64) {
        self.queries.insert(follower, nonce);
    }

    /// Whether a round should begin: something waits and none is under way.
    pub(crate) fn wants_round(&self) -> bool {
        self.round.is_none() && !(self.tickets.is_empty() && self.queries.is_empty())
    }

    /// Whether a round is under way.
    pub(crate) fn is_open(&self) -> bool {
        self.round.is_some()
    }

    /// The nonce of the last round begun.
    pub(crate) fn nonce(&self) -> u64 {
        self.nonce
    }

    /// Begins a round for all that waits, under a fresh nonce.
    pub(crate) fn begin(&mut self, watermark: Slot) {
        self.begin_without_readers();
        self.round = Some(Round {
            watermark,
            tickets: std::mem::take(&mut self.tickets),
            queries: std::mem::take(&mut self.queries),
            echoes: BTreeMap::new(),
        });
    }

    /// A fresh nonce for a heartbeat that releases no reads.
    pub(crate) fn begin_without_readers(&mut self) {
        assert!(
            self.round.is_none(),
            "a read round begins while {} is open",
            self.nonce
        );
        self.nonce += 1;
    }

    /// `replica` confirmed the round of `nonce`. Gives all confirmations of the open round, if that is the one.
    pub(crate) fn echo(
        &mut self,
        replica: ReplicaId,
        incarnation: Incarnation,
        nonce: u64,
    ) -> Option<&BTreeMap<ReplicaId, Incarnation>> {
        let round = self.round.as_mut().filter(|_| nonce == self.nonce)?;
        round.echoes.insert(replica, incarnation);
        Some(&round.echoes)
    }

    /// A majority confirmed: ends the round.
    pub(crate) fn release(&mut self) -> Option<Released> {
        let round = self.round.take()?;
        Some(Released {
            watermark: round.watermark,
            tickets: round.tickets,
            queries: round.queries,
        })
    }

    /// Reads of this replica's own with a ticket below this are no longer wanted.
    pub(crate) fn cancel_below(&mut self, ticket: u64) {
        self.tickets.retain(|&waiting| waiting >= ticket);
        if let Some(round) = &mut self.round {
            round.tickets.retain(|&waiting| waiting >= ticket);
        }
    }

    /// The leader resigns: its own reads go elsewhere. Followers ask again by themselves.
    pub(crate) fn into_tickets(self) -> Vec<u64> {
        let mut tickets = self.round.map(|round| round.tickets).unwrap_or_default();
        tickets.extend(self.tickets);
        tickets
    }
}

/// A follower's side: one question at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReadQueries {
    /// Names the questions. Begins at random, so that an answer to an earlier life's question fits none.
    nonce: u64,
    /// Reads that no question covers yet.
    waiting: Vec<u64>,
    open: Option<Query>,
}

/// A question under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Query {
    leader: ReplicaId,
    sent_tick: u64,
    tickets: Vec<u64>,
}

impl ReadQueries {
    /// Nothing asked yet; `seed` is random.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            nonce: seed,
            waiting: Vec::new(),
            open: None,
        }
    }

    /// A read waits for the next question.
    pub(crate) fn take_in(&mut self, ticket: u64) {
        self.waiting.push(ticket);
    }

    /// Reads with a ticket below this are no longer wanted.
    pub(crate) fn cancel_below(&mut self, ticket: u64) {
        self.waiting.retain(|&waiting| waiting >= ticket);
        if let Some(query) = &mut self.open {
            query.tickets.retain(|&waiting| waiting >= ticket);
        }
    }

    /// The question to send to `leader` now, if there is one. A question to a former leader, or one that found no
    /// answer for `retransmit_ticks`, is asked anew under a fresh nonce.
    pub(crate) fn question(
        &mut self,
        leader: ReplicaId,
        now: u64,
        retransmit_ticks: u64,
    ) -> Option<u64> {
        if let Some(query) = &self.open {
            if query.leader == leader && now < query.sent_tick + retransmit_ticks {
                return None;
            }
            self.give_up();
        }
        if self.waiting.is_empty() {
            return None;
        }
        self.nonce = self.nonce.wrapping_add(1);
        self.open = Some(Query {
            leader,
            sent_tick: now,
            tickets: std::mem::take(&mut self.waiting),
        });
        Some(self.nonce)
    }

    /// The answer to the open question: the reads that it covers.
    pub(crate) fn answer(&mut self, nonce: u64) -> Vec<u64> {
        if nonce != self.nonce {
            return Vec::new();
        }
        self.open
            .take()
            .map(|query| query.tickets)
            .unwrap_or_default()
    }

    /// All reads that wait, asked about or not.
    pub(crate) fn take_all(&mut self) -> Vec<u64> {
        self.give_up();
        std::mem::take(&mut self.waiting)
    }

    fn give_up(&mut self) {
        if let Some(query) = self.open.take() {
            let later = std::mem::replace(&mut self.waiting, query.tickets);
            self.waiting.extend(later);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancelled_reads_are_released_by_no_round() {
        let mut rounds = ReadRounds::default();
        for ticket in 1..4 {
            rounds.take_in(ticket);
        }
        rounds.begin(Slot(7));
        for ticket in 4..7 {
            rounds.take_in(ticket);
        }
        rounds.cancel_below(3);
        assert_eq!(rounds.tickets, [4, 5, 6]);
        rounds.cancel_below(5);
        assert_eq!(rounds.release().unwrap().tickets, []);
        assert_eq!(rounds.into_tickets(), [5, 6]);

        let mut rounds = ReadRounds::default();
        rounds.take_in(1);
        rounds.take_in(2);
        rounds.begin(Slot(7));
        rounds.cancel_below(2);
        assert_eq!(rounds.release().unwrap().tickets, [2]);
    }

    #[test]
    fn cancelled_reads_are_answered_by_no_leader() {
        let mut queries = ReadQueries::new(100);
        queries.take_in(1);
        queries.take_in(2);
        let nonce = queries.question(ReplicaId(1), 0, RETRANSMIT_TICKS);
        queries.take_in(3);
        queries.take_in(4);
        queries.cancel_below(2);
        assert_eq!(queries.waiting, [3, 4]);
        queries.cancel_below(4);
        assert_eq!(queries.answer(nonce.unwrap()), []);
        assert_eq!(queries.take_all(), [4]);

        queries.take_in(5);
        queries.take_in(6);
        let nonce = queries.question(ReplicaId(1), 0, RETRANSMIT_TICKS);
        queries.cancel_below(6);
        assert_eq!(queries.answer(nonce.unwrap()), [6]);
    }

    #[test]
    fn a_question_is_asked_anew_when_it_may_be_lost_and_when_another_leads() {
        let mut queries = ReadQueries::new(100);
        queries.take_in(1);
        let mut ask = |leader, now| queries.question(ReplicaId(leader), now, RETRANSMIT_TICKS);
        assert_eq!(ask(1, 10), Some(101));
        assert_eq!(ask(1, 29), None);
        assert_eq!(ask(1, 30), Some(102));
        assert_eq!(ask(2, 31), Some(103), "at once");
        queries.take_in(2);
        assert_eq!(
            queries.question(ReplicaId(1), 32, RETRANSMIT_TICKS),
            Some(104)
        );
        assert_eq!(queries.answer(103), [], "it was asked of another");
        assert_eq!(queries.answer(104), [1, 2]);
    }

    const RETRANSMIT_TICKS: u64 = 20;
}
