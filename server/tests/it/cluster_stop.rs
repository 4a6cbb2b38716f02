//! What clients see when the leader is told to stop (SIGTERM): another takes over before they notice.

use std::time::Duration;

use client::Client;

use crate::cluster::Cluster;
use crate::cluster_load::Load;

/// As many as in the bench.
const CLIENTS: usize = 32;

/// How often the leader is stopped, each time another one.
const STOPS: usize = 5;

/// What is promised: a fraction of the time after which a silent leader is doubted.
const GAP_MAX: Duration = Duration::from_millis(200);

#[test]
fn a_leader_that_is_stopped_under_load_hands_over() {
    let mut cluster = Cluster::start(&[]);
    for stop in 1..=STOPS {
        let load = Load::start(cluster.options(), CLIENTS);
        load.wait_for_more(500);
        let leader = cluster.leader();
        let (status, took) = cluster.terminate(leader);
        load.wait_for_more(500);
        let mut outcome = load.stop();
        println!(
            "stop {stop}: r{leader} was gone after {took:?}; {} appends answered, longest gap {:?}",
            outcome.answered, outcome.longest_gap
        );
        if took > Duration::from_millis(100) {
            for id in 0..5 {
                println!(
                    "LOG r{id}\n{}",
                    cluster
                        .log(id)
                        .lines()
                        .rev()
                        .take(14)
                        .collect::<Vec<_>>()
                        .join("\n")
                );
            }
        }
        assert!(status.success(), "{status}");
        assert_eq!(outcome.errors, Vec::<String>::new());
        if stop == 1 {
            // Every load begins its tags anew, so this can be asked of the first alone.
            outcome.assert_all_there(&mut Client::new(cluster.options()).unwrap());
        }
        let log = cluster.log(leader);
        assert!(log.contains("over to r"), "r{leader} told nobody: {log}");
        assert!(
            log.contains("it leaves the lead to others"),
            "r{leader} gives another reason: {log}"
        );
        let heir = cluster.leader();
        assert!(
            cluster.log(heir).contains("takes over from"),
            "r{heir} leads and was not told to"
        );
        assert!(outcome.longest_gap < GAP_MAX, "{:?}", outcome.longest_gap);
        cluster.start_replica(leader);
        cluster.wait_until_serving();
    }
}
