//! Many seeds at once: they have nothing to do with each other.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Does the job for each number, on as many threads as there are cores or as `SIM_THREADS` says, and returns the results
/// in the order of the numbers.
pub(super) fn on_all_cores<T: Send>(
    numbers: Range<u64>,
    job: impl Fn(u64) -> T + Sync,
) -> Vec<(u64, T)> {
    let next = AtomicU64::new(numbers.start);
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                return done;
            }
            done.push((number, job(number)));
        }
    };
    let mut all: Vec<(u64, T)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads()).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a job does not panic"))
            .collect()
    });
    all.sort_by_key(|(number, _)| *number);
    all
}

fn threads() -> usize {
    std::env::var("SIM_THREADS").map_or_else(
        |_| thread::available_parallelism().map_or(1, usize::from),
        |threads| threads.parse().expect("SIM_THREADS is a number"),
    )
}

/// What `SIM_SEEDS` says.
pub(super) fn parse(text: &str) -> Range<u64> {
    let (first, end) = text
        .split_once("..")
        .expect("SIM_SEEDS is a range like 1..501");
    let first = first.parse().expect("SIM_SEEDS begins with a number");
    let end = end.parse().expect("SIM_SEEDS ends with a number");
    assert!(first < end, "SIM_SEEDS is an empty range");
    first..end
}
