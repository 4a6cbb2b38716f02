//! What waits to be written to one peer: whole frames, in chunks, within a bound.
//!
//! Never blocks and never grows beyond its bound: when a peer does not read, the oldest frames are dropped, because
//! the newest say most and agreement sends again what matters. Frames leave in the order in which they
//! came, with one exception: while much waits, short messages that keep a leader in place do not queue behind values,
//! or a burst of large values would look like the leader's death.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use paxos::Message;

use super::codec::Tail;
use super::message::PeerMessage;

/// The queue of one connection.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The chunk of which a part may have been written; the peer must get the rest of it next.
    begun: Chunk,
    written: usize,
    control: Lane,
    bulk: Lane,
    bulk_bytes_max: usize,
    /// Memory of a chunk that was written, for the next one.
    spare: Vec<u8>,
}

/// How urgent a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Short, and somebody waits for it; it loses nothing by coming before what was said earlier.
    Control,
    /// Carries commands, or speaks of commands that should have come before it.
    Bulk,
}

impl Urgency {
    pub(super) fn of(message: &PeerMessage) -> Self {
        let message = match message {
            PeerMessage::Agreement(message) => message,
            PeerMessage::SnapshotRequest { .. } | PeerMessage::SnapshotPending => {
                return Self::Control;
            }
            PeerMessage::Forward { .. }
            | PeerMessage::FoundingQuery { .. }
            | PeerMessage::FoundingReply { .. }
            | PeerMessage::Founded { .. }
            | PeerMessage::SnapshotPiece { .. }
            | PeerMessage::HashReport { .. }
            | PeerMessage::RejoinRequest { .. }
            | PeerMessage::RejoinQuery { .. } => return Self::Bulk,
        };
        match message {
            Message::Canvass { .. }
            | Message::CanvassReply { .. }
            | Message::Prepare { .. }
            | Message::Accepted { .. }
            | Message::Refused { .. }
            | Message::Heartbeat { .. }
            | Message::Echo { .. }
            | Message::CatchUp { .. }
            | Message::ReadQuery { .. }
            | Message::ReadAnswer { .. }
            | Message::PrepareInstances { .. }
            | Message::EchoInstances { .. }
            | Message::ForgottenInstances { .. } => Self::Control,
            Message::Promise { .. }
            | Message::Accept { .. }
            | Message::Advance { .. }
            | Message::TakeOver { .. }
            | Message::Chosen { .. }
            | Message::PromiseInstances { .. }
            | Message::ForwardInstance { .. }
            | Message::ChosenInstance { .. } => Self::Bulk,
        }
    }
}

#[derive(Debug, Default)]
struct Lane {
    chunks: VecDeque<Chunk>,
    bytes: usize,
}

/// Whole frames: those in `head`, of which the last one goes on in `tail`, if there is one.
#[derive(Debug, Default)]
struct Chunk {
    head: Vec<u8>,
    tail: Option<Tail>,
    frames: u64,
}

impl Chunk {
    fn len(&self) -> usize {
        self.head.len() + self.tail().len()
    }

    fn tail(&self) -> &[u8] {
        self.tail.as_ref().map_or(&[], Tail::bytes)
    }

    /// Nothing more is to be appended.
    fn is_closed(&self) -> bool {
        self.tail.is_some() || self.head.len() >= CHUNK_BYTES
    }
}

