//! The learner: which commands are chosen.
//!
//! Chosen commands may become known out of order; they are delivered in order. `chosen_watermark` is the first slot not
//! known to be chosen, however many above it are. Commands stay in memory for replicas that have to catch up, until
//! every replica's journal holds them (RULES R7), or there are too many and a snapshot covers them.

use std::collections::BTreeMap;

use crate::ballot::{ReplicaId, Slot};
use crate::message::Command;

/// The chosen log as far as it is known here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Learner {
    /// Chosen commands at or above `trimmed_watermark`; without holes below `chosen_watermark`.
    commands: BTreeMap<Slot, Command>,
    /// Every slot below it is known to be chosen.
    chosen_watermark: Slot,
    /// Every slot below it has been handed to the driver.
    delivered_watermark: Slot,
    /// Commands below it are forgotten; at most `delivered_watermark`.
    trimmed_watermark: Slot,
    /// The sizes of all `commands` together.
    kept_bytes: usize,
}

impl Learner {
    /// With what a journal kept: the commands from `trimmed_watermark` on, all delivered below `chosen_watermark`.
    pub(crate) fn recovered(
        commands: BTreeMap<Slot, Command>,
        chosen_watermark: Slot,
        trimmed_watermark: Slot,
    ) -> Self {
        let mut learner = Self {
            kept_bytes: commands.values().map(Command::size_bytes).sum(),
            commands,
            chosen_watermark,
            delivered_watermark: chosen_watermark,
            trimmed_watermark,
        };
        learner.advance();
        learner
    }

    /// Every slot below it is known to be chosen.
    pub(crate) fn chosen_watermark(&self) -> Slot {
        self.chosen_watermark
    }

    /// Commands below it are forgotten.
    pub(crate) fn trimmed_watermark(&self) -> Slot {
        self.trimmed_watermark
    }

    /// Whether the slot is known to be chosen, its command kept or forgotten.
    pub(crate) fn knows(&self, slot: Slot) -> bool {
        slot < self.chosen_watermark || self.commands.contains_key(&slot)
    }

    /// `command` is chosen in `slot`; says whether that is news. Two different commands in one slot mean that
    /// agreement is broken, and there is nothing to do but to stop.
    pub(crate) fn choose(&mut self, slot: Slot, command: Command) -> bool {
        if slot < self.trimmed_watermark {
            return false;
        }
        if let Some(known) = self.commands.get(&slot) {
            assert!(
                *known == command,
                "two commands are chosen in slot {slot}: {known} and {command}"
            );
            return false;
        }
        self.kept_bytes += command.size_bytes();
        self.commands.insert(slot, command);
        self.advance();
        true
    }

    /// The command chosen in `slot`, if it is known and kept.
    pub(crate) fn command(&self, slot: Slot) -> Option<&Command> {
        self.commands.get(&slot)
    }

    /// What is chosen and not delivered yet, in order.
    pub(crate) fn take_deliverable(&mut self) -> Vec<(Slot, Command)> {
        let from = self.delivered_watermark;
        self.delivered_watermark = self.chosen_watermark;
        self.commands
            .range(from..self.chosen_watermark)
            .map(|(slot, command)| (*slot, command.clone()))
            .collect()
    }

    /// Consecutive chosen commands from `from_slot` on, at most `bytes_max` of them unless the first alone is more.
    pub(crate) fn chosen_from(&self, from_slot: Slot, bytes_max: usize) -> Vec<Command> {
        if from_slot < self.trimmed_watermark || from_slot >= self.chosen_watermark {
            return Vec::new();
        }
        let mut bytes = 0;
        self.commands
            .range(from_slot..self.chosen_watermark)
            .map(|(_, command)| command)
            .take_while(|command| {
                let first = bytes == 0;
                bytes += command.size_bytes();
                first || bytes <= bytes_max
            })
            .cloned()
            .collect()
    }

    /// Every slot below it has been handed to the driver.
    pub(crate) fn delivered_watermark(&self) -> Slot {
        self.delivered_watermark
    }

    /// What the commands in memory take, in bytes.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// A snapshot stands for every slot below `slot`: they are chosen and delivered, and their commands are not needed.
    pub(crate) fn install(&mut self, slot: Slot) {
        self.chosen_watermark = self.chosen_watermark.max(slot);
        self.delivered_watermark = self.delivered_watermark.max(slot);
        self.forget_below(slot);
        self.advance();
    }

    /// Forgets the commands below `watermark`, as far as they have been delivered.
    pub(crate) fn forget_below(&mut self, watermark: Slot) {
        self.forget_surplus(watermark, 0);
        let watermark = watermark.min(self.delivered_watermark);
        self.trimmed_watermark = self.trimmed_watermark.max(watermark);
    }

