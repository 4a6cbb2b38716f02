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
            check.is_by(&error).then_some((seed, error))
        })
    });
    let mut missed = Vec::new();
    for (number, found) in found {
        let (bug, check, _) = Bug::ALL[number as usize];
        match found {
            Some((seed, error)) => {
                let error: String = error.chars().take(110).collect();
                println!("planted {bug:?}: found by seed {seed}, {check:?}: {error}");
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found within {SEEDS:?}: {missed:?}");
}
