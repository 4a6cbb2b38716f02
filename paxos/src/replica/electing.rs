//! Whether to try to lead (RULES R17). What follows a promise of the majority stands in `leading`.

use super::{Replica, RoleState};
use crate::ballot::{Ballot, Incarnation, ReplicaId, Slot};
use crate::message::Message;
use crate::output::{Note, ResignReason};
use crate::proposer::Preparing;

impl Replica {
    /// Asks whether a majority would follow, when no leader has been heard for a random time.
    pub(super) fn tick_election(&mut self) {
        let waits = match &self.role {
            RoleState::Follower | RoleState::Canvassing(_) => true,
            RoleState::Preparing(_) | RoleState::Leading(_) => false,
        };
        if waits && self.may_come_to_lead() && self.election.is_due(self.now_as_candidate()) {
            self.become_canvassing();
        }
    }

    /// The process of `peer` is gone, as far as the driver can tell: its connection was closed. If it is the leader that is
    /// heard, the cluster is spared the time after which its silence would be noticed. An error costs a question: those
    /// who go on hearing the leader say no, and so does its next heartbeat.
    pub fn doubt(&mut self, peer: ReplicaId) {
        if self
            .election
            .leader(self.now, &self.config)
            .is_some_and(|heard| heard.replica == peer)
        {
            self.election.doubt(self.now);
        }
    }

    /// A yes does not bind, and asking changes nothing here: only a leader that is heard and has a majority is a reason
    /// to say no.
    pub(super) fn handle_canvass(&mut self, from: ReplicaId, nonce: u64, chosen_watermark: Slot) {
        self.catch_up.heard(from, chosen_watermark);
        let leader = self.leader();
        let follow = self.can_vote() && leader.is_none_or(|leader| leader == from);
        let reply = Message::CanvassReply {
            nonce,
            follow,
            incarnation: self.config.incarnation,
            leader,
            chosen_watermark: self.learner.chosen_watermark(),
        };
        self.send(from, reply);
    }

    pub(super) fn handle_canvass_reply(
        &mut self,
        from: ReplicaId,
        nonce: u64,
        follower: Option<Incarnation>,
        leader: Option<ReplicaId>,
    ) {
        let RoleState::Canvassing(canvass) = &mut self.role else {
            return;
        };
        if canvass.nonce != nonce {
            return;
        }
        if let Some(leader) = leader.filter(|leader| *leader != self.config.me) {
            self.election.heard_elsewhere(leader, self.now);
        }
        let Some(incarnation) = follower else {
            return;
        };
        canvass.followers.insert(from, incarnation);
        if self
            .configuration
            .is_quorum(self.learner.chosen_watermark(), &canvass.followers)
        {
            self.become_candidate();
        }
    }

    /// A leader or candidate learns that a higher ballot stands in its way. A leader whose rival is not heard goes above
    /// it at once, but not twice in a row; everybody else waits a random time, so that two who cannot hear each other do
    /// not outbid each other for ever.
    pub(super) fn handle_refused(&mut self, ballot: Ballot, promised: Ballot, hears_leader: bool) {
        self.see(promised);
        match &self.role {
            RoleState::Leading(leading) if leading.ballot == ballot && promised > ballot => {
                if !hears_leader && self.election.may_outbid(self.now, &self.config) {
                    self.become_candidate();
                } else {
                    self.become_follower_of(promised);
                }
            }
            RoleState::Preparing(preparing) if preparing.ballot == ballot && promised > ballot => {
                self.become_follower_of(promised);
            }
            RoleState::Leading(_)
            | RoleState::Preparing(_)
            | RoleState::Follower
            | RoleState::Canvassing(_) => {}
        }
    }

