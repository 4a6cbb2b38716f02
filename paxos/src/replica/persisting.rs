//! What a turn leaves for the journal, and what is said once that is durable.

use super::{Agent, Replica};
use crate::ballot::{Ballot, Slot};
use crate::message::{Envelope, Message};
use crate::output::{DurableState, Persist};

impl Replica {
    /// What the journal must learn of this turn. A watermark alone can wait: it saves others work, no more.
    pub(super) fn take_persist(&mut self) -> Option<Persist> {
        let mut state = DurableState {
            promised: self.acceptor.promised(),
            chosen_watermark: self.learner.chosen_watermark(),
            forget_watermark: match &self.instances {
                // A snapshot lets this replica forget more than all can replay, and the other way round for one that
                // lags.
                None => self.forget_watermark.min(self.learner.trimmed_watermark()),
                Some(_) => self.forget_watermark,
            },
        };
        if self.away == Some(Agent::Learner) {
            // Its successor goes on from what the journal was told, and that never falls.
            state.chosen_watermark = self.persisted.chosen_watermark;
            state.forget_watermark = self.persisted.forget_watermark;
        }
        let records = std::mem::take(&mut self.pending.records);
        let forgets_more =
            self.instances.is_some() && state.forget_watermark > self.persisted.forget_watermark;
        let moved = state.chosen_watermark > self.persisted.chosen_watermark || forgets_more;
        let overdue = moved && self.now >= self.persisted_tick + self.config.watermark_ticks;
        if records.is_empty() && state.promised == self.persisted.promised && !overdue {
            return None;
        }
        self.persisted = state;
        self.persisted_tick = self.now;
        Some(Persist { records, state })
    }

    /// Confirms to the leader what was accepted in this turn, once that is durable. This replica hears of every write
    /// of its own too: so it knows what its journal can replay.
    pub(super) fn confirm_accepted(&mut self, persisted: bool) {
        let me = self.config.me;
        let (ballot, slots) = self.pending.accepted.take().unwrap_or_default();
        if ballot.replica != me && !slots.is_empty() {
            self.pending.messages_when_durable.push(Envelope {
                from: me,
                to: ballot.replica,
                message: Message::Accepted {
                    ballot,
                    incarnation: self.config.incarnation,
                    slots,
                    durable_watermark: self.reported_watermark(),
                },
            });
            if persisted {
                self.note_own_write(ballot, Vec::new());
            }
        } else if persisted || !slots.is_empty() {
            self.note_own_write(ballot, slots);
        }
    }

    /// What this replica reports of itself, once what was handed to the journal is durable: up to where that can replay,
    /// or in sparse mode up to where its program is done.
    fn reported_watermark(&self) -> Slot {
        match &self.instances {
            None => self.persisted.chosen_watermark,
            Some(_) => self.durable_watermark,
        }
    }

    fn note_own_write(&mut self, ballot: Ballot, slots: Vec<Slot>) {
        let me = self.config.me;
        self.pending.messages_when_durable.push(Envelope {
            from: me,
            to: me,
            message: Message::Accepted {
                ballot,
                incarnation: self.config.incarnation,
                slots,
                durable_watermark: self.reported_watermark(),
            },
        });
    }
}
