//! FAULTS 3: a replica that was away for longer than the others keep the log for it.

use std::time::Instant;

use super::client::Work;
use super::{Lab, report, with_seeds};

/// One is absent for 50 writes. The others trim their logs all the same, and a snapshot brings it back.
#[test]
fn snapshot_catch_up() {
    with_seeds(|seed| {
        let began = Instant::now();
        let mut lab = Lab::with_snapshots_every(5, seed, 8 << 10);
        let writer = lab.add_client(Work::None);
        lab.clients[writer].ask_put(b"before", b"it left");
        lab.wait("the first write", Lab::is_quiet);
        lab.wait_until_equal();
        let away = (lab.leader() + 1) % 5;
        let left_at = lab.replicas[away].running().node.applied();
        lab.cut_power(away);
        for number in 0..50_u32 {
            let value = [&number.to_be_bytes()[..], &[7; 300]].concat();
            lab.clients[writer].ask_append(b"key", &value);
        }
        lab.wait("fifty writes", Lab::is_quiet);
        lab.wait("the others to trim what it lacks", |lab| {
            let others = lab.replicas.iter().enumerate();
            let trimmed = others
                .filter_map(|(place, replica)| Some((place, replica.process.as_ref()?)))
                .map(|(_, process)| process.trim_below > left_at);
            let trimmed: Vec<bool> = trimmed.collect();
            trimmed.len() == 4 && trimmed.into_iter().all(|trimmed| trimmed)
        });
        assert_eq!(lab.transfers, 0);
        lab.start_replica(away);
        lab.wait_until_equal();
        assert!(lab.transfers > 0, "it came back by the log");
        let read = lab.read_at(away, b"key").unwrap();
        assert_eq!(read.len(), 50 * 304);
        let read = lab.read_at(away, b"before");
        assert_eq!(read.as_deref(), Some(&b"it left"[..]));
        lab.assert_linearizable();
        report("snapshot_catch_up", &lab, began);
    });
}
