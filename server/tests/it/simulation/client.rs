//! A simulated client: it keeps a few requests outstanding, retries them elsewhere under their own numbers, now and then
//! gives one up, and writes down what it asked and heard.

use client::history::{Kind, Operation};
use common::{Answer, Change, Outcome, Refusal, Request, SessionId, Write};

use super::bugs::Bug;
use super::faults::{Faults, MS};

use super::random::Random;

/// A client with one connection at a time.
#[derive(Debug)]
pub(super) struct SimClient {
    pub(super) id: u64,
    random: Random,
    replicas: usize,
    pipeline: u64,
    /// How many of a hundred operations are reads.
    reads_per_cent: u64,
    pub(super) operations_left: u64,
    /// The replica that it talks to, and the number of the connection.
    pub(super) target: usize,
    pub(super) serial: u64,
    /// How long it waits for an answer before it asks elsewhere.
    attempt_us: u64,
    /// How long it waits, at most, before it asks for more.
    pub(super) think_us_max: u64,
    /// It asks another replica each time.
    is_poller: bool,
    /// It does nothing but delete.
    deletes_only: bool,
    /// It was told that not even deletes are taken.
    pub(super) was_told_spent: bool,
    /// When to go on to another replica if nothing is answered until then.
    attempt_until: u64,
    session: Option<SessionId>,
    opening: Option<(u64, u64)>,
    /// The cluster keeps a session for so long, and this one was asked to be used or opened then at the earliest: when
    /// the last answered request of it was first sent.
    session_expiry_us: u64,
    /// The longest that the cluster chose nothing. Log time goes on from what was applied last, in each replica for as
    /// long as it was up, so two leaders may differ by so much.
    pub(super) standstill_us: u64,
    session_used: u64,
    opening_since: u64,
    /// It opens another session when one was idle for half its expiry, as the library does.
    is_careful: bool,
    /// The first number after the last that it gave up: once that or a later one is answered, nothing that was given up
    /// can run any more, and not before may it leave the session. 0 for none.
    closing: u64,
    /// How often it rests, and until when it does.
    naps: u64,
    naps_until: u64,
    next_sequence: u64,
    next_tag: u64,
    outstanding: Vec<Outstanding>,
    pub(super) history: Vec<(Vec<u8>, Operation)>,
    pub(super) done: u64,
}

#[derive(Debug)]
struct Outstanding {
    tag: u64,
    key: Vec<u8>,
    kind: Kind,
    /// 0 for a read.
    sequence: u64,
    called: u64,
    /// When it was first sent.
    sent: u64,
    sent_once: bool,
}

/// A poller waits about as long as a pause or an election lasts, so that some of its reads begin in the middle of one.
const POLL_US_MAX: u64 = 200 * MS;

/// What a client sends: the request, and the number of the connection.
pub(super) type Sent = (u64, Request);

impl SimClient {
    pub(super) fn new(id: u64, seed: u64, faults: &Faults) -> Self {
        let mut random = Random::new(seed);
        let is_poller = id >= faults.clients;
        let reads_per_cent = random.pick(&[20, 35, 35, 95]);
        Self {
            id,
            target: random.between(0, faults.replicas as u64) as usize,
            reads_per_cent: if is_poller { 100 } else { reads_per_cent },
            random,
            replicas: faults.replicas,
            pipeline: if is_poller { 1 } else { faults.pipeline },
            operations_left: faults.operations_per_client,
            attempt_us: faults.attempt_us,
            think_us_max: if is_poller {
                POLL_US_MAX
            } else {
                faults.think_us_max
            },
            is_poller,
            deletes_only: false,
            was_told_spent: false,
            serial: 0,
            attempt_until: 0,
            session: None,
            opening: None,
            standstill_us: 0,
            session_expiry_us: u64::from(faults.session_expiry_s) * 1_000 * MS,
            session_used: 0,
            opening_since: 0,
            is_careful: id.is_multiple_of(2),
            closing: 0,
            naps: faults.naps,
            naps_until: 0,
            next_sequence: 1,
            next_tag: 1,
            outstanding: Vec::new(),
            history: Vec::new(),
            done: 0,
        }
    }

