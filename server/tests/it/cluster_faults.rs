//! Clients whose traffic a bad network drops, doubles, delays and reorders, against five real servers.

use std::time::Duration;

use client::{Client, ClientOptions};

use crate::cluster::{Cluster, SIZE};
use crate::cluster_load::{Load, Outcome};
use crate::proxy::{Counts, Faults, Proxy, Rates};

/// How many clients append at once.
const CLIENTS: usize = 8;

/// How many appends are answered at least.
const APPENDS: u64 = 600;

/// A network that loses frames of a connection, which TCP never does, can silence all five connections of a client in
/// turn, and each for as long as a replica takes to say "no quorum".
const TIMEOUT: Duration = Duration::from_secs(30);

/// A cluster whose clients go through a bad network.
struct Rig {
    cluster: Cluster,
    streams: Vec<Proxy>,
}

impl Rig {
    fn start(seed: u64, rates: Rates) -> Self {
        let cluster = Cluster::start(&["--no-quorum-after", "1s"]);
        let faults = |id| Faults::both_ways(seed + id as u64, rates);
        let stream = |id| Proxy::stream(cluster.client_address(id), faults(id));
        Self {
            streams: (0..SIZE).map(stream).collect(),
            cluster,
        }
    }

    fn over_tcp(&self) -> ClientOptions {
        options(&self.streams, "")
    }

    /// What the proxies did. Fails if it was nothing.
    fn counts(&self) -> Counts {
        let counts = sum(&self.streams);
        counts.assert_faulty();
        counts
    }

    /// Reads everything back over a good network.
    fn check(&self, outcome: &Outcome) {
        assert_eq!(outcome.errors, Vec::<String>::new());
        outcome.assert_all_there(&mut Client::new(self.cluster.options()).unwrap());
    }
}

fn options(proxies: &[Proxy], scheme: &str) -> ClientOptions {
    let list: Vec<String> = proxies
        .iter()
        .map(|proxy| format!("{scheme}{}", proxy.address()))
        .collect();
    let mut options = ClientOptions::parse(&list.join(",")).unwrap();
    options.timeout = TIMEOUT;
    options
}

fn sum(proxies: &[Proxy]) -> Counts {
    let counts = proxies.iter().map(Proxy::counts);
    counts.fold(Counts::default(), Counts::and)
}

#[test]
fn appends_over_tcp_land_once_and_in_order() {
    let rig = Rig::start(1, Rates::FIFTH);
    let load = Load::start(rig.over_tcp(), CLIENTS);
    load.wait_for_more(APPENDS);
    let outcome = load.stop();
    println!(
        "{} appends answered over TCP; {}",
        outcome.answered,
        rig.counts()
    );
    rig.check(&outcome);
}
