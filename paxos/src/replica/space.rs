//! What a replica knows of the room on disks, its own and the others' (RULES R18).
//!
//! Each acceptor says in its echoes how much more its disk takes. The leader knows from these what a majority can still
//! write, and says so in its heartbeats, so that every replica can refuse its clients by itself. Safety does not rest on
//! any of it: an acceptor without room is silent, like one that is slow.

use super::{Replica, RoleState};
use crate::output::Note;
use crate::space::Space;

/// What this replica knows of the room on disks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct KnownSpace {
    /// On its own.
    pub(super) own: Space,
    /// What a majority has, as the leader said, or as this replica found leading.
    pub(super) of_majority: Space,
}

impl Replica {
    /// How much more this replica's own disk takes.
    pub fn note_space(&mut self, space: Space) {
        self.space.own = space;
    }

    /// What a majority of the acceptors can still write, as far as this replica knows. What does not fit is not to be
    /// proposed.
    #[must_use]
    pub fn space(&self) -> Space {
        self.space.of_majority
    }

    /// As the leader says.
    pub(super) fn hear_space(&mut self, of_majority: Space) {
        self.space.of_majority = of_majority;
    }

    /// Finds, leading, what a majority can write: the most that so many of those who echo have. Who is silent writes
    /// nothing. A new leader goes by what the last one said until everybody had the time to echo.
    pub(super) fn survey_space(&mut self) {
        let RoleState::Leading(leading) = &self.role else {
            return;
        };
        let timeout_ticks = self.config.election_timeout_ticks_min;
        let is_new = self.now < leading.since_tick + timeout_ticks;
        let slot = self.learner.chosen_watermark();
        let has = |member| {
            let Some(echo) = leading.echoed.get(&member) else {
                return if is_new {
                    self.space.of_majority
                } else {
                    Space::Spent
                };
            };
            let is_heard = is_new || self.now < echo.tick + timeout_ticks;
            let counts = self.configuration.counts(member, echo.incarnation, slot);
            if is_heard && counts {
                echo.space
            } else {
                Space::Spent
            }
        };
        let mut spaces: Vec<Space> = self.configuration.members().map(has).collect();
        spaces.sort_unstable();
        self.space.of_majority = spaces[spaces.len() - self.configuration.majority()];
    }

    /// A leader with less room than a majority has leads no longer: it would have to journal whatever it proposes, and
    /// the others can do without its vote.
    pub(super) fn leave_lead_to_roomier(&mut self) {
        let RoleState::Leading(leading) = &self.role else {
            return;
        };
        if self.is_short_of_space()
            && let Some(heir) = self.heir()
            && let Some(echo) = leading.echoed.get(&heir)
            && echo.space > self.space.own
        {
            self.pending.notes.push(Note::ShortOfSpace(heir));
            self.hand_lead_to(Some(heir));
        }
    }

    /// Whether others have more room, so that one of them should lead.
    pub(super) fn is_short_of_space(&self) -> bool {
        self.space.own < self.space.of_majority
    }
}
