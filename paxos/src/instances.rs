//! What a replica in sparse mode knows of its instances, slot by slot (SPEC E, RULES R20).
//!
//! In sparse mode every slot is an agreement of its own: nothing is filled, nothing is delivered in order, and no slot
//! waits for another. This file is the knowledge; [`crate::Replica`] moves it. The acceptor's memory is not here: both
//! modes share it.

use std::collections::{BTreeMap, BTreeSet};

use crate::ballot::{ReplicaId, Slot};
use crate::message::{AcceptedCommand, Command, SlotRange};

/// How many agreements one replica may have begun, and one leader may conduct, at a time: more than any program waits
/// for at once, and few enough that every list of them fits a message.
pub const INSTANCES_IN_FLIGHT_MAX: usize = 4_096;

/// The instances at or above the lowest that anybody may still need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Instances {
    /// Known to be chosen and not forgotten.
    chosen: BTreeMap<Slot, Command>,
    /// Known to be chosen and not handed to the driver yet.
    news: Vec<(Slot, Command)>,
    /// What this replica's program began and is not known to be chosen. At most [`INSTANCES_IN_FLIGHT_MAX`].
    wanted: BTreeMap<Slot, Wanted>,
    /// The highest instance heard of; never falls, and forgetting does not lower it.
    max: Option<Slot>,
    /// Learned from the leader, and to be acknowledged with the next echo. Holds no more than one echo's worth.
    unacknowledged: BTreeSet<Slot>,
    /// While this replica asks for promises: what those that came know to be chosen.
    pub(crate) reported: BTreeMap<ReplicaId, Vec<SlotRange>>,
    /// While this replica leads: for each other one, the chosen instances that it has not acknowledged, and when they
    /// were last sent.
    pub(crate) untold: BTreeMap<ReplicaId, BTreeMap<Slot, u64>>,
    /// How many promises this life has sent; tells the parts of one from those of another.
    pub(crate) promises_sent: u64,
}

/// A command on its way to a leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    /// What is to be proposed if nothing else was before.
    pub(crate) command: Command,
    /// Who was last asked to, and when.
    pub(crate) asked: Option<(ReplicaId, u64)>,
}

impl Instances {
    /// With what a journal kept, all of it at or above the lowest instance that is not forgotten. The driver is told
    /// again of every chosen one.
    pub(crate) fn recovered(chosen: BTreeMap<Slot, Command>, max: Option<Slot>) -> Self {
        let news = chosen
            .iter()
            .map(|(slot, command)| (*slot, command.clone()))
            .collect();
        Self {
            chosen,
            news,
            max,
            ..Self::default()
        }
    }

    /// The highest instance heard of.
    pub(crate) fn max(&self) -> Option<Slot> {
        self.max
    }

    /// Somebody speaks of an instance.
    pub(crate) fn hear_of(&mut self, slot: Slot) {
        self.max = self.max.max(Some(slot));
    }

    /// The command chosen in `slot`, if that is known and not forgotten.
    pub(crate) fn chosen_in(&self, slot: Slot) -> Option<&Command> {
        self.chosen.get(&slot)
    }

    /// `command` is chosen in `slot`; says whether that is news. Two different commands in one slot mean that agreement
    /// is broken, and there is nothing to do but to stop.
    pub(crate) fn choose(&mut self, slot: Slot, command: &Command) -> bool {
        self.hear_of(slot);
        if let Some(known) = self.chosen.get(&slot) {
            assert!(
                known == command,
                "two commands are chosen in slot {slot}: {known} and {command}"
            );
            return false;
        }
        self.wanted.remove(&slot);
        self.chosen.insert(slot, command.clone());
        self.news.push((slot, command.clone()));
        true
    }

    /// What became known since this was last asked.
    pub(crate) fn take_news(&mut self) -> Vec<(Slot, Command)> {
        std::mem::take(&mut self.news)
    }

    /// Whether this replica's program has begun it.
    pub(crate) fn wants(&self, slot: Slot) -> bool {
        self.wanted.contains_key(&slot)
    }

    /// How many agreements this replica has begun that are not known to have ended.
    pub(crate) fn wanted_count(&self) -> usize {
        self.wanted.len()
    }

    /// The program begins an agreement.
    pub(crate) fn want(&mut self, slot: Slot, command: Command) {
        let asked = None;
        self.wanted.insert(slot, Wanted { command, asked });
    }

