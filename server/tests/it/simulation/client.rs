//! A simulated client: it keeps a few requests outstanding, retries them elsewhere under their own numbers, now and then
//! gives one up, and writes down what it asked and heard.

use client::history::{Kind, Operation};
use common::{Answer, Change, Outcome, Refusal, Request, SessionId, Write};

use super::bugs::Bug;
use super::faults::{Faults, MS};
use super::keys::Shared;
use super::random::Random;
use super::workload::Workload;

/// A client with one connection at a time.
#[derive(Debug)]
pub(super) struct SimClient {
    pub(super) id: u64,
    random: Random,
    replicas: usize,
    pipeline: u64,
    pub(super) workload: Workload,
    pub(super) operations_left: u64,
    /// The replica that it talks to, and the number of the connection.
    pub(super) target: usize,
    pub(super) serial: u64,
    /// How long it waits for an answer before it asks elsewhere.
    attempt_us: u64,
    /// How long it waits, at most, before it asks for more.
    pub(super) think_us_max: u64,
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
    /// The faults are over: it tries one replica after the other, so that it soon finds one that answers.
    is_calm: bool,
    bug: Option<Bug>,
    /// How often it rests, and until when it does.
    naps: u64,
    naps_until: u64,
    next_sequence: u64,
    next_tag: u64,
    outstanding: Vec<Outstanding>,
    pub(super) history: Vec<(Vec<u8>, Operation)>,
    /// Operations that were answered, and writes of which nobody knows whether they ran.
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

/// More operations than any run sees.
const UNTIL_TOLD: u64 = 1 << 40;

/// An election timeout, as the library waits.
const CALM_ATTEMPT_US: u64 = 500 * MS;

const CALM_THINK_US_MAX: u64 = 20 * MS;

/// What a client sends: the request, and the number of the connection.
pub(super) type Sent = (u64, Request);

impl SimClient {
    pub(super) fn new(id: u64, seed: u64, faults: &Faults, bug: Option<Bug>) -> Self {
        let mut random = Random::new(seed);
        let workload = Workload::draw(id, &mut random, faults);
        let is_poller = workload.is_poller;
        Self {
            id,
            target: random.between(0, faults.replicas as u64) as usize,
            workload,
            random,
            replicas: faults.replicas,
            pipeline: if is_poller { 1 } else { faults.pipeline },
            operations_left: UNTIL_TOLD,
            attempt_us: faults.attempt_us,
            think_us_max: if is_poller {
                POLL_US_MAX
            } else {
                faults.think_us_max
            },
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
            is_calm: false,
            bug,
            naps: faults.naps,
            naps_until: 0,
            next_sequence: 1,
            next_tag: 1,
            outstanding: Vec::new(),
            history: Vec::new(),
            done: 0,
        }
    }

    /// One that deletes so many times and then is done, without rests.
    pub(super) fn deleter(id: u64, seed: u64, faults: &Faults, operations: u64) -> Self {
        let client = Self::new(id, seed, faults, None);
        Self {
            workload: client.workload.of_deleter(),
            think_us_max: CALM_THINK_US_MAX,
            attempt_us: CALM_ATTEMPT_US,
            naps: 0,
            is_calm: true,
            pipeline: 1,
            operations_left: operations,
            ..client
        }
    }

    /// It rests no more, asks elsewhere soon where nobody answers, and is done after so many operations more.
    pub(super) fn finish_after(&mut self, operations: u64, now: u64) {
        self.naps = 0;
        self.naps_until = 0;
        self.attempt_us = self.attempt_us.min(CALM_ATTEMPT_US);
        self.attempt_until = self.attempt_until.min(now + CALM_ATTEMPT_US);
        self.think_us_max = self.think_us_max.min(CALM_THINK_US_MAX);
        self.is_calm = true;
        self.workload.hurry();
        self.operations_left = operations;
    }

    pub(super) fn is_finished(&self) -> bool {
        self.operations_left == 0 && self.outstanding.is_empty()
    }

    /// Looks at the time, goes on to another replica if that is due, and sends what there is to send.
    pub(super) fn wake(&mut self, now: u64, shared: &mut Shared) -> Vec<Sent> {
        let mut sent = Vec::new();
        if self.random.chance(self.naps) {
            self.naps_until = now + self.random.between(MS, 5_000 * MS);
        }
        if now < self.naps_until {
            return sent;
        }
        let waits = self.opening.is_some() || !self.outstanding.is_empty();
        let can_ask = self.session.is_some() || self.opening.is_some();
        if waits && can_ask && now >= self.attempt_until {
            if self.random.chance(40) {
                self.give_one_up(shared);
            }
            self.move_on(now, &mut sent);
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
        while (self.outstanding.len() as u64) < self.pipeline
            && self.operations_left > 0
            && self.workload.may_begin(now)
        {
            self.operations_left -= 1;
            if self.workload.is_poller {
                self.go_elsewhere();
            }
            self.call(now, shared, &mut sent);
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
        shared: &mut Shared,
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
                Refusal::SessionExpired => self.expire(now, shared),
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
        self.attempt_until = now + self.attempt_us;
        self.record(call, &answer.outcome, shared.stamp())
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

    fn call(&mut self, now: u64, shared: &mut Shared, sent: &mut Vec<Sent>) {
        let called = shared.stamp();
        let (key, kind) = self
            .workload
            .next(self.next_sequence, &mut self.random, shared);
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
            called,
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
    fn move_on(&mut self, now: u64, sent: &mut Vec<Sent>) {
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
            if self.bug == Some(Bug::RetryIsNew) && call.sequence > 0 {
                call.sequence = self.next_sequence;
                self.next_sequence += 1;
            }
            sent.push((self.serial, self.request(place)));
        }
    }

    fn go_elsewhere(&mut self) {
        self.serial += 1;
        let further = if self.is_calm {
            1
        } else {
            self.random.between(1, self.replicas as u64 + 1) as usize
        };
        self.target = (self.target + further) % self.replicas;
    }

    /// Says that a copy of the request with this tag goes elsewhere too: its place in the connection means nothing then.
    pub(super) fn copied(&mut self, tag: u64) {
        if let Some(call) = self.outstanding.iter_mut().find(|call| call.tag == tag) {
            call.sent_once = false;
        }
    }

    /// The client wants this answer no more; the write may have run, or not.
    fn give_one_up(&mut self, shared: &mut Shared) {
        if self.outstanding.is_empty() {
            return;
        }
        let call = self.outstanding.remove(0);
        if call.sequence > 0 {
            self.closing = self.next_sequence;
        }
        self.record_unknown(call, shared);
    }

    /// Nobody knows whether a write has run that was asked for and not answered; a read changed nothing.
    fn record_unknown(&mut self, call: Outstanding, shared: &mut Shared) {
        if call.sequence > 0 {
            self.done += 1;
            self.workload.note_unknown(&call.key, shared);
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
    fn expire(&mut self, now: u64, shared: &mut Shared) -> Result<(), String> {
        let idle_us = now - self.session_used;
        if 2 * (idle_us + self.standstill_us) < self.session_expiry_us {
            return Err(format!(
                "client {}: its session expired after {idle_us} us",
                self.id
            ));
        }
        self.session = None;
        self.closing = 0;
        if self.bug == Some(Bug::RunsAgainAfterExpiry) {
            for call in self.outstanding.iter_mut().filter(|call| call.sequence > 0) {
                call.sequence = self.next_sequence;
                self.next_sequence += 1;
            }
            return Ok(());
        }
        for call in std::mem::take(&mut self.outstanding) {
            self.record_unknown(call, shared);
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
