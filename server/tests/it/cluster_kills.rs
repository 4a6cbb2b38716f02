//! What clients see when replicas are killed: two of five, all five, three of five, and a leader again and again.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use client::{Client, ClientError, ClientOptions, Versioned};
use common::{Change, Outcome, Refusal, Request, SessionId, Write};

use crate::cluster::{Cluster, SIZE};
use crate::cluster_load::Load;
use crate::raw_client::{RawClient, get};

/// The clients of the bench.
const CLIENTS: usize = 32;

#[test]
fn kill_any_two() {
    let mut cluster = Cluster::start(&[]);
    let load = Load::start(cluster.options(), CLIENTS);
    load.wait_for_more(500);
    let leader = cluster.leader();
    let victims = [leader, (leader + 2) % SIZE];
    cluster.kill(&victims);
    load.wait_for_more(500);
    for id in victims {
        cluster.start_replica(id);
    }
    let slot = wait_for_same_hash(&cluster);
    load.wait_for_more(100);
    let mut outcome = load.stop();
    println!(
        "{} appends answered, longest gap {:?}, all five agree at slot {slot}",
        outcome.answered, outcome.longest_gap
    );
    assert_eq!(outcome.errors, Vec::<String>::new());
    outcome.assert_all_there(&mut Client::new(cluster.options()).unwrap());
    assert!(outcome.longest_gap < GAP_MAX, "{:?}", outcome.longest_gap);
}

/// What is promised. An election takes about a quarter of it, so that a busy machine does not use it up.
const GAP_MAX: Duration = Duration::from_secs(1);

/// Waits until all five have said what their state was at one and the same slot, and checks that they agree at that
/// and every other slot that two of them spoke of. Returns the slot.
pub(crate) fn wait_for_same_hash(cluster: &Cluster) -> u64 {
    let mut said: BTreeMap<u64, BTreeMap<u8, u128>> = BTreeMap::new();
    let mut agreed = None;
    cluster.wait("all five to reach one hash slot", |cluster| {
        for status in (0..SIZE).filter_map(|id| cluster.status(id)) {
            let hashes = said.entry(status.hash_slot).or_default();
            hashes.insert(status.replica, status.state_hash);
        }
        agreed = said
            .iter()
            .find(|(slot, hashes)| **slot > 0 && hashes.len() == SIZE)
            .map(|(slot, _)| *slot);
        agreed.is_some()
    });
    for (slot, hashes) in &said {
        let first = hashes.values().next();
        let same = hashes.values().all(|hash| Some(hash) == first);
        assert!(same, "the states differ at slot {slot}: {hashes:?}");
    }
    agreed.unwrap()
}

#[test]
fn kill_all_five_under_load() {
    let mut cluster = Cluster::start(&["--no-quorum-after", "1s"]);
    let load = Load::start(cluster.options(), CLIENTS);
    load.wait_for_more(1_000);
    let mut writer = cluster.client_of(0);
    writer.put(b"before", b"the end").unwrap();
    cluster.kill(&[0, 1, 2, 3, 4]);
    // What was answered later than this was answered by the new processes.
    let answered = load.answered();
    let readers: Vec<Receiver<Versioned>> = (0..SIZE)
        .map(|id| read_patiently(&cluster, id, b"before"))
        .collect();
    for id in [3, 4] {
        cluster.start_replica(id);
    }
    cluster.wait("two to listen again", |cluster| {
        [3, 4].iter().all(|&id| cluster.status(id).is_some())
    });
    for id in [3, 4] {
        let early = RawClient::greeted(cluster.client_address(id)).outcome(&get(1, b"before"));
        assert!(
            matches!(early, Outcome::Refused(_)),
            "two of five say {early}"
        );
    }
    assert!(
        readers.iter().all(|reader| reader.try_recv().is_err()),
        "two of five answered a read"
    );
    for id in [0, 1, 2] {
        cluster.start_replica(id);
    }
    for reader in readers {
        let read = reader.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(read.value, b"the end");
    }
    load.wait_for_more(500);
    let mut outcome = load.stop();
    println!(
        "{} appends answered, {answered} of them before the kill; longest gap {:?}",
        outcome.answered, outcome.longest_gap
    );
    outcome.assert_all_there(&mut Client::new(cluster.options()).unwrap());
    assert_eq!(outcome.errors, Vec::<String>::new());
}

/// Reads a key through one replica alone, however long that takes. A thread waits for it.
fn read_patiently(cluster: &Cluster, id: usize, key: &'static [u8]) -> Receiver<Versioned> {
    let mut options = ClientOptions::parse(&cluster.client_address(id).to_string()).unwrap();
    options.timeout = Duration::from_secs(30);
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut reader = Client::new(options).unwrap();
        // Nobody listens any more if the test has failed.
        let _ = sender.send(reader.get(key).unwrap().unwrap());
    });
    receiver
}

