//! What is in one file of a [`super::FaultyDisk`], and what of it a crash leaves.

use std::collections::BTreeMap;

use kvpaxos_server::journal::{BLOCK_BYTES, SECTOR_BYTES};

use super::{Loss, Rng};

#[derive(Clone, Debug, Default)]
pub(super) struct FileState {
    /// As the process sees it.
    pub(super) content: Vec<u8>,
    /// Sectors as they were at the last sync, for those that were written since.
    pub(super) before: BTreeMap<usize, Vec<u8>>,
    /// The length is not durable: after a crash the file may be empty.
    pub(super) is_new: bool,
    /// The shortest that a file which grew may be after a crash: its length at the last sync, or what a cut left of it.
    pub(super) grown_from: Option<usize>,
    /// Reading fails.
    pub(super) is_unreadable: bool,
    /// The last sync reported success and did nothing.
    pub(super) has_lied: bool,
}

impl FileState {
    /// Takes a write into account that is not yet durable.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        for place in offset / SECTOR_BYTES..(offset + bytes.len()).div_ceil(SECTOR_BYTES) {
            let from = place * SECTOR_BYTES;
            let to = (from + SECTOR_BYTES).min(self.content.len());
            let before = &self.content[from..to];
            self.before.entry(place).or_insert_with(|| before.to_vec());
        }
        self.content[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// Writes where there may be nothing yet.
    pub(super) fn grow(&mut self, offset: usize, bytes: &[u8]) {
        self.extend(offset + bytes.len());
        self.write(offset, bytes);
    }

    /// Is at least so long, with zeros in what was not there.
    pub(super) fn extend(&mut self, length: usize) {
        if length > self.content.len() {
            self.grown_from.get_or_insert(self.content.len());
            self.content.resize(length, 0);
        }
    }

    pub(super) fn cut(&mut self, length: usize) {
        self.content.truncate(length);
        self.before
            .retain(|place, _| (place + 1) * SECTOR_BYTES <= length);
        self.grown_from = self.grown_from.map(|grown_from| grown_from.min(length));
    }

    pub(super) fn sync(&mut self) {
        self.before.clear();
        self.is_new = false;
        self.grown_from = None;
        self.has_lied = false;
    }

    pub(super) fn lose(&mut self, rng: &mut Rng, loss: &mut Loss) {
        let fate = rng.below(4);
        let written = self.before.len();
        let mut gone = 0;
        for (place, before) in std::mem::take(&mut self.before) {
            if !survives(fate, rng) {
                gone += 1;
                let from = place * SECTOR_BYTES;
                self.content[from..from + before.len()].copy_from_slice(&before);
            }
        }
        loss.lost += u64::from(gone > 0 && gone == written);
        loss.torn += u64::from(gone > 0 && gone < written);
        self.has_lied = false;
        if let Some(grown_from) = self.grown_from.take() {
            let grown = self.content.len() - grown_from;
            let kept = grown_from + rng.below(grown as u64 + 1) as usize;
            self.content.truncate(kept);
        }
        if self.is_new && rng.chance(2) {
            self.content.clear();
        }
        self.is_new = false;
    }
}

/// Whether something that was not made durable is there after a crash of this fate.
pub(super) fn survives(fate: u64, rng: &mut Rng) -> bool {
    match fate {
        0 => true,
        1 => false,
        _ => rng.chance(2),
    }
}

/// What a file of so many bytes takes.
pub(super) fn in_blocks(bytes: usize) -> u64 {
    bytes.next_multiple_of(BLOCK_BYTES) as u64
}
