//! The node's side of its clients: what is admitted, what waits for what, what is answered when.

use common::{Limit, Outcome, Refusal, Request, Write};

use super::held::{HeldRequest, RequestKey, Waiter};
use super::reads::{ConnectionOrder, HeldRead};
use super::state::{Effect, WriteResult, refusal_or_answer};
use super::{ConnectionId, Node, Phase, batch};

impl Node {
    /// Takes in a request that came at tick `came`, or keeps it back behind the reads of its connection.
    pub(super) fn admit(&mut self, connection: ConnectionId, request: Request, came: u64) {
        if let Request::Status { tag } = request {
            let report = Box::new(self.status());
            self.answer(connection, tag, Outcome::Status(report));
            return;
        }
        if let Phase::Unfit(reason) = &self.phase {
            let reason = reason.clone();
            self.refuse(connection, request.tag(), Refusal::NotServing { reason });
            return;
        }
        if let Some(leader) = self.better_served_by() {
            let refusal = Refusal::AskReplica {
                replica: leader.0,
                proposed: false,
            };
            self.refuse(connection, request.tag(), refusal);
            return;
        }
        if let Some(limit) = self.limit_reached() {
            self.refuse(connection, request.tag(), Refusal::Busy { limit });
            return;
        }
        let order = self.connections.entry(connection).or_default();
        if order.must_wait(&request) {
            order.held_back.push_back((came, request));
            return;
        }
        self.begin(connection, request, came);
        self.forget_if_idle(connection);
    }

    /// Requests that wait behind a read are few per connection, and workers bound those; the rest is bounded here.
    fn limit_reached(&self) -> Option<Limit> {
        if self.held.len() + self.reads.len() >= REQUESTS_HELD_MAX {
            Some(Limit::RequestsHeld)
        } else if self.held.item_bytes() >= BYTES_HELD_MAX {
            Some(Limit::BytesHeld)
        } else {
            None
        }
    }

    /// Holds the request, or answers it at once. Whoever calls it looks after the connection then.
    fn begin(&mut self, connection: ConnectionId, request: Request, came: u64) {
        let deadline_tick = came + self.settings.no_quorum_after_ticks;
        match request {
            Request::Status { .. } => unreachable!("a status request is answered on arrival"),
            Request::Get { tag, key } => {
                let waiter = Waiter { connection, tag };
                self.begin_read(waiter, key, deadline_tick);
            }
            Request::OpenSession { tag, nonce } => {
                if let Some(refusal) = self.refusal_for_space(None) {
                    self.refuse(connection, tag, refusal);
                    return;
                }
                let mut item = Vec::new();
                batch::put_open_session(&mut item, nonce);
                let waiter = Waiter { connection, tag };
                self.hold(
                    RequestKey::OpenSession { nonce },
                    item,
                    waiter,
                    deadline_tick,
                );
            }
            Request::Write { tag, write } => {
                self.begin_write(Waiter { connection, tag }, &write, deadline_tick);
            }
        }
    }

    /// What the present table says finally is said at once; everything else goes through the log (RULES R14).
    fn begin_write(&mut self, waiter: Waiter, write: &Write, deadline_tick: u64) {
        let verdict =
            self.state
                .sessions
                .final_verdict(write.session, write.sequence, self.state.revision());
        if let Some(verdict) = verdict {
            self.answer(waiter.connection, waiter.tag, refusal_or_answer(verdict));
            return;
        }
        let key = RequestKey::Write {
            session: write.session,
            sequence: write.sequence,
        };
        let refusal = self.refusal_for_space(Some(write.change.as_ref()));
        if let Some(refusal) = refusal.filter(|_| !self.held.holds(key)) {
            self.refuse(waiter.connection, waiter.tag, refusal);
            return;
        }
        let mut item = Vec::new();
        batch::put_write(&mut item, write);
        self.hold(key, item, waiter, deadline_tick);
    }

