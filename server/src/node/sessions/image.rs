//! A session as a snapshot holds it, in big-endian bytes:
//! ```text
//! revision 8 | nonce 8 | floor 8 | last use 4: log time in seconds | answers 2: how many; then of each
//!     sequence 8 | kind 1 | two words of 8, whose meaning depends on the kind (see `Ran::words`)
//! ```

use common::DecodeError;
use common::wire::{FieldReader, put_u16, put_u32, put_u64};

use super::Session;
use super::answers::{Answers, Ran};

impl Session {
    /// Appends it as a snapshot holds it.
    pub(super) fn put_image(&self, revision: u64, out: &mut Vec<u8>) {
        put_u64(out, revision);
        put_u64(out, self.nonce);
        put_u64(out, self.floor);
        put_u32(out, self.used_s);
        let answers = self.answers.as_slice();
        let count = u16::try_from(answers.len()).expect("a session is at most 1,024 wide");
        put_u16(out, count);
        for (sequence, ran) in answers {
            let [kind, first, second] = ran.words();
            put_u64(out, *sequence);
            out.push(u8::try_from(kind).expect("there are five kinds of answers"));
            put_u64(out, first);
            put_u64(out, second);
        }
    }
}

/// A session as it stands in a snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionImage<'a> {
    revision: u64,
    nonce: u64,
    floor: u64,
    used_s: u32,
    /// Found to be answers, in order of their numbers.
    answers: &'a [u8],
}

impl<'a> SessionImage<'a> {
    /// Takes one off the front.
    pub(crate) fn take(fields: &mut FieldReader<'a>) -> Result<Self, DecodeError> {
        let revision = fields.u64("session")?;
        let nonce = fields.u64("nonce")?;
        let floor = fields.u64("floor")?;
        let used_s = fields.u32("last use")?;
        let count = usize::from(fields.u16("answers")?);
        let answers = fields.bytes("answers", count * ANSWER_IMAGE_BYTES)?;
        let image = Self {
            revision,
            nonce,
            floor,
            used_s,
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
    pub(crate) fn digest(&self) -> u128 {
        let session = self.session();
        let answers = session.answers.digest(self.revision);
        session.digest(self.revision).wrapping_add(answers)
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// The session that it is an image of.
    pub(super) fn session(&self) -> Session {
        let mut answers = Answers::None;
        for (sequence, ran) in self.answers() {
            answers.insert(sequence, ran);
        }
        Session {
            nonce: self.nonce,
            floor: self.floor,
            used_s: self.used_s,
            answers,
        }
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
