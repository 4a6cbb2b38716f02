//! Memory that O_DIRECT accepts, without unsafe code: a slice of a larger vector that begins at a multiple of 4 KiB.

use super::disk::BLOCK_BYTES;

/// A growing array of bytes whose address and length are multiples of [`BLOCK_BYTES`].
#[derive(Debug, Default)]
pub(super) struct AlignedBuffer {
    /// Holds the aligned part and at most a block before it. Grows by replacement only, because its address counts.
    memory: Vec<u8>,
    /// Where in `memory` the aligned part begins.
    start: usize,
    /// How much of the aligned part is in use; a multiple of [`BLOCK_BYTES`]. What lies beyond is arbitrary.
    used: usize,
}

impl AlignedBuffer {
    /// Adds one block of zeros at the end.
    pub(super) fn grow_by_block(&mut self) {
        let used = self.used + BLOCK_BYTES;
        if self.start + used > self.memory.len() {
            self.replace_memory(used);
        }
        self.memory[self.start + self.used..self.start + used].fill(0);
        self.used = used;
    }

    /// Makes it `bytes` zeros long; `bytes` is a multiple of [`BLOCK_BYTES`].
    pub(super) fn set_zeros(&mut self, bytes: usize) {
        assert!(
            bytes.is_multiple_of(BLOCK_BYTES),
            "{bytes} bytes are no whole blocks"
        );
        self.used = 0;
        if self.start + bytes > self.memory.len() {
            self.replace_memory(bytes);
        }
        self.memory[self.start..self.start + bytes].fill(0);
        self.used = bytes;
    }

    /// Empties it. Memory beyond `bytes_kept` is given back, so that one great batch does not stay for ever.
    pub(super) fn clear(&mut self, bytes_kept: usize) {
        self.used = 0;
        if self.memory.len() > bytes_kept + BLOCK_BYTES {
            *self = Self::default();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.used
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.used]
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.used]
    }

    /// Moves the content to memory that is at least twice as large, so that growing costs one copy on the whole.
    fn replace_memory(&mut self, bytes: usize) {
        let capacity = bytes.max(2 * self.used).next_multiple_of(BLOCK_BYTES);
        let mut memory = vec![0; capacity + BLOCK_BYTES];
        let address = memory.as_ptr().addr();
        let start = address.next_multiple_of(BLOCK_BYTES) - address;
        memory[start..start + self.used].copy_from_slice(self.as_slice());
        self.memory = memory;
        self.start = start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_aligned_and_keeps_its_content_while_it_grows() {
        let mut buffer = AlignedBuffer::default();
        for block in 0..100_u8 {
            buffer.grow_by_block();
            let from = buffer.len() - BLOCK_BYTES;
            assert!(buffer.as_slice()[from..].iter().all(|byte| *byte == 0));
            buffer.as_mut_slice()[from..].fill(block);
            assert!(
                buffer
                    .as_slice()
                    .as_ptr()
                    .addr()
                    .is_multiple_of(BLOCK_BYTES)
            );
        }
        for (block, bytes) in buffer.as_slice().chunks(BLOCK_BYTES).enumerate() {
            assert!(bytes.iter().all(|byte| usize::from(*byte) == block));
        }
        buffer.clear(BLOCK_BYTES);
        buffer.set_zeros(2 * BLOCK_BYTES);
        assert!(buffer.as_slice().iter().all(|byte| *byte == 0));
    }

    #[test]
    fn memory_is_kept_up_to_a_bound_and_given_back_beyond_it() {
        let mut buffer = AlignedBuffer::default();
        buffer.set_zeros(8 * BLOCK_BYTES);
        buffer.clear(8 * BLOCK_BYTES);
        assert_eq!(buffer.memory.len(), 9 * BLOCK_BYTES);
        buffer.clear(7 * BLOCK_BYTES);
        assert_eq!(buffer.memory.len(), 0);
    }
}