    fn hold(&mut self, key: RequestKey, mut item: Vec<u8>, waiter: Waiter, deadline_tick: u64) {
        self.connections
            .entry(waiter.connection)
            .or_default()
            .writes += 1;
        if !self.held.join(key, &mut item, waiter) {
            self.held.hold(key, item, waiter, deadline_tick);
        }
    }

    fn begin_read(&mut self, waiter: Waiter, key: Vec<u8>, deadline_tick: u64) {
        let read = HeldRead {
            waiter,
            key,
            deadline_tick,
        };
        let order = self.reads.hold(read);
        self.connections
            .entry(waiter.connection)
            .or_default()
            .push_read(order);
        if self.settings.reads_through_log && self.space() > paxos::Space::Spent {
            let mut item = Vec::new();
            batch::put_read(&mut item, self.settings.replica.0, order);
            self.held.hold(
                RequestKey::Read { ticket: order },
                item,
                waiter,
                deadline_tick,
            );
        } else {
            self.reads.ask(order);
        }
    }

    /// The log says what became of a request, which this replica may hold or not.
    pub(super) fn take_effect(&mut self, effect: Effect) {
        match effect {
            Effect::SessionOpened { nonce, outcome } => {
                if let Some(request) = self.held.take(RequestKey::OpenSession { nonce }) {
                    self.answer_waiters(&request, &outcome);
                }
            }
            Effect::Write {
                session,
                sequence,
                result,
            } => {
                let key = RequestKey::Write { session, sequence };
                match result {
                    WriteResult::NotYet => self.held.delay(key),
                    WriteResult::Answered(outcome) => {
                        if let Some(request) = self.held.take(key) {
                            self.answer_waiters(&request, &outcome);
                        }
                    }
                }
            }
            Effect::Read { replica, ticket } => {
                if replica == self.settings.replica.0
                    && self.held.take(RequestKey::Read { ticket }).is_some()
                {
                    self.read_when_in_order(ticket);
                }
            }
        }
    }

    pub(super) fn answer_waiters(&mut self, request: &HeldRequest, outcome: &Outcome) {
        for waiter in &request.waiters {
            self.answer(waiter.connection, waiter.tag, outcome.clone());
            if let Some(order) = self.connections.get_mut(&waiter.connection) {
                order.writes -= 1;
            }
            self.settle(waiter.connection);
        }
    }

    /// The read's watermark is applied: answers it, or keeps it until what came before it is answered (RULES R9).
    pub(super) fn read_when_in_order(&mut self, read: u64) {
        let Some(connection) = self.reads.peek(read).map(|held| held.waiter.connection) else {
            return;
        };
        let Some(order) = self.connections.get_mut(&connection) else {
            self.reads.take(read);
            return;
        };
        order.confirm_read(read);
        self.settle(connection);
    }

    fn answer_read(&mut self, read: u64) {
        let Some(HeldRead { waiter, key, .. }) = self.reads.take(read) else {
            return;
        };
        let outcome = match self.state.store.entry(&key) {
            Some(entry) => {
                self.answer_room.take(entry.value.len());
                Outcome::Value {
                    revision: entry.revision,
                    value: entry.value.clone(),
                }
            }
            None => Outcome::Absent {
                revision: self.state.revision(),
            },
        };
        self.answer(waiter.connection, waiter.tag, outcome);
    }

    /// Something of the connection was answered: whatever waited for that goes on.
    pub(super) fn settle(&mut self, connection: ConnectionId) {
        while let Some(order) = self.connections.get_mut(&connection) {
            let may_answer = self.reads.may_answer(self.state.applied());
            if may_answer && order.is_read_due() && !self.answer_room.is_left() {
                self.answer_room.wait(connection);
                break;
            }
            if may_answer && let Some(read) = order.pop_read() {
                self.answer_read(read);
            } else if let Some((came, request)) = order.pop_held_back() {
                if self.now >= came + self.settings.no_quorum_after_ticks {
                    let refusal = Refusal::NoQuorum { proposed: false };
                    self.refuse(connection, request.tag(), refusal);
                } else {
                    self.begin(connection, request, came);
                }
            } else {
                break;
            }
        }
        self.forget_if_idle(connection);
    }