    /// One that deletes so many times and then is done.
    pub(super) fn deleter(id: u64, seed: u64, faults: &Faults, operations: u64) -> Self {
        Self {
            is_poller: false,
            deletes_only: true,
            pipeline: 1,
            operations_left: operations,
            reads_per_cent: 0,
            ..Self::new(id, seed, faults)
        }
    }

    /// It rests no more.
    pub(super) fn wake_up(&mut self) {
        self.naps = 0;
        self.naps_until = 0;
    }

    pub(super) fn is_finished(&self) -> bool {
        self.operations_left == 0 && self.outstanding.is_empty()
    }

    pub(super) fn own_key(&self) -> Vec<u8> {
        format!("own{}", self.id).into_bytes()
    }

    /// Looks at the time, goes on to another replica if that is due, and sends what there is to send. `stamp` orders
    /// calls and returns of all clients.
    pub(super) fn wake(&mut self, now: u64, stamp: &mut u64, bug: Option<Bug>) -> Vec<Sent> {
        let mut sent = Vec::new();
        if self.random.chance(self.naps) {
            self.naps_until = now + self.random.between(MS, 5_000 * MS);
        }
        if now < self.naps_until {
            return sent;
        }
        let waits = self.opening.is_some() || !self.outstanding.is_empty();
        if waits && now >= self.attempt_until {
            if self.random.chance(40) {
                self.give_one_up();
            }
            self.move_on(now, bug, &mut sent);
        }
        let idle_us = now - self.session_used;
        let is_settled = self.outstanding.is_empty() && self.closing == 0;
        if self.is_careful && is_settled && 2 * idle_us > self.session_expiry_us {
            self.session = None;
        }
        if self.session.is_none() {
            if self.opening.is_none() && !self.is_finished() {
                let nonce = self.random.draw();
                self.opening_since = now;
                self.open(nonce, now, &mut sent);
            }
            return sent;
        }
        while (self.outstanding.len() as u64) < self.pipeline && self.operations_left > 0 {
            self.operations_left -= 1;
            if self.is_poller {
                self.go_elsewhere();
            }
            self.call(now, stamp, &mut sent);
        }
        sent
    }

    /// The connection of this number broke.
    pub(super) fn closed(&mut self, serial: u64, now: u64) {
        if serial == self.serial {
            self.attempt_until = self.attempt_until.min(now + 20 * MS);
        }
    }

    /// Takes in an answer. An error is something that no right cluster answers.
    pub(super) fn answered(
        &mut self,
        serial: u64,
        answer: &Answer,
        now: u64,
        stamp: &mut u64,
    ) -> Result<(), String> {
        if serial != self.serial {
            return Ok(());
        }
        let spent = Refusal::DiskFull {
            refuses_deletes: true,
        };
        self.was_told_spent |= answer.outcome == Outcome::Refused(spent);
        if let Some((tag, nonce)) = self.opening {
            if answer.tag == tag {
                match &answer.outcome {
                    Outcome::SessionOpened { session, .. } if session.nonce == nonce => {
                        self.session = Some(*session);
                        self.session_used = self.opening_since;
                        self.opening = None;
                    }
                    _ => self.attempt_until = now + 30 * MS,
                }
            }
            return Ok(());
        }
        let Some(place) = self
            .outstanding
            .iter()
            .position(|call| call.tag == answer.tag)
        else {
            return Ok(());
        };
        if let Outcome::Refused(refusal) = &answer.outcome {
            return match refusal {
                Refusal::NoQuorum { .. }
                | Refusal::Busy { .. }
                | Refusal::AskReplica { .. }
                | Refusal::DiskFull { .. }
                | Refusal::NotServing { .. } => {
                    self.attempt_until = self.attempt_until.min(now + 30 * MS);
                    Ok(())
                }
                Refusal::SessionExpired => self.expire(now),
                other => Err(format!("client {} was refused: {other:?}", self.id)),
            };
        }
        let call = self.outstanding.remove(place);
        if call.sequence > 0 {
            if call.sequence >= self.closing {
                self.closing = 0;
            }
            self.session_used = self.session_used.max(call.sent);
        }
        *stamp += 1;
        self.attempt_until = now + self.attempt_us;
        self.record(call, &answer.outcome, *stamp)
    }

