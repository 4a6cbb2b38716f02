//! The proposer: phase 1 for an open range of slots, and phase 2 within a window ("Paxos Made Simple", section 3).
//!
//! This file holds what a proposer knows; [`crate::Replica`] moves it. A proposer's memory need not survive a crash,
//! because a ballot is never used by two lives of it (RULES R2).

use std::collections::BTreeMap;

use crate::ballot::{Ballot, Incarnation, ReplicaId, Slot};
use crate::message::{AcceptedCommand, Command};
use crate::quorum::{Configuration, ReplicaSet};
use crate::read::ReadRounds;
use crate::space::Space;

/// Phase 1 under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Preparing {
    pub(crate) ballot: Ballot,
    /// The first slot not known to be chosen when it began.
    pub(crate) from_slot: Slot,
    pub(crate) started_tick: u64,
    pub(crate) sent_tick: u64,
    /// Who has promised, whole, and in which life.
    promises: BTreeMap<ReplicaId, Incarnation>,
    /// Promises of which parts are missing.
    partial: BTreeMap<ReplicaId, PartialPromise>,
    /// By slot, what the highest ballot reported there holds.
    found: BTreeMap<Slot, (Ballot, Command)>,
    /// The highest chosen watermark reported.
    chosen_watermark: Slot,
}

/// A promise of which some parts have come. Parts of two sendings are not mixed: an acceptor that meanwhile learned
/// more cuts the parts elsewhere. As long as it has not, it repeats itself: having promised, it accepts nothing more
/// before this candidate leads, and a restart brings back the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PartialPromise {
    incarnation: Incarnation,
    sending: u64,
    parts: u32,
    chosen_watermark: Slot,
    came: BTreeMap<u32, Vec<AcceptedCommand>>,
}

/// One part of a promise, as it arrived.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PromisePart {
    pub(crate) incarnation: Incarnation,
    /// Which sending of the promise it is a part of; 0 where what else it says tells the sendings apart.
    pub(crate) sending: u64,
    pub(crate) part: u32,
    pub(crate) parts: u32,
    pub(crate) accepted: Vec<AcceptedCommand>,
    pub(crate) chosen_watermark: Slot,
}

impl Preparing {
    pub(crate) fn new(ballot: Ballot, from_slot: Slot, now: u64) -> Self {
        Self {
            ballot,
            from_slot,
            started_tick: now,
            sent_tick: now,
            promises: BTreeMap::new(),
            partial: BTreeMap::new(),
            found: BTreeMap::new(),
            chosen_watermark: from_slot,
        }
    }

    /// Takes in one part of a promise; the promise counts when all its parts have come.
    pub(crate) fn take_in(&mut self, from: ReplicaId, part: PromisePart) {
        if self.promises.contains_key(&from) || part.part >= part.parts {
            return;
        }
        let fresh = || PartialPromise {
            incarnation: part.incarnation,
            sending: part.sending,
            parts: part.parts,
            chosen_watermark: part.chosen_watermark,
            came: BTreeMap::new(),
        };
        let partial = self.partial.entry(from).or_insert_with(fresh);
        let same_sending = partial.incarnation == part.incarnation
            && partial.sending == part.sending
            && partial.parts == part.parts
            && partial.chosen_watermark == part.chosen_watermark;
        if !same_sending {
            *partial = fresh();
        }
        partial.came.insert(part.part, part.accepted);
        if partial.came.len() < partial.parts as usize {
            return;
        }
        let whole = self
            .partial
            .remove(&from)
            .expect("the part just taken in is there");
        self.promises.insert(from, part.incarnation);
        self.chosen_watermark = self.chosen_watermark.max(part.chosen_watermark);
        for entry in whole.came.into_values().flatten() {
            let best = self
                .found
                .get(&entry.slot)
                .map_or(Ballot::NONE, |(ballot, _)| *ballot);
            if entry.ballot > best {
                self.found.insert(entry.slot, (entry.ballot, entry.command));
            }
        }
    }

    /// Whether the promises are a quorum where proposals would begin.
    pub(crate) fn is_complete(&self, configuration: &Configuration) -> bool {
        configuration.is_quorum(self.chosen_watermark, &self.promises)
    }

    /// Whether `replica` has promised.
    pub(crate) fn has_promise_of(&self, replica: ReplicaId) -> bool {
        self.promises.contains_key(&replica)
    }

