//! The log leaves memory when all have applied it, however much is written (FAULTS 2; SPEC D5).

use std::sync::Arc;

use common::{Answer, Change, Outcome, Request, SessionId, Write};
use kvpaxos_server::identity::{ClusterSettings, Identity};
use kvpaxos_server::journal::FileDisk;
use kvpaxos_server::node::{ConnectionId, Node, NodeSettings, Recovery};
use kvpaxos_server::snapshot_thread::SnapshotWork;
use paxos::{Incarnation, ReplicaId};
use tempfile::TempDir;

use crate::{live_bytes, turn};

const REPLICAS: u8 = 3;

/// So many keys of so many bytes.
const KEYS: u64 = 10;
const VALUE_BYTES: usize = 1_000_000;

/// What the row allows all replicas together: their data, 30 MB, and as much again.
const GROWTH_BYTES_MAX: i64 = 60_000_000;

/// Replicas whose journals and network do at once what they are told. Snapshots go to real files: they are to be no memory.
struct Trio {
    nodes: Vec<Node>,
    snapshots: Vec<SnapshotWork>,
    /// What each gave to its journal since it last trimmed it.
    journal_bytes: Vec<u64>,
    taken: usize,
    answers: Vec<Answer>,
    _directories: Vec<TempDir>,
}

impl Trio {
    fn new() -> Self {
        let cluster = ClusterSettings::default();
        let members: Vec<ReplicaId> = (0..REPLICAS).map(ReplicaId).collect();
        let node = |&replica: &ReplicaId| {
            let settings = NodeSettings {
                replica,
                members: members.clone(),
                cluster,
                no_quorum_after_ticks: 500,
                reads_through_log: false,
                birth: 1_000 + u64::from(replica.0),
            };
            let identity = Identity {
                replica,
                incarnation: Incarnation(7 + u64::from(replica.0)),
                founding: None,
            };
            Node::new(settings, identity, Recovery::new(cluster), None)
        };
        let directories: Vec<TempDir> = (0..REPLICAS)
            .map(|_| TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
            .collect();
        let snapshots = directories.iter().map(|directory| {
            let disk = FileDisk::open(directory.path()).unwrap();
            SnapshotWork::new(Arc::new(disk), Vec::new())
        });
        let mut trio = Self {
            nodes: members.iter().map(node).collect(),
            snapshots: snapshots.collect(),
            journal_bytes: vec![0; members.len()],
            taken: 0,
            answers: Vec::new(),
            _directories: directories,
        };
        while trio.nodes.iter().any(|node| node.leader().is_none()) {
            trio.tick();
        }
        trio
    }

    fn tick(&mut self) {
        for node in &mut self.nodes {
            node.tick();
        }
        self.pump();
    }

    fn pump(&mut self) {
        while (0..self.nodes.len()).any(|place| self.take_output(place)) {}
    }

    /// Whether there was any.
    fn take_output(&mut self, place: usize) -> bool {
        let output = self.nodes[place].take_output();
        let is_some = !output.is_empty();
        if let Some(persist) = &output.persist {
            self.journal_bytes[place] += persist.records.len() as u64 * VALUE_BYTES as u64;
        }
        if output.trim_below.is_some() {
            self.journal_bytes[place] = 0;
        }
        self.nodes[place].note_journal_bytes(self.journal_bytes[place]);
        self.answers
            .extend(output.answers.into_iter().map(|(_, answer)| answer));
        for (to, message) in output.send.into_iter().chain(output.send_when_durable) {
            self.nodes[usize::from(to.0)].peer(ReplicaId(place as u8), message);
        }
        if let Some(step) = output.snapshot {
            let progress = self.snapshots[place].take(step).unwrap();
            self.nodes[place].snapshot_progress(progress);
            self.taken += 1;
        }
        for step in output.transfers {
            if let Some(progress) = self.snapshots[place].transfer(step).unwrap() {
                self.nodes[place].transfer_progress(progress);
            }
        }
        is_some
    }

    fn ask(&mut self, request: Request) -> Outcome {
        let leader = self.nodes[0].leader().expect("somebody leads");
        let connection = ConnectionId {
            worker: 0,
            serial: 1,
        };
        self.nodes[usize::from(leader.0)].client(connection, request);
        while self.answers.is_empty() {
            self.tick();
        }
        self.answers.pop().unwrap().outcome
    }

    /// Puts a value into each key, once.
    fn overwrite(&mut self, session: SessionId, round: u64) {
        for key in 0..KEYS {
            let sequence = 1 + round * KEYS + key;
            let change = Change::Put {
                key: format!("key{key}").into_bytes(),
                value: vec![round as u8; VALUE_BYTES],
            };
            let write = Write {
                session,
                sequence,
                floor: sequence,
                after: 0,
                change,
            };
            let put = self.ask(Request::Write { tag: 1, write });
            assert!(matches!(put, Outcome::Put { .. }), "{put:?}");
        }
    }
}

#[test]
fn frees_log_memory() {
    let _turn = turn();
    let before = live_bytes();
    let mut trio = Trio::new();
    let Outcome::SessionOpened { session, .. } =
        trio.ask(Request::OpenSession { tag: 1, nonce: 1 })
    else {
        panic!("no session was opened");
    };
    let mut grown = Vec::new();
    for round in 0..12 {
        trio.overwrite(session, round);
        for _ in 0..100 {
            trio.tick();
        }
        grown.push(live_bytes() - before);
    }
    println!(
        "frees_log_memory: {REPLICAS} replicas with {KEYS} keys of {VALUE_BYTES} bytes hold after each of 12 rounds {grown:?}, \
         {} steps of snapshots",
        trio.taken
    );
    let held = i64::from(REPLICAS) * (KEYS * VALUE_BYTES as u64).cast_signed();
    assert!(grown[0] >= held, "the data is there");
    assert!(grown.iter().all(|bytes| *bytes <= GROWTH_BYTES_MAX));
    assert!(trio.taken > 10, "no snapshot was taken");
}
