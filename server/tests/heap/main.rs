//! What things cost on the heap, counted by the allocator. A process of their own, because the count is the process's;
//! the tests take turns for the same reason.

use std::alloc::System;

use cap::Cap;
use parking_lot::Mutex;

#[cfg(test)]
mod forget_memory;

/// Counts the bytes that live.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Held by the test that measures.
#[cfg(test)]
static TURN: Mutex<()> = Mutex::new(());

/// The bytes that live.
#[cfg(test)]
fn live_bytes() -> usize {
    ALLOCATOR.allocated()
}
