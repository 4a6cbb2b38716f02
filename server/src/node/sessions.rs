//! What the cluster remembers of its clients, so that every write runs once (RULES R8, R12, R13, R14, R24).
//!
//! A session keeps a floor, for each number at or above it that has run the answer, and the log time at which it was
//! used last. It is changed by apply alone: every replica changes it in the same way at the same slot. Its id is the
//! revision that opened it, so the map's order cannot be chosen by clients, and no choice of nonces makes it slow.
//!
//! One in use costs some 160 bytes (SPEC A5): its place in two ordered maps, which are half full where keys only rise,
//! and one answer in place; only what has several answers at once has memory beside that.

mod answers;
mod image;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use common::{SessionId, WriteRef};

use self::answers::{Answers, digest_of_answer};
use super::hash::digest;
use super::walk::{Visit, Walk};

pub(crate) use self::answers::Ran;
pub(crate) use self::image::SessionImage;

/// How far above its floor a session's numbers may go: the answers above it are kept, so they must be bounded.
pub(crate) const SESSION_WIDTH: u64 = 1_024;

/// All sessions, by the revision that opened them.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    sessions: BTreeMap<u64, Session>,
    /// Of each session when it was used last, and its revision: the order in which they are forgotten.
    by_use: BTreeSet<(u32, u64)>,
    /// The sum of the digests of all sessions.
    hash: u128,
    /// The pass of a snapshot that is being taken. Sessions are put aside as the bytes that it would have made of them.
    walk: Option<Walk<u64, Vec<u8>>>,
}

#[derive(Debug)]
struct Session {
    /// The client's own part of the session's id.
    nonce: u64,
    /// The lowest number whose answer the client still wants. Never falls.
    floor: u64,
    /// The log time of its last write, or of its opening, in whole seconds. Never falls.
    used_s: u32,
    /// Of the numbers at or above the floor that have run.
    answers: Answers,
}

/// What is to be done with a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has not run: run it, and [`Sessions::record`] the answer.
    Run,
    /// It has run: this was its answer.
    Known(Ran),
    /// The session is not there.
    Expired,
    /// It is below the floor: its answer was heard or given up.
    Closed,
    /// The number is too far above the floor.
    TooManyOutstanding,
    /// The write that must run before it has not. Nothing is remembered; it is to be proposed again.
    NotYet,
}

/// How a write names itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteName {
    pub(crate) session: SessionId,
    pub(crate) sequence: u64,
    pub(crate) floor: u64,
    pub(crate) after: u64,
}

impl Sessions {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn hash(&self) -> u128 {
        self.hash
    }

    /// Opens a session at `revision`, which no other session has, and at log time `now_s`.
    pub(crate) fn open(&mut self, revision: u64, nonce: u64, now_s: u32) -> SessionId {
        let session = Session {
            nonce,
            floor: 1,
            used_s: now_s,
            answers: Answers::None,
        };
        self.hash = self.hash.wrapping_add(session.digest(revision));
        self.by_use.insert((now_s, revision));
        self.before_change(revision);
        let before = self.sessions.insert(revision, session);
        assert!(
            before.is_none(),
            "two sessions opened at revision {revision}"
        );
        SessionId { revision, nonce }
    }

    /// Forgets what was idle for longer than `expiry_s` of log time, oldest first, but only some at once: the others go
    /// in the next slots (RULES R13).
    pub(crate) fn expire(&mut self, now_s: u32, expiry_s: u32) {
        for _ in 0..EXPIRED_PER_SLOT_MAX {
            if !self.forget_oldest(now_s, expiry_s) {
                return;
            }
        }
    }

    /// Makes room for one more session where there are too many; says whether it could (RULES R24).
    pub(crate) fn make_room(&mut self, now_s: u32) -> bool {
        self.forget_oldest(now_s, KEPT_AT_THE_LIMIT_S)
    }

    /// Forgets the session that was used least recently, if it was idle for more than so many whole seconds. Uses are
    /// known to the second, so that nothing is forgotten early.
    fn forget_oldest(&mut self, now_s: u32, idle_s: u32) -> bool {
        let Some((used_s, revision)) = self.by_use.first().copied() else {
            return false;
        };
        if now_s.saturating_sub(used_s) <= idle_s {
            return false;
        }
        self.before_change(revision);
        self.by_use.pop_first();
        let session = self
            .sessions
            .remove(&revision)
            .expect("what is in order of use is there");
        let digests = session.answers.digest(revision);
        let digest = session.digest(revision).wrapping_add(digests);
        self.hash = self.hash.wrapping_sub(digest);
        true
    }

