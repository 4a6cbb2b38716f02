//! The rows of FAULTS 2, 3 and 6 in simulated time: what happens to whom and when is written down here, not drawn.
//!
//! The replicas are those of the simulation beside this: the shipped node, journal and snapshots on a disk in memory. A
//! [`Lab`] has them, a network in which every link has faults of its own, and clients; a scenario cuts links, stops
//! replicas and lets time pass until something holds. Fifteen seconds of a cluster take a fraction of one here, so
//! that a row is run as long as it says. As everywhere in the simulation, replicas that have applied as many slots must
//! hold the same at every step, and one seed gives one run: `LAB_SEEDS=A..B` runs every row with each of these.

mod client;
mod clocks;
mod driver;
mod links;
mod network;
mod partitions;
mod rounds;
mod snapshots;
mod store;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use ::client::history::{Operation, check_key};
use common::{Answer, Request};
use kvpaxos_server::node::ConnectionId;
use kvpaxos_server::peers::PeerMessage;
use paxos::{ReplicaId, Slot};

use self::client::{LabClient, ONE_KEY, Work};
use self::network::Network;
use super::faults::MS;
use super::random::Random;
use super::replica::{SimReplica, Start};

/// One second in the simulation's unit.
const SECOND: u64 = 1_000 * MS;

/// What is waited for in vain is broken.
const WAIT_US_MAX: u64 = 60 * SECOND;

/// Replicas, the network, clients, and a clock of their own.
struct Lab {
    random: Random,
    /// In microseconds since the beginning.
    now: u64,
    epoch: Instant,
    events: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    replicas: Vec<SimReplica>,
    start: Start,
    network: Network,
    clients: Vec<LabClient>,
    /// Orders the calls and returns of all clients.
    stamp: u64,
    /// By number of slots applied, the state's hash.
    states: BTreeMap<Slot, u128>,
    snapshots: u64,
    transfers: u64,
    /// All that replicas sent to each other, while it is kept.
    kept: Option<Vec<(ReplicaId, usize, PeerMessage)>>,
}

/// What happens at a time. What was meant for an earlier life of a replica comes to nothing.
#[derive(Clone, Debug)]
enum Event {
    Tick {
        replica: usize,
        life: u64,
    },
    Turn {
        replica: usize,
        life: u64,
    },
    Synced {
        replica: usize,
        life: u64,
    },
    Snapshot {
        replica: usize,
        life: u64,
    },
    Transfer {
        replica: usize,
        life: u64,
    },
    Peer {
        from: ReplicaId,
        to: usize,
        message: PeerMessage,
    },
    Request {
        connection: ConnectionId,
        replica: usize,
        request: Request,
    },
    Answer {
        connection: ConnectionId,
        answer: Answer,
    },
    Wake {
        client: usize,
    },
}

impl Lab {
    /// So many replicas that were never started before, once all of them have a vote.
    fn new(count: u8, seed: u64) -> Self {
        Self::with_snapshots_every(count, seed, 16 << 20)
    }

    /// The same, where a snapshot is taken when the journal has grown by so many bytes, and hardly any log is kept for
    /// those who are away.
    fn with_snapshots_every(count: u8, seed: u64, journal_bytes: u64) -> Self {
        let epoch = Instant::now();
        let members: Vec<ReplicaId> = (0..count).map(ReplicaId).collect();
        let mut lab = Self {
            random: Random::new(seed),
            now: 0,
            epoch,
            events: BTreeMap::new(),
            scheduled: 0,
            replicas: members.iter().map(|&id| SimReplica::new(id)).collect(),
            start: Start {
                members,
                reads_through_log: false,
                snapshot_journal_bytes: journal_bytes,
                kept_log_bytes: usize::try_from(journal_bytes).unwrap(),
                diskless: false,
                segment_bytes_max: 256 << 10,
                bug: None,
                session_expiry_s: 3_600,
                now: epoch,
            },
            network: Network::whole(usize::from(count)),
            clients: Vec::new(),
            stamp: 0,
            states: BTreeMap::new(),
            snapshots: 0,
            transfers: 0,
            kept: None,
        };
        lab.start_all();
        lab.wait("all to vote", Self::all_vote);
        lab
    }

