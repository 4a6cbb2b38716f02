//! What waits to be written to one peer: whole frames, in order, in chunks, within a bound.
//!
//! Never blocks and never grows beyond its bound: when a peer does not read, the oldest frames are dropped, because
//! the newest say most and agreement sends again what matters (DESIGN 7).

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

/// The queue of one connection.
#[derive(Debug)]
pub(super) struct Outgoing {
    chunks: VecDeque<Chunk>,
    /// How much of the first chunk has been written.
    written: usize,
    /// What all chunks hold, the written part of the first included.
    queued_bytes: usize,
    queued_bytes_max: usize,
    /// Memory of a chunk that was written, for the next one.
    spare: Vec<u8>,
}

#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    frames: u64,
}

impl Outgoing {
    /// An empty queue for at most `queued_bytes_max` bytes, and one frame more.
    pub(super) fn new(queued_bytes_max: usize) -> Self {
        Self {
            chunks: VecDeque::new(),
            written: 0,
            queued_bytes: 0,
            queued_bytes_max,
            spare: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Queues one frame, which `append` writes, and says how many old frames were dropped to make room.
    pub(super) fn push(&mut self, append: impl FnOnce(&mut Vec<u8>)) -> u64 {
        if self
            .chunks
            .back()
            .is_none_or(|chunk| chunk.bytes.len() >= CHUNK_BYTES)
        {
            let bytes = std::mem::take(&mut self.spare);
            self.chunks.push_back(Chunk { bytes, frames: 0 });
        }
        let chunk = self.chunks.back_mut().expect("a chunk was just seen to");
        let before = chunk.bytes.len();
        append(&mut chunk.bytes);
        chunk.frames += 1;
        self.queued_bytes += chunk.bytes.len() - before;
        self.drop_oldest()
    }

    /// Writes as much as `target` takes. Returns whether it took all.
    ///
    /// # Errors
    /// What `target` says, except that it would block or was interrupted.
    pub(super) fn write_to(&mut self, target: &mut impl Write) -> io::Result<bool> {
        while !self.chunks.is_empty() {
            match target.write_vectored(&self.slices()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => self.advance(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn slices(&self) -> Vec<IoSlice<'_>> {
        let skip = std::iter::once(self.written).chain(std::iter::repeat(0));
        self.chunks
            .iter()
            .zip(skip)
            .take(SLICES_MAX)
            .map(|(chunk, skip)| IoSlice::new(&chunk.bytes[skip..]))
            .collect()
    }

    fn advance(&mut self, mut bytes: usize) {
        while bytes > 0 {
            let first = self.chunks.front().expect("only what is queued is written");
            let left = first.bytes.len() - self.written;
            if bytes < left {
                self.written += bytes;
                return;
            }
            bytes -= left;
            self.remove(0);
            self.written = 0;
        }
    }

    /// A first chunk of which a part is written must stay: the peer has the beginning of one of its frames.
    fn drop_oldest(&mut self) -> u64 {
        let oldest = usize::from(self.written > 0);
        let mut dropped = 0;
        while self.queued_bytes > self.queued_bytes_max && self.chunks.len() > oldest + 1 {
            dropped += self.remove(oldest);
        }
        dropped
    }

    /// Removes a chunk, keeps its memory if it is of ordinary size, and returns how many frames it had.
    fn remove(&mut self, place: usize) -> u64 {
        let mut chunk = self.chunks.remove(place).expect("the place is in range");
        self.queued_bytes -= chunk.bytes.len();
        if chunk.bytes.capacity() <= 2 * CHUNK_BYTES {
            chunk.bytes.clear();
            self.spare = chunk.bytes;
        }
        chunk.frames
    }
}

/// A chunk is begun when the last one has this much: large enough that one write carries many frames, small enough
/// that dropping a chunk drops little.
const CHUNK_BYTES: usize = 64 * 1024;
/// Slices of one write; more would not make it faster.
const SLICES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` bytes, then blocks.
    struct Narrow {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.taken.extend_from_slice(&bytes[..taken]);
            self.room -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn frame(number: u8) -> Vec<u8> {
        vec![number; 50_000]
    }

    #[test]
    fn frames_leave_whole_and_in_order_however_little_is_taken() {
        let mut outgoing = Outgoing::new(usize::MAX);
        let mut expected = Vec::new();
        for number in 0..9 {
            expected.extend(frame(number));
            assert_eq!(outgoing.push(|out| out.extend(frame(number))), 0);
        }
        let mut target = Narrow {
            taken: Vec::new(),
            room: 0,
        };
        while !outgoing.write_to(&mut target).unwrap() {
            target.room = 7_777;
        }
        assert!(target.taken == expected);
        assert_eq!(outgoing.queued_bytes, 0);
        assert!(outgoing.is_empty());
    }

    #[test]
    fn the_oldest_frames_are_dropped_but_never_a_begun_one() {
        let mut outgoing = Outgoing::new(250_000);
        let mut target = Narrow {
            taken: Vec::new(),
            room: 10,
        };
        let mut dropped = outgoing.push(|out| out.extend(frame(0)));
        assert!(!outgoing.write_to(&mut target).unwrap());
        for number in 1..20 {
            dropped += outgoing.push(|out| out.extend(frame(number)));
            assert!(outgoing.queued_bytes <= 300_000);
        }
        target.room = usize::MAX;
        assert!(outgoing.write_to(&mut target).unwrap());
        let numbers: Vec<u8> = target.taken.chunks(50_000).map(|frame| frame[0]).collect();
        assert_eq!(numbers.len() as u64 + dropped, 20);
        assert_eq!(numbers[0], 0, "the begun chunk stays");
        assert_eq!(numbers.last(), Some(&19), "the newest stays");
        assert!(
            target
                .taken
                .chunks(50_000)
                .all(|frame| frame.iter().all(|byte| *byte == frame[0]))
        );
    }
}
