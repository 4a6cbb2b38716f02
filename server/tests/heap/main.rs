//! What is kept in memory, by an allocator that counts. It counts for the whole process, so these tests have a binary of
//! their own and run one at a time.

#[cfg(test)]
mod forget_memory;
#[cfg(test)]
mod frees_log_memory;
#[cfg(test)]
mod session_memory;

use std::alloc::System;

use parking_lot::{Mutex, MutexGuard};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Held by whoever measures.
static TURN: Mutex<()> = Mutex::new(());

/// Waits until nobody else measures.
fn turn() -> MutexGuard<'static, ()> {
    TURN.lock()
}

/// Bytes that are allocated and not freed.
fn live_bytes() -> i64 {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated as i64 - stats.bytes_deallocated as i64
}