    /// A learner's successor came as far as the one before it: reads that waited for that go on.
    pub(super) fn settle_all(&mut self) {
        let connections: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for connection in connections {
            self.settle(connection);
        }
    }

    fn forget_if_idle(&mut self, connection: ConnectionId) {
        if self
            .connections
            .get(&connection)
            .is_some_and(ConnectionOrder::is_idle)
        {
            self.connections.remove(&connection);
        }
    }

    pub(super) fn tick_clients(&mut self) {
        let sessions = &self.state.sessions;
        self.held.release_delayed(|item| {
            batch::write_of(item).is_some_and(|write| sessions.awaits(&write))
        });
        if !self.now.is_multiple_of(HOUSEKEEPING_TICKS) {
            return;
        }
        if self
            .held
            .waits_since(self.now.saturating_sub(SILENCE_TICKS))
        {
            self.held.hand_over_again();
        }
        for request in self.held.expire(self.now) {
            let proposed = request.proposed;
            self.give_up(&request, &Refusal::NoQuorum { proposed });
        }
        for (order, read) in self.reads.expire(self.now) {
            self.give_up_read(order, &read, Refusal::NoQuorum { proposed: false });
        }
        let first_ticket = self.reads.first_ticket();
        if let Phase::Running(replica) = &mut self.phase {
            replica.cancel_reads_below(first_ticket);
        }
        self.send_clients_elsewhere();
    }

    /// A replica that others can lead and this one cannot hear sends its clients there (RULES R17), and so does one that
    /// has long to learn.
    fn send_clients_elsewhere(&mut self) {
        let Some(replica) = self.replica() else {
            return;
        };
        let unheard = replica.leader_elsewhere();
        let unheard = unheard.filter(|_| replica.leader().is_none());
        let Some(leader) = unheard.or_else(|| self.better_served_by()) else {
            return;
        };
        self.answer_all_with(|proposed| Refusal::AskReplica {
            replica: leader.0,
            proposed,
        });
    }

    /// Until nothing is held: what is given up lets those begin that waited behind it.
    pub(super) fn answer_all_with(&mut self, refusal: impl Fn(bool) -> Refusal) {
        while self.held.len() + self.reads.len() > 0 {
            for request in self.held.take_all() {
                self.give_up(&request, &refusal(request.proposed));
            }
            for (order, read) in self.reads.take_all() {
                self.give_up_read(order, &read, refusal(false));
            }
        }
    }

    pub(super) fn give_up(&mut self, request: &HeldRequest, refusal: &Refusal) {
        if matches!(request.key, RequestKey::Read { .. }) {
            return;
        }
        self.answer_waiters(request, &Outcome::Refused(refusal.clone()));
    }

    fn give_up_read(&mut self, order: u64, read: &HeldRead, refusal: Refusal) {
        let Waiter { connection, tag } = read.waiter;
        if let Some(open) = self.connections.get_mut(&connection) {
            open.drop_read(order);
            self.refuse(connection, tag, refusal);
            self.settle(connection);
        }
    }
}

/// Requests that one replica holds for all its clients: 64 connections with the widest pipeline.
const REQUESTS_HELD_MAX: usize = 65_536;

/// Bytes of requests that one replica holds for all its clients: 32 of the longest.
const BYTES_HELD_MAX: usize = 256 << 20;

/// How often deadlines and silences are looked at.
const HOUSEKEEPING_TICKS: u64 = 10;

/// What was handed over and is not applied after this long may be lost, and is handed over again.
const SILENCE_TICKS: u64 = 100;