    /// Forgets the oldest commands, but none at or above `watermark` and none that was not delivered, until the rest
    /// takes at most `kept_bytes_max`.
    pub(crate) fn forget_surplus(&mut self, watermark: Slot, kept_bytes_max: usize) {
        let watermark = watermark.min(self.delivered_watermark);
        while self.kept_bytes > kept_bytes_max
            && let Some(first) = self.commands.first_entry()
            && *first.key() < watermark
        {
            let (slot, command) = first.remove_entry();
            self.kept_bytes -= command.size_bytes();
            self.trimmed_watermark = self.trimmed_watermark.max(slot.next());
        }
    }

    fn advance(&mut self) {
        while self.commands.contains_key(&self.chosen_watermark) {
            self.chosen_watermark = self.chosen_watermark.next();
        }
    }
}

/// Who is known to be ahead, what has been asked of whom, and who has forgotten what is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct CatchUp {
    /// The highest chosen watermark that was claimed, and whom to ask: who claimed it, or who answered last.
    ahead: Option<(ReplicaId, Slot)>,
    open: Option<Question>,
    /// Who was asked has forgotten it: the others are to be asked before a snapshot is.
    ask_all: bool,
    /// Below which slot each peer has forgotten, and when that was first heard.
    forgotten: BTreeMap<ReplicaId, (Slot, u64)>,
}

/// A question under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Question {
    from_slot: Slot,
    sent_tick: u64,
}

impl CatchUp {
    /// `replica` says that it knows every slot below `watermark`.
    pub(crate) fn heard(&mut self, replica: ReplicaId, watermark: Slot) {
        if self.ahead.is_none_or(|(_, known)| watermark >= known) {
            self.ahead = Some((replica, watermark));
        }
    }

    /// `replica` gave commands from `from_slot` on. Only the answer to the open question makes room for the next one:
    /// otherwise every repeated answer would start a chain of questions of its own.
    pub(crate) fn answered(&mut self, replica: ReplicaId, from_slot: Slot) {
        if self
            .open
            .take_if(|open| open.from_slot == from_slot)
            .is_some()
        {
            self.ahead = self.ahead.map(|(_, claimed)| (replica, claimed));
            self.forgotten.clear();
        }
    }

    /// The highest chosen watermark that was claimed and that this replica has not reached.
    pub(crate) fn claimed(&self) -> Option<Slot> {
        self.ahead.map(|(_, claimed)| claimed)
    }

    /// `replica` has forgotten every command below `trimmed_watermark`, and this replica needs some of them.
    pub(crate) fn forgot(&mut self, replica: ReplicaId, trimmed_watermark: Slot, now: u64) {
        self.ask_all |= self.forgotten.is_empty();
        let known = self
            .forgotten
            .entry(replica)
            .or_insert((trimmed_watermark, now));
        known.0 = known.0.max(trimmed_watermark);
    }

    /// A snapshot of `slot` has come: the log above it is to be asked for at once.
    pub(crate) fn installed(&mut self, slot: Slot) {
        self.open = None;
        self.forgotten.retain(|_, (trimmed, _)| *trimmed > slot);
    }

    /// Whether a peer has forgotten what this replica needs next.
    pub(crate) fn needs_snapshot(&self, from_slot: Slot) -> bool {
        self.forgotten
            .values()
            .any(|(trimmed, _)| *trimmed > from_slot)
    }

    /// Who has forgotten what this replica needs next. None before the others had time to answer: a log that goes on is
    /// cheaper than a snapshot.
    pub(crate) fn snapshot_sources(
        &self,
        from_slot: Slot,
        now: u64,
        retransmit_ticks: u64,
    ) -> Vec<ReplicaId> {
        let lacking = || {
            self.forgotten
                .iter()
                .filter(|(_, (trimmed, _))| *trimmed > from_slot)
        };
        if lacking().all(|(_, (_, since))| now < since + retransmit_ticks) {
            return Vec::new();
        }
        lacking().map(|(replica, _)| *replica).collect()
    }

    /// Whom to ask now, if this replica knows less than somebody claimed and no question is open. A question that
    /// found no answer for `retransmit_ticks` goes to all: who made the claim may be gone, and the claim still holds.
    pub(crate) fn question(
        &mut self,
        from_slot: Slot,
        now: u64,
        retransmit_ticks: u64,
    ) -> Option<Addressee> {
        let (replica, claimed) = self.ahead?;
        if claimed <= from_slot {
            *self = Self::default();
            return None;
        }
        let addressee = match self.open {
            _ if std::mem::take(&mut self.ask_all) => Addressee::All,
            None => Addressee::One(replica),
            Some(open) if now >= open.sent_tick + retransmit_ticks => Addressee::All,
            Some(_) => return None,
        };
        self.open = Some(Question {
            from_slot,
            sent_tick: now,
        });
        Some(addressee)
    }
}

