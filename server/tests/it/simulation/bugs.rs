//! Bugs, planted to test the tests: each is put where the simulator drives the shipped code, so that the code itself has
//! no place for them.

use kvpaxos_server::node::{PieceKind, SnapshotStep};
use kvpaxos_server::peers::PeerMessage;
use paxos::{DurableState, Message, Record, ReplicaId, Slot};

use super::random::Random;
use super::replica::slot_of;

/// One planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// Promises and votes leave before they are durable.
    SentBeforeDurable,
    /// Every life of a proposer has the same birth, so that it uses ballots again (RULES R2).
    BallotReused,
    /// The journal is not told of promises.
    PromiseNotPersisted,
    /// A sync reports success and does nothing.
    SyncSkipped,
    /// A replica that starts forgets its journal's last batch.
    LastBatchCut,
    /// Every vote is counted twice, the second time as another replica's.
    QuorumOffByOne,
    /// A follower takes whatever it accepted below the leader's watermark as chosen (RULES R6).
    WatermarkAcrossBallots,
    /// A leader releases reads without asking anybody.
    LeaderReadsAlone,
    /// An echo of an earlier round counts for the present one: reads join a round that was under way (RULES R10).
    EchoReused,
    /// A promise does not say what was accepted.
    PromiseWithoutAccepted,
    /// An acceptor takes an Accept of a lower ballot for one of the ballot that it promised.
    LowerBallotAccepted,
    /// A session remembers only its highest number (RULES R8).
    HighestNumberSessions,
    /// Writes do not say which one they follow (RULES R8).
    WritesUnordered,
    /// A read does not wait for the writes before it on its connection (RULES R9).
    ReadOvertakesWrite,
    /// A retry is a new request.
    RetryIsNew,
    /// One replica applies something else than the others.
    AppliesSomethingElse,
    /// Log time follows a clock wherever it jumps (RULES R13).
    LogTimeFromClock,
    /// Sessions are forgotten after a fraction of what was promised.
    SessionExpiresEarly,
    /// A snapshot does not hold the sessions.
    SessionsMissingFromSnapshot,
    /// A promise does not say what its acceptor has forgotten (RULES R5).
    PromiseBelowTrimPoint,
    /// The journal is trimmed when a snapshot is begun (RULES R7).
    ForgetBeforeDurable,
    /// A replica whose disk was lost goes on under its earlier incarnation (RULES R1).
    BlankVotes,
    /// A disk goes back, and votes with it that nobody else has (RULES R19): the simulator asks too much.
    VotesRolledBack,
    /// An acceptor's successor comes before the journal holds what was queued, and what its predecessor would have said
    /// when it does is said then (RULES R16).
    DeadAcceptorsOutboxSent,
    /// The journal is read back before it holds what was queued (RULES R16).
    SuccessorReadsEarly,
    /// What was queued for the journal dies with the agent (RULES R16).
    QueueDiesWithAgent,
    /// Nobody hears how much room there is, and everything is proposed until there is none (RULES R18).
    ProposesIntoFullDisks,
    /// A candidate's own promise and a leader's own vote count before they are durable (RULES R2).
    OwnVoteEarly,
    /// A journal is cut where a checksum does not fit, wherever that is (RULES R3).
    CutAtBadChecksum,
    /// A slot that a learner lacks is passed over.
    HoleSkipped,
    /// Nobody is told what it missed (RULES R17).
    NobodyTeaches,
    /// What a batch holds is applied in another order on each replica, as from a hash map.
    AppliesInHashOrder,
    /// Two sessions that were opened in one batch are one (RULES R12).
    TwoSessionsInOneBatch,
    /// A write does not wait for the reads before it on its connection (RULES R9).
    WriteOvertakesRead,
    /// What a client asked for in a session that expired it asks for again in the next (RULES R15).
    RunsAgainAfterExpiry,
    /// A snapshot does not hold the values (RULES R22).
    ValuesMissingFromSnapshot,
}

