//! What the cluster remembers of its clients, so that every write runs once (RULES R8, R12, R14).
//!
//! A session keeps a floor and, for each number at or above it that has run, the answer. It is changed by apply alone:
//! every replica changes it in the same way at the same slot.

//!
//! In a snapshot a session is these bytes, big-endian:
//! ```text
//! revision 8 | nonce 8 | floor 8 | answers 2: how many; then of each
//!     sequence 8 | kind 1 | two words of 8, whose meaning depends on the kind (see `Ran::words`)
//! ```

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use common::wire::{FieldReader, put_u16, put_u64};
use common::{DecodeError, Limit, Outcome, Refusal, SessionId, WriteRef};

use super::hash::digest;
use super::walk::{Visit, Walk};

/// How far above its floor a session's numbers may go: the answers above it are kept, so they must be bounded.
pub(crate) const SESSION_WIDTH: u64 = 1_024;

/// All sessions, by the revision that opened them.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    sessions: BTreeMap<u64, Session>,
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
    /// The answers of the numbers at or above the floor that have run, in order of numbers.
    ran: Vec<(u64, Ran)>,
}

/// The answer of a write that has run. A refusal that every replica finds alike is an answer too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    Put { revision: u64 },
    Appended { revision: u64, length: u64 },
    Deleted { revision: u64, existed: bool },
    TooLarge { bytes: u64, bytes_max: u64 },
    StoreFull { bytes_max: u64 },
}

impl Ran {
    /// As the client is told.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Put { revision } => Outcome::Put { revision },
            Self::Appended { revision, length } => Outcome::Appended { revision, length },
            Self::Deleted { revision, existed } => Outcome::Deleted { revision, existed },
            Self::TooLarge { bytes, bytes_max } => Outcome::Refused(Refusal::TooLarge {
                limit: Limit::ValueBytes,
                bytes,
                bytes_max,
            }),
            Self::StoreFull { bytes_max } => Outcome::Refused(Refusal::StoreFull { bytes_max }),
        }
    }

    fn words(self) -> [u64; 3] {
        match self {
            Self::Put { revision } => [1, revision, 0],
            Self::Appended { revision, length } => [2, revision, length],
            Self::Deleted { revision, existed } => [3, revision, u64::from(existed)],
            Self::TooLarge { bytes, bytes_max } => [4, bytes, bytes_max],
            Self::StoreFull { bytes_max } => [5, bytes_max, 0],
        }
    }

    fn from_words([kind, first, second]: [u64; 3]) -> Option<Self> {
        let ran = match kind {
            1 => Self::Put { revision: first },
            2 => Self::Appended {
                revision: first,
                length: second,
            },
            3 => Self::Deleted {
                revision: first,
                existed: second == 1,
            },
            4 => Self::TooLarge {
                bytes: first,
                bytes_max: second,
            },
            5 => Self::StoreFull { bytes_max: first },
            _ => return None,
        };
        (ran.words() == [kind, first, second]).then_some(ran)
    }
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

    /// Opens a session at `revision`, which no other session has.
    pub(crate) fn open(&mut self, revision: u64, nonce: u64) -> SessionId {
        let session = Session {
            nonce,
            floor: 1,
            ran: Vec::new(),
        };
        self.hash = self.hash.wrapping_add(session.digest(revision));
        self.before_change(revision);
        let before = self.sessions.insert(revision, session);
        assert!(
            before.is_none(),
            "two sessions opened at revision {revision}"
        );
        SessionId { revision, nonce }
    }

    /// Judges a write that is being applied, and raises its session's floor. The order of the questions is part of what
    /// replicas must agree on.
    pub(crate) fn judge(&mut self, name: WriteName) -> Verdict {
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
        if floor > session.floor {
            self.hash = self.hash.wrapping_sub(session.digest(id.revision));
            self.hash = self
                .hash
                .wrapping_sub(session.raise_floor(id.revision, floor));
            self.hash = self.hash.wrapping_add(session.digest(id.revision));
        }
        if sequence < session.floor {
            return Verdict::Closed;
        }
        if let Some(ran) = session.answer(sequence) {
            return Verdict::Known(ran);
        }
        if sequence - session.floor >= SESSION_WIDTH {
            return Verdict::TooManyOutstanding;
        }
        if after >= session.floor && session.answer(after).is_none() {
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
        let place = session
            .ran
            .partition_point(|(sequence, _)| *sequence < name.sequence);
        session.ran.insert(place, (name.sequence, ran));
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
        let session = Session {
            nonce: image.nonce,
            floor: image.floor,
            ran: image.answers().collect(),
        };
        self.sessions.insert(image.revision, session);
    }

    /// Whether, by the present table, a write would be judged [`Verdict::NotYet`].
    pub(crate) fn awaits(&self, write: &WriteRef<'_>) -> bool {
        self.sessions
            .get(&write.session.revision)
            .filter(|session| session.nonce == write.session.nonce)
            .is_some_and(|session| {
                write.after >= session.floor.max(write.floor)
                    && session.answer(write.after).is_none()
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
                session.answer(sequence).map(Verdict::Known)
            }
            Some(_) => Some(Verdict::Expired),
            None => (id.revision <= revision).then_some(Verdict::Expired),
        }
    }
}

