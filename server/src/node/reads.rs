//! The reads that this replica holds, and the order of requests on each connection (RULES R9).
//!
//! A read asks for its watermark at once, together with all others of its turn. It is answered when that watermark is
//! applied here *and* every earlier request of its connection is answered; meanwhile later writes of its connection
//! wait, so that it cannot see them.

use std::collections::{BTreeMap, VecDeque};

use common::Request;
use paxos::Slot;

use super::ConnectionId;
use super::held::Waiter;

/// A read that is not answered yet.
#[derive(Debug)]
pub(crate) struct HeldRead {
    pub(crate) waiter: Waiter,
    pub(crate) key: Vec<u8>,
    pub(crate) deadline_tick: u64,
}

/// All reads held, by the order in which they came.
#[derive(Debug)]
pub(crate) struct HeldReads {
    reads: BTreeMap<u64, HeldRead>,
    next_order: u64,
    /// Reads for which no watermark has been asked.
    fresh: Vec<u64>,
    /// The reads that each ticket stands for.
    tickets: BTreeMap<u64, Vec<u64>>,
    /// Reads whose watermark is known and not applied yet.
    confirmed: BTreeMap<(Slot, u64), Vec<u64>>,
    /// What a learner that failed had applied, while its successor has not. No read is answered from less: what came
    /// before it on its connection may have been answered from that state.
    answer_from: Option<Slot>,
}

impl HeldReads {
    /// Orders and tickets begin at `first`, which no other life of this replica used: a mark that an earlier life left
    /// in the log must not release a read of this one.
    pub(crate) fn new(first: u64) -> Self {
        Self {
            reads: BTreeMap::new(),
            next_order: first,
            fresh: Vec::new(),
            tickets: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            answer_from: None,
        }
    }

    /// The learner failed when it had applied every slot below `applied`.
    pub(crate) fn wait_for(&mut self, applied: Slot) {
        self.answer_from = self.answer_from.max(Some(applied));
    }

    /// Whether reads may be answered from the state with every slot below `applied`.
    pub(crate) fn may_answer(&self, applied: Slot) -> bool {
        self.answer_from.is_none_or(|slot| applied >= slot)
    }

    /// Whether reads waited for a learner's successor and need not any more: once.
    pub(crate) fn take_caught_up(&mut self, applied: Slot) -> bool {
        self.answer_from.take_if(|slot| applied >= *slot).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.reads.len()
    }

    /// Holds a read; gives its order.
    pub(crate) fn hold(&mut self, read: HeldRead) -> u64 {
        let order = self.next_order;
        self.next_order += 1;
        self.reads.insert(order, read);
        order
    }

    /// The read is to join the next ticket.
    pub(crate) fn ask(&mut self, order: u64) {
        self.fresh.push(order);
    }

    /// Puts the reads of this turn under one ticket. Tickets grow.
    pub(crate) fn take_ticket(&mut self) -> Option<u64> {
        if self.fresh.is_empty() {
            return None;
        }
        let ticket = self.next_order;
        self.next_order += 1;
        self.tickets.insert(ticket, std::mem::take(&mut self.fresh));
        Some(ticket)
    }

    /// The watermark of a ticket's reads is confirmed.
    pub(crate) fn confirm(&mut self, ticket: u64, watermark: Slot) {
        if let Some(orders) = self.tickets.remove(&ticket) {
            self.confirmed.insert((watermark, ticket), orders);
        }
    }

    /// The reads whose watermark is applied.
    pub(crate) fn take_ready(&mut self, applied: Slot) -> Vec<u64> {
        let mut ready = Vec::new();
        while let Some(first) = self.confirmed.first_entry() {
            if first.key().0 > applied {
                break;
            }
            ready.extend(first.remove());
        }
        ready
    }

    pub(crate) fn peek(&self, order: u64) -> Option<&HeldRead> {
        self.reads.get(&order)
    }

    pub(crate) fn take(&mut self, order: u64) -> Option<HeldRead> {
        self.reads.remove(&order)
    }

    /// Lets go of the reads whose time is up.
    pub(crate) fn expire(&mut self, now: u64) -> Vec<(u64, HeldRead)> {
        let orders: Vec<u64> = self
            .reads
            .iter()
            .filter(|(_, read)| now >= read.deadline_tick)
            .map(|(order, _)| *order)
            .collect();
        let taken = orders
            .into_iter()
            .map(|order| Some((order, self.reads.remove(&order)?)));
        taken.flatten().collect()
    }

