//! FAULTS 3: rounds of load, after each of which all replicas may lose their power; with a bad network, with partitions,
//! and with snapshots. One body; the rows of the list are its settings.

use std::time::Instant;

use super::super::bugs::Bug;
use super::super::replica::SimReplica;
use super::client::Work;
use super::network::Reliability;
use super::{Lab, MS, SECOND, report, with_seeds};

/// What a row asks of the body.
#[derive(Clone, Copy, Debug)]
struct Row {
    name: &'static str,
    replicas: u8,
    clients: usize,
    work: Work,
    reliability: Reliability,
    /// Two groups, drawn anew every 1.0 to 1.2 s.
    partitions: bool,
    /// All lose their power after each round.
    restarts: bool,
    /// Snapshots are taken every so many bytes of journal, and the journal is bounded.
    log_bound: Option<u64>,
    /// To see that the body finds it.
    bug: Option<Bug>,
}

impl Row {
    fn new(name: &'static str, clients: usize) -> Self {
        Self {
            name,
            replicas: 5,
            clients,
            work: Work::OwnKey,
            reliability: Reliability::Good,
            partitions: false,
            restarts: false,
            log_bound: None,
            bug: None,
        }
    }

    fn unreliable(self) -> Self {
        Self {
            reliability: Reliability::LateAndDropped,
            ..self
        }
    }

    fn partitioned(self) -> Self {
        Self {
            partitions: true,
            ..self
        }
    }

    fn restarted(self) -> Self {
        Self {
            restarts: true,
            ..self
        }
    }

    fn bounded(self) -> Self {
        Self {
            log_bound: Some(LOG_BOUND),
            ..self
        }
    }

    fn run(self) {
        with_seeds(|seed| self.run_seed(seed));
    }

    fn run_seed(self, seed: u64) {
        let began = Instant::now();
        let mut lab = match self.log_bound {
            Some(bytes) => Lab::with_snapshots_every(self.replicas, seed, bytes),
            None => Lab::new(self.replicas, seed),
        };
        lab.start.bug = self.bug;
        lab.network.become_reliable(self.reliability);
        for _ in 0..self.clients {
            lab.add_client(self.work);
        }
        for round in 0..ROUNDS {
            let before = lab.answered();
            self.run_round(&mut lab);
            let answered = lab.answered() - before;
            assert!(answered > ANSWERS_MIN, "{answered} answers, round {round}");
            lab.stop_clients();
            if self.restarts {
                lab.restart_all();
            }
            lab.resume_clients();
        }
        lab.stop_clients();
        lab.network.become_reliable(Reliability::Good);
        lab.wait_until_equal();
        match self.work {
            Work::None => {}
            // Each client has compared what it read with what it had written.
            Work::OwnKey => lab.assert_own_keys(),
            Work::OneKey => lab.assert_one_key(),
            Work::Mixed { .. } => lab.assert_linearizable(),
        }
        if self.log_bound.is_some() {
            assert_logs_are_short(&mut lab);
        }
        report(self.name, &lab, began);
    }

    /// Five seconds of load, at the end of which the network is whole.
    fn run_round(self, lab: &mut Lab) {
        let until = lab.now + ROUND_US;
        while lab.now < until {
            if self.partitions {
                lab.network.regroup(2, &mut lab.random);
            }
            let length = lab.random.between(SECOND, SECOND + 200 * MS);
            lab.run_for(length.min(until - lab.now));
        }
        lab.network.heal();
    }
}

/// Each replica's journal has no more segments than are needed, and there were snapshots to make that so.
fn assert_logs_are_short(lab: &mut Lab) {
    assert!(lab.snapshots > lab.count() as u64, "{}", lab.snapshots);
    let running = lab.replicas.iter_mut().map(SimReplica::running);
    let most = running
        .map(|process| process.journal.disk_bytes())
        .max()
        .unwrap();
    assert!(most <= JOURNAL_BYTES_MAX, "{most} bytes of journal");
}

