//! Bugs, planted to test the tests: each is put where the simulator drives the shipped code, so that the code itself has
//! no place for them.

use kvpaxos_server::node::{PieceKind, SnapshotStep};
use kvpaxos_server::peers::PeerMessage;
use paxos::{Message, Slot};

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
    /// An echo of an earlier round counts for the present one (RULES R10).
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
}

impl Bug {
    /// All of them, each with the seed that found it last. A change of the code may move that: then the search finds another.
    pub(super) const ALL: [(Self, u64); 27] = [
        (Self::SentBeforeDurable, 22),
        (Self::BallotReused, 20),
        (Self::PromiseNotPersisted, 328),
        (Self::SyncSkipped, 1),
        (Self::LastBatchCut, 1),
        (Self::QuorumOffByOne, 219),
        (Self::WatermarkAcrossBallots, 40),
        (Self::LeaderReadsAlone, 2),
        (Self::EchoReused, 440),
        (Self::PromiseWithoutAccepted, 12),
        (Self::LowerBallotAccepted, 305),
        (Self::HighestNumberSessions, 1),
        (Self::WritesUnordered, 4),
        (Self::ReadOvertakesWrite, 1),
        (Self::RetryIsNew, 1),
        (Self::AppliesSomethingElse, 4),
        (Self::LogTimeFromClock, 2),
        (Self::SessionExpiresEarly, 1),
        (Self::SessionsMissingFromSnapshot, 2),
        (Self::PromiseBelowTrimPoint, 60),
        (Self::ForgetBeforeDurable, 206),
        (Self::BlankVotes, 34),
        (Self::VotesRolledBack, 6),
        (Self::DeadAcceptorsOutboxSent, 85),
        (Self::SuccessorReadsEarly, 4),
        (Self::QueueDiesWithAgent, 8),
        (Self::ProposesIntoFullDisks, 1),
    ];

    /// Whether it shows only where sessions expire.
    pub(super) fn is_about_sessions(self) -> bool {
        matches!(self, Self::LogTimeFromClock | Self::SessionExpiresEarly)
    }

    /// Whether it shows only where agents fail.
    pub(super) fn is_about_agents(self) -> bool {
        matches!(
            self,
            Self::DeadAcceptorsOutboxSent | Self::SuccessorReadsEarly | Self::QueueDiesWithAgent
        )
    }

    /// What the error must say, where one rule is to find the bug and no other may.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::AppliesSomethingElse => "and a majority has",
            Self::ProposesIntoFullDisks => "the reserve",
            Self::DeadAcceptorsOutboxSent => "has another state than others",
            Self::SuccessorReadsEarly => "was durable",
            _ => "",
        }
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
        Some(SnapshotStep::Begin { head, .. }) if bug == Some(Bug::ForgetBeforeDurable) => {
            Some(head.slot)
        }
        _ => None,
    };
    (step, begun.max(trim_below))
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