    /// Phase 1 is done. Proposals begin at the first slot that nobody in the quorum, nor this replica, knows to be
    /// chosen: what is chosen below is to be learned, not proposed again (RULES R5).
    pub(crate) fn into_leading(self, chosen_watermark: Slot, now: u64) -> Leading {
        let start = self.chosen_watermark.max(chosen_watermark);
        let adopted: BTreeMap<Slot, Command> = self
            .found
            .into_iter()
            .filter(|(slot, _)| *slot >= start)
            .map(|(slot, (_, command))| (slot, command))
            .collect();
        let adopted_end = adopted
            .last_key_value()
            .map_or(start, |(slot, _)| slot.next());
        Leading {
            ballot: self.ballot,
            promises: self.promises,
            start,
            next_slot: start,
            adopted,
            adopted_end,
            in_flight: BTreeMap::new(),
            reads: ReadRounds::default(),
            rounds: RoundTicks::default(),
            echoed: BTreeMap::new(),
            durable: BTreeMap::new(),
            told_watermark: Slot(0),
            hurried_watermark: Slot(0),
            heartbeat_tick: now,
            since_tick: now,
            learned_watermark: chosen_watermark,
            learned_tick: now,
            hurried: ReplicaSet::default(),
        }
    }
}

/// A leader's knowledge.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leading {
    pub(crate) ballot: Ballot,
    /// Who promised this ballot, and in which life: phase 1 holds in a slot only where these are a quorum.
    pub(crate) promises: BTreeMap<ReplicaId, Incarnation>,
    /// The first slot of this leadership.
    pub(crate) start: Slot,
    /// The next slot to propose in.
    pub(crate) next_slot: Slot,
    /// What phase 1 found, not proposed yet.
    pub(crate) adopted: BTreeMap<Slot, Command>,
    /// One above the highest slot in which phase 1 found anything. Reads wait until all below is chosen (RULES R10).
    pub(crate) adopted_end: Slot,
    /// Proposed and not known to be chosen.
    pub(crate) in_flight: BTreeMap<Slot, InFlight>,
    pub(crate) reads: ReadRounds,
    /// When the rounds left.
    pub(crate) rounds: RoundTicks,
    /// What each replica last echoed.
    pub(crate) echoed: BTreeMap<ReplicaId, LastEcho>,
    /// Up to where each replica's journal can replay, as it said in that life (RULES R7).
    pub(crate) durable: BTreeMap<ReplicaId, (Incarnation, Slot)>,
    /// The chosen watermark that all others were last sent.
    pub(crate) told_watermark: Slot,
    /// The chosen watermark that the hurried ones were last sent.
    pub(crate) hurried_watermark: Slot,
    /// When the last heartbeat left.
    pub(crate) heartbeat_tick: u64,
    /// When this leadership began.
    pub(crate) since_tick: u64,
    /// The chosen watermark at the last tick.
    pub(crate) learned_watermark: Slot,
    /// When that last grew.
    pub(crate) learned_tick: u64,
    /// Followers that hold requests of their clients and wait for the watermark to move.
    pub(crate) hurried: ReplicaSet,
}

/// What a leader knows of the echoes of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LastEcho {
    /// When the last round that it echoed had left.
    pub(crate) tick: u64,
    /// The life that echoed.
    pub(crate) incarnation: Incarnation,
    /// How much more its disk takes.
    pub(crate) space: Space,
}

/// A command on its way to being chosen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InFlight {
    pub(crate) command: Command,
    /// Who has accepted, in a life that counts in this slot.
    pub(crate) votes: ReplicaSet,
    pub(crate) sent_tick: u64,
}

impl Leading {
    /// Whether those who promised are a quorum in the next slot to propose in. They no longer are where a rejoin has
    /// given one of them another life (RULES R1).
    pub(crate) fn phase_one_holds(&self, configuration: &Configuration) -> bool {
        configuration.is_quorum(self.next_slot, &self.promises)
    }

    /// Whether a majority, this replica included, echoed a round that left within the last `timeout_ticks`.
    pub(crate) fn has_majority(
        &self,
        configuration: &Configuration,
        slot: Slot,
        now: u64,
        timeout_ticks: u64,
    ) -> bool {
        if now < self.since_tick + timeout_ticks {
            return true;
        }
        let lately: BTreeMap<ReplicaId, Incarnation> = self
            .echoed
            .iter()
            .filter(|(_, echo)| now < echo.tick + timeout_ticks)
            .map(|(replica, echo)| (*replica, echo.incarnation))
            .collect();
        configuration.is_quorum(slot, &lately)
    }