    /// Lets go of all reads.
    pub(crate) fn take_all(&mut self) -> Vec<(u64, HeldRead)> {
        self.fresh.clear();
        std::mem::take(&mut self.reads).into_iter().collect()
    }

    /// The lowest ticket that a read still waits for; tickets below it are of no use to anybody. Forgets what no read
    /// waits for: without a leader and without a log that grows nothing else would.
    pub(crate) fn first_ticket(&mut self) -> u64 {
        let reads = &self.reads;
        let is_wanted = |orders: &Vec<u64>| orders.iter().any(|order| reads.contains_key(order));
        self.fresh.retain(|order| reads.contains_key(order));
        self.tickets.retain(|_, orders| is_wanted(orders));
        self.confirmed.retain(|_, orders| is_wanted(orders));
        self.tickets
            .keys()
            .next()
            .copied()
            .unwrap_or(self.next_order)
    }
}

/// What is open on one connection.
#[derive(Debug, Default)]
pub(crate) struct ConnectionOrder {
    /// Writes that are not answered.
    pub(crate) writes: usize,
    /// Reads that are not answered, in the order in which they came, and whether the watermark of each is applied.
    reads: VecDeque<(u64, bool)>,
    /// Requests that wait for the reads before them, with the tick at which each came.
    pub(crate) held_back: VecDeque<(u64, Request)>,
}

impl ConnectionOrder {
    /// A read came.
    pub(crate) fn push_read(&mut self, read: u64) {
        self.reads.push_back((read, false));
    }

    /// The watermark of a read is applied.
    pub(crate) fn confirm_read(&mut self, read: u64) {
        if let Some(entry) = self.reads.iter_mut().find(|(order, _)| *order == read) {
            entry.1 = true;
        }
    }

    /// A read is not to be answered any more.
    pub(crate) fn drop_read(&mut self, read: u64) {
        self.reads.retain(|(order, _)| *order != read);
    }

    /// Whether the next read may be answered: all writes and reads before it are.
    pub(crate) fn is_read_due(&self) -> bool {
        self.writes == 0 && self.reads.front().is_some_and(|(_, confirmed)| *confirmed)
    }

    /// The next read, if it may be answered.
    pub(crate) fn pop_read(&mut self) -> Option<u64> {
        if !self.is_read_due() {
            return None;
        }
        self.reads.pop_front().map(|(read, _)| read)
    }

    /// The next request that waited behind a read and need not any more.
    pub(crate) fn pop_held_back(&mut self) -> Option<(u64, Request)> {
        let reads = self.reads.len();
        self.held_back
            .pop_front_if(|(_, request)| reads == 0 || matches!(request, Request::Get { .. }))
    }

    /// Whether a request must wait behind others of its connection.
    pub(crate) fn must_wait(&self, request: &Request) -> bool {
        match request {
            Request::Status { .. } => false,
            Request::Get { .. } => !self.held_back.is_empty(),
            Request::Write { .. } | Request::OpenSession { .. } => {
                !self.reads.is_empty() || !self.held_back.is_empty()
            }
        }
    }

    /// Whether nothing is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.writes == 0 && self.reads.is_empty() && self.held_back.is_empty()
    }
}

/// The open requests of all connections that have any.
pub(crate) type Connections = BTreeMap<ConnectionId, ConnectionOrder>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_of_reads_whose_time_is_up() {
        let mut reads = HeldReads::new(0);
        let hold = |reads: &mut HeldReads| {
            let connection = ConnectionId {
                worker: 0,
                serial: 1,
            };
            let order = reads.hold(HeldRead {
                waiter: Waiter { connection, tag: 1 },
                key: Vec::new(),
                deadline_tick: 5,
            });
            reads.ask(order);
        };
        hold(&mut reads);
        let ticket = reads.take_ticket().unwrap();
        reads.confirm(ticket, Slot(9));
        hold(&mut reads);
        reads.take_ticket().unwrap();
        hold(&mut reads);
        assert_eq!(reads.expire(5).len(), 3);
        assert_eq!(reads.first_ticket(), reads.next_order);
        assert!(reads.fresh.is_empty() && reads.tickets.is_empty() && reads.confirmed.is_empty());
    }
}
