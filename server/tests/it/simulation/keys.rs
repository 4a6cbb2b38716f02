//! The keys that clients work on.
//!
//! A write of which nobody knows whether it ran may take effect at any later time, so each makes the history of its key
//! harder to judge than the one before. A key that has a few of them is left alone from then on and another takes its
//! place: so every history can be judged.

/// One key that is replaced now and then.
#[derive(Clone, Debug, Default)]
pub(super) struct Key {
    /// How many were before it.
    generation: u64,
    unknown: u64,
}

impl Key {
    pub(super) fn name(&self, stem: &str) -> Vec<u8> {
        format!("{stem}.{}", self.generation).into_bytes()
    }

    /// The outcome of a write to the key of this name is unknown.
    pub(super) fn note_unknown(&mut self, stem: &str, name: &[u8]) {
        if self.name(stem) != name {
            return;
        }
        self.unknown += 1;
        if self.unknown >= UNKNOWN_MAX {
            self.generation += 1;
            self.unknown = 0;
        }
    }
}

/// What all clients share: the keys, and the order of their calls and returns.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    keys: [Key; 3],
    stamp: u64,
}

impl Shared {
    /// How many keys there are at a time.
    pub(super) fn key_count(&self) -> u64 {
        self.keys.len() as u64
    }

    pub(super) fn key(&self, number: u64) -> Vec<u8> {
        self.keys[number as usize].name(&stem(number))
    }

    pub(super) fn note_unknown(&mut self, name: &[u8]) {
        for (number, key) in self.keys.iter_mut().enumerate() {
            key.note_unknown(&stem(number as u64), name);
        }
    }

    /// The next moment in the order of calls and returns.
    pub(super) fn stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }
}

fn stem(number: u64) -> String {
    format!("k{number}")
}

/// What is in flight when a key is left may become unknown too, so that there are some more in the end.
const UNKNOWN_MAX: u64 = 4;
