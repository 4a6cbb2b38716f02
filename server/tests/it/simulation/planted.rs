//! Every planted bug is found, and by the check that is there for it.

use super::bugs::Bug;
use super::{range, run};

/// The seeds within which each bug must be found: most are in the first ten.
const SEEDS: std::ops::Range<u64> = 1..501;

#[test]
fn planted() {
    let found = range::on_all_cores(0..Bug::ALL.len() as u64, |number| {
        let (bug, check, recorded) = Bug::ALL[number as usize];
        std::iter::once(recorded).chain(SEEDS).find_map(|seed| {
            let error = run(seed, Some(bug), false).err()?;
            if !check.is_by(&error) {
                return None;
            }
            let error: String = error.chars().take(110).collect();
            println!("planted {bug:?}: found by seed {seed}, {check:?}: {error}");
            Some(seed)
        })
    });
    let missed: Vec<Bug> = found
        .into_iter()
        .filter(|(_, seed)| seed.is_none())
        .map(|(number, _)| Bug::ALL[number as usize].0)
        .collect();
    assert!(missed.is_empty(), "not found within {SEEDS:?}: {missed:?}");
}
