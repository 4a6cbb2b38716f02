//! What clients that came once leave behind (SPEC A5; FAULTS 3).

use common::{Answer, Change, Outcome, Request, Write};
use kvpaxos_server::identity::{ClusterSettings, Identity};
use kvpaxos_server::node::{ConnectionId, Node, NodeSettings, Recovery};
use paxos::{Incarnation, ReplicaId};

use crate::{live_bytes, turn};

const CLIENTS: u64 = 100_000;

/// A cluster of one, whose disk does at once what it is told.
struct Lone {
    node: Node,
    answers: Vec<Answer>,
}

impl Lone {
    fn new() -> Self {
        let cluster = ClusterSettings::default();
        let replica = ReplicaId(0);
        let settings = NodeSettings {
            replica,
            members: vec![replica],
            cluster,
            no_quorum_after_ticks: 500,
            reads_through_log: false,
            birth: 1_000,
        };
        let identity = Identity {
            replica,
            incarnation: Incarnation(7),
            founding: None,
        };
        let mut lone = Self {
            node: Node::new(settings, identity, Recovery::new(cluster), None),
            answers: Vec::new(),
        };
        while lone.node.leader().is_none() {
            lone.tick();
        }
        // Whatever the first of everything takes, is taken.
        lone.put(0);
        lone.get(0);
        lone.rest();
        lone
    }

    fn tick(&mut self) {
        self.node.tick();
        self.pump();
    }

    fn pump(&mut self) {
        loop {
            let output = self.node.take_output();
            if output.is_empty() {
                return;
            }
            self.answers
                .extend(output.answers.into_iter().map(|(_, answer)| answer));
            for (to, message) in output.send.into_iter().chain(output.send_when_durable) {
                self.node.peer(to, message);
            }
        }
    }

    /// So long that everything is chosen, applied, and forgotten that is to be forgotten.
    fn rest(&mut self) {
        for _ in 0..500 {
            self.tick();
        }
    }

    fn ask(&mut self, client: u64, request: Request) -> Outcome {
        let connection = ConnectionId {
            worker: 0,
            serial: client,
        };
        self.node.client(connection, request);
        self.pump();
        self.answers.pop().expect("it is answered at once").outcome
    }

    /// A client opens a session, puts once to the key of all, and goes.
    fn put(&mut self, client: u64) {
        let open = Request::OpenSession {
            tag: 1,
            nonce: client,
        };
        let Outcome::SessionOpened { session, .. } = self.ask(client, open) else {
            panic!("client {client} has no session");
        };
        let write = Write {
            session,
            sequence: 1,
            floor: 1,
            after: 0,
            change: Change::Put {
                key: b"key".to_vec(),
                value: b"value".to_vec(),
            },
        };
        let answer = self.ask(client, Request::Write { tag: 2, write });
        assert!(matches!(answer, Outcome::Put { .. }), "{answer:?}");
        self.go(client);
    }

    /// A client gets the key of all, and goes.
    fn get(&mut self, client: u64) {
        let request = Request::Get {
            tag: 1,
            key: b"key".to_vec(),
        };
        let answer = self.ask(client, request);
        assert!(matches!(answer, Outcome::Value { .. }), "{answer:?}");
        self.go(client);
    }

    fn go(&mut self, client: u64) {
        self.node.connection_closed(ConnectionId {
            worker: 0,
            serial: client,
        });
    }
}

/// The live bytes that `act` left behind.
fn cost(lone: &mut Lone, act: impl FnOnce(&mut Lone)) -> i64 {
    let before = live_bytes();
    act(lone);
    lone.rest();
    live_bytes() - before
}

#[test]
fn session_memory() {
    let _turn = turn();
    let mut lone = Lone::new();
    let of_puts = cost(&mut lone, |lone| {
        for client in 1..=CLIENTS {
            lone.put(client);
        }
    });
    let each = of_puts as f64 / CLIENTS as f64;
    println!("session_memory: {CLIENTS} clients with one PUT each leave {each:.1} bytes each");
    assert!(each <= 200.0);

    let of_gets = cost(&mut lone, |lone| {
        for client in 1..=CLIENTS {
            lone.get(client);
        }
    });
    let each = of_gets as f64 / CLIENTS as f64;
    println!("session_memory: {CLIENTS} clients with one GET each leave {each:.3} bytes each");
    assert!(each <= 10.0);

    let of_many = cost(&mut lone, |lone| {
        for _ in 0..10 * CLIENTS {
            lone.get(1);
        }
    });
    println!("session_memory: a million GETs of one client leave {of_many} bytes in all");
    assert!(of_many <= 1_024, "some queue grew by a step, at most");
}
