//! Whole clusters under faults, in one thread, from a seed.
//!
//! The nodes and journals are the shipped ones; network, clock, disks and clients are made here. A seed draws everything:
//! which faults there are, when they come, and what the clients do. While it runs, replicas that have applied the same
//! number of slots must have the same state; when the faults have ended, a majority must let every client finish; and
//! the history of all operations must be linearizable, with every write done once. The same seed gives the same run.
//!
//! `SIM_SEEDS=A..B` runs a range, `SIM_SEED=N` one seed with a trace.

mod bugs;
mod client;
mod faults;
mod lab;
mod planted;
mod process;
mod random;
mod replica;
mod report;
mod world;

use std::ops::Range;
use std::time::Instant;

use self::bugs::Bug;
use self::report::Report;
use self::world::World;

/// Runs one seed. An error says what went wrong.
fn run(seed: u64, bug: Option<Bug>, trace: bool) -> Result<Report, String> {
    let outcome = std::panic::catch_unwind(move || World::new(seed, bug, trace).run());
    match outcome {
        Ok(result) => result,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Err(format!("panic: {}", text.unwrap_or_default()))
        }
    }
}

#[test]
fn simulation() {
    if let Ok(seed) = std::env::var("SIM_SEED") {
        let seed = seed.parse().expect("SIM_SEED is a number");
        let report = run(seed, None, true).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        println!("seed {seed}: {report:?}");
        return;
    }
    let seeds = std::env::var("SIM_SEEDS").map_or(1..41, |range| parse_range(&range));
    let started = Instant::now();
    let mut total = Report::default();
    let mut failed = Vec::new();
    for seed in seeds.clone() {
        match run(seed, None, false) {
            Ok(report) => total.add(&report),
            Err(error) => {
                println!("seed {seed} failed: {error}; SIM_SEED={seed} replays it");
                failed.push(seed);
            }
        }
    }
    println!(
        "simulation: seeds={} failed={} {total} wall_s={:.1}",
        seeds.end - seeds.start,
        failed.len(),
        started.elapsed().as_secs_f64()
    );
    assert!(failed.is_empty(), "these seeds failed: {failed:?}");
    assert!(
        total.chosen > 0 && total.operations > 0,
        "nothing happened: {total:?}"
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [7, 8] {
        let first = run(seed, None, false).unwrap();
        let second = run(seed, None, false).unwrap();
        assert_eq!(first.trace_hash, second.trace_hash, "seed {seed}");
    }
}

fn parse_range(text: &str) -> Range<u64> {
    let (first, end) = text
        .split_once("..")
        .expect("SIM_SEEDS is a range like 1..501");
    let first = first.parse().expect("SIM_SEEDS begins with a number");
    let end = end.parse().expect("SIM_SEEDS ends with a number");
    first..end
}
