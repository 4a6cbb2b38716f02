//! A founder whose disk was wiped: the cluster that it asks for was founded long ago (RULES R11).

use kvpaxos_server::identity::{ClusterSettings, FoundingRecord, Identity};
use kvpaxos_server::node::{Node, NodeOutput, NodeSettings, Recovery};
use kvpaxos_server::peers::PeerMessage;
use paxos::{Incarnation, ReplicaId};

/// Replica 0 of five, with an empty disk.
struct Founder {
    node: Node,
    nonce: u64,
}

impl Founder {
    /// One that has asked all others once.
    fn new() -> Self {
        let settings = NodeSettings {
            replica: ReplicaId(0),
            members: (0..5).map(ReplicaId).collect(),
            cluster: ClusterSettings::default(),
            no_quorum_after_ticks: 500,
            reads_through_log: false,
            birth: 1_000,
        };
        let identity = Identity {
            replica: ReplicaId(0),
            incarnation: Incarnation(70),
            founding: None,
        };
        let recovery = Recovery::new(settings.cluster);
        let node = Node::new(settings, identity, recovery, None);
        let mut founder = Self { node, nonce: 0 };
        assert_eq!(founder.asked(), [1, 2, 3, 4]);
        founder
    }

    /// Whom it asks next.
    fn asked(&mut self) -> Vec<u8> {
        let mut asked = Vec::new();
        for _ in 0..10 {
            self.node.tick();
            for (to, message) in self.node.take_output().send {
                let PeerMessage::FoundingQuery { nonce } = message else {
                    panic!("a founder says {message:?}");
                };
                self.nonce = nonce;
                asked.push(to.0);
            }
        }
        asked
    }

    fn hears_blank(&mut self, from: u8) {
        let reply = PeerMessage::FoundingReply {
            nonce: self.nonce,
            incarnation: Incarnation(70 + u64::from(from)),
        };
        self.node.peer(ReplicaId(from), reply);
    }

    fn hears_founded(&mut self, from: u8) {
        let reply = PeerMessage::Founded {
            nonce: self.nonce,
            record: record(),
        };
        self.node.peer(ReplicaId(from), reply);
    }

    fn output(&mut self) -> NodeOutput {
        self.node.take_output()
    }
}

/// What the cluster was founded with, while replica 0 was in another life.
fn record() -> FoundingRecord {
    let members = (0..5).map(|id| (ReplicaId(id), Incarnation(7 + u64::from(id))));
    FoundingRecord {
        cluster: 99,
        members: members.collect(),
        settings: ClusterSettings::default(),
    }
}

#[test]
fn r11_a_wiped_founder_that_hears_from_one_member_only_still_asks_all_again() {
    let mut founder = Founder::new();
    // Two had not heard of the founding yet when they were asked.
    founder.hears_blank(1);
    founder.hears_blank(3);
    assert_eq!(founder.asked(), [2, 4]);
    founder.hears_founded(2);
    assert_eq!(founder.asked(), [1, 2, 3, 4]);
    // A late copy of what one of them said settles nothing.
    founder.hears_blank(3);
    assert_eq!(founder.asked(), [1, 2, 3, 4]);
    founder.hears_founded(1);
    assert_eq!(founder.asked(), [1, 2, 3, 4]);
    founder.hears_founded(3);
    let joined = founder.output().identity;
    assert_eq!(
        joined.and_then(|identity| identity.founding),
        Some(record())
    );
}

#[test]
fn r11_who_heard_that_the_cluster_was_founded_never_founds_one() {
    let mut founder = Founder::new();
    founder.hears_founded(2);
    for from in 1..5 {
        founder.hears_blank(from);
    }
    assert_eq!(founder.asked(), [1, 2, 3, 4]);
    assert!(founder.output().identity.is_none());
}
