//! FAULTS 6: clocks that jump. The server reads the monotonic clock alone, which does not go back; here it jumps ahead
//! by an hour, and stands still. The clock of the wall is for the dates of log lines alone, which a library writes:
//! `.ci/clocks` sets it under real processes.

use std::fs;
use std::path::Path;
use std::time::Instant;

use super::client::Work;
use super::{Lab, SECOND, longest_gap_us, report, with_seeds};

const HOUR_US: u64 = 3_600 * SECOND;

/// Ahead by an hour, the leader's too: nobody's session is forgotten, and nothing is answered late.
#[test]
fn clock_jumps_ahead() {
    with_seeds(|seed| {
        let began = Instant::now();
        let mut lab = loaded(seed);
        let leader = lab.leader();
        for step in 0..10 {
            let replica = (leader + step) % 5;
            lab.replicas[replica].clock_ahead_us += HOUR_US;
            let gap = longest_gap_us(&mut lab, SECOND);
            assert!(gap < SECOND / 2, "r{replica}: {gap} us without an answer");
        }
        end(&mut lab, "clock_jumps_ahead", began);
    });
}

/// A clock that goes back by an hour gives no tick for that long: if it is the leader's, another leads.
#[test]
fn clock_jumps_back() {
    with_seeds(|seed| {
        let began = Instant::now();
        let mut lab = loaded(seed);
        for replica in 0..5 {
            lab.replicas[replica].clock_ahead_us += 2 * HOUR_US;
        }
        lab.run_for(SECOND);
        for _ in 0..3 {
            let leader = lab.leader();
            lab.replicas[leader].clock_ahead_us -= HOUR_US;
            let gap = longest_gap_us(&mut lab, 5 * SECOND);
            println!("the clock of r{leader}, which led, goes back: {gap} us without an answer");
            assert!(gap < 2 * SECOND, "r{leader}: {gap} us without an answer");
            lab.replicas[leader].clock_ahead_us += HOUR_US;
            lab.run_for(SECOND);
        }
        end(&mut lab, "clock_jumps_back", began);
    });
}

/// No line of the product asks for the date, so nobody who sets a clock changes anything but the log's.
#[test]
fn nothing_but_the_log_asks_for_the_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = 0;
    for part in ["paxos/src", "common/src", "server/src"] {
        files += assert_dateless(&root.join(part));
    }
    assert!(files > 100, "{files} files");
}

/// Looks at each file below a directory; returns how many there are.
fn assert_dateless(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).unwrap();
    let looked_at = entries.map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return assert_dateless(&path);
        }
        let source = fs::read_to_string(&path).unwrap();
        for word in ["SystemTime", "UtcDateTime", "OffsetDateTime", "UNIX_EPOCH"] {
            assert!(!source.contains(word), "{word} in {}", path.display());
        }
        1
    });
    looked_at.sum()
}

fn loaded(seed: u64) -> Lab {
    let mut lab = Lab::new(5, seed);
    for _ in 0..5 {
        lab.add_client(Work::OwnKey);
    }
    lab.run_for(SECOND);
    lab
}

fn end(lab: &mut Lab, what: &str, began: Instant) {
    lab.stop_clients();
    lab.wait_until_equal();
    lab.assert_own_keys();
    report(what, lab, began);
}