#[test]
fn no_quorum_is_said_in_time_and_ends_when_one_returns() {
    let mut cluster = Cluster::start(&["--no-quorum-after", "1s"]);
    let leader = cluster.leader();
    let others: Vec<usize> = (0..SIZE).filter(|&id| id != leader).collect();
    let mut options = cluster.options();
    options.first = leader;
    options.timeout = Duration::from_secs(4);
    let mut client = Client::new(options).unwrap();
    client.put(b"k", b"one").unwrap();
    let mut raw = RawClient::greeted(cluster.client_address(leader));
    cluster.kill(&others[..3]);

    // Whoever led a moment ago still proposes what it is asked, so that this write may be chosen later.
    let write = client.put(b"k", b"two").unwrap_err();
    println!("a write failed: {write}");
    assert!(matches!(write, ClientError::NoQuorum { .. }), "{write:?}");
    assert!(write.outcome_unknown(), "{write}");
    assert!(
        write
            .to_string()
            .contains("outcome of the write is unknown")
    );
    let began = Instant::now();
    let refused = raw.outcome(&get(1, b"k"));
    let waited = began.elapsed();
    println!("a read was refused after {waited:?}: {refused}");
    let no_quorum = Outcome::Refused(Refusal::NoQuorum { proposed: false });
    assert_eq!(refused, no_quorum);
    assert!(waited < Duration::from_secs(3), "{waited:?}");
    let read = client.get(b"k").unwrap_err();
    assert!(matches!(read, ClientError::NoQuorum { .. }), "{read:?}");

    cluster.start_replica(others[0]);
    cluster.wait_until_serving();
    client.put(b"k", b"three").unwrap();
    assert_eq!(client.get(b"k").unwrap().unwrap().value, b"three");
}

#[test]
fn retried_everywhere_a_write_lands_once_and_keeps_its_answer() {
    let mut cluster = Cluster::start(&[]);
    let mut retries = Retries::open(&cluster);
    let mut first_answers = Vec::new();
    for sequence in 1..=4 {
        retries.send(sequence, &[0, 1, 2, 3, 4]);
        if sequence % 2 == 0 {
            let leader = cluster.leader();
            cluster.kill(&[leader]);
            retries.settle(&cluster, sequence, Some(leader));
            cluster.start_replica(leader);
            cluster.wait_until_serving();
        }
        first_answers.push(retries.settle(&cluster, sequence, None));
    }
    cluster.kill(&[0, 1, 2, 3, 4]);
    for id in 0..SIZE {
        cluster.start_replica(id);
    }
    cluster.wait_until_serving();
    for (sequence, first) in (1..).zip(&first_answers) {
        assert_eq!(retries.settle(&cluster, sequence, None), *first);
    }
    println!("{} copies sent: {first_answers:?}", retries.sent);
    let read = cluster.client_of(2).get(b"k").unwrap().unwrap();
    assert_eq!(read.value, b"w1;w2;w3;w4;");
}

/// One session whose writes are sent to every replica.
struct Retries {
    session: SessionId,
    connections: Vec<RawClient>,
    sent: u64,
}

impl Retries {
    fn open(cluster: &Cluster) -> Self {
        let mut connections: Vec<RawClient> = (0..SIZE)
            .map(|id| RawClient::greeted(cluster.client_address(id)))
            .collect();
        let request = Request::OpenSession { tag: 1, nonce: 42 };
        let session = match connections[0].outcome(&request) {
            Outcome::SessionOpened { session, .. } => session,
            other => panic!("{other:?}"),
        };
        Self {
            session,
            connections,
            sent: 0,
        }
    }

    /// Sends copies and hears no answer.
    fn send(&mut self, sequence: u64, ids: &[usize]) {
        for &id in ids {
            let write = self.write(sequence);
            self.connections[id].ask(&write);
            self.sent += 1;
        }
    }

    /// Sends the write to every replica but one over connections of its own until each has answered it, three times.
    /// All say the same, which is returned.
    fn settle(&mut self, cluster: &Cluster, sequence: u64, without: Option<usize>) -> Outcome {
        let mut answers = Vec::new();
        for _ in 0..3 {
            let asked = (0..SIZE).filter(|&id| Some(id) != without);
            // All are asked before any is heard.
            let mut round: Vec<(usize, RawClient)> = asked
                .map(|id| (id, RawClient::greeted(cluster.client_address(id))))
                .collect();
            for (_, connection) in &mut round {
                connection.ask(&self.write(sequence));
                self.sent += 1;
            }
            for (id, mut connection) in round {
                let heard = connection.hear_answer().outcome;
                answers.push(self.answer(&mut connection, id, sequence, heard));
            }
        }
        if without.is_none() {
            let greet = |id| RawClient::greeted(cluster.client_address(id));
            self.connections = (0..SIZE).map(greet).collect();
        }
        let first = answers[0].clone();
        assert!(answers.iter().all(|answer| *answer == first), "{answers:?}");
        first
    }

    /// What was heard, if it is an answer; else that of a later copy.
    fn answer(
        &mut self,
        connection: &mut RawClient,
        id: usize,
        sequence: u64,
        mut heard: Outcome,
    ) -> Outcome {
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Outcome::Refused(refusal) = heard {
            assert!(Instant::now() < deadline, "r{id} still says {refusal}");
            let passes = matches!(
                refusal,
                Refusal::NoQuorum { .. } | Refusal::NotServing { .. } | Refusal::AskReplica { .. }
            );
            assert!(passes, "r{id} says {refusal}");
            std::thread::sleep(Duration::from_millis(20));
            self.sent += 1;
            heard = connection.outcome(&self.write(sequence));
        }
        heard
    }

    fn write(&self, sequence: u64) -> Request {
        Request::Write {
            tag: sequence,
            write: Write {
                session: self.session,
                sequence,
                floor: 1,
                after: 0,
                change: Change::Append {
                    key: b"k".to_vec(),
                    value: format!("w{sequence};").into_bytes(),
                },
            },
        }
    }
}
