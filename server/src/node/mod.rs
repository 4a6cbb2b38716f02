//! One replica as a state machine: agreement, sessions and store, with no socket, clock, thread or file.
//!
//! A driver (the replica thread, or the simulator) calls [`Node::client`], [`Node::peer`], [`Node::tick`] and the
//! rest, then takes one [`NodeOutput`] and handles its fields in their order.

mod agents;
mod answer_room;
mod batch;
mod clients;
mod disk_space;
mod diskless;
pub(crate) mod founding;
mod hash;
mod hearing;
mod held;
pub(crate) mod image;
mod joining;
mod log_side;
mod losses;
mod reads;
mod recovery;
mod rejoin;
mod sessions;
mod snapshots;
pub(crate) mod state;
mod state_hashes;
mod status;
mod stopping;
mod store;
mod transfer;
mod walk;
#[cfg(test)]
mod walk_tests;

use std::collections::VecDeque;
use std::fmt;

use common::{Answer, DatagramCounts, Outcome, Refusal, Request};
use log::debug;
use paxos::{Envelope, Persist, Replica, ReplicaId, Slot};

use self::answer_room::AnswerRoom;
use self::disk_space::DiskSpace;
use self::founding::Founding;
use self::hearing::Hearing;
use self::held::Held;
pub use self::image::{Piece, PieceKind, SnapshotHead};
use self::losses::Losses;
use self::reads::{Connections, HeldReads};
pub use self::recovery::Recovery;
use self::rejoin::Rejoins;
use self::snapshots::Snapshots;
pub use self::snapshots::{SnapshotProgress, SnapshotStep};
use self::state::State;
use self::state_hashes::HashReports;
use self::stopping::Stopping;
use self::transfer::Transfers;
pub use self::transfer::{TransferProgress, TransferStep};
use crate::identity::{ClusterSettings, Identity};
use crate::peers::PeerMessage;

/// One client connection: unique in the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// The worker that owns the connection.
    pub worker: u16,
    /// The worker's number for it, never used twice.
    pub serial: u64,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}.{}", self.worker, self.serial)
    }
}

/// What a node is told when it starts.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Which replica this is.
    pub replica: ReplicaId,
    /// All members, this one included, in order of ids.
    pub members: Vec<ReplicaId>,
    /// What a cluster founded by this node would be bound to.
    pub cluster: ClusterSettings,
    /// How long a request may wait before it is answered "no quorum", in ticks.
    pub no_quorum_after_ticks: u64,
    /// Put GETs through the log instead of confirming leadership for them.
    pub reads_through_log: bool,
    /// 64 random bits that no other life of this process has used: the birth of its proposer (RULES R2) and the seed
    /// of its random times.
    pub birth: u64,
}

/// One replica.
#[derive(Debug)]
pub struct Node {
    settings: NodeSettings,
    identity: Identity,
    phase: Phase,
    now: u64,
    state: State,
    held: Held,
    reads: HeldReads,
    connections: Connections,
    answer_room: AnswerRoom,
    rejoins: Rejoins,
    losses: Losses,
    hearing: Hearing,
    /// What followers forwarded and this replica, leading, has not proposed yet.
    forwarded: VecDeque<Vec<u8>>,
    forwarded_bytes: usize,
    hash_reports: HashReports,
    /// The leader and ballot under which requests were last handed over.
    handed_under: (Option<ReplicaId>, paxos::Ballot),
    /// The tick of the last apply, and the log time then known or stamped: what a new stamp goes on from (RULES R13).
    stamped: (u64, u64),
    applied_tick: u64,
    journal_bytes: u64,
    datagrams: DatagramCounts,
    disk_space: DiskSpace,
    /// Whether what is handed over survives this process.
    has_disk: bool,
    snapshots: Snapshots,
    transfers: Transfers,
    /// How much of the log is kept in memory for a replica that is away; the core's own bound if none.
    kept_log_bytes_max: Option<usize>,
    stopping: Option<Stopping>,
    /// What last became of an agent that failed on purpose, as a sentence; empty if none has.
    agent_remark: String,
    out: NodeOutput,
}

/// How far a replica has come.
#[derive(Debug)]
enum Phase {
    /// It belongs to no cluster yet.
    Founding(Founding),
    /// It was started for another cluster than the one that it found, for the reason given: it says nothing to its peers.
    Unfit(String),
    /// It takes part; without a vote while the log does not name its life (RULES R1).
    Running(Box<Replica>),
}

