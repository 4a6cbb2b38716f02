//! The requests that this replica holds for its clients until the log has answered them (RULES R8).
//!
//! They stand in the order in which they came. Each is handed over (proposed here, or forwarded to the leader), and
//! handed over again, in order, whenever it may have been lost: after a change of leader, a broken link, or too long a
//! silence. Copies do no harm; apply finds them. A request is let go when it is applied here, or when its time is up.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use common::SessionId;

use super::{ConnectionId, batch};

/// What makes two copies the same request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RequestKey {
    Write { session: SessionId, sequence: u64 },
    OpenSession { nonce: u64 },
    Read { ticket: u64 },
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) connection: ConnectionId,
    pub(crate) tag: u64,
}

/// One request with its waiters.
#[derive(Debug)]
pub(crate) struct HeldRequest {
    pub(crate) key: RequestKey,
    /// Its bytes in the log.
    pub(crate) item: Vec<u8>,
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) deadline_tick: u64,
    /// When it was last proposed or forwarded; none if never, or if that was in vain.
    handed_tick: Option<u64>,
    /// Whether any copy ever left this queue: then its outcome is not known until it is applied (RULES R15).
    pub(crate) proposed: bool,
}

/// All requests held.
#[derive(Debug, Default)]
pub(crate) struct Held {
    requests: BTreeMap<u64, HeldRequest>,
    by_key: HashMap<RequestKey, u64>,
    /// Those that are to be handed over, in order.
    outgoing: BTreeSet<u64>,
    /// Those that are to be handed over once what they wait for has run.
    delayed: BTreeSet<u64>,
    next_order: u64,
    item_bytes: usize,
}

impl Held {
    /// How many requests there are.
    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// How many bytes they have.
    pub(crate) fn item_bytes(&self) -> usize {
        self.item_bytes
    }

    /// Whether a copy of this request is held: then `waiter` waits with the others, and of the two copies the one that
    /// the client made later is handed over from now on; the other may wait for a write that was given up since. The
    /// copy that is not needed is left in `item`.
    pub(crate) fn join(&mut self, key: RequestKey, item: &mut Vec<u8>, waiter: Waiter) -> bool {
        let Some(order) = self.by_key.get(&key) else {
            return false;
        };
        let request = self
            .requests
            .get_mut(order)
            .expect("a key leads to a request");
        request.waiters.push(waiter);
        if batch::is_later(item, &request.item) {
            self.item_bytes += item.len();
            self.item_bytes -= request.item.len();
            std::mem::swap(&mut request.item, item);
        }
        true
    }

    /// Holds a request that is not held yet.
    pub(crate) fn hold(
        &mut self,
        key: RequestKey,
        item: Vec<u8>,
        waiter: Waiter,
        deadline_tick: u64,
    ) {
        let order = self.next_order;
        self.next_order += 1;
        self.item_bytes += item.len();
        let before = self.by_key.insert(key, order);
        assert!(before.is_none(), "{key:?} is held twice");
        let request = HeldRequest {
            key,
            item,
            waiters: vec![waiter],
            deadline_tick,
            handed_tick: None,
            proposed: false,
        };
        self.requests.insert(order, request);
        self.outgoing.insert(order);
    }

    /// Whether anything is to be handed over.
    pub(crate) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Moves the next requests to be handed over into `out`, until it has `bytes_max` bytes or more.
    pub(crate) fn hand_over(&mut self, now: u64, bytes_max: usize, out: &mut Vec<u8>) {
        while out.len() < bytes_max {
            let Some(order) = self.outgoing.pop_first() else {
                return;
            };
            let request = self
                .requests
                .get_mut(&order)
                .expect("what is outgoing is held");
            request.handed_tick = Some(now);
            request.proposed = true;
            out.extend_from_slice(&request.item);
        }
    }

