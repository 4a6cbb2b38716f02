//! What the connections of one worker share: limits, counters, buffers, and the batch that the turn gathers.

use std::sync::Arc;

use common::{FrameBuffer, WireLimits};

use super::load::Load;
use crate::events::ClientEvent;
use crate::signboard::Signboard;

/// A worker's desk. Connections are served at it one at a time.
#[derive(Debug)]
pub(super) struct Desk {
    /// Which replica this is, for greetings.
    pub(super) replica: u8,
    /// What clients are told that they may send.
    pub(super) limits: WireLimits,
    /// Shared with the other workers and the replica thread.
    pub(super) load: Arc<Load>,
    /// Written by the replica thread.
    pub(super) signboard: Arc<Signboard>,
    /// What the turn brought for the replica thread.
    pub(super) batch: Vec<ClientEvent>,
    /// Where reads put their bytes.
    pub(super) scratch: Box<[u8]>,
    /// The process is about to stop: no more requests are taken.
    pub(super) quiet: bool,
    spare_buffers: Vec<FrameBuffer>,
}

impl Desk {
    pub(super) fn new(
        replica: u8,
        limits: WireLimits,
        load: Arc<Load>,
        signboard: Arc<Signboard>,
    ) -> Self {
        Self {
            replica,
            limits,
            load,
            signboard,
            batch: Vec::new(),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            quiet: false,
            spare_buffers: Vec::new(),
        }
    }

    /// More than this unsent ends a connection, in bytes: two answers of the greatest length.
    pub(super) fn unsent_bytes_max(&self) -> usize {
        2 * self.limits.frame_bytes_max as usize
    }

    /// An empty buffer, with memory if one is at hand.
    pub(super) fn take_buffer(&mut self, frame_bytes_max: u32) -> FrameBuffer {
        match self.spare_buffers.pop() {
            Some(mut buffer) => {
                buffer.set_frame_bytes_max(frame_bytes_max);
                buffer
            }
            None => FrameBuffer::new(frame_bytes_max),
        }
    }

    /// Keeps an empty buffer for the next connection that needs one.
    pub(super) fn put_back(&mut self, mut buffer: FrameBuffer) {
        if self.spare_buffers.len() < SPARE_BUFFERS_MAX {
            buffer.extend(&[]); // It gives back the memory of what it held.
            self.spare_buffers.push(buffer);
        }
    }
}

/// One read's worth; a connection that brings more is read several times a turn.
const READ_BYTES: usize = 64 << 10;
/// Buffers of at most 64 KiB that are kept; more than one is in use only by connections in the middle of a frame.
const SPARE_BUFFERS_MAX: usize = 8;