/// Whom a question is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Addressee {
    /// The one who claimed to know, or answered before.
    One(ReplicaId),
    /// Every other replica.
    All,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands of 20 bytes in these slots.
    fn learner(slots: &[u64]) -> Learner {
        let mut learner = Learner::default();
        for slot in slots {
            assert!(learner.choose(Slot(*slot), Command::Opaque([0; 4].into())));
        }
        learner
    }

    #[test]
    fn it_knows_what_is_forgotten_and_what_lies_above_a_hole() {
        let mut learner = learner(&[0, 1, 3]);
        assert_eq!(learner.take_deliverable().len(), 2);
        learner.forget_below(Slot(1));
        let known = (0..5).filter(|slot| learner.knows(Slot(*slot)));
        assert_eq!(known.collect::<Vec<_>>(), [0, 1, 3]);
    }

    #[test]
    fn an_answer_holds_as_many_commands_as_fit_and_at_least_one() {
        let mut learner = learner(&[0, 1, 2, 3, 4, 6]);
        let commands = |learner: &Learner, from, bytes_max| {
            let commands = learner.chosen_from(Slot(from), bytes_max);
            commands.len()
        };
        assert_eq!(commands(&learner, 0, 1_000), 5);
        assert_eq!(commands(&learner, 0, 40), 2);
        assert_eq!(commands(&learner, 0, 39), 1);
        assert_eq!(commands(&learner, 0, 1), 1);
        assert_eq!(commands(&learner, 4, 1_000), 1);
        assert_eq!(commands(&learner, 5, 1_000), 0);
        assert_eq!(learner.take_deliverable().len(), 5);
        learner.forget_below(Slot(2));
        assert_eq!(commands(&learner, 1, 1_000), 0, "the first is forgotten");
        assert_eq!(commands(&learner, 2, 1_000), 3);
    }

    #[test]
    fn only_what_was_delivered_is_forgotten_and_the_oldest_first() {
        let mut learner = learner(&[0, 1, 2, 3, 4]);
        let kept = |learner: &Learner| (learner.kept_bytes(), learner.trimmed_watermark());
        learner.forget_below(Slot(9));
        assert_eq!(kept(&learner), (100, Slot(0)));
        assert_eq!(learner.take_deliverable().len(), 5);
        learner.forget_surplus(Slot(9), 80);
        assert_eq!(kept(&learner), (80, Slot(1)));
        learner.forget_surplus(Slot(3), 0);
        assert_eq!(kept(&learner), (40, Slot(3)));
        assert!(learner.choose(Slot(5), Command::Noop));
        learner.forget_below(Slot(9));
        assert_eq!(kept(&learner), (16, Slot(5)));
    }

    const PATIENCE_TICKS: u64 = 20;

    #[test]
    fn a_peer_that_still_has_the_next_command_is_no_reason_for_a_snapshot() {
        let mut catch_up = CatchUp::default();
        catch_up.heard(ReplicaId(1), Slot(9));
        assert_eq!(catch_up.claimed(), Some(Slot(9)));
        catch_up.forgot(ReplicaId(1), Slot(5), 10);
        let sources = |from, now| catch_up.snapshot_sources(Slot(from), now, PATIENCE_TICKS);
        assert!(catch_up.needs_snapshot(Slot(4)));
        assert_eq!(sources(4, 29), [], "the others have not had time to answer");
        assert_eq!(sources(4, 30), [ReplicaId(1)]);
        assert!(!catch_up.needs_snapshot(Slot(5)));
        assert_eq!(sources(5, 30), []);
    }

    #[test]
    fn after_a_snapshot_only_what_is_lacking_still_counts_as_forgotten() {
        let mut catch_up = CatchUp::default();
        for (replica, trimmed) in [(1, 5), (2, 9)] {
            catch_up.heard(ReplicaId(replica), Slot(9));
            catch_up.forgot(ReplicaId(replica), Slot(trimmed), 0);
        }
        catch_up.installed(Slot(5));
        let sources = catch_up.snapshot_sources(Slot(5), 99, PATIENCE_TICKS);
        assert_eq!(sources, [ReplicaId(2)]);
        assert_eq!(catch_up.forgotten.len(), 1);
    }
}