/// What a turn of the node asks of its driver; to be handled in the order of the fields.
#[derive(Debug, Default)]
#[must_use = "an output that is dropped loses messages, answers and, worse, promises"]
pub struct NodeOutput {
    /// To be made durable before anything in `send_when_durable` leaves, and before later `persist`s.
    pub identity: Option<Identity>,
    /// To be appended to the journal.
    pub persist: Option<Persist>,
    /// To be sent at once.
    pub send: Vec<(ReplicaId, PeerMessage)>,
    /// To be sent when everything handed over so far is durable. What is addressed to this replica itself goes back
    /// into [`Node::peer`].
    pub send_when_durable: Vec<(ReplicaId, PeerMessage)>,
    /// To be sent to clients.
    pub answers: Vec<(ConnectionId, Answer)>,
    /// When all of the above is handled, the process is to end, for the reason given: its state is not that of the others
    /// (RULES R21).
    pub stop: Option<String>,
    /// To be done for the snapshot that is being taken, off the thread that calls the node; what became of it goes back
    /// into [`Node::snapshot_progress`].
    pub snapshot: Option<SnapshotStep>,
    /// To be done, in order, for snapshots that travel between replicas, off the thread that calls the node; what became
    /// of it goes back into [`Node::transfer_progress`].
    pub transfers: Vec<TransferStep>,
    /// Two durable snapshots cover every slot below it: the journal need not hold them.
    pub trim_below: Option<Slot>,
}

impl NodeOutput {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.identity.is_none()
            && self.persist.is_none()
            && self.send.is_empty()
            && self.send_when_durable.is_empty()
            && self.answers.is_empty()
            && self.stop.is_none()
            && self.snapshot.is_none()
            && self.transfers.is_empty()
            && self.trim_below.is_none()
    }
}

impl Node {
    /// A node with what its journal replayed. `blank` says, as a sentence, why the acceptor's memory was lost, if it was:
    /// then the identity's incarnation is not the founding record's, and `recovery` holds what was learned in it.
    ///
    /// # Panics
    /// When `settings` name members without this replica.
    #[must_use]
    pub fn new(
        settings: NodeSettings,
        identity: Identity,
        recovery: Recovery,
        blank: Option<String>,
    ) -> Self {
        assert!(
            settings.members.contains(&settings.replica),
            "{} is not a member",
            settings.replica
        );
        let Recovery {
            log,
            state,
            configuration,
            snapshots,
        } = recovery;
        let mut node = Self {
            phase: Phase::Founding(Founding::new(settings.birth | 1)),
            now: 0,
            stamped: (0, state.log_time_ms()),
            state,
            held: Held::default(),
            reads: HeldReads::new(settings.birth >> 1),
            connections: Connections::new(),
            answer_room: AnswerRoom::default(),
            rejoins: Rejoins::new(settings.birth.rotate_left(32), None),
            losses: Losses::default(),
            hearing: Hearing::default(),
            forwarded: VecDeque::new(),
            forwarded_bytes: 0,
            hash_reports: HashReports::default(),
            handed_under: (None, paxos::Ballot::NONE),
            applied_tick: 0,
            journal_bytes: 0,
            datagrams: DatagramCounts::default(),
            disk_space: DiskSpace::default(),
            has_disk: true,
            snapshots,
            transfers: Transfers::default(),
            kept_log_bytes_max: None,
            stopping: None,
            agent_remark: String::new(),
            out: NodeOutput::default(),
            settings,
            identity,
        };
        if let Some(founding) = node.identity.founding.clone() {
            node.become_running(&founding, configuration, log);
        }
        node.trim_journal();
        let has_vote = node.replica().is_none_or(Replica::votes);
        if let Some(reason) = blank.filter(|_| !has_vote) {
            node.become_learner(reason);
        }
        node
    }

    /// A request of a client. Requests of one connection must come in the order in which they were sent.
    pub fn client(&mut self, connection: ConnectionId, request: Request) {
        self.admit(connection, request, self.now);
    }

    /// The connection is gone: nothing more is to be answered there.
    pub fn connection_closed(&mut self, connection: ConnectionId) {
        if self.connections.remove(&connection).is_some() {
            self.held.forget_connection(connection);
        }
    }

