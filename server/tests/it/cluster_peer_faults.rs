//! A bad network between the replicas: frames of every link dropped, doubled, delayed, swapped, and links cut, each
//! direction by itself.

use std::cell::Cell;

use client::Client;

use crate::cluster::{Cluster, SIZE};
use crate::cluster_faults::sum;
use crate::cluster_load::Load;
use crate::proxy::{Faults, Proxy, Rates};

/// How many clients append at once.
const CLIENTS: usize = 8;

#[test]
fn appends_land_once_and_in_order_while_links_are_bad() {
    let seed = Cell::new(100);
    let rates = Rates {
        cut: 0.002,
        ..Rates::FIFTH
    };
    let cluster = Cluster::start_behind(&[], |address| {
        seed.set(seed.get() + 1);
        Proxy::stream(address, Faults::both_ways(seed.get(), rates))
    });
    let load = Load::start(cluster.options(), CLIENTS);
    load.wait_for_more(300);
    // The leader hears and says nothing for a while; the others go on.
    let leader = cluster.leader();
    let outside = Load::start(cluster.options(), CLIENTS);
    cluster.peer_proxies()[leader].set_unreachable(true);
    outside.wait_for_more(100);
    cluster.peer_proxies()[leader].set_unreachable(false);
    load.wait_for_more(100);
    for proxy in cluster.peer_proxies() {
        proxy.set_faulty(false);
    }
    let mut reader = Client::new(cluster.options()).unwrap();
    for load in [load, outside] {
        let mut outcome = load.stop();
        println!(
            "{} appends answered, longest gap {:?}, errors {:?}",
            outcome.answered, outcome.longest_gap, outcome.errors
        );
        outcome.assert_all_there(&mut reader);
    }
    let counts = sum(cluster.peer_proxies());
    println!("{counts}");
    counts.assert_faulty();
    assert!(counts.cut > 0 && counts.blocked > 0, "{counts}");
    cluster.wait("all to have applied the same", |cluster| {
        let statuses: Vec<_> = (0..SIZE).filter_map(|id| cluster.status(id)).collect();
        let first = statuses.first().map(|status| status.applied);
        statuses.len() == SIZE && statuses.iter().all(|status| Some(status.applied) == first)
    });
}