    fn record(
        &mut self,
        call: Outstanding,
        outcome: &Outcome,
        returned: u64,
    ) -> Result<(), String> {
        let kind = match (call.kind, outcome) {
            (Kind::Put { value }, Outcome::Put { .. }) => Kind::Put { value },
            (Kind::Append { value, .. }, Outcome::Appended { length, .. }) => {
                let length = Some(*length);
                Kind::Append { value, length }
            }
            (Kind::Delete { .. }, Outcome::Deleted { existed, .. }) => Kind::Delete {
                existed: Some(*existed),
            },
            (Kind::Get { .. }, Outcome::Value { value, .. }) => Kind::Get {
                value: Some(value.clone()),
            },
            (Kind::Get { .. }, Outcome::Absent { .. }) => Kind::Get { value: None },
            (kind, outcome) => return Err(format!("{kind:?} was answered {outcome:?}")),
        };
        self.done += 1;
        let operation = Operation {
            client: self.id,
            kind,
            called: call.called,
            returned: Some(returned),
            in_order: call.sent_once,
            revision: revision_of(outcome),
        };
        self.history.push((call.key, operation));
        Ok(())
    }

    fn open(&mut self, nonce: u64, now: u64, sent: &mut Vec<Sent>) {
        let tag = self.take_tag();
        self.opening = Some((tag, nonce));
        self.attempt_until = now + self.attempt_us;
        sent.push((self.serial, Request::OpenSession { tag, nonce }));
    }

    fn call(&mut self, now: u64, stamp: &mut u64, sent: &mut Vec<Sent>) {
        *stamp += 1;
        let own = self.random.chance(400) && !self.is_poller;
        let key = if own {
            self.own_key()
        } else {
            format!("k{}", self.random.between(0, 3)).into_bytes()
        };
        let value = format!("c{}.{};", self.id, self.next_sequence).into_bytes();
        let kind = match self.random.between(0, 100) {
            _ if self.random.chance(10 * self.reads_per_cent) => Kind::Get { value: None },
            0..45 => Kind::Append {
                value,
                length: None,
            },
            _ if own => Kind::Append {
                value,
                length: None,
            },
            45..82 => Kind::Put { value },
            _ => Kind::Delete { existed: None },
        };
        let kind = if self.deletes_only {
            Kind::Delete { existed: None }
        } else {
            kind
        };
        let sequence = if matches!(kind, Kind::Get { .. }) {
            0
        } else {
            self.next_sequence += 1;
            self.next_sequence - 1
        };
        if self.outstanding.is_empty() {
            self.attempt_until = now + self.attempt_us;
        }
        let call = Outstanding {
            tag: self.take_tag(),
            key,
            kind,
            sequence,
            called: *stamp,
            sent: now,
            sent_once: true,
        };
        self.outstanding.push(call);
        sent.push((self.serial, self.request(self.outstanding.len() - 1)));
    }

    /// The request of an outstanding call, as it is sent on the present connection.
    fn request(&self, place: usize) -> Request {
        let call = &self.outstanding[place];
        let (tag, key) = (call.tag, call.key.clone());
        let change = match &call.kind {
            Kind::Get { .. } => return Request::Get { tag, key },
            Kind::Put { value } => Change::Put {
                key,
                value: value.clone(),
            },
            Kind::Append { value, .. } => Change::Append {
                key,
                value: value.clone(),
            },
            Kind::Delete { .. } => Change::Delete { key },
        };
        let writes = || {
            self.outstanding
                .iter()
                .map(|call| call.sequence)
                .filter(|&number| number > 0)
        };
        let after = self.outstanding[..place]
            .iter()
            .map(|call| call.sequence)
            .rfind(|&number| number > 0)
            .unwrap_or(0);
        Request::Write {
            tag,
            write: Write {
                session: self.session.expect("writes are sent within a session"),
                sequence: call.sequence,
                floor: writes().min().expect("this write is outstanding"),
                after,
                change,
            },
        }
    }

