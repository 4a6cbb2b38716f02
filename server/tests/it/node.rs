//! The node above agreement: what it holds for its clients, in what order it answers, and what it sends to its peers.

use std::sync::Arc;

use common::{Answer, Change, Outcome, Refusal, Request, SessionId, Write};
use kvpaxos_server::identity::{ClusterSettings, Identity};
use kvpaxos_server::node::{ConnectionId, Node, NodeSettings, Recovery};
use kvpaxos_server::peers::{PeerMessage, append_peer_frame, peer_frame_bytes_max};
use kvpaxos_server::snapshot_thread::{SnapshotJob, SnapshotWork};
use paxos::{Command, Incarnation, Message, Persist, ReplicaId};

use crate::faulty_disk::FaultyDisk;

/// Nodes whose disks and network do at once what they are told.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) answers: Vec<Answer>,
    /// How many records the nodes gave to their journals.
    pub(crate) records: usize,
    longest_frame_bytes: usize,
    /// Replicas for which the last byte of what they are to accept is changed on the way: their state goes wrong.
    pub(crate) misled: Vec<(usize, u8)>,
    /// Which of them stopped, and why.
    pub(crate) stops: Vec<(usize, String)>,
    /// Hears nothing and is not heard.
    pub(crate) cut_off: Option<usize>,
    /// What each gave to its journal.
    pub(crate) journals: Vec<Vec<Persist>>,
    /// Each does the steps of its snapshots at once.
    snapshots: Vec<SnapshotWork>,
    /// What was to be done for snapshots while that is left undone, and by whom.
    pub(crate) undone: Option<Vec<(usize, SnapshotJob)>>,
}

impl Cluster {
    /// Nodes that were never started before; without `founded` they do not hear of each other.
    fn new(count: u8, founded: bool) -> Self {
        Self::with_settings(count, founded, ClusterSettings::default())
    }

    pub(crate) fn with_settings(count: u8, founded: bool, cluster: ClusterSettings) -> Self {
        let members: Vec<ReplicaId> = (0..count).map(ReplicaId).collect();
        let nodes = members.iter().map(|&replica| {
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
        });
        let mut cluster = Self {
            nodes: nodes.collect(),
            answers: Vec::new(),
            records: 0,
            longest_frame_bytes: 0,
            misled: Vec::new(),
            stops: Vec::new(),
            cut_off: None,
            journals: vec![Vec::new(); usize::from(count)],
            snapshots: (0..count)
                .map(|_| SnapshotWork::new(Arc::new(FaultyDisk::new()), Vec::new()))
                .collect(),
            undone: None,
        };
        if founded {
            for _ in 0..200 {
                cluster.tick();
            }
            assert!(cluster.nodes.iter().all(|node| node.leader().is_some()));
        }
        cluster
    }

    pub(crate) fn leader(&self) -> usize {
        self.find_leader().expect("somebody leads")
    }

    /// Whoever believes that it leads.
    pub(crate) fn find_leader(&self) -> Option<usize> {
        self.nodes
            .iter()
            .zip(0..)
            .position(|(node, place)| node.leader() == Some(ReplicaId(place)))
    }

    pub(crate) fn tick(&mut self) {
        for place in 0..self.nodes.len() {
            self.nodes[place].tick();
        }
        self.pump();
    }

    /// Does what the nodes say until they say nothing more.
    pub(crate) fn pump(&mut self) {
        while (0..self.nodes.len()).any(|place| self.take_output(place)) {}
    }

    /// Whether there was any.
    fn take_output(&mut self, place: usize) -> bool {
        let output = self.nodes[place].take_output();
        let is_some = !output.is_empty();
        if let Some(persist) = output.persist {
            self.records += persist.records.len();
            self.journals[place].push(persist);
        }
        self.answers
            .extend(output.answers.into_iter().map(|(_, answer)| answer));
        self.stops.extend(output.stop.map(|why| (place, why)));
        for (to, mut message) in output.send.into_iter().chain(output.send_when_durable) {
            self.note_frame(&message);
            let receiver = usize::from(to.0);
            let is_cut = self
                .cut_off
                .is_some_and(|cut| cut == place || cut == receiver);
            if is_cut && receiver != place {
                continue;
            }
            self.mislead(receiver, &mut message);
            self.nodes[receiver].peer(ReplicaId(place as u8), message);
        }
        let steps = output.snapshot.into_iter().map(SnapshotJob::Take);
        let jobs = steps.chain(output.transfers.into_iter().map(SnapshotJob::Transfer));
        for job in jobs {
            match &mut self.undone {
                Some(undone) => undone.push((place, job)),
                None => self.do_job(place, job),
            }
        }
        is_some
    }