impl Session {
    fn answer(&self, sequence: u64) -> Option<Ran> {
        let place = self
            .ran
            .binary_search_by_key(&sequence, |(number, _)| *number)
            .ok()?;
        Some(self.ran[place].1)
    }

    /// Forgets the answers below the floor, and gives the sum of their digests.
    fn raise_floor(&mut self, revision: u64, floor: u64) -> u128 {
        self.floor = floor;
        let heard = self.ran.partition_point(|(sequence, _)| *sequence < floor);
        let sum = self
            .ran
            .drain(..heard)
            .map(|(sequence, ran)| digest_of_answer(revision, sequence, ran))
            .fold(0, u128::wrapping_add);
        self.ran.shrink_to(2 * self.ran.len() + 1);
        sum
    }

    /// Appends it as a snapshot holds it.
    fn put_image(&self, revision: u64, out: &mut Vec<u8>) {
        put_u64(out, revision);
        put_u64(out, self.nonce);
        put_u64(out, self.floor);
        let count = u16::try_from(self.ran.len()).expect("a session is at most 1,024 wide");
        put_u16(out, count);
        for (sequence, ran) in &self.ran {
            let [kind, first, second] = ran.words();
            put_u64(out, *sequence);
            out.push(u8::try_from(kind).expect("there are five kinds of answers"));
            put_u64(out, first);
            put_u64(out, second);
        }
    }

    fn digest(&self, revision: u64) -> u128 {
        digest(&[2, revision, self.nonce, self.floor])
    }
}

/// A session as it stands in a snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionImage<'a> {
    revision: u64,
    nonce: u64,
    floor: u64,
    /// Found to be answers, in order of their numbers.
    answers: &'a [u8],
}

impl<'a> SessionImage<'a> {
    /// Takes one off the front.
    pub(super) fn take(fields: &mut FieldReader<'a>) -> Result<Self, DecodeError> {
        let revision = fields.u64("session")?;
        let nonce = fields.u64("nonce")?;
        let floor = fields.u64("floor")?;
        let count = usize::from(fields.u16("answers")?);
        let answers = fields.bytes("answers", count * ANSWER_IMAGE_BYTES)?;
        let image = Self {
            revision,
            nonce,
            floor,
            answers,
        };
        let numbers = || image.answers().map(|(sequence, _)| sequence);
        if image.answers().count() != count || !numbers().is_sorted_by(|one, next| one < next) {
            return Err(DecodeError::UnknownValue {
                field: "answers",
                value: count as u64,
                allowed: "known answers in order",
            });
        }
        Ok(image)
    }

    /// What the session adds to the hash.
    pub(super) fn digest(&self) -> u128 {
        let session = digest(&[2, self.revision, self.nonce, self.floor]);
        self.answers()
            .map(|(sequence, ran)| digest_of_answer(self.revision, sequence, ran))
            .fold(session, u128::wrapping_add)
    }

    /// Up to the first that is none.
    fn answers(&self) -> impl Iterator<Item = (u64, Ran)> + 'a {
        self.answers
            .chunks_exact(ANSWER_IMAGE_BYTES)
            .map_while(|answer| {
                let mut fields = FieldReader::new(answer);
                let sequence = fields.u64("sequence").ok()?;
                let kind = fields.u8("kind").ok()?;
                let first = fields.u64("first").ok()?;
                let second = fields.u64("second").ok()?;
                Some((sequence, Ran::from_words([kind.into(), first, second])?))
            })
    }
}