impl Bug {
    /// All of them: by which check each is found, and the seed that found it last. A change of the code may move that:
    /// then the search finds another.
    pub(super) const ALL: [(Self, Check, u64); 36] = [
        (Self::SentBeforeDurable, Check::StatesDiffer, 6),
        (Self::BallotReused, Check::TwoCommands, 2),
        (Self::PromiseNotPersisted, Check::StatesDiffer, 33),
        (Self::SyncSkipped, Check::StatesDiffer, 1),
        (Self::LastBatchCut, Check::StatesDiffer, 1),
        (Self::CutAtBadChecksum, Check::StatesDiffer, 14),
        (Self::OwnVoteEarly, Check::StatesDiffer, 6),
        (Self::QuorumOffByOne, Check::StatesDiffer, 53),
        (Self::WatermarkAcrossBallots, Check::StatesDiffer, 16),
        (Self::LowerBallotAccepted, Check::StatesDiffer, 273),
        (Self::PromiseWithoutAccepted, Check::StatesDiffer, 11),
        (Self::PromiseBelowTrimPoint, Check::StatesDiffer, 2),
        (Self::ForgetBeforeDurable, Check::Lost, 36),
        (Self::BlankVotes, Check::StatesDiffer, 2),
        (Self::VotesRolledBack, Check::StatesDiffer, 10),
        (Self::HoleSkipped, Check::StatesDiffer, 1),
        (Self::AppliesInHashOrder, Check::StatesDiffer, 1),
        (Self::AppliesSomethingElse, Check::StateHash, 1),
        (Self::NobodyTeaches, Check::NotDone, 2),
        (Self::LeaderReadsAlone, Check::NotLinearizable, 30),
        (Self::EchoReused, Check::NotLinearizable, 262),
        (Self::ReadOvertakesWrite, Check::NotLinearizable, 1),
        (Self::WriteOvertakesRead, Check::NotLinearizable, 1),
        (Self::WritesUnordered, Check::AppendsOfOne, 1),
        (Self::RetryIsNew, Check::AppendsOfOne, 1),
        (Self::RunsAgainAfterExpiry, Check::WritesOfOne, 13),
        (Self::HighestNumberSessions, Check::WrongAnswer, 1),
        (Self::TwoSessionsInOneBatch, Check::WrongAnswer, 1),
        (Self::LogTimeFromClock, Check::SessionExpired, 9),
        (Self::SessionExpiresEarly, Check::SessionExpired, 1),
        (Self::SessionsMissingFromSnapshot, Check::SnapshotHash, 2),
        (Self::ValuesMissingFromSnapshot, Check::SnapshotHash, 2),
        (Self::DeadAcceptorsOutboxSent, Check::StatesDiffer, 47),
        (Self::SuccessorReadsEarly, Check::ReadBack, 2),
        (Self::QueueDiesWithAgent, Check::ReadBack, 8),
        (Self::ProposesIntoFullDisks, Check::Reserve, 21),
    ];

    /// Whether it shows only where sessions expire.
    pub(super) fn is_about_sessions(self) -> bool {
        matches!(
            self,
            Self::LogTimeFromClock | Self::SessionExpiresEarly | Self::RunsAgainAfterExpiry
        )
    }

    /// Whether it shows only where agents fail.
    pub(super) fn is_about_agents(self) -> bool {
        matches!(
            self,
            Self::DeadAcceptorsOutboxSent | Self::SuccessorReadsEarly | Self::QueueDiesWithAgent
        )
    }
}

/// What says that something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Two replicas that applied the same slots are in different states.
    StatesDiffer,
    /// No order of the operations explains what clients were answered.
    NotLinearizable,
    /// An append is there twice, or out of order.
    AppendsOfOne,
    /// The same, or an order that no history explains: which is seen first depends on what the client reads.
    WritesOfOne,
    /// A majority that is well lets clients wait.
    NotDone,
    /// What was chosen can nowhere be found.
    Lost,
    /// A proposer finds itself proposing two commands in one slot and ballot (RULES R2).
    TwoCommands,
    /// A client is refused what it has a right to, or gets the answer to something else.
    WrongAnswer,
    /// A snapshot does not have the hash of the state that it was made of (RULES R21).
    SnapshotHash,
    /// A session was forgotten too early.
    SessionExpired,
    /// The replicas find it themselves, by the hash of their state (RULES R21).
    StateHash,
    /// What was durable is not there when a replica reads it back.
    ReadBack,
    /// The reserve of a full disk is used up.
    Reserve,
}