    /// A heartbeat: says whether its sender is to be followed.
    pub(super) fn handle_leader(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        has_majority: bool,
    ) -> bool {
        self.see(ballot);
        if ballot.replica != from {
            return false;
        }
        let known = self.acceptor.promised().max(self.election.heard_ballot());
        if ballot < known {
            self.refuse(from, ballot, known);
            return false;
        }
        let follows = match &self.role {
            RoleState::Follower => true,
            RoleState::Canvassing(_) => !has_majority,
            RoleState::Preparing(_) | RoleState::Leading(_) => false,
        };
        if !follows {
            self.become_follower_of(ballot);
        }
        if self.election.heard_ballot() != ballot {
            self.pending.notes.push(Note::Following(ballot, from));
        }
        self.election
            .hear(ballot, has_majority, self.now, &self.config);
        true
    }

    fn become_canvassing(&mut self) {
        let mut canvass = self.election.canvass(self.now, &self.config);
        canvass
            .followers
            .insert(self.config.me, self.config.incarnation);
        let question = Message::Canvass {
            nonce: canvass.nonce,
            chosen_watermark: self.learner.chosen_watermark(),
        };
        let alone = self
            .configuration
            .is_quorum(self.learner.chosen_watermark(), &canvass.followers);
        if matches!(self.role, RoleState::Follower) {
            self.pending.notes.push(Note::Canvassing);
        }
        self.role = RoleState::Canvassing(canvass);
        self.send_to_others(&question);
        if alone {
            self.become_candidate();
        }
    }

    /// Asks all to promise a ballot above every one seen. Its own promise counts when it is durable (RULES R2).
    pub(super) fn become_candidate(&mut self) {
        self.leave_leading(ResignReason::HigherBallot);
        self.round_max += 1;
        let ballot = Ballot {
            round: self.round_max,
            replica: self.config.me,
            birth: self.config.birth,
        };
        let from_slot = self.learner.chosen_watermark();
        self.pending.notes.push(Note::Preparing(ballot));
        self.role = RoleState::Preparing(Preparing::new(ballot, from_slot, self.now));
        let prepare = self.prepare_message(ballot, from_slot);
        self.prepare_own(ballot, from_slot);
        self.send_to_others(&prepare);
    }

    /// Gives up leading or trying to, for the sake of `ballot`, and waits a random time before trying again.
    pub(super) fn become_follower_of(&mut self, ballot: Ballot) {
        self.leave_leading(ResignReason::HigherBallot);
        self.role = RoleState::Follower;
        if self.election.heard_ballot() < ballot {
            self.election.forget_leader();
        }
        self.election.postpone(self.now, &self.config);
    }

    /// Leads no longer, if it does, and waits anew before it asks to. For a driver that finds that another would lead
    /// better; called again and again it leaves the lead to others for that long. What was proposed may still be chosen.
    pub fn resign(&mut self) {
        self.resign_because(ResignReason::Asked);
    }

    /// Leads no longer, or tries to no longer, and waits anew before it asks to.
    pub(super) fn resign_because(&mut self, reason: ResignReason) {
        match &self.role {
            RoleState::Follower => {}
            RoleState::Leading(_) | RoleState::Canvassing(_) | RoleState::Preparing(_) => {
                self.leave_leading(reason);
                self.role = RoleState::Follower;
            }
        }
        self.election.postpone(self.now, &self.config);
    }

    /// No majority answers: another may have one.
    pub(super) fn become_follower_of_nobody(&mut self) {
        self.leave_leading(ResignReason::LostMajority);
        self.role = RoleState::Follower;
        self.election.forget_leader();
        self.election.postpone(self.now, &self.config);
    }

    /// Ends a leadership, if this is one. Its own reads wait for the next leader; those of followers are asked again.
    pub(super) fn leave_leading(&mut self, reason: ResignReason) {
        if let RoleState::Leading(leading) = std::mem::replace(&mut self.role, RoleState::Follower)
        {
            self.pending
                .notes
                .push(Note::Resigned(leading.ballot, reason));
            let leading = *leading;
            for ticket in leading.reads.into_tickets() {
                self.queries.take_in(ticket);
            }
        }
    }
}