    /// Of what is to be handed over, lets go of what `takes` denies by its bytes in the log. Where a copy was handed over
    /// before, the request is held on, as if it had been handed over again.
    pub(crate) fn turn_away(
        &mut self,
        now: u64,
        takes: impl Fn(&[u8]) -> bool,
    ) -> Vec<HeldRequest> {
        let requests = &self.requests;
        let denied: Vec<u64> = self
            .outgoing
            .extract_if(.., |order| {
                requests
                    .get(order)
                    .is_some_and(|request| !takes(&request.item))
            })
            .collect();
        let mut turned_away = Vec::new();
        for order in denied {
            match self.requests.get_mut(&order) {
                Some(request) if request.proposed => request.handed_tick = Some(now),
                _ => turned_away.push(self.remove(order)),
            }
        }
        turned_away
    }

    /// Whether a copy of this request is held.
    pub(crate) fn holds(&self, key: RequestKey) -> bool {
        self.by_key.contains_key(&key)
    }

    /// The request was applied: lets it go.
    pub(crate) fn take(&mut self, key: RequestKey) -> Option<HeldRequest> {
        let order = self.by_key.get(&key).copied()?;
        Some(self.remove(order))
    }

    /// The writes that are held, in the order in which they came.
    pub(crate) fn writes(&self) -> Vec<(SessionId, u64)> {
        let keys = self.requests.values().map(|request| request.key);
        let writes = keys.filter_map(|key| match key {
            RequestKey::Write { session, sequence } => Some((session, sequence)),
            RequestKey::OpenSession { .. } | RequestKey::Read { .. } => None,
        });
        writes.collect()
    }

    /// The request was applied in vain, because the one before it had not run: it waits for that.
    pub(crate) fn delay(&mut self, key: RequestKey) {
        let Some(order) = self.by_key.get(&key) else {
            return;
        };
        let request = self
            .requests
            .get_mut(order)
            .expect("a key leads to a request");
        request.handed_tick = None;
        self.delayed.insert(*order);
    }

    /// Hands over again what was delayed and, by its bytes in the log, need not wait any more.
    pub(crate) fn release_delayed(&mut self, must_wait: impl Fn(&[u8]) -> bool) {
        let requests = &self.requests;
        let released = self.delayed.extract_if(.., |order| {
            requests
                .get(order)
                .is_some_and(|request| !must_wait(&request.item))
        });
        self.outgoing.extend(released);
    }

    /// Whatever was handed over may be lost: hands all of it over again, in order.
    pub(crate) fn hand_over_again(&mut self) {
        self.delayed.clear();
        self.outgoing.extend(self.requests.keys());
        for request in self.requests.values_mut() {
            request.handed_tick = None;
        }
    }

    /// Whether something was handed over before `tick` and is still not applied.
    pub(crate) fn waits_since(&self, tick: u64) -> bool {
        self.requests
            .values()
            .any(|request| request.handed_tick.is_some_and(|handed| handed < tick))
    }

    /// Lets go of every request whose time is up.
    pub(crate) fn expire(&mut self, now: u64) -> Vec<HeldRequest> {
        self.remove_all_where(|request| now >= request.deadline_tick)
    }

    /// Lets go of every request.
    pub(crate) fn take_all(&mut self) -> Vec<HeldRequest> {
        self.remove_all_where(|_| true)
    }

    /// Nobody waits on this connection any more. What was never handed over goes with it, if nobody else waits.
    pub(crate) fn forget_connection(&mut self, connection: ConnectionId) {
        for request in self.requests.values_mut() {
            request
                .waiters
                .retain(|waiter| waiter.connection != connection);
        }
        self.remove_all_where(|request| request.waiters.is_empty() && !request.proposed);
    }

    fn remove_all_where(&mut self, condition: impl Fn(&HeldRequest) -> bool) -> Vec<HeldRequest> {
        let orders: Vec<u64> = self
            .requests
            .iter()
            .filter(|(_, request)| condition(request))
            .map(|(order, _)| *order)
            .collect();
        orders.into_iter().map(|order| self.remove(order)).collect()
    }

    fn remove(&mut self, order: u64) -> HeldRequest {
        let request = self
            .requests
            .remove(&order)
            .expect("only what is held is removed");
        self.by_key.remove(&request.key);
        self.outgoing.remove(&order);
        self.delayed.remove(&order);
        self.item_bytes -= request.item.len();
        request
    }
}