    /// Another replica, another connection: everything unanswered is sent there again, in order.
    fn move_on(&mut self, now: u64, bug: Option<Bug>, sent: &mut Vec<Sent>) {
        self.go_elsewhere();
        self.attempt_until = now + self.attempt_us;
        if let Some((_, nonce)) = self.opening.take() {
            self.open(nonce, now, sent);
            return;
        }
        for place in 0..self.outstanding.len() {
            let tag = self.take_tag();
            let call = &mut self.outstanding[place];
            call.tag = tag;
            call.sent_once = false;
            if bug == Some(Bug::RetryIsNew) && call.sequence > 0 {
                call.sequence = self.next_sequence;
                self.next_sequence += 1;
            }
            sent.push((self.serial, self.request(place)));
        }
    }

    fn go_elsewhere(&mut self) {
        self.serial += 1;
        self.target = (self.target + self.random.between(1, self.replicas as u64 + 1) as usize)
            % self.replicas;
    }

    /// Says that a copy of the request with this tag goes elsewhere too: its place in the connection means nothing then.
    pub(super) fn copied(&mut self, tag: u64) {
        if let Some(call) = self.outstanding.iter_mut().find(|call| call.tag == tag) {
            call.sent_once = false;
        }
    }

    /// The client wants this answer no more; the write may have run, or not.
    fn give_one_up(&mut self) {
        if self.outstanding.is_empty() {
            return;
        }
        let call = self.outstanding.remove(0);
        if call.sequence > 0 {
            self.closing = self.next_sequence;
        }
        self.record_unknown(call);
    }

    /// Nobody knows whether a write has run that was asked for and not answered; a read changed nothing.
    fn record_unknown(&mut self, call: Outstanding) {
        if call.sequence > 0 {
            let operation = Operation {
                client: self.id,
                kind: call.kind,
                called: call.called,
                returned: None,
                in_order: false,
                revision: None,
            };
            self.history.push((call.key, operation));
        }
    }

    /// The cluster forgot the session, and must have had reason to: clocks that jump and ticks that are made up may have
    /// moved log time by a little, and not by half of the expiry. Of its writes an earlier copy may have run, so none is
    /// asked for again (RULES R15).
    fn expire(&mut self, now: u64) -> Result<(), String> {
        let idle_us = now - self.session_used;
        if 2 * (idle_us + self.standstill_us) < self.session_expiry_us {
            return Err(format!(
                "client {}: its session expired after {idle_us} us",
                self.id
            ));
        }
        self.session = None;
        self.closing = 0;
        for call in std::mem::take(&mut self.outstanding) {
            self.record_unknown(call);
        }
        Ok(())
    }

    /// What is still outstanding when the run ends, for the message.
    pub(super) fn state(&self) -> String {
        format!(
            "client {} at r{} has {} to do, session {:?}, outstanding {:?}",
            self.id,
            self.target,
            self.operations_left,
            self.session,
            self.outstanding
                .iter()
                .map(|call| call.sequence)
                .collect::<Vec<_>>()
        )
    }

    fn take_tag(&mut self) -> u64 {
        self.next_tag += 1;
        self.next_tag - 1
    }
}

/// The revision of the change that was made, or the one that was seen.
pub(super) fn revision_of(outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::Put { revision }
        | Outcome::Appended { revision, .. }
        | Outcome::Deleted { revision, .. }
        | Outcome::Value { revision, .. }
        | Outcome::Absent { revision } => Some(*revision),
        Outcome::SessionOpened { .. } | Outcome::Status(_) | Outcome::Refused(_) => None,
    }
}