impl Check {
    /// Whether the error is this check's.
    pub(super) fn is_by(self, error: &str) -> bool {
        let words: &[&str] = match self {
            Self::StatesDiffer => &["has another state than others"],
            Self::NotLinearizable => &["not linearizable"],
            Self::AppendsOfOne => &["its own appends are"],
            Self::WritesOfOne => &["its own appends are", "not linearizable"],
            Self::NotDone => &["not done in time"],
            Self::Lost => &["nothing was done to it", "has another state than others"],
            Self::TwoCommands => &["proposed two commands"],
            Self::WrongAnswer => &["was refused", "was answered"],
            Self::SnapshotHash => &["the snapshot of slot"],
            Self::SessionExpired => &["its session expired"],
            Self::StateHash => &["and a majority has"],
            Self::ReadBack => &["was durable"],
            Self::Reserve => &["the reserve"],
        };
        // A judge that gave up has found nothing.
        !error.contains("undecided") && words.iter().any(|words| error.contains(words))
    }
}

/// What a replica's snapshots come to under a bug of theirs: the next step, and what the journal may give up.
pub(super) fn spoil_snapshot(
    bug: Option<Bug>,
    mut step: Option<SnapshotStep>,
    trim_below: Option<Slot>,
) -> (Option<SnapshotStep>, Option<Slot>) {
    let begun = match &mut step {
        Some(SnapshotStep::Piece(piece)) if bug == Some(Bug::SessionsMissingFromSnapshot) => {
            if piece.kind == PieceKind::Sessions {
                piece.bytes.clear();
            }
            None
        }
        Some(SnapshotStep::Piece(piece)) if bug == Some(Bug::ValuesMissingFromSnapshot) => {
            if piece.kind == PieceKind::Entries {
                piece.bytes.clear();
            }
            None
        }
        Some(SnapshotStep::Begin { head, .. }) if bug == Some(Bug::ForgetBeforeDurable) => {
            Some(head.slot)
        }
        _ => None,
    };
    (step, begun.max(trim_below))
}

/// What opening hands over of a journal under a bug of it. What the log holds anyway is not in question.
pub(super) fn cut_batches(
    bug: Option<Bug>,
    batches: &mut [(DurableState, Vec<Record>)],
    random: &mut Random,
) {
    let chosen = batches
        .last()
        .map_or(Slot(0), |(state, _)| state.chosen_watermark);
    let with_records = batches.iter().rposition(|(_, records)| !records.is_empty());
    let from = match (bug, with_records) {
        (Some(Bug::LastBatchCut), Some(last)) => last,
        (Some(Bug::CutAtBadChecksum), Some(last)) => random.between(0, last as u64 + 1) as usize,
        _ => return,
    };
    for (_, records) in &mut batches[from..] {
        records.retain(|record| slot_of(record) < chosen);
    }
}

/// A message and whom it is for.
type Addressed = (ReplicaId, PeerMessage);

/// Of what a replica says once its writes are durable, what it says at once under a bug of its driver, and the rest.
pub(super) fn spoil_outbox(
    bug: Option<Bug>,
    me: ReplicaId,
    messages: Vec<Addressed>,
) -> (Vec<Addressed>, Vec<Addressed>) {
    messages.into_iter().partition(|(to, _)| match bug {
        Some(Bug::SentBeforeDurable) => true,
        Some(Bug::OwnVoteEarly) => *to == me,
        _ => false,
    })
}

/// [`Bug::PromiseBelowTrimPoint`].
pub(super) fn hide_what_is_forgotten(message: &mut PeerMessage) {
    if let PeerMessage::Agreement(Message::Promise {
        from_slot,
        chosen_watermark,
        trimmed_watermark,
        ..
    }) = message
        && *trimmed_watermark > *from_slot
    {
        *chosen_watermark = *from_slot;
        *trimmed_watermark = Slot(0);
    }
}