    /// A message of another replica, or one of this node's own `send_when_durable` that was addressed to itself.
    pub fn peer(&mut self, from: ReplicaId, message: PeerMessage) {
        if !self.settings.members.contains(&from) {
            return;
        }
        self.note_heard(from, &message);
        self.note_loss(from, &message);
        match &mut self.phase {
            Phase::Unfit(_) => {}
            Phase::Founding(founding) => {
                if from == self.settings.replica {
                    self.join_cluster(message);
                    return;
                }
                let step =
                    founding.handle(from, message, &self.settings, &self.identity, &mut self.out);
                self.take_founding_step(step);
            }
            Phase::Running(replica) => match message {
                PeerMessage::Agreement(message) => replica.step(Envelope {
                    from,
                    to: self.settings.replica,
                    message,
                }),
                PeerMessage::Forward { requests } => self.take_forwarded(from, requests),
                PeerMessage::HashReport { slot, hash } => self.take_hash_report(from, slot, hash),
                PeerMessage::SnapshotRequest {
                    from_slot,
                    slot,
                    offset,
                } => self.serve_snapshot(from, from_slot, slot, offset),
                PeerMessage::SnapshotPending => self.wait_for_snapshot(from),
                PeerMessage::SnapshotPiece {
                    slot,
                    total_bytes,
                    offset,
                    bytes,
                } => self.take_piece(from, slot, total_bytes, offset, bytes),
                PeerMessage::FoundingQuery { .. }
                | PeerMessage::FoundingReply { .. }
                | PeerMessage::Founded { .. } => {
                    if let Some(record) = &self.identity.founding {
                        founding::answer_unfounded(from, &message, record, &mut self.out);
                    }
                }
                PeerMessage::RejoinRequest { incarnation, nonce } => {
                    self.take_rejoin_request(from, incarnation, nonce);
                }
                PeerMessage::RejoinQuery { nonce } => self.take_rejoin_query(from, nonce),
            },
        }
    }

    /// The link to a peer came up or went down. What was forwarded over it may be lost, and a peer whose process ended is
    /// noticed by that at once.
    pub fn link(&mut self, peer: ReplicaId, up: bool) {
        if let Phase::Running(replica) = &mut self.phase
            && !up
        {
            replica.doubt(peer);
        }
        if self.handed_under.0 == Some(peer) {
            self.held.hand_over_again();
        }
        let state = if up { "up" } else { "down" };
        debug!("link to {peer} is {state}");
    }

    /// Ten milliseconds have passed.
    pub fn tick(&mut self) {
        self.now += 1;
        match &mut self.phase {
            Phase::Unfit(_) => {}
            Phase::Founding(founding) => {
                let step = founding.tick(self.now, &self.settings, &self.identity, &mut self.out);
                self.take_founding_step(step);
            }
            Phase::Running(replica) => replica.tick(),
        }
        self.tick_hashes();
        self.tick_rejoin();
        self.tick_disk_space();
        self.tick_losses();
        self.tick_clients();
        self.tick_snapshots();
        self.tick_transfers();
    }

    /// The disk of this replica is far behind: another is to lead until it is not. To be called with every tick meanwhile.
    pub fn leave_the_lead(&mut self) {
        if let Phase::Running(replica) = &mut self.phase {
            replica.resign();
        }
    }

    /// The identity as it stands: the greeting of a link names its cluster and incarnation.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Who leads, as far as this replica hears.
    #[must_use]
    pub fn leader(&self) -> Option<ReplicaId> {
        self.replica().and_then(Replica::leader)
    }

    /// The highest ballot that its acceptor promised.
    #[must_use]
    pub fn promised(&self) -> paxos::Ballot {
        self.replica().map(Replica::promised).unwrap_or_default()
    }

    /// Whether this replica has a vote, as far as it knows the log (RULES R1).
    #[must_use]
    pub fn votes(&self) -> bool {
        self.replica().is_some_and(Replica::votes)
    }

    /// Every slot below it is applied.
    #[must_use]
    pub fn applied(&self) -> Slot {
        self.state.applied()
    }

    /// The last slot at which the state hash was noted, and that hash.
    #[must_use]
    pub fn noted_hash(&self) -> (Slot, u128) {
        self.state.noted_hash()
    }

    /// The hash of the state as it stands.
    #[must_use]
    pub fn state_hash(&self) -> u128 {
        self.state.hash()
    }

    /// What is to be done now. Call it until it is empty before waiting for more.
    pub fn take_output(&mut self) -> NodeOutput {
        self.go_on_stopping();
        self.ask_reads();
        self.hand_over();
        self.run_agreement();
        self.stop_if_state_differs();
        self.continue_snapshot();
        self.count_snapshot_step();
        std::mem::take(&mut self.out)
    }

    fn replica(&self) -> Option<&Replica> {
        match &self.phase {
            Phase::Running(replica) => Some(replica),
            Phase::Founding(_) | Phase::Unfit(_) => None,
        }
    }

    /// Answers a request at once with why it is not done.
    fn refuse(&mut self, connection: ConnectionId, tag: u64, refusal: Refusal) {
        self.answer(connection, tag, Outcome::Refused(refusal));
    }

    fn answer(&mut self, connection: ConnectionId, tag: u64, outcome: Outcome) {
        let leader = self.leader().map(|leader| leader.0);
        self.out.answers.push((
            connection,
            Answer {
                tag,
                leader,
                outcome,
            },
        ));
    }
}

/// A replica that applied nothing for this long is idle, and reports the hash of its state as it stands.
const IDLE_TICKS: u64 = 50;