const ROUNDS: usize = 3;

const ROUND_US: u64 = 5 * SECOND;

/// Fewer answers in a round mean that nothing happened.
const ANSWERS_MIN: u64 = 20;

const LOG_BOUND: u64 = 16 << 10;

/// What is written when a snapshot of it is being taken, what the older of two does not cover, and what is prepared: each
/// a few times the first segment.
const JOURNAL_BYTES_MAX: u64 = 1 << 20;

#[test]
fn basic() {
    Row::new("basic", 1).run();
}

#[test]
fn concurrent() {
    Row::new("concurrent", 5).run();
}

#[test]
fn unreliable() {
    Row::new("unreliable", 5).unreliable().run();
}

#[test]
fn unreliable_one_key() {
    let row = Row {
        work: Work::OneKey,
        ..Row::new("unreliable_one_key", 5).unreliable()
    };
    row.run();
}

#[test]
fn many_partitions_one_client() {
    Row::new("many_partitions_one_client", 1)
        .partitioned()
        .run();
}

#[test]
fn many_partitions_many_clients() {
    Row::new("many_partitions_many_clients", 20)
        .partitioned()
        .run();
}

#[test]
fn persist_one_client() {
    Row::new("persist_one_client", 1).restarted().run();
}

#[test]
fn persist_concurrent() {
    Row::new("persist_concurrent", 5).restarted().run();
}

#[test]
fn persist_concurrent_unreliable() {
    Row::new("persist_concurrent_unreliable", 5)
        .restarted()
        .unreliable()
        .run();
}

#[test]
fn persist_partition() {
    Row::new("persist_partition", 5)
        .restarted()
        .partitioned()
        .run();
}

#[test]
fn persist_partition_unreliable() {
    Row::new("persist_partition_unreliable", 5)
        .restarted()
        .partitioned()
        .unreliable()
        .run();
}

/// 15 clients on 7 replicas, whose answers must fit one order.
#[test]
fn persist_partition_unreliable_linearizable() {
    let row = Row {
        replicas: 7,
        work: Work::Mixed { keys: 15 },
        ..Row::new("persist_partition_unreliable_linearizable", 15)
    };
    row.restarted().partitioned().unreliable().run();
}

#[test]
fn snapshot_recover() {
    Row::new("snapshot_recover", 1).bounded().restarted().run();
}

#[test]
fn snapshot_recover_many_clients() {
    Row::new("snapshot_recover_many_clients", 20)
        .bounded()
        .restarted()
        .run();
}

#[test]
fn snapshot_unreliable() {
    Row::new("snapshot_unreliable", 5)
        .bounded()
        .unreliable()
        .run();
}

#[test]
fn snapshot_unreliable_recover() {
    Row::new("snapshot_unreliable_recover", 5)
        .bounded()
        .unreliable()
        .restarted()
        .run();
}

#[test]
fn snapshot_unreliable_recover_partitions() {
    Row::new("snapshot_unreliable_recover_partitions", 5)
        .bounded()
        .unreliable()
        .restarted()
        .partitioned()
        .run();
}

/// The same with a linearizability check.
#[test]
fn snapshot_unreliable_recover_partitions_linearizable() {
    let row = Row {
        replicas: 7,
        work: Work::Mixed { keys: 15 },
        ..Row::new("snapshot_unreliable_recover_partitions_linearizable", 15)
    };
    row.bounded().unreliable().restarted().partitioned().run();
}

/// A body that finds nothing would pass every row: replicas that forget the last batch of their journals are found.
#[test]
fn a_planted_bug_is_found() {
    let row = Row {
        bug: Some(Bug::LastBatchCut),
        ..Row::new("a planted bug", 5).restarted()
    };
    let found = std::panic::catch_unwind(move || row.run());
    assert!(
        found.is_err(),
        "the last batch of every journal was lost, and nobody noticed"
    );
}
