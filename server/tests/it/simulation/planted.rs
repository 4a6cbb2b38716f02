//! Every planted bug is found.

use super::bugs::Bug;
use super::run;

/// The seeds within which each bug must be found: most are in the first ten.
const SEEDS: std::ops::Range<u64> = 1..501;

#[test]
fn planted() {
    let mut missed = Vec::new();
    for (bug, recorded) in Bug::ALL {
        let found = std::iter::once(recorded).chain(SEEDS).find_map(|seed| {
            let error = run(seed, Some(bug), false).err()?;
            // A judge that gave up has found nothing.
            let is_found = error.contains(bug.words()) && !error.contains("undecided");
            is_found.then_some((seed, error))
        });
        match found {
            Some((seed, error)) => {
                let error: String = error.chars().take(110).collect();
                println!("planted {bug:?}: found by seed {seed}: {error}");
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found within {SEEDS:?}: {missed:?}");
}
