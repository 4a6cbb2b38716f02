//! A replica whose process is about to stop hands its leadership over (RULES R26).
//!
//! Safety does not rest on any of it: the heir prepares a higher ballot like any other candidate. It only spares the
//! cluster the time after which a silent leader is doubted.

use super::{Replica, RoleState};
use crate::ballot::{Ballot, ReplicaId};
use crate::message::Message;
use crate::output::{Note, ResignReason};

impl Replica {
    /// The process is about to stop: from now on this replica proposes nothing of its driver's and does not come to
    /// lead. What is in flight may still be chosen; it goes on accepting and learning.
    pub fn stand_down(&mut self) {
        self.stands_down = true;
        match &self.role {
            RoleState::Canvassing(_) | RoleState::Preparing(_) => self.resign(),
            RoleState::Follower | RoleState::Leading(_) => {}
        }
    }

    /// Whether it leads and waits for something that it proposed, or found and has not proposed yet.
    #[must_use]
    pub fn has_in_flight(&self) -> bool {
        match &self.role {
            RoleState::Leading(leading) => {
                !leading.in_flight.is_empty() || leading.next_slot < leading.adopted_end
            }
            RoleState::Follower | RoleState::Canvassing(_) | RoleState::Preparing(_) => false,
        }
    }

    /// Ends a leadership and tells the follower that is furthest to lead in its place. Says who that is; `None` when this
    /// replica does not lead, or hears no follower. It does nothing more in the ballot that it gives up.
    pub fn hand_over_lead(&mut self) -> Option<ReplicaId> {
        let heir = self.heir();
        self.hand_lead_to(heir);
        heir
    }

    /// Ends a leadership; the heir, if there is one, is to lead in its place.
    pub(super) fn hand_lead_to(&mut self, heir: Option<ReplicaId>) {
        let RoleState::Leading(leading) = &self.role else {
            return;
        };
        let ballot = leading.ballot;
        // The heir asks for promises from its own watermark on: the less it lacks, the sooner it leads.
        self.tell_watermark_to_all();
        if let Some(heir) = heir {
            self.pending.notes.push(Note::HandedOver(ballot, heir));
            self.send(heir, Message::TakeOver { ballot });
        }
        self.resign_because(ResignReason::HandsOver);
    }

    /// Of the followers whose echo is young, one with the most room on its disk; among those the one whose journal reaches
    /// furthest, and among those the one heard last.
    pub(super) fn heir(&self) -> Option<ReplicaId> {
        let RoleState::Leading(leading) = &self.role else {
            return None;
        };
        let slot = self.learner.chosen_watermark();
        let timeout_ticks = self.config.election_timeout_ticks_min;
        leading
            .echoed
            .iter()
            .filter(|(replica, echo)| {
                **replica != self.config.me
                    && self.now < echo.tick + timeout_ticks
                    && self.configuration.counts(**replica, echo.incarnation, slot)
            })
            .max_by_key(|(replica, echo)| {
                let said = leading.durable.get(replica);
                let durable = said.map(|(_, watermark)| *watermark).unwrap_or_default();
                let id = std::cmp::Reverse(**replica);
                (echo.space, durable, echo.tick, id)
            })
            .map(|(replica, _)| *replica)
    }

    /// The leader stops. A ballot below one that is known here was given up long ago, or lost its place: whoever leads
    /// meanwhile is not to be disturbed.
    pub(super) fn handle_take_over(&mut self, from: ReplicaId, ballot: Ballot) {
        self.see(ballot);
        let known = self.acceptor.promised().max(self.election.heard_ballot());
        if ballot.replica != from || ballot < known || !self.may_come_to_lead() {
            return;
        }
        match &self.role {
            RoleState::Follower | RoleState::Canvassing(_) => {
                self.pending.notes.push(Note::TakingOver(ballot, from));
                self.become_candidate();
            }
            RoleState::Preparing(_) | RoleState::Leading(_) => {}
        }
    }

    /// Whether this replica may try to lead.
    pub(super) fn may_come_to_lead(&self) -> bool {
        self.can_vote() && !self.stands_down && self.away.is_none()
    }
}
