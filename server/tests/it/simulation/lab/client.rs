//! A client of a lab: one thing at a time, asked of one replica after the other until it is answered, and written down.

use std::collections::VecDeque;

use client::history::{Kind, Operation};
use common::{Answer, Change, Outcome, Refusal, Request, SessionId, Write};

use super::super::client::revision_of;
use super::super::faults::MS;
use super::super::random::Random;
use super::text;

/// After so long without an answer another replica is asked.
const ATTEMPT_US: u64 = 200 * MS;

/// After a refusal the next replica is asked so soon.
const REFUSED_US: u64 = 20 * MS;

/// What a client does when nobody tells it what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Nothing.
    None,
    /// Appends tags to a key of its own and reads it back: what it reads is to be what it appended, exactly.
    OwnKey,
    /// Appends tags to one key of all clients, and now and then reads it.
    OneKey,
    /// Anything to any of so many keys.
    Mixed { keys: u64 },
}

/// What is to be asked.
#[derive(Clone, Debug)]
struct Ask {
    key: Vec<u8>,
    /// Without what an answer says.
    kind: Kind,
}

#[derive(Debug)]
struct Outstanding {
    ask: Ask,
    /// 0 for a read.
    sequence: u64,
    called: u64,
}

/// One client.
#[derive(Debug)]
pub(super) struct LabClient {
    id: usize,
    random: Random,
    work: Work,
    /// It asks its first replica and no other.
    is_pinned: bool,
    target: usize,
    /// Numbers its connections.
    serial: u64,
    session: Option<SessionId>,
    /// What its session is, or was asked to be, opened with.
    nonce: u64,
    next_sequence: u64,
    next_tag: u64,
    /// The tag of what was asked last: only its answer is listened to.
    tag: u64,
    attempt_until: u64,
    outstanding: Option<Outstanding>,
    queue: VecDeque<Ask>,
    /// What its own key is to hold.
    own_value: Vec<u8>,
    /// It asks for nothing by itself.
    pub(super) rests: bool,
    pub(super) answered: u64,
    history: Vec<(Vec<u8>, Operation)>,
}

impl LabClient {
    pub(super) fn new(id: usize, target: usize, seed: u64, work: Work) -> Self {
        let mut random = Random::new(seed);
        Self {
            id,
            nonce: random.draw(),
            random,
            work,
            is_pinned: false,
            target,
            serial: 0,
            session: None,
            next_sequence: 1,
            next_tag: 1,
            tag: 0,
            attempt_until: 0,
            outstanding: None,
            queue: VecDeque::new(),
            own_value: Vec::new(),
            rests: false,
            answered: 0,
            history: Vec::new(),
        }
    }