    fn do_job(&mut self, place: usize, job: SnapshotJob) {
        let (work, node) = (&mut self.snapshots[place], &mut self.nodes[place]);
        match job {
            SnapshotJob::Take(step) => node.snapshot_progress(work.take(step).unwrap()),
            SnapshotJob::Transfer(step) => {
                if let Some(progress) = work.transfer(step).unwrap() {
                    node.transfer_progress(progress);
                }
            }
        }
    }

    /// Does what was left undone, and from now on everything at once.
    pub(crate) fn do_undone(&mut self) {
        for (place, job) in self.undone.take().into_iter().flatten() {
            self.do_job(place, job);
        }
        self.pump();
    }

    fn mislead(&self, to: usize, message: &mut PeerMessage) {
        if let Some((_, byte)) = self.misled.iter().find(|(misled, _)| *misled == to)
            && let PeerMessage::Agreement(Message::Accept { command, .. }) = message
            && let Command::Opaque(bytes) = command
            && bytes.ends_with(b"v")
        {
            let mut wrong = bytes.to_vec();
            wrong.pop();
            wrong.push(*byte);
            *command = Command::Opaque(wrong.into());
        }
    }

    fn note_frame(&mut self, message: &PeerMessage) {
        if let PeerMessage::Forward { .. } | PeerMessage::Agreement(Message::Accept { .. }) =
            message
        {
            let mut frame = Vec::new();
            append_peer_frame(&mut frame, 0, message);
            self.longest_frame_bytes = self.longest_frame_bytes.max(frame.len() - 4);
        }
    }

    pub(crate) fn open_session(&mut self) -> SessionId {
        match self.ask(Request::OpenSession { tag: 1, nonce: 5 }) {
            Outcome::SessionOpened { session, .. } => session,
            other => panic!("no session was opened: {other:?}"),
        }
    }

    /// What the leader answers to the request.
    pub(crate) fn ask(&mut self, request: Request) -> Outcome {
        let place = self.leader();
        self.nodes[place].client(connection(99), request);
        self.pump();
        self.answers.pop().expect("it is answered at once").outcome
    }

    /// The tags that were answered.
    fn answered(&self) -> Vec<u64> {
        self.answers.iter().map(|answer| answer.tag).collect()
    }
}

pub(crate) fn connection(serial: u64) -> ConnectionId {
    ConnectionId { worker: 0, serial }
}

fn get(tag: u64) -> Request {
    Request::Get {
        tag,
        key: b"k".to_vec(),
    }
}

/// A write whose tag is its number.
pub(crate) fn append(
    session: SessionId,
    sequence: u64,
    floor: u64,
    after: u64,
    bytes: usize,
) -> Request {
    let change = Change::Append {
        key: b"k".to_vec(),
        value: vec![b'v'; bytes],
    };
    Request::Write {
        tag: sequence,
        write: Write {
            session,
            sequence,
            floor,
            after,
            change,
        },
    }
}

#[test]
fn many_writes_that_are_settled_at_once_behind_a_read_do_not_fill_the_stack() {
    let mut cluster = Cluster::new(1, true);
    let gone = SessionId {
        revision: 0,
        nonce: 1,
    };
    let client = connection(1);
    cluster.nodes[0].client(client, get(0));
    for sequence in 1..=50_000 {
        cluster.nodes[0].client(client, append(gone, sequence, 1, 0, 1));
    }
    cluster.pump();
    assert_eq!(cluster.answered(), (0..=50_000).collect::<Vec<u64>>());
}

#[test]
fn a_node_that_stops_answers_what_waits_behind_reads_too() {
    let mut cluster = Cluster::new(3, false);
    for tag in 0..10 {
        let request = if tag % 2 == 0 {
            get(tag)
        } else {
            Request::OpenSession { tag, nonce: tag }
        };
        cluster.nodes[0].client(connection(1), request);
    }
    cluster.nodes[0].stop();
    cluster.take_output(0);
    assert_eq!(cluster.answered(), (0..10).collect::<Vec<u64>>());
}

#[test]
fn what_waits_behind_reads_is_given_up_in_time() {
    let mut cluster = Cluster::new(3, false);
    for tag in 0..100 {
        let request = if tag % 2 == 0 {
            get(tag)
        } else {
            Request::OpenSession { tag, nonce: tag }
        };
        cluster.nodes[0].client(connection(1), request);
    }
    for _ in 0..510 {
        cluster.nodes[0].tick();
    }
    cluster.take_output(0);
    assert_eq!(cluster.answered(), (0..100).collect::<Vec<u64>>());
    let refused = Outcome::Refused(Refusal::NoQuorum { proposed: false });
    assert!(
        cluster
            .answers
            .iter()
            .all(|answer| answer.outcome == refused)
    );
}

