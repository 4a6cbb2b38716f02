//! What a check found, in numbers and sentences.

use std::fmt;

use common::quote::Elided;

use super::page::{Wrong, WrongKind};

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// Appends that were answered.
    pub appends: u64,
    /// Reads that were judged while others appended.
    pub reads: u64,
    /// Keys that were read when all else was finished.
    pub read_back: u64,
    /// Keys that could not be read then.
    pub unread: u64,
    wrongs: [u64; WrongKind::ALL.len()],
    /// The first things that were wrong.
    sentences: Vec<String>,
}

impl CheckReport {
    /// Whether nothing is wrong, and everything was read.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.unread == 0 && self.wrongs.iter().all(|count| *count == 0)
    }

    /// A sentence for each of the first things that were wrong.
    #[must_use]
    pub fn sentences(&self) -> &[String] {
        &self.sentences
    }

    /// Every count with its name.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let done = [
            ("answered", self.appends),
            ("reads", self.reads),
            ("read back", self.read_back),
            ("unread", self.unread),
        ];
        let names = WrongKind::ALL.map(WrongKind::name);
        done.into_iter().chain(names.into_iter().zip(self.wrongs))
    }

    pub(super) fn note_wrong(&mut self, who: fmt::Arguments<'_>, key: &[u8], wrong: &Wrong) {
        self.wrongs[wrong.kind as usize] += 1;
        if self.sentences.len() < SENTENCES_MAX {
            let sentence = format!("{who} of {} {}", Elided(key), wrong.text);
            self.sentences.push(sentence);
        }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self
            .counts()
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        write!(f, "tagged appends: {}", counts.join(", "))?;
        for sentence in &self.sentences {
            write!(f, "\n{sentence}")?;
        }
        Ok(())
    }
}

/// Where one thing is wrong, often everything after it is.
const SENTENCES_MAX: usize = 20;