    fn count(&self) -> usize {
        self.replicas.len()
    }

    /// Lets so much time pass.
    fn run_for(&mut self, us: u64) {
        let until = self.now + us;
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((now, _), event) = entry.remove_entry();
            self.now = now;
            self.step(event);
        }
        self.now = until;
    }

    /// Lets time pass until this holds.
    fn wait(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        self.wait_at_most(WAIT_US_MAX, what, condition);
    }

    /// The same, and it must within so much time.
    fn wait_at_most(&mut self, us_max: u64, what: &str, condition: impl Fn(&Self) -> bool) {
        let until = self.now + us_max;
        while !condition(self) {
            assert!(self.now < until, "waited for {what}: {}", self.describe());
            self.run_for(MS);
        }
    }

    fn describe(&self) -> String {
        let replicas = self.replicas.iter().map(|replica| {
            let state = replica.process.as_ref().map(|process| {
                let node = &process.node;
                (node.applied().0, node.leader(), node.votes())
            });
            format!("{} {state:?}", replica.id)
        });
        let clients = self.clients.iter().map(LabClient::describe);
        replicas.chain(clients).collect::<Vec<_>>().join("; ")
    }

    /// Starts whoever does not run.
    fn start_all(&mut self) {
        for replica in 0..self.count() {
            if self.replicas[replica].process.is_none() {
                self.start_replica(replica);
            }
        }
    }

    /// The power of all fails at once, and all start again from their disks.
    fn restart_all(&mut self) {
        for replica in 0..self.count() {
            self.cut_power(replica);
        }
        self.start_all();
    }

    fn all_vote(&self) -> bool {
        self.replicas.iter().all(|replica| {
            let process = replica.process.as_ref();
            process.is_some_and(|process| process.node.votes() && process.node.leader().is_some())
        })
    }

    /// Whoever leads a majority that says so.
    fn find_leader(&self) -> Option<usize> {
        let says = |replica: &SimReplica| replica.process.as_ref()?.node.leader();
        let candidates = 0..self.count();
        let followers = |leader: usize| {
            let said = self.replicas.iter().filter_map(says);
            said.filter(|said| usize::from(said.0) == leader).count()
        };
        let mut leaders = candidates.filter(|&candidate| {
            let own = says(&self.replicas[candidate]);
            own == Some(self.replicas[candidate].id) && 2 * followers(candidate) > self.count()
        });
        leaders.next()
    }

    /// The same, once there is one.
    fn leader(&mut self) -> usize {
        self.wait("a leader", |lab| lab.find_leader().is_some());
        self.find_leader().unwrap()
    }

    /// A client at any replica.
    fn add_client(&mut self, work: Work) -> usize {
        let target = self.random.between(0, self.count() as u64) as usize;
        let (id, seed) = (self.clients.len(), self.random.draw());
        self.add(LabClient::new(id, target, seed, work))
    }

    /// A client of one replica alone.
    fn add_client_of(&mut self, replica: usize, work: Work) -> usize {
        let (id, seed) = (self.clients.len(), self.random.draw());
        self.add(LabClient::pinned(id, replica, seed, work))
    }

    fn add(&mut self, client: LabClient) -> usize {
        self.clients.push(client);
        let client = self.clients.len() - 1;
        self.schedule(0, Event::Wake { client });
        client
    }

    /// How many operations were answered so far.
    fn answered(&self) -> u64 {
        self.clients.iter().map(|client| client.answered).sum()
    }

    /// All clients finish what they asked for and ask for no more. Before it returns all are answered.
    fn stop_clients(&mut self) {
        for client in &mut self.clients {
            client.rests = true;
        }
        self.wait("all clients to finish", Self::is_quiet);
    }

    fn is_quiet(&self) -> bool {
        self.clients.iter().all(LabClient::is_idle)
    }

    /// Clients that were stopped go on.
    fn resume_clients(&mut self) {
        for client in &mut self.clients {
            client.rests = false;
        }
    }

    /// Reads through one replica alone, however long that takes.
    fn read_at(&mut self, replica: usize, key: &[u8]) -> Option<Vec<u8>> {
        let free = |client: &LabClient| client.may_read_at(replica);
        let reader = self.clients.iter().position(free);
        let reader = reader.unwrap_or_else(|| self.add_client_of(replica, Work::None));
        self.clients[reader].ask_get(key);
        self.wait("an answer to a read", |lab| lab.clients[reader].is_idle());
        self.clients[reader].last_value().unwrap()
    }

    /// All have applied the same.
    fn wait_until_equal(&mut self) {
        self.wait("all replicas to hold the same", |lab| {
            let state = |replica: &SimReplica| {
                let node = &replica.process.as_ref()?.node;
                Some((node.applied(), node.state_hash()))
            };
            let first = state(&lab.replicas[0]);
            first.is_some() && lab.replicas.iter().all(|replica| state(replica) == first)
        });
    }

    /// Each tag of each client is in its key once and in order, at every replica.
    fn assert_own_keys(&mut self) {
        let expected: Vec<(Vec<u8>, Vec<u8>)> =
            self.clients.iter().filter_map(LabClient::own).collect();
        for (key, expected) in expected {
            for replica in 0..self.count() {
                let found = self.read_at(replica, &key).unwrap_or_default();
                assert_eq!(text(&found), text(&expected), "at r{replica}");
            }
        }
    }

    /// What is in the key of all clients is the same at every replica, and each tag of each client is there once, in order.
    fn assert_one_key(&mut self) {
        let value = self.read_at(0, ONE_KEY).unwrap();
        for replica in 1..self.count() {
            assert_eq!(self.read_at(replica, ONE_KEY).as_ref(), Some(&value));
        }
        let value = text(&value);
        let found: Vec<&str> = value.split_inclusive(';').collect();
        let mut tags = 0;
        for client in &self.clients {
            let appended = client.appended_to_one_key();
            let own = found.iter().filter(|tag| appended.contains(**tag));
            assert_eq!(own.copied().collect::<String>(), appended, "once each");
            tags += appended.split_inclusive(';').count();
        }
        assert_eq!(found.len(), tags, "nothing else is there");
    }

    /// Every answer that any client heard fits an order of the operations on its key (linearizability).
    fn assert_linearizable(&self) {
        let mut keys: BTreeMap<&[u8], Vec<Operation>> = BTreeMap::new();
        for (key, operation) in self.clients.iter().flat_map(LabClient::history) {
            keys.entry(key).or_default().push(operation);
        }
        for (key, operations) in keys {
            check_key(&operations).unwrap_or_else(|error| panic!("key {}: {error}", text(key)));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a scenario with each seed that is asked for; with one if none is.
fn with_seeds(scenario: impl Fn(u64)) {
    let seeds: Range<u64> =
        std::env::var("LAB_SEEDS").map_or(1..2, |range| super::parse_range(&range));
    for seed in seeds {
        println!("LAB_SEEDS={seed}..{}", seed + 1);
        scenario(seed);
    }
}

/// Lets so much time pass, and says for how long nothing was answered meanwhile, at most.
fn longest_gap_us(lab: &mut Lab, us: u64) -> u64 {
    let (mut answered, mut since, mut longest) = (lab.answered(), lab.now, 0);
    let until = lab.now + us;
    while lab.now < until {
        lab.run_for(10 * MS);
        longest = longest.max(lab.now - since);
        if lab.answered() > answered {
            (answered, since) = (lab.answered(), lab.now);
        }
    }
    longest
}

/// How long a scenario took here and there, and what it did.
fn report(what: &str, lab: &Lab, began: Instant) {
    println!(
        "{what}: {} answers in {:?} of simulated time, {} snapshots, {} of them given to others; it took {:?}",
        lab.answered(),
        Duration::from_micros(lab.now),
        lab.snapshots,
        lab.transfers,
        began.elapsed()
    );
}