    /// What the program began, in order of slots.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = (Slot, &Command)> {
        self.wanted
            .iter()
            .map(|(slot, wanted)| (*slot, &wanted.command))
    }

    /// What `leader` is to be asked to propose now, at most `bytes_max` of it unless the first alone is more: what it
    /// was not asked yet, or so long ago that the question may be lost.
    pub(crate) fn take_due(
        &mut self,
        leader: ReplicaId,
        now: u64,
        retransmit_ticks: u64,
        bytes_max: usize,
    ) -> Vec<(Slot, Command)> {
        let mut due = Vec::new();
        let mut bytes = 0;
        for (slot, wanted) in &mut self.wanted {
            let waits =
                |(asked, tick): (ReplicaId, u64)| asked == leader && now < tick + retransmit_ticks;
            if wanted.asked.is_some_and(waits) {
                continue;
            }
            bytes += wanted.command.size_bytes();
            if !due.is_empty() && bytes > bytes_max {
                break;
            }
            wanted.asked = Some((leader, now));
            due.push((*slot, wanted.command.clone()));
        }
        due
    }

    /// The leader said that `slot` is chosen. What does not fit the next echo the leader says again.
    pub(crate) fn acknowledge(&mut self, slot: Slot) {
        if self.unacknowledged.len() < INSTANCES_IN_FLIGHT_MAX {
            self.unacknowledged.insert(slot);
        }
    }

    /// What the next echo acknowledges.
    pub(crate) fn take_acknowledgements(&mut self) -> Vec<Slot> {
        std::mem::take(&mut self.unacknowledged)
            .into_iter()
            .collect()
    }

    /// The ranges of slots known to be chosen and not forgotten, in order. With more holes than a message lists the last
    /// ones are left out: whoever hears of less reports more.
    pub(crate) fn chosen_ranges(&self) -> Vec<SlotRange> {
        let mut ranges: Vec<SlotRange> = Vec::new();
        for start in self.chosen.keys().copied() {
            let end = start.next();
            if let Some(range) = ranges.last_mut().filter(|range| range.end == start) {
                range.end = end;
            } else if ranges.len() < RANGES_MAX {
                ranges.push(SlotRange { start, end });
            } else {
                break;
            }
        }
        ranges
    }

    /// What is known to be chosen outside `ranges`.
    pub(crate) fn chosen_outside(
        &self,
        ranges: &[SlotRange],
    ) -> impl Iterator<Item = (Slot, &Command)> {
        self.chosen
            .iter()
            .filter(|(slot, _)| !covers(ranges, **slot))
            .map(|(slot, command)| (*slot, command))
    }

    /// A leader begins: every other member is told all that it did not report to know.
    pub(crate) fn begin_to_tell(&mut self, others: impl Iterator<Item = ReplicaId>) {
        let reported = std::mem::take(&mut self.reported);
        self.untold = others
            .map(|other| {
                let known = reported.get(&other).map_or(&[][..], Vec::as_slice);
                let lacks = self.chosen_outside(known).map(|(slot, _)| (slot, LONG_AGO));
                (other, lacks.collect())
            })
            .collect();
    }

    /// What `replica` is to be told now, at most `bytes_max` of it unless the first alone is more.
    pub(crate) fn take_untold(
        &mut self,
        replica: ReplicaId,
        now: u64,
        retransmit_ticks: u64,
        bytes_max: usize,
    ) -> Vec<(Slot, Command)> {
        let mut due = Vec::new();
        let mut bytes = 0;
        for (slot, tick) in self.untold.get_mut(&replica).into_iter().flatten() {
            let Some(command) = self.chosen.get(slot).filter(|_| now >= *tick) else {
                continue;
            };
            bytes += command.size_bytes();
            if !due.is_empty() && bytes > bytes_max {
                break;
            }
            *tick = now + retransmit_ticks;
            due.push((*slot, command.clone()));
        }
        due
    }

    /// `replica` holds these in its own journal.
    pub(crate) fn acknowledged(&mut self, replica: ReplicaId, slots: &[Slot]) {
        if let Some(untold) = self.untold.get_mut(&replica) {
            for slot in slots {
                untold.remove(slot);
            }
        }
    }

    /// Nobody needs anything below `min` any more.
    pub(crate) fn forget_below(&mut self, min: Slot) {
        self.chosen = self.chosen.split_off(&min);
        self.wanted = self.wanted.split_off(&min);
        self.news.retain(|(slot, _)| *slot >= min);
        for untold in self.untold.values_mut() {
            *untold = untold.split_off(&min);
        }
    }
}

/// Whether `slot` is in one of `ranges`, which are in order.
pub(crate) fn covers(ranges: &[SlotRange], slot: Slot) -> bool {
    let after = ranges.partition_point(|range| range.start <= slot);
    after
        .checked_sub(1)
        .is_some_and(|place| slot < ranges[place].end)
}