impl Outgoing {
    /// An empty queue for at most `bulk_bytes_max` bytes, and one frame more.
    pub(super) fn new(bulk_bytes_max: usize) -> Self {
        Self {
            begun: Chunk::default(),
            written: 0,
            control: Lane::default(),
            bulk: Lane::default(),
            bulk_bytes_max,
            spare: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left_of_begun() == 0 && self.control.chunks.is_empty() && self.bulk.chunks.is_empty()
    }

    /// Queues one frame, which `append` writes but for the tail that it returns, and says how many old frames were
    /// dropped to make room.
    pub(super) fn push(
        &mut self,
        urgency: Urgency,
        append: impl FnOnce(&mut Vec<u8>) -> Option<Tail>,
    ) -> u64 {
        let waiting = self.left_of_begun() + self.bulk.bytes;
        let (lane, bytes_max) = match urgency {
            Urgency::Control if waiting > OVERTAKING_BYTES => {
                (&mut self.control, CONTROL_BYTES_MAX)
            }
            _ => (&mut self.bulk, self.bulk_bytes_max),
        };
        lane.push(&mut self.spare, append);
        lane.drop_oldest(bytes_max)
    }

    /// Writes as much as `target` takes. Returns whether it took all.
    ///
    /// # Errors
    /// What `target` says, except that it would block or was interrupted.
    pub(super) fn write_to(&mut self, target: &mut impl Write) -> io::Result<bool> {
        while !self.is_empty() {
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

    fn left_of_begun(&self) -> usize {
        self.begun.len() - self.written
    }

    /// What is to be written, in order; [`Outgoing::advance`] follows the same order.
    fn slices(&self) -> Vec<IoSlice<'_>> {
        let of_head = self.written.min(self.begun.head.len());
        let begun = [
            &self.begun.head[of_head..],
            &self.begun.tail()[self.written - of_head..],
        ];
        let chunks = self.control.chunks.iter().chain(&self.bulk.chunks);
        let waiting = chunks.flat_map(|chunk| [chunk.head.as_slice(), chunk.tail()]);
        begun
            .into_iter()
            .chain(waiting)
            .filter(|bytes| !bytes.is_empty())
            .take(SLICES_MAX)
            .map(IoSlice::new)
            .collect()
    }

    fn advance(&mut self, mut bytes: usize) {
        loop {
            let step = bytes.min(self.left_of_begun());
            self.written += step;
            bytes -= step;
            if self.left_of_begun() == 0 {
                self.forget_begun();
            }
            if bytes == 0 {
                return;
            }
            let next = self.control.take().or_else(|| self.bulk.take());
            self.begun = next.expect("only what is queued is written");
        }
    }

    /// Keeps the memory of a written chunk for the next one, if it is of ordinary size.
    fn forget_begun(&mut self) {
        let mut bytes = std::mem::take(&mut self.begun).head;
        self.written = 0;
        if bytes.capacity() <= 2 * CHUNK_BYTES && bytes.capacity() > self.spare.capacity() {
            bytes.clear();
            self.spare = bytes;
        }
    }
}

impl Lane {
    fn push(&mut self, spare: &mut Vec<u8>, append: impl FnOnce(&mut Vec<u8>) -> Option<Tail>) {
        if self.chunks.back().is_none_or(Chunk::is_closed) {
            let head = std::mem::take(spare);
            self.chunks.push_back(Chunk {
                head,
                ..Chunk::default()
            });
        }
        let chunk = self.chunks.back_mut().expect("a chunk was just seen to");
        let before = chunk.head.len();
        chunk.tail = append(&mut chunk.head);
        chunk.frames += 1;
        self.bytes += chunk.len() - before;
    }

    fn take(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        self.bytes -= chunk.len();
        Some(chunk)
    }

    /// The newest chunk always stays.
    fn drop_oldest(&mut self, bytes_max: usize) -> u64 {
        let mut dropped = 0;
        while self.bytes > bytes_max && self.chunks.len() > 1 {
            dropped += self.take().map_or(0, |chunk| chunk.frames);
        }
        dropped
    }
}

/// With more than this unsent, control messages overtake: so much is written within a millisecond or so.
const OVERTAKING_BYTES: usize = 256 << 10;
/// Thousands of control messages; a peer that has not read so many reads none.
const CONTROL_BYTES_MAX: usize = 1 << 20;
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

    /// Long frames in two pieces.
    fn write(out: &mut Vec<u8>, frame: &[u8]) -> Option<Tail> {
        let (head, tail) = frame.split_at(frame.len().min(40_000));
        out.extend_from_slice(head);
        (!tail.is_empty()).then(|| Tail::Owned(tail.to_vec()))
    }

    #[test]
    fn frames_leave_whole_and_in_order_however_little_is_taken() {
        let mut outgoing = Outgoing::new(usize::MAX);
        let mut expected = Vec::new();
        for number in 0..9 {
            expected.extend(frame(number));
            assert_eq!(
                outgoing.push(Urgency::Bulk, |out| write(out, &frame(number))),
                0
            );
        }
        let mut target = Narrow {
            taken: Vec::new(),
            room: 0,
        };
        while !outgoing.write_to(&mut target).unwrap() {
            target.room = 7_777;
        }
        assert!(target.taken == expected);
        assert_eq!(outgoing.bulk.bytes, 0);
        assert!(outgoing.is_empty());
    }

    #[test]
    fn the_oldest_frames_are_dropped_but_never_a_begun_one() {
        let mut outgoing = Outgoing::new(250_000);
        let mut target = Narrow {
            taken: Vec::new(),
            room: 10,
        };
        let mut dropped = outgoing.push(Urgency::Bulk, |out| write(out, &frame(0)));
        assert!(!outgoing.write_to(&mut target).unwrap());
        for number in 1..20 {
            dropped += outgoing.push(Urgency::Bulk, |out| write(out, &frame(number)));
            assert!(outgoing.bulk.bytes <= 300_000);
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

    #[test]
    fn control_overtakes_only_when_much_waits_and_never_within_a_frame() {
        let mut outgoing = Outgoing::new(usize::MAX);
        let mut target = Narrow {
            taken: Vec::new(),
            room: 10,
        };
        for number in 0..4 {
            outgoing.push(Urgency::Bulk, |out| write(out, &frame(number)));
            outgoing.push(Urgency::Control, |out| write(out, &[100 + number]));
        }
        assert!(!outgoing.write_to(&mut target).unwrap());
        for number in 4..9 {
            outgoing.push(Urgency::Bulk, |out| write(out, &frame(number)));
            outgoing.push(Urgency::Control, |out| write(out, &[100 + number]));
        }
        target.room = usize::MAX;
        assert!(outgoing.write_to(&mut target).unwrap());
        let mut order = target.taken;
        order.dedup();
        let place = |byte| order.iter().position(|found| *found == byte).unwrap();
        assert!(place(100) < place(1), "{order:?}");
        assert!(place(108) < place(7), "{order:?}");
        assert_eq!(order.len(), 18, "{order:?}");
        assert_eq!(order[0], 0);
    }
}