/// The bytes of one answer of a session in a snapshot.
const ANSWER_IMAGE_BYTES: usize = 25;

fn digest_of_answer(revision: u64, sequence: u64, ran: Ran) -> u128 {
    let [kind, first, second] = ran.words();
    digest(&[3, revision, sequence, kind, first, second])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUT: Ran = Ran::Put { revision: 9 };

    fn name(session: SessionId, sequence: u64, floor: u64, after: u64) -> WriteName {
        WriteName {
            session,
            sequence,
            floor,
            after,
        }
    }

    fn run(sessions: &mut Sessions, name: WriteName) {
        assert_eq!(sessions.judge(name), Verdict::Run);
        sessions.record(name, PUT);
    }

    #[test]
    fn a_retry_gets_the_first_answer() {
        let mut sessions = Sessions::default();
        let id = sessions.open(5, 77);
        run(&mut sessions, name(id, 1, 1, 0));
        assert_eq!(sessions.judge(name(id, 1, 1, 0)), Verdict::Known(PUT));
        assert_eq!(sessions.final_verdict(id, 1, 5), Some(Verdict::Known(PUT)));
    }

    #[test]
    fn a_lower_number_that_comes_later_still_runs() {
        let mut sessions = Sessions::default();
        let id = sessions.open(5, 77);
        run(&mut sessions, name(id, 2, 1, 0));
        run(&mut sessions, name(id, 1, 1, 0));
    }

    #[test]
    fn a_write_waits_for_the_one_before_it() {
        let mut sessions = Sessions::default();
        let id = sessions.open(5, 77);
        assert_eq!(sessions.judge(name(id, 2, 1, 1)), Verdict::NotYet);
        run(&mut sessions, name(id, 1, 1, 0));
        run(&mut sessions, name(id, 2, 1, 1));
        run(&mut sessions, name(id, 4, 4, 3));
    }

    #[test]
    fn what_was_given_up_never_runs_later() {
        let mut sessions = Sessions::default();
        let id = sessions.open(5, 77);
        run(&mut sessions, name(id, 2, 2, 1));
        assert_eq!(sessions.judge(name(id, 1, 1, 0)), Verdict::Closed);
        assert_eq!(sessions.final_verdict(id, 1, 5), Some(Verdict::Closed));
    }

    #[test]
    fn another_nonce_is_another_session() {
        let mut sessions = Sessions::default();
        let id = sessions.open(5, 77);
        let stranger = SessionId { nonce: 78, ..id };
        assert_eq!(sessions.judge(name(stranger, 1, 1, 0)), Verdict::Expired);
        assert_eq!(
            sessions.final_verdict(stranger, 1, 5),
            Some(Verdict::Expired)
        );
        let later = SessionId {
            revision: 6,
            nonce: 1,
        };
        assert_eq!(
            sessions.final_verdict(later, 1, 5),
            None,
            "not applied here yet"
        );
    }

    #[test]
    fn the_width_is_bounded() {
        let mut sessions = Sessions::default();
        let id = sessions.open(5, 77);
        run(&mut sessions, name(id, SESSION_WIDTH, 1, 0));
        assert_eq!(
            sessions.judge(name(id, SESSION_WIDTH + 1, 1, 0)),
            Verdict::TooManyOutstanding
        );
        run(&mut sessions, name(id, SESSION_WIDTH + 1, 2, 0));
    }

    #[test]
    fn the_highest_numbers_that_a_client_can_name_are_judged_like_others() {
        let mut sessions = Sessions::default();
        let id = sessions.open(5, 77);
        let highest = name(id, u64::MAX, u64::MAX - SESSION_WIDTH, 0);
        assert_eq!(sessions.judge(highest), Verdict::TooManyOutstanding);
        run(&mut sessions, name(id, u64::MAX, u64::MAX, u64::MAX - 1));
    }

    #[test]
    fn the_hash_tells_what_is_remembered_not_how_it_came() {
        let mut one = Sessions::default();
        let id = one.open(5, 77);
        run(&mut one, name(id, 1, 1, 0));
        run(&mut one, name(id, 2, 2, 0));
        let mut other = Sessions::default();
        let same = other.open(5, 77);
        let before = other.hash();
        run(&mut other, name(same, 2, 2, 0));
        assert_eq!(one.hash(), other.hash());
        assert_ne!(before, other.hash());
    }
}
