//! What snapshots mean to agreement: who needs one, what one stands for, and what need not be remembered because of one.
//!
//! The core never sees a snapshot. Its driver says that one is durable here, taken of this replica's own state
//! ([`Replica::snapshot_durable`]) or received from a peer ([`Replica::install`]).

use std::collections::BTreeMap;

use super::{Agent, Replica, RoleState};
use crate::ballot::{Ballot, ReplicaId, Slot};
use crate::output::{ResignReason, SnapshotWanted};
use crate::quorum::Configuration;

impl Replica {
    /// A snapshot of `slot` that a peer sent is durable here, together with the configuration as of that slot: every slot
    /// below it is chosen, and the driver has its state. Promise, and what is accepted at or above `slot`, stay as they
    /// are (RULES R22); nothing below `slot` is delivered any more.
    ///
    /// `false`, and nothing has changed, when all below `slot` was delivered already: the driver keeps the state that it
    /// has. The answer holds for the state as of the last output, so that is to be asked before the state is replaced.
    pub fn install(&mut self, slot: Slot, configuration: &Configuration) -> bool {
        if slot <= self.learner.delivered_watermark() || self.away == Some(Agent::Learner) {
            return false;
        }
        if let RoleState::Leading(leading) = &self.role
            && slot > leading.start
        {
            // What it proposed or found there cannot be compared with what was chosen, so it does not lead on.
            self.become_follower_of(Ballot::NONE);
        }
        self.learner.install(slot);
        self.acceptor.forget_below(self.learner.chosen_watermark());
        self.configuration = united(&self.configuration, configuration);
        self.durable_watermark = self.durable_watermark.max(slot);
        self.persisted.chosen_watermark = self.persisted.chosen_watermark.max(slot);
        self.snapshot_watermark = self.snapshot_watermark.max(slot);
        self.catch_up.installed(slot);
        self.settle_in_flight();
        self.ask_to_catch_up();
        true
    }

    /// A snapshot of this replica's own state is durable: every slot below `slot` is in it.
    pub fn snapshot_durable(&mut self, slot: Slot) {
        self.snapshot_watermark = self.snapshot_watermark.max(slot);
    }

    /// Keeps the log from `slot` on, for a peer that is being sent a snapshot of that slot; `None` ends that. The log is
    /// not kept beyond [`held_bytes_max`](crate::Config::held_bytes_max), lest a slow receiver fill this memory.
    pub fn hold_log(&mut self, slot: Option<Slot>) {
        self.held_watermark = slot;
    }

    /// Whether [`hold_log`](Self::hold_log) is in force: somebody wants the log, and it is not too long for that.
    #[must_use]
    pub fn holds_log(&self) -> bool {
        self.held_watermark.is_some() && self.learner.kept_bytes() <= self.config.held_bytes_max
    }

    /// Changes how much is kept in memory for a replica that is away: see
    /// [`kept_bytes_max`](crate::Config::kept_bytes_max).
    pub fn keep_log_bytes(&mut self, bytes_max: usize) {
        self.config.kept_bytes_max = bytes_max;
    }

    /// The snapshot that this replica needs, if it does: asked again and again, until it is installed or the log comes
    /// after all.
    #[must_use]
    pub fn snapshot_wanted(&self) -> Option<SnapshotWanted> {
        let from_slot = self.learner.chosen_watermark();
        let patience_ticks = self.config.retransmit_ticks;
        let peers = self
            .catch_up
            .snapshot_sources(from_slot, self.now, patience_ticks);
        (!peers.is_empty()).then_some(SnapshotWanted { from_slot, peers })
    }

    /// Commands below this slot are forgotten: who lacks them needs a snapshot at or above it.
    #[must_use]
    pub fn trimmed_watermark(&self) -> Slot {
        self.learner.trimmed_watermark()
    }

    /// Every slot below this can be replayed from this replica's own disk.
    #[must_use]
    pub fn durable_watermark(&self) -> Slot {
        self.durable_watermark
    }

    /// What the log in memory takes, in bytes.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.learner.kept_bytes()
    }

    /// Forgets what all can replay at once, and what only a snapshot covers when too much is kept (RULES R7, SPEC D5).
    pub(super) fn forget(&mut self) {
        let held = self.held_watermark.filter(|_| self.holds_log());
        let below = |watermark: Slot| held.map_or(watermark, |held| watermark.min(held));
        self.learner.forget_below(below(self.forget_watermark));
        self.learner
            .forget_surplus(below(self.snapshot_watermark), self.config.kept_bytes_max);
    }

    /// `from` says what it has forgotten; that matters if it is what this replica lacks. Instances have no snapshots: what
    /// is forgotten there nobody needs.
    pub(super) fn note_forgotten(&mut self, from: ReplicaId, trimmed_watermark: Slot) {
        let is_news = self.instances.is_none() && from != self.config.me;
        if is_news && trimmed_watermark > self.learner.chosen_watermark() {
            self.catch_up.forgot(from, trimmed_watermark, self.now);
        }
    }

    /// The time by which it asks to lead: one that would need a snapshot first, or has less room on its disk than others,
    /// is three timeouts late, so that a better one comes before it, and yet it does not wait for ever (RULES R17).
    pub(super) fn now_as_candidate(&self) -> u64 {
        let lacks_log = self
            .catch_up
            .needs_snapshot(self.learner.chosen_watermark());
        let is_late = lacks_log || self.is_short_of_space();
        let delay_ticks = LATE_TIMEOUTS * self.config.election_timeout_ticks_max;
        self.now
            .saturating_sub(if is_late { delay_ticks } else { 0 })
    }

    /// A leader that learns nothing: another phase 1 may tell what it lacks, unless that is forgotten. Then it serves
    /// nobody before it has a snapshot, and somebody else may.
    pub(super) fn become_candidate_or_wait(&mut self) {
        if !self
            .catch_up
            .needs_snapshot(self.learner.chosen_watermark())
        {
            self.become_candidate();
            return;
        }
        self.leave_leading(ResignReason::NeedsSnapshot);
        self.role = RoleState::Follower;
        self.election.postpone(self.now, &self.config);
    }
}

/// The lives that either names. Both come from one log, so they agree where both know.
fn united(one: &Configuration, other: &Configuration) -> Configuration {
    let lives: BTreeMap<_, _> = one
        .lives()
        .chain(other.lives())
        .map(|(replica, slot, incarnation)| ((replica, slot), incarnation))
        .collect();
    let lives = lives
        .into_iter()
        .map(|((replica, slot), incarnation)| (replica, slot, incarnation));
    Configuration::from_lives(lives).expect("the lives of two configurations make one")
}

const LATE_TIMEOUTS: u64 = 3;
