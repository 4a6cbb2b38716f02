//! What clients see when acceptors, proposers and learners fail on purpose on all five replicas: nothing.

use client::Client;

use crate::cluster::{Cluster, SIZE};
use crate::cluster_load::Load;

/// As many as in the bench.
const CLIENTS: usize = 32;

/// How often each kind of agent must have been replaced, on whichever replicas.
const REPLACED_MIN: usize = 3;

#[test]
fn acceptor_fails() {
    agents_fail(&["acceptor"]);
}

/// One at a time on each replica.
#[test]
fn all_roles_fail() {
    agents_fail(&["acceptor", "proposer", "learner"]);
}

/// These agents fail every few seconds on all five replicas and come back. No request fails and no write is lost.
fn agents_fail(agents: &[&str]) {
    let cluster = Cluster::start(&[
        "--fail-roles",
        &agents.join(","),
        "--fail-every",
        "2s..6s",
        "--fail-for",
        "500ms..2s",
    ]);
    let load = Load::start_mixed(cluster.options(), CLIENTS, 50);
    cluster.wait(
        "each kind of agent to be replaced often enough",
        |cluster| {
            agents
                .iter()
                .all(|agent| replaced(cluster, agent) >= REPLACED_MIN)
        },
    );
    load.wait_for_more(500);
    let remarks: Vec<String> = (0..SIZE)
        .filter_map(|id| cluster.status(id))
        .map(|status| status.remark)
        .filter(|remark| !remark.is_empty())
        .collect();
    let mut outcome = load.stop();
    let counts: Vec<usize> = agents
        .iter()
        .map(|agent| replaced(&cluster, agent))
        .collect();
    println!(
        "{} answers, {} of them reads that were judged, longest gap {:?}; replaced {agents:?} {counts:?}; one status says: {:?}",
        outcome.answered,
        outcome.reads(),
        outcome.longest_gap,
        remarks.first()
    );
    assert_eq!(outcome.errors, Vec::<String>::new());
    assert!(outcome.reads() > 500, "{} reads", outcome.reads());
    assert!(!remarks.is_empty(), "no status tells of a failure");
    outcome.assert_all_there(&mut Client::new(cluster.options()).unwrap());
}

/// How many successors of this kind of agent the logs tell of.
fn replaced(cluster: &Cluster, agent: &str) -> usize {
    let logs = (0..SIZE).map(|id| cluster.log(id));
    logs.map(|log| {
        log.lines()
            .filter(|line| line.contains(&format!("the {agent} failed for")))
            .filter(|line| line.contains("its successor recovered"))
            .count()
    })
    .sum()
}
