//! Frames in a stream of bytes: four bytes of length, most significant first, then so many bytes.
//!
//! Owns the bytes that have come and are not used yet. It has no socket: who reads one appends what came. A length is
//! checked as soon as it is there, so memory grows with bytes that have arrived and never with bytes announced.

use byteorder::{BigEndian, ByteOrder};
use thiserror::Error;

/// Bytes of a frame's length.
pub const LENGTH_BYTES: usize = 4;

/// An empty buffer keeps at most this much memory, so that one large frame does not cost a quiet connection for ever.
const KEPT_BYTES_MAX: usize = 8 * 1024;

/// The stream is broken: where the next frame would begin is not known, and the connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A frame is announced that is longer than allowed.
    #[error("a frame of {bytes} bytes is announced; {bytes_max} are allowed")]
    OverLong {
        /// The announced length, in bytes, without the length itself.
        bytes: u32,
        /// The longest allowed.
        bytes_max: u32,
    },
    /// A frame of no bytes, which says nothing.
    #[error("an empty frame is announced; a frame has at least one byte")]
    Empty,
}

/// Takes bytes as they come and gives frames.
#[derive(Debug)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    /// How many of `bytes` have been given out.
    used: usize,
    frame_bytes_max: u32,
}

impl FrameBuffer {
    /// Nothing has come. `frame_bytes_max` bounds a frame, without its length.
    #[must_use]
    pub fn new(frame_bytes_max: u32) -> Self {
        Self {
            bytes: Vec::new(),
            used: 0,
            frame_bytes_max,
        }
    }

    /// Changes the bound, for the frames that have not begun.
    pub fn set_frame_bytes_max(&mut self, frame_bytes_max: u32) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// Bytes that have come and are not given out as frames.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.bytes.len() - self.used
    }

    /// Those bytes themselves: what is known of a frame that cannot be taken.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    /// Takes bytes that have come. Call [`Self::next_frame`] until it gives none before taking more, so that an
    /// over-long frame is found before more of it is kept.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.used);
        self.used = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame without its length; `None` when more bytes are needed.
    ///
    /// # Errors
    /// The stream is broken; every further call says so again.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        self.release_if_used_up();
        let pending = &self.bytes[self.used..];
        let Some(head) = pending.get(..LENGTH_BYTES) else {
            return Ok(None);
        };
        let length = self.checked_length(BigEndian::read_u32(head))?;
        let end = LENGTH_BYTES + length;
        if pending.len() < end {
            return Ok(None);
        }
        let start = self.used + LENGTH_BYTES;
        self.used += end;
        Ok(Some(&self.bytes[start..self.used]))
    }

    fn checked_length(&self, bytes: u32) -> Result<usize, FrameError> {
        if bytes == 0 {
            return Err(FrameError::Empty);
        }
        if bytes > self.frame_bytes_max {
            return Err(FrameError::OverLong {
                bytes,
                bytes_max: self.frame_bytes_max,
            });
        }
        Ok(bytes as usize)
    }

    fn release_if_used_up(&mut self) {
        if self.used == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES_MAX);
            self.used = 0;
        }
    }
}

/// Appends one frame; `payload` writes what follows the length.
pub fn append_frame(out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    payload(out);
    let length = u32::try_from(out.len() - start - LENGTH_BYTES)
        .expect("keys and values are checked before they are written");
    BigEndian::write_u32(&mut out[start..start + LENGTH_BYTES], length);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_is_its_length_and_its_bytes() {
        let mut out = Vec::new();
        append_frame(&mut out, |out| out.extend_from_slice(b"abc"));
        assert_eq!(out, [0, 0, 0, 3, b'a', b'b', b'c']);
    }

    #[test]
    fn too_little_is_told_from_too_long() {
        let mut buffer = FrameBuffer::new(3);
        buffer.extend(&[0, 0, 0]);
        assert_eq!(buffer.next_frame(), Ok(None));
        buffer.extend(&[3, b'a', b'b']);
        assert_eq!(buffer.next_frame(), Ok(None));
        buffer.extend(&[b'c', 0, 0, 0, 4]);
        assert_eq!(buffer.next_frame(), Ok(Some(&b"abc"[..])));
        let over_long = FrameError::OverLong {
            bytes: 4,
            bytes_max: 3,
        };
        assert_eq!(buffer.next_frame(), Err(over_long));
        assert_eq!(buffer.next_frame(), Err(over_long));
    }

    #[test]
    fn an_announced_length_costs_no_memory() {
        let mut buffer = FrameBuffer::new(u32::MAX);
        buffer.extend(&[0xff, 0xff, 0xff, 0xff, 1]);
        assert_eq!(buffer.next_frame(), Ok(None));
        assert!(buffer.bytes.capacity() < 1024);
    }

    #[test]
    fn an_empty_frame_breaks_the_stream() {
        let mut buffer = FrameBuffer::new(3);
        buffer.extend(&[0, 0, 0, 0]);
        assert_eq!(buffer.next_frame(), Err(FrameError::Empty));
    }

    #[test]
    fn memory_of_a_large_frame_is_given_back() {
        let mut stream = Vec::new();
        append_frame(&mut stream, |out| out.resize(out.len() + (1 << 20), 7));
        let mut buffer = FrameBuffer::new(1 << 20);
        buffer.extend(&stream);
        assert!(buffer.next_frame().unwrap().is_some());
        assert!(buffer.next_frame().unwrap().is_none());
        buffer.extend(&[0]);
        assert!(buffer.bytes.capacity() <= KEPT_BYTES_MAX);
        assert_eq!(buffer.buffered_bytes(), 1);
    }

    proptest! {
        #[test]
        fn frames_come_out_however_the_stream_is_cut(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            step in 1usize..50,
        ) {
            let mut stream = Vec::new();
            for frame in &frames {
                append_frame(&mut stream, |out| out.extend_from_slice(frame));
            }
            let mut buffer = FrameBuffer::new(40);
            let mut found = Vec::new();
            for piece in stream.chunks(step) {
                buffer.extend(piece);
                while let Some(frame) = buffer.next_frame().unwrap() {
                    found.push(frame.to_vec());
                }
            }
            prop_assert_eq!(found, frames);
            prop_assert_eq!(buffer.buffered_bytes(), 0);
        }
    }
}