    /// One that asks this replica alone.
    pub(super) fn pinned(id: usize, replica: usize, seed: u64, work: Work) -> Self {
        Self {
            is_pinned: true,
            ..Self::new(id, replica, seed, work)
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.outstanding.is_none() && self.queue.is_empty()
    }

    /// Whether it is of this replica alone and free for another question.
    pub(super) fn may_read_at(&self, replica: usize) -> bool {
        let is_free = self.work == Work::None && self.is_idle();
        is_free && self.is_pinned && self.target == replica
    }

    pub(super) fn ask_get(&mut self, key: &[u8]) {
        self.ask(key, Kind::Get { value: None });
    }

    pub(super) fn ask_put(&mut self, key: &[u8], value: &[u8]) {
        let value = value.to_vec();
        self.ask(key, Kind::Put { value });
    }

    pub(super) fn ask_append(&mut self, key: &[u8], value: &[u8]) {
        let (value, length) = (value.to_vec(), None);
        self.ask(key, Kind::Append { value, length });
    }

    fn ask(&mut self, key: &[u8], kind: Kind) {
        let key = key.to_vec();
        self.queue.push_back(Ask { key, kind });
    }

    /// What the last read found, if that was the last thing answered.
    pub(super) fn last_value(&self) -> Option<Option<Vec<u8>>> {
        match self.history.last() {
            Some((_, operation)) => match &operation.kind {
                Kind::Get { value } => Some(value.clone()),
                _ => None,
            },
            None => None,
        }
    }

    /// The key of its own and what it is to hold, if it has one.
    pub(super) fn own(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        (self.work == Work::OwnKey).then(|| (self.own_key(), self.own_value.clone()))
    }

    pub(super) fn history(&self) -> impl Iterator<Item = (&[u8], Operation)> {
        let all = self.history.iter();
        all.map(|(key, operation)| (key.as_slice(), operation.clone()))
    }

    /// All that it appended to the key of all clients.
    pub(super) fn appended_to_one_key(&self) -> String {
        let appended = self.history.iter().filter(|(key, _)| key == ONE_KEY);
        let tags = appended.filter_map(|(_, operation)| match &operation.kind {
            Kind::Append { value, .. } => Some(text(value)),
            _ => None,
        });
        tags.collect()
    }

    pub(super) fn describe(&self) -> String {
        let (id, target) = (self.id, self.target);
        format!("client {id} at r{target}: {:?}", self.outstanding)
    }

    /// What it asks now: on which connection, whom, and what.
    pub(super) fn wake(
        &mut self,
        now: u64,
        replicas: usize,
        stamp: &mut u64,
    ) -> Option<(u64, usize, Request)> {
        if self.outstanding.is_none() {
            let ask = self.queue.pop_front().or_else(|| self.next_of_work())?;
            *stamp += 1;
            let is_read = matches!(ask.kind, Kind::Get { .. });
            self.outstanding = Some(Outstanding {
                ask,
                sequence: if is_read { 0 } else { self.next_sequence },
                called: *stamp,
            });
            self.next_sequence += u64::from(!is_read);
            self.attempt_until = now + ATTEMPT_US;
            return Some(self.request());
        }
        if now < self.attempt_until {
            return None;
        }
        self.serial += 1;
        if !self.is_pinned {
            let step = self.random.between(1, replicas.max(2) as u64) as usize;
            self.target = (self.target + step) % replicas;
        }
        self.attempt_until = now + ATTEMPT_US;
        Some(self.request())
    }

    /// Takes in an answer.
    pub(super) fn hear(&mut self, serial: u64, answer: Answer, now: u64, stamp: &mut u64) {
        if serial != self.serial || answer.tag != self.tag {
            return;
        }
        match answer.outcome {
            Outcome::SessionOpened { session, .. } => {
                assert_eq!(session.nonce, self.nonce);
                self.session = Some(session);
                self.attempt_until = now;
            }
            Outcome::Refused(
                Refusal::NoQuorum { .. }
                | Refusal::Busy { .. }
                | Refusal::AskReplica { .. }
                | Refusal::NotServing { .. },
            ) => self.attempt_until = now + REFUSED_US,
            outcome => {
                *stamp += 1;
                let outstanding = self.outstanding.take().expect("it is waited for");
                self.note(outstanding, &outcome, *stamp);
            }
        }
    }

    fn note(&mut self, outstanding: Outstanding, outcome: &Outcome, returned: u64) {
        let Ask { key, kind } = outstanding.ask;
        let is_own = self.work == Work::OwnKey && key == self.own_key();
        let kind = match (kind, outcome) {
            (Kind::Put { value }, Outcome::Put { .. }) => Kind::Put { value },
            (Kind::Append { value, .. }, Outcome::Appended { length, .. }) => {
                self.own_value.extend(value.iter().filter(|_| is_own));
                let length = Some(*length);
                Kind::Append { value, length }
            }
            (Kind::Delete { .. }, Outcome::Deleted { existed, .. }) => {
                let existed = Some(*existed);
                Kind::Delete { existed }
            }
            (Kind::Get { .. }, Outcome::Value { value, .. }) => {
                let value = Some(value.clone());
                Kind::Get { value }
            }
            (Kind::Get { .. }, Outcome::Absent { .. }) => Kind::Get { value: None },
            (kind, outcome) => panic!("client {}: {kind:?} was answered {outcome}", self.id),
        };
        if let Kind::Get { value } = &kind
            && is_own
        {
            let found = value.as_deref().unwrap_or_default();
            assert_eq!(text(found), text(&self.own_value), "client {}", self.id);
        }
        self.answered += 1;
        let operation = Operation {
            client: self.id as u64,
            kind,
            called: outstanding.called,
            returned: Some(returned),
            in_order: false,
            revision: revision_of(outcome),
        };
        self.history.push((key, operation));
    }

    fn request(&mut self) -> (u64, usize, Request) {
        self.next_tag += 1;
        self.tag = self.next_tag;
        let outstanding = self.outstanding.as_ref().expect("something is asked");
        let (tag, key) = (self.tag, outstanding.ask.key.clone());
        let change = match outstanding.ask.kind.clone() {
            Kind::Get { .. } => return (self.serial, self.target, Request::Get { tag, key }),
            Kind::Put { value } => Change::Put { key, value },
            Kind::Append { value, .. } => Change::Append { key, value },
            Kind::Delete { .. } => Change::Delete { key },
        };
        let request = match self.session {
            None => Request::OpenSession {
                tag,
                nonce: self.nonce,
            },
            Some(session) => Request::Write {
                tag,
                write: Write {
                    session,
                    sequence: outstanding.sequence,
                    floor: outstanding.sequence,
                    after: 0,
                    change,
                },
            },
        };
        (self.serial, self.target, request)
    }

    fn next_of_work(&mut self) -> Option<Ask> {
        if self.rests {
            return None;
        }
        let tag = format!("c{}.{};", self.id, self.next_sequence).into_bytes();
        let append = |key: Vec<u8>, value| {
            let kind = Kind::Append {
                value,
                length: None,
            };
            Ask { key, kind }
        };
        let get = |key: Vec<u8>| {
            let kind = Kind::Get { value: None };
            Ask { key, kind }
        };
        match self.work {
            Work::None => None,
            Work::OwnKey if self.random.chance(500) => Some(get(self.own_key())),
            Work::OwnKey => Some(append(self.own_key(), tag)),
            Work::OneKey if self.random.chance(100) => Some(get(ONE_KEY.to_vec())),
            Work::OneKey => Some(append(ONE_KEY.to_vec(), tag)),
            Work::Mixed { keys } => {
                let key = format!("k{}", self.random.between(0, keys)).into_bytes();
                Some(match self.random.between(0, 10) {
                    0..3 => append(key, tag),
                    3..5 => Ask {
                        key,
                        kind: Kind::Put { value: tag },
                    },
                    5 => Ask {
                        key,
                        kind: Kind::Delete { existed: None },
                    },
                    _ => get(key),
                })
            }
        }
    }

    fn own_key(&self) -> Vec<u8> {
        format!("own{}", self.id).into_bytes()
    }
}

/// The key to which all append under [`Work::OneKey`].
pub(super) const ONE_KEY: &[u8] = b"one";
