//! What can become of a file's bytes: cut, overwritten, moved, made longer.

use proptest::prelude::*;

/// One thing that is done to a file, in bytes.
#[derive(Clone, Debug)]
pub(crate) enum Mutilation {
    Truncate(usize),
    Fill(usize, usize, u8),
    Write(usize, Vec<u8>),
    Move(usize, usize, usize),
    Extend(Vec<u8>),
}

/// Up to three, each with the number of its file, of files of so many bytes. What is moved are blocks of this length.
pub(crate) fn mutilations(
    files: usize,
    bytes_max: usize,
    block_bytes: usize,
) -> impl Strategy<Value = Vec<(usize, Mutilation)>> {
    let at = 0..bytes_max;
    let length = 1..2 + bytes_max / 8;
    let some = || proptest::collection::vec(any::<u8>(), 1..2 + bytes_max / 32);
    let block = 0..bytes_max / block_bytes;
    let one = prop_oneof![
        at.clone().prop_map(Mutilation::Truncate),
        (at.clone(), length, any::<u8>())
            .prop_map(|(from, length, byte)| Mutilation::Fill(from, length, byte)),
        (at, some()).prop_map(|(from, bytes)| Mutilation::Write(from, bytes)),
        (block.clone(), block, 1..4_usize).prop_map(move |(from, to, blocks)| {
            Mutilation::Move(block_bytes * from, block_bytes * to, block_bytes * blocks)
        }),
        some().prop_map(Mutilation::Extend),
    ];
    proptest::collection::vec((0..files, one), 1..4)
}

impl Mutilation {
    /// Does it, as far as the file reaches.
    pub(crate) fn apply(self, content: &mut Vec<u8>) {
        let clip = |from: usize, length: usize, end: usize| {
            let from = from.min(end);
            from..(from + length).min(end)
        };
        let end = content.len();
        match self {
            Self::Truncate(length) => content.truncate(length),
            Self::Fill(from, length, byte) => content[clip(from, length, end)].fill(byte),
            Self::Write(from, bytes) => {
                let range = clip(from, bytes.len(), end);
                let length = range.len();
                content[range].copy_from_slice(&bytes[..length]);
            }
            Self::Move(from, to, length) => {
                let piece = content[clip(from, length, end)].to_vec();
                let range = clip(to, piece.len(), end);
                let length = range.len();
                content[range].copy_from_slice(&piece[..length]);
            }
            Self::Extend(bytes) => content.extend(bytes),
        }
    }
}