    /// Judges a write that is being applied at log time `now_s`, and raises its session's floor. The order of the
    /// questions is part of what replicas must agree on.
    pub(crate) fn judge(&mut self, name: WriteName, now_s: u32) -> Verdict {
        let WriteName {
            session: id,
            sequence,
            floor,
            after,
        } = name;
        self.before_change(id.revision);
        let Some(session) = self
            .sessions
            .get_mut(&id.revision)
            .filter(|session| session.nonce == id.nonce)
        else {
            return Verdict::Expired;
        };
        if floor > session.floor || now_s > session.used_s {
            let mut gone = session.digest(id.revision);
            if floor > session.floor {
                session.floor = floor;
                let heard = session.answers.forget_below(id.revision, floor);
                gone = gone.wrapping_add(heard);
            }
            if now_s > session.used_s {
                self.by_use.remove(&(session.used_s, id.revision));
                self.by_use.insert((now_s, id.revision));
                session.used_s = now_s;
            }
            let present = session.digest(id.revision);
            self.hash = self.hash.wrapping_sub(gone).wrapping_add(present);
        }
        if sequence < session.floor {
            return Verdict::Closed;
        }
        if let Some(ran) = session.answers.find(sequence) {
            return Verdict::Known(ran);
        }
        if sequence - session.floor >= SESSION_WIDTH {
            return Verdict::TooManyOutstanding;
        }
        if after >= session.floor && session.answers.find(after).is_none() {
            return Verdict::NotYet;
        }
        Verdict::Run
    }

    /// The write that was judged [`Verdict::Run`] has run with this answer.
    pub(crate) fn record(&mut self, name: WriteName, ran: Ran) {
        let session = self
            .sessions
            .get_mut(&name.session.revision)
            .expect("a session is not forgotten between judging a write and recording it");
        session.answers.insert(name.sequence, ran);
        self.hash =
            self.hash
                .wrapping_add(digest_of_answer(name.session.revision, name.sequence, ran));
    }

    /// Begins a pass for a snapshot: [`Sessions::step`] sees all sessions as they are now. One pass at a time.
    pub(super) fn begin_walk(&mut self) {
        self.walk = Some(Walk::begin());
    }

    /// Ends the pass, finished or not.
    pub(super) fn end_walk(&mut self) {
        self.walk = None;
    }

    /// Appends the next sessions of the pass to `out`, at most `bytes_max` unless the first alone is more. Returns
    /// whether these were the last.
    pub(super) fn step(&mut self, bytes_max: usize, out: &mut Vec<u8>) -> bool {
        let Some(walk) = &mut self.walk else {
            return true;
        };
        walk.step(&self.sessions, |revision, seen| {
            let before = out.len();
            match seen {
                Visit::Present(session) => session.put_image(*revision, out),
                Visit::Aside(image) => out.extend_from_slice(image),
            }
            if before > 0 && out.len() > bytes_max {
                out.truncate(before);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })
    }

    /// To be called before the session changes, or is opened or forgotten: puts it aside for the snapshot that is being
    /// taken.
    fn before_change(&mut self, revision: u64) {
        let Some(walk) = self.walk.as_mut().filter(|walk| walk.awaits(&revision)) else {
            return;
        };
        let image = self.sessions.get(&revision).map(|session| {
            let mut image = Vec::new();
            session.put_image(revision, &mut image);
            image
        });
        walk.put_aside(revision, image);
    }

    /// Takes in a session of a snapshot; later ones have higher revisions.
    pub(super) fn restore(&mut self, image: &SessionImage<'_>) {
        self.hash = self.hash.wrapping_add(image.digest());
        let revision = image.revision();
        let session = image.session();
        self.by_use.insert((session.used_s, revision));
        self.sessions.insert(revision, session);
    }

    /// Whether, by the present table, a write would be judged [`Verdict::NotYet`].
    pub(crate) fn awaits(&self, write: &WriteRef<'_>) -> bool {
        self.sessions
            .get(&write.session.revision)
            .filter(|session| session.nonce == write.session.nonce)
            .is_some_and(|session| {
                write.after >= session.floor.max(write.floor)
                    && session.answers.find(write.after).is_none()
            })
    }

    /// What is final about a write by the present table alone, at `revision` (RULES R14): its answer, that it is closed,
    /// or that its session is gone.
    pub(crate) fn final_verdict(
        &self,
        id: SessionId,
        sequence: u64,
        revision: u64,
    ) -> Option<Verdict> {
        match self.sessions.get(&id.revision) {
            Some(session) if session.nonce == id.nonce => {
                if sequence < session.floor {
                    return Some(Verdict::Closed);
                }
                session.answers.find(sequence).map(Verdict::Known)
            }
            Some(_) => Some(Verdict::Expired),
            None => (id.revision <= revision).then_some(Verdict::Expired),
        }
    }
}

impl Session {
    /// What the session adds to the hash, beside its answers.
    fn digest(&self, revision: u64) -> u128 {
        let used_s = u64::from(self.used_s);
        digest(&[2, revision, self.nonce, self.floor, used_s])
    }
}

/// A slot must not take long to apply, however many sessions were opened in one second an hour ago: a thousand take less
/// than a millisecond, and a slot a minute is enough to forget as many as there may be (RULES R13).
const EXPIRED_PER_SLOT_MAX: usize = 1_000;

/// At the limit, opening another session costs only a session that was idle for longer than any client goes on with a
/// retry (RULES R24).
const KEPT_AT_THE_LIMIT_S: u32 = 600;
