//! The targets of the fuzzer, and how much memory each may ask for.
//!
//! What is done with an input stands in [`targets`], which an ordinary test of the server includes as well: it replays the
//! corpus without libFuzzer. Beside that, this crate counts.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

pub mod targets;

/// The disk in memory of the server's tests, of which the targets need a part.
#[path = "../../server/tests/it"]
mod it {
    #[allow(dead_code)]
    pub(crate) mod faulty_disk;
}
use it::faulty_disk;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Gives `input` to a target and measures what it allocates.
///
/// # Panics
/// The target panics, or allocates more than an input of that length may make it allocate.
pub fn run(target: fn(&[u8]), input: &[u8]) {
    let region = Region::new(ALLOCATOR);
    target(input);
    let change = region.change();
    let allocated = change.bytes_allocated as isize + change.bytes_reallocated;
    let allowed = ALLOCATED_BYTES_MAX + ALLOCATED_PER_BYTE_MAX * input.len();
    assert!(
        allocated <= allowed as isize,
        "{allocated} bytes are allocated for an input of {}; {allowed} are allowed",
        input.len()
    );
}

/// All that is allocated for an empty input, freed or not: the disks in memory that the targets use, and their files.
const ALLOCATED_BYTES_MAX: usize = 2 << 20;

/// The same for each byte of it: it is read a few times whole and in pieces, and a byte of a frame may stand for a command
/// of 24 in memory. An announced value of 8 MiB is above what any input of the usual length may cost.
const ALLOCATED_PER_BYTE_MAX: usize = 1 << 10;