    /// What the commands in flight take, in bytes.
    pub(crate) fn in_flight_bytes(&self) -> usize {
        let commands = self.in_flight.values();
        commands
            .map(|in_flight| in_flight.command.size_bytes())
            .sum()
    }

    /// A replica's journal can replay all below `watermark`, in the life that said so.
    pub(crate) fn note_durable(
        &mut self,
        replica: ReplicaId,
        incarnation: Incarnation,
        watermark: Slot,
    ) {
        let known = self
            .durable
            .entry(replica)
            .or_insert((incarnation, watermark));
        *known = if known.0 == incarnation {
            (incarnation, watermark.max(known.1))
        } else {
            (incarnation, watermark)
        };
    }

    /// The slot below which every member's journal can replay. What a member said in a life that is over is void: its
    /// journal went with it.
    pub(crate) fn durable_everywhere(&self, configuration: &Configuration) -> Slot {
        let of_member = |member| {
            let said = self.durable.get(&member)?;
            (configuration.last_life(member) == Some(said.0)).then_some(said.1)
        };
        configuration
            .members()
            .map(|member| of_member(member).unwrap_or_default())
            .min()
            .unwrap_or_default()
    }
}

/// When the rounds of a leader left, to know how old an echo's news is. One entry a tick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct RoundTicks(Vec<(u64, u64)>);

impl RoundTicks {
    /// The round of `nonce` leaves at tick `now`. Entries older than `timeout_ticks` are of no use any more.
    pub(crate) fn left(&mut self, nonce: u64, now: u64, timeout_ticks: u64) {
        self.0.retain(|(_, tick)| now < tick + timeout_ticks);
        if self.0.last().is_none_or(|(_, tick)| *tick != now) {
            self.0.push((nonce, now));
        }
    }

    /// The tick at which the round of `nonce` left, or a little earlier; none if that is long ago.
    pub(crate) fn tick_of(&self, nonce: u64) -> Option<u64> {
        let after = self.0.partition_point(|(first, _)| *first <= nonce);
        after.checked_sub(1).map(|place| self.0[place].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBERS: [ReplicaId; 3] = [ReplicaId(0), ReplicaId(1), ReplicaId(2)];
    const LIFE: Incarnation = Incarnation(1);
    const NEXT_LIFE: Incarnation = Incarnation(2);

    /// RULES R7: what a member said in a life that is over went with it, and within a life no late message takes back
    /// what was said.
    #[test]
    fn a_member_is_taken_at_the_word_of_its_present_life() {
        let mut configuration = Configuration::founded(&MEMBERS.map(|member| (member, LIFE)));
        let mut leading = Preparing::new(Ballot::NONE, Slot(0), 0).into_leading(Slot(0), 0);
        for member in MEMBERS {
            leading.note_durable(member, LIFE, Slot(9));
            leading.note_durable(member, LIFE, Slot(5));
        }
        assert_eq!(leading.durable_everywhere(&configuration), Slot(9));

        configuration.rejoin(Slot(9), 4, ReplicaId(2), NEXT_LIFE);
        assert_eq!(leading.durable_everywhere(&configuration), Slot(0));
        leading.note_durable(ReplicaId(2), NEXT_LIFE, Slot(3));
        assert_eq!(leading.durable_everywhere(&configuration), Slot(3));
    }

    #[test]
    fn an_echo_is_as_old_as_its_round_and_void_after_a_timeout() {
        const TIMEOUT_TICKS: u64 = 25;
        let mut rounds = RoundTicks::default();
        for (nonce, tick) in [(1, 10), (2, 10), (4, 15), (5, 34)] {
            rounds.left(nonce, tick, TIMEOUT_TICKS);
        }
        let ticks = |rounds: &RoundTicks| [0, 1, 2, 3, 4, 6].map(|nonce| rounds.tick_of(nonce));
        let (first, second, third) = (Some(10), Some(15), Some(34));
        assert_eq!(ticks(&rounds), [None, first, first, first, second, third]);
        assert_eq!(rounds.0.len(), 3, "one entry a tick");

        rounds.left(6, 35, TIMEOUT_TICKS);
        assert_eq!(ticks(&rounds), [None, None, None, None, second, Some(35)]);
    }
}