#[test]
fn a_write_that_waits_for_a_missing_one_does_not_fill_the_log() {
    let mut cluster = Cluster::new(1, true);
    let session = cluster.open_session();
    let before = cluster.records;
    cluster.nodes[0].client(connection(1), append(session, 2, 1, 1, 1_000));
    for _ in 0..400 {
        cluster.tick();
    }
    assert_eq!(cluster.records - before, 1);
    cluster.nodes[0].client(connection(2), append(session, 1, 1, 0, 1_000));
    for _ in 0..5 {
        cluster.tick();
    }
    assert_eq!(cluster.answered(), [1, 2]);
}

#[test]
fn a_later_copy_of_a_write_need_not_wait_for_what_the_client_gave_up() {
    let mut cluster = Cluster::new(1, true);
    let session = cluster.open_session();
    cluster.nodes[0].client(connection(1), append(session, 2, 1, 1, 10));
    cluster.pump();
    cluster.nodes[0].client(connection(2), append(session, 2, 2, 0, 10));
    cluster.nodes[0].client(connection(3), append(session, 2, 1, 1, 10));
    for _ in 0..5 {
        cluster.tick();
    }
    assert_eq!(cluster.answered(), [2, 2, 2]);
}

#[test]
fn no_message_is_longer_than_its_frame_may_be() {
    let mut cluster = Cluster::new(2, true);
    let session = cluster.open_session();
    let leader = cluster.leader();
    let follower = 1 - leader;
    let settings = ClusterSettings::default();
    let longest = settings.value_bytes_max as usize;
    // A full half of the follower's share, and then one value that fills it to the brim.
    for (sequence, bytes) in [(1, 255 << 10), (2, longest)] {
        cluster.nodes[follower].client(connection(1), append(session, sequence, 1, 0, bytes));
    }
    // As much of the leader's own clients as still leaves room for that.
    for (sequence, bytes) in [(3, 511 << 10), (4, 510 << 10)] {
        cluster.nodes[leader].client(connection(2), append(session, sequence, 1, 0, bytes));
    }
    cluster.take_output(follower);
    cluster.pump();
    assert_eq!(cluster.answered().len(), 4);
    let frame_bytes_max = peer_frame_bytes_max(&settings) as usize;
    assert!(
        cluster.longest_frame_bytes <= frame_bytes_max,
        "{} bytes, and {frame_bytes_max} are allowed",
        cluster.longest_frame_bytes
    );
}

#[test]
fn a_leader_whose_disk_is_far_behind_leaves_the_lead_to_another() {
    let mut cluster = Cluster::new(3, true);
    let slow = cluster.leader();
    for _ in 0..200 {
        cluster.nodes[slow].leave_the_lead();
        cluster.tick();
    }
    let leader = cluster.nodes[slow].leader();
    assert!(leader.is_some_and(|leader| usize::from(leader.0) != slow));
    cluster.nodes[slow].client(connection(1), get(3));
    cluster.pump();
    assert_eq!(cluster.answered(), [3]);
}

/// Many GETs of a long value become answerable at one moment: what there is no room for waits, the connections take turns, and
/// each gets its answers in order.
#[test]
fn values_without_room_wait_for_it() {
    const VALUE_BYTES: u64 = 1_000;
    let mut cluster = Cluster::new(1, true);
    let session = cluster.open_session();
    cluster.nodes[0].client(
        connection(9),
        append(session, 1, 1, 0, VALUE_BYTES as usize),
    );
    cluster.pump();
    cluster.answers.clear();
    cluster.nodes[0].note_answer_room(0);
    for tag in 0..20 {
        cluster.nodes[0].client(connection(tag % 2), get(tag));
    }
    cluster.pump();
    assert_eq!(cluster.answered(), Vec::<u64>::new());
    let mut next = [0, 1];
    for _ in 0..4 {
        cluster.nodes[0].note_answer_room(5 * VALUE_BYTES);
        cluster.pump();
        let answered = cluster.answered();
        assert_eq!(answered.len(), 5, "{answered:?}");
        let turn = (answered[0] % 2) as usize;
        assert!(
            answered.iter().all(|tag| (tag % 2) as usize == turn),
            "{answered:?}"
        );
        assert_eq!(answered[0], next[turn]);
        next[turn] = answered[4] + 2;
        cluster.answers.clear();
        cluster.nodes[0].note_answer_room(0);
    }
    assert_eq!(next, [20, 21], "both had their turn");
    cluster.nodes[0].note_answer_room(1);
    cluster.nodes[0].client(connection(3), get(99));
    cluster.pump();
    assert_eq!(
        cluster.answered(),
        [99],
        "the longest value finds room, too"
    );
}
