//! Whole clusters under faults, from a seed.
//!
//! The nodes and journals are the shipped ones; network, clock, disks and clients are made here. A seed draws everything:
//! which faults there are, when they come, and what the clients do. While it runs, replicas that have applied the same
//! number of slots must have the same state; when the faults have ended, a majority must let every client finish, though
//! the other replicas stay broken; and the history of all operations must be linearizable, with every write done once.
//! The same seed gives the same run.
//!
//! `SIM_SEEDS=A..B` runs a range on all cores, or on `SIM_THREADS`; `SIM_SEED=N` runs one seed and prints what happens in
//! the notation of the golden scripts.

mod bugs;
mod client;
mod faults;
mod keys;
mod lab;
mod links;
mod planted;
mod process;
mod random;
mod range;
mod replica;
mod report;
mod workload;
mod world;

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use self::bugs::Bug;
use self::report::Report;
use self::world::World;

/// Runs one seed. An error says what went wrong, and which faults the seed drew.
fn run(seed: u64, bug: Option<Bug>, trace: bool) -> Result<Report, String> {
    let world = World::new(seed, bug, trace);
    let drawn = world.drawn();
    if trace {
        println!("{drawn}");
    }
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(move || world.run()));
    let error = match outcome {
        Ok(Ok(report)) => return Ok(report),
        Ok(Err(error)) => error,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            format!("panic: {}", text.unwrap_or_default())
        }
    };
    Err(format!("{error}\n  it drew: {drawn}"))
}

#[test]
fn simulation() {
    if let Ok(seed) = std::env::var("SIM_SEED") {
        let seed = seed.parse().expect("SIM_SEED is a number");
        let report = run(seed, None, true).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        println!(
            "simulation: seed={seed} {report} trace_hash={:016x}",
            report.trace_hash
        );
        return;
    }
    let seeds = std::env::var("SIM_SEEDS").map_or(1..41, |range| range::parse(&range));
    let started = Instant::now();
    let results = range::on_all_cores(seeds.clone(), |seed| {
        run(seed, None, false).inspect_err(|error| {
            println!("seed {seed} failed: {error}\n  SIM_SEED={seed} replays it");
        })
    });
    let mut total = Report::default();
    let mut failed = Vec::new();
    for (seed, result) in results {
        match result {
            Ok(report) => total.add(&report),
            Err(_) => failed.push(seed),
        }
    }
    println!(
        "simulation: seeds={} failed={} {total} wall_s={:.1}",
        seeds.end - seeds.start,
        failed.len(),
        started.elapsed().as_secs_f64()
    );
    assert!(failed.is_empty(), "these seeds failed: {failed:?}");
    if seeds.end - seeds.start >= SEEDS_FOR_EVERYTHING {
        for (name, count) in total.counts() {
            assert!(count > 0, "there were no {name} in all these runs");
        }
    }
}

/// So many seeds have some of each fault.
const SEEDS_FOR_EVERYTHING: u64 = 40;

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [7, 8] {
        let first = run(seed, None, false).unwrap();
        let second = run(seed, None, false).unwrap();
        assert_eq!(first.trace_hash, second.trace_hash, "seed {seed}");
    }
}
