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

/// A cluster whose clients go through a bad network, over either transport.
pub(crate) struct Rig {
    pub(crate) cluster: Cluster,
    /// Before the TCP port of each replica.
    pub(crate) streams: Vec<Proxy>,
    /// Before the UDP port of each replica.
    pub(crate) datagrams: Vec<Proxy>,
}

impl Rig {
    pub(crate) fn start(faults: Faults) -> Self {
        let cluster = Cluster::start(&["--no-quorum-after", "1s"]);
        let seeded = |number| Faults {
            seed: faults.seed + number as u64,
            ..faults
        };
        let stream = |id| Proxy::stream(cluster.client_address(id), seeded(id));
        let datagrams = |id| Proxy::datagrams(cluster.datagram_address(id), seeded(SIZE + id));
        Self {
            streams: (0..SIZE).map(stream).collect(),
            datagrams: (0..SIZE).map(datagrams).collect(),
            cluster,
        }
    }

    /// The endpoint of a replica over TCP, behind its proxy.
    fn stream_endpoint(&self, id: usize) -> String {
        format!("tcp://{}", self.streams[id].address())
    }

    /// The endpoint of a replica over UDP, behind its proxy.
    fn datagram_endpoint(&self, id: usize) -> String {
        format!("udp://{}", self.datagrams[id].address())
    }

    pub(crate) fn over_tcp(&self) -> ClientOptions {
        options((0..SIZE).map(|id| self.stream_endpoint(id)))
    }

    pub(crate) fn over_udp(&self) -> ClientOptions {
        options((0..SIZE).map(|id| self.datagram_endpoint(id)))
    }

    /// Another replica and the other transport with each step through the list.
    pub(crate) fn over_both(&self) -> ClientOptions {
        options((0..2 * SIZE).map(|step| {
            if step % 2 == 0 {
                self.datagram_endpoint(step % SIZE)
            } else {
                self.stream_endpoint(step % SIZE)
            }
        }))
    }

    /// Reads everything back over a good network.
    fn check(&self, outcome: &mut Outcome) {
        assert_eq!(outcome.errors, Vec::<String>::new());
        outcome.assert_all_there(&mut Client::new(self.cluster.options()).unwrap());
    }
}

fn options(endpoints: impl Iterator<Item = String>) -> ClientOptions {
    let list: Vec<String> = endpoints.collect();
    let mut options = ClientOptions::parse(&list.join(",")).unwrap();
    options.timeout = TIMEOUT;
    options
}

/// What several proxies did together.
pub(crate) fn sum(proxies: &[Proxy]) -> Counts {
    let counts = proxies.iter().map(Proxy::counts);
    counts.fold(Counts::default(), Counts::and)
}

#[test]
fn appends_land_once_and_in_order_over_each_transport_and_over_both() {
    let rig = Rig::start(Faults::both_ways(1, Rates::FIFTH));
    let loads = [
        ("tcp", rig.over_tcp()),
        ("udp", rig.over_udp()),
        ("both", rig.over_both()),
    ]
    .map(|(name, options)| (name, Load::start(options, CLIENTS)));
    for (_, load) in &loads {
        load.wait_for_more(APPENDS);
    }
    for (name, load) in loads {
        let mut outcome = load.stop();
        println!("over {name}: {} appends answered", outcome.answered);
        rig.check(&mut outcome);
    }
    for (name, proxies) in [("TCP", &rig.streams), ("UDP", &rig.datagrams)] {
        let counts = sum(proxies);
        println!("on {name}: {counts}");
        counts.assert_faulty();
    }
}

#[test]
fn a_retry_that_changes_transport_and_replica_lands_once_and_in_order() {
    /// How many writes move.
    const WRITES: usize = 24;
    let rig = Rig::start(Faults::both_ways(2, Rates::FIFTH));
    let mut options = rig.over_both();
    options.attempt_timeout = Duration::from_millis(250);
    let lanes = options.endpoints.len();
    let proxy = |lane: usize| {
        if lane.is_multiple_of(2) {
            &rig.datagrams[lane % SIZE]
        } else {
            &rig.streams[lane % SIZE]
        }
    };
    let mut client = Client::new(options).unwrap();
    let mut expected = String::new();
    for number in 0..WRITES {
        // Two replicas take the write, each over another transport, and neither is heard.
        let silent = [number % lanes, (number + 1) % lanes];
        for lane in silent {
            proxy(lane).set_mute(true);
        }
        client
            .append(b"k", format!("w{number};").as_bytes())
            .unwrap();
        for lane in silent {
            proxy(lane).set_mute(false);
        }
        expected.push_str(&format!("w{number};"));
    }
    let read = rig.cluster.client_of(3).get(b"k").unwrap().unwrap();
    assert_eq!(String::from_utf8(read.value).unwrap(), expected);
    let (streams, datagrams) = (sum(&rig.streams), sum(&rig.datagrams));
    println!("{WRITES} writes; on TCP: {streams}; on UDP: {datagrams}");
    streams.and(datagrams).assert_faulty();
    for counts in [streams, datagrams] {
        let blocked = counts.blocked;
        assert!(
            blocked >= WRITES as u64 / 3,
            "only {blocked} answers were kept back"
        );
    }
}