/// What an acceptor reports: what it accepted and what it knows to be chosen, outside the ranges that the candidate
/// knows. A chosen command is reported under the candidate's own ballot: no other command can be chosen there, so it is
/// to win over whatever was accepted.
pub(crate) fn report(
    accepted: impl Iterator<Item = AcceptedCommand>,
    instances: &Instances,
    ballot: crate::ballot::Ballot,
    known: &[SlotRange],
) -> Vec<AcceptedCommand> {
    let accepted = accepted
        .filter(|entry| !covers(known, entry.slot))
        .map(|entry| (entry.slot, entry));
    let mut report: BTreeMap<Slot, AcceptedCommand> = accepted.collect();
    for (slot, command) in instances.chosen_outside(known) {
        let command = command.clone();
        let entry = AcceptedCommand {
            slot,
            ballot,
            command,
        };
        report.insert(slot, entry);
    }
    report.into_values().collect()
}

/// A message that lists so many ranges takes 64 KiB.
const RANGES_MAX: usize = 4_096;
/// What was never sent is due at every tick.
const LONG_AGO: u64 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: ReplicaId = ReplicaId(1);
    const RETRANSMIT_TICKS: u64 = 20;

    /// Of 20 bytes.
    fn command() -> Command {
        Command::Opaque([0; 4].into())
    }

    fn slots(sent: Vec<(Slot, Command)>) -> Vec<u64> {
        sent.into_iter().map(|(slot, _)| slot.0).collect()
    }

    fn knowing(chosen: impl IntoIterator<Item = u64>) -> Instances {
        let mut instances = Instances::default();
        for slot in chosen {
            assert!(instances.choose(Slot(slot), &command()));
        }
        instances
    }

    #[test]
    fn a_leader_is_asked_for_as_much_as_fits_and_again_when_the_question_may_be_lost() {
        let mut instances = Instances::default();
        for slot in 0..5 {
            instances.want(Slot(slot), command());
        }
        let mut ask =
            |now, bytes_max| slots(instances.take_due(OTHER, now, RETRANSMIT_TICKS, bytes_max));
        assert_eq!(ask(1, 40), [0, 1]);
        assert_eq!(ask(2, 1), [2], "one that is too long goes alone");
        assert_eq!(ask(3, 100), [3, 4]);
        assert_eq!(ask(20, 100), []);
        assert_eq!(ask(21, 100), [0, 1]);
    }

    #[test]
    fn the_others_are_told_as_much_as_fits_and_again_until_they_acknowledge() {
        let mut instances = knowing(0..5);
        instances.begin_to_tell([OTHER].into_iter());
        let mut tell =
            |now, bytes_max| slots(instances.take_untold(OTHER, now, RETRANSMIT_TICKS, bytes_max));
        assert_eq!(tell(1, 40), [0, 1]);
        assert_eq!(tell(2, 1), [2], "one that is too long goes alone");
        assert_eq!(tell(3, 100), [3, 4]);
        assert_eq!(tell(20, 100), []);
        assert_eq!(tell(21, 100), [0, 1]);
        instances.acknowledged(OTHER, &[Slot(0), Slot(2), Slot(3)]);
        assert_eq!(
            slots(instances.take_untold(OTHER, 99, RETRANSMIT_TICKS, 100)),
            [1, 4]
        );
    }

    #[test]
    fn what_messages_list_is_bounded() {
        let past_the_bound = INSTANCES_IN_FLIGHT_MAX as u64 + 1;
        let mut instances = knowing((0..past_the_bound).map(|place| 2 * place));
        assert_eq!(instances.chosen_ranges().len(), RANGES_MAX);
        for slot in 0..past_the_bound {
            instances.acknowledge(Slot(slot));
        }
        let acknowledged = instances.take_acknowledgements();
        assert_eq!(acknowledged.len(), INSTANCES_IN_FLIGHT_MAX);
    }

    /// RULES R5: an acceptor leaves out of its report what lies in these, and nothing beside it.
    #[test]
    fn a_range_covers_its_start_and_not_its_end() {
        let ranges = [(2, 4), (6, 7)].map(|(start, end)| SlotRange {
            start: Slot(start),
            end: Slot(end),
        });
        let covered = (0..9).filter(|slot| covers(&ranges, Slot(*slot)));
        assert_eq!(covered.collect::<Vec<_>>(), [2, 3, 6]);
        assert_eq!(knowing([2, 3, 6]).chosen_ranges(), ranges);
    }

    #[test]
    fn what_is_forgotten_is_not_handed_over_and_what_is_not_still_is() {
        let mut instances = knowing(0..4);
        instances.forget_below(Slot(2));
        assert_eq!(slots(instances.take_news()), [2, 3]);
    }
}
