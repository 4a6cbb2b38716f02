//! Who votes in which slot, and when their votes are enough.
//!
//! A majority of the members is a quorum, and any two majorities meet in a replica that never forgot: a vote counts
//! only under the incarnation in force in its slot (RULES R1). An even number of members needs one more than half.

use std::collections::BTreeMap;
use std::fmt;

use crate::ballot::{Incarnation, ReplicaId, Slot};

/// Members have ids below this, so that a set of them fits one word.
pub const REPLICA_IDS_MAX: u8 = 64;

/// A set of replicas.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ReplicaSet(u64);

impl ReplicaSet {
    /// Adds one; says whether it was not there before.
    pub fn insert(&mut self, replica: ReplicaId) -> bool {
        assert!(
            replica.0 < REPLICA_IDS_MAX,
            "{replica} has an id of {REPLICA_IDS_MAX} or more"
        );
        let before = self.0;
        self.0 |= 1 << replica.0;
        self.0 != before
    }

    /// Whether it is there.
    #[must_use]
    pub fn contains(self, replica: ReplicaId) -> bool {
        replica.0 < REPLICA_IDS_MAX && self.0 & (1 << replica.0) != 0
    }

    /// How many there are.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// In order of ids.
    pub fn iter(self) -> impl Iterator<Item = ReplicaId> {
        (0..REPLICA_IDS_MAX)
            .map(ReplicaId)
            .filter(move |replica| self.contains(*replica))
    }
}

impl fmt::Debug for ReplicaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The replicated configuration: the members, and in which life each of them votes from which slot on.
///
/// The founding record sets it from slot 0; only a chosen [`crate::Command::Rejoin`] changes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Configuration {
    /// For each member the lives in which it votes: from a slot on, until the next entry. Never empty, begins at 0.
    lives: BTreeMap<ReplicaId, BTreeMap<Slot, Incarnation>>,
}

impl Configuration {
    /// The configuration that a founding record sets.
    ///
    /// # Panics
    /// When there is no member, or one has an id of [`REPLICA_IDS_MAX`] or more.
    #[must_use]
    pub fn founded(members: &[(ReplicaId, Incarnation)]) -> Self {
        assert!(!members.is_empty(), "a configuration needs a member");
        let lives = members
            .iter()
            .map(|&(replica, incarnation)| {
                assert!(
                    replica.0 < REPLICA_IDS_MAX,
                    "{replica} has an id of {REPLICA_IDS_MAX} or more"
                );
                (replica, BTreeMap::from([(Slot(0), incarnation)]))
            })
            .collect();
        Self { lives }
    }

    /// The configuration with these lives; `None` if they are not those of any: no member, an id of
    /// [`REPLICA_IDS_MAX`] or more, a life named twice, or a member without one from slot 0 on.
    #[must_use]
    pub fn from_lives(
        named: impl IntoIterator<Item = (ReplicaId, Slot, Incarnation)>,
    ) -> Option<Self> {
        let mut lives: BTreeMap<ReplicaId, BTreeMap<Slot, Incarnation>> = BTreeMap::new();
        for (replica, from_slot, incarnation) in named {
            let of_replica = lives.entry(replica).or_default();
            let is_repeated = of_replica.insert(from_slot, incarnation).is_some();
            if is_repeated || replica.0 >= REPLICA_IDS_MAX {
                return None;
            }
        }
        let is_whole = lives.values().all(|lives| lives.contains_key(&Slot(0)));
        (is_whole && !lives.is_empty()).then_some(Self { lives })
    }

    /// The lives of all members, in order of ids and slots: from which slot on which life votes. This is all there is
    /// to a configuration, for a snapshot.
    pub fn lives(&self) -> impl Iterator<Item = (ReplicaId, Slot, Incarnation)> {
        self.lives.iter().flat_map(|(&replica, lives)| {
            lives
                .iter()
                .map(move |(&from_slot, &incarnation)| (replica, from_slot, incarnation))
        })
    }

    /// All members, in order of ids.
    pub fn members(&self) -> impl Iterator<Item = ReplicaId> {
        self.lives.keys().copied()
    }

    /// How many votes are enough.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.lives.len() / 2 + 1
    }

    /// The life in which `replica` votes in `slot`; none for a stranger.
    #[must_use]
    pub fn in_force(&self, replica: ReplicaId, slot: Slot) -> Option<Incarnation> {
        let lives = self.lives.get(&replica)?;
        lives
            .range(..=slot)
            .next_back()
            .map(|(_, incarnation)| *incarnation)
    }

    /// Whether a vote of this life counts in `slot`.
    #[must_use]
    pub fn counts(&self, replica: ReplicaId, incarnation: Incarnation, slot: Slot) -> bool {
        self.in_force(replica, slot) == Some(incarnation)
    }

    /// Whether these votes, each with the life that cast it, are a quorum in `slot`.
    #[must_use]
    pub fn is_quorum(&self, slot: Slot, votes: &BTreeMap<ReplicaId, Incarnation>) -> bool {
        let count = votes
            .iter()
            .filter(|&(&replica, &incarnation)| self.counts(replica, incarnation, slot))
            .count();
        count >= self.majority()
    }

    /// The life that is to vote in the end, once every change known here is in force; none for a stranger.
    #[must_use]
    pub fn last_life(&self, replica: ReplicaId) -> Option<Incarnation> {
        let (_, incarnation) = self.lives.get(&replica)?.last_key_value()?;
        Some(*incarnation)
    }

    /// The first slot from which on a life is to vote for good; none if it is not the last of its replica.
    #[must_use]
    pub fn in_force_from(&self, replica: ReplicaId, incarnation: Incarnation) -> Option<Slot> {
        let (slot, last) = self.lives.get(&replica)?.last_key_value()?;
        (*last == incarnation).then_some(*slot)
    }

    /// The first slot in which every change known here is in force.
    #[must_use]
    pub fn settled_from(&self) -> Slot {
        let changes = self.lives.values().filter_map(BTreeMap::last_key_value);
        changes.map(|(slot, _)| *slot).max().unwrap_or_default()
    }

    /// A Rejoin was chosen in `slot`: the life is in force `window` slots later. One of a stranger changes nothing.
    pub fn rejoin(
        &mut self,
        slot: Slot,
        window: u64,
        replica: ReplicaId,
        incarnation: Incarnation,
    ) {
        if let Some(lives) = self.lives.get_mut(&replica) {
            lives.insert(slot.plus(window), incarnation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: u8) -> Configuration {
        let members: Vec<_> = (0..count)
            .map(|id| (ReplicaId(id), Incarnation(u64::from(id))))
            .collect();
        Configuration::founded(&members)
    }

    fn votes(ids: &[u8]) -> BTreeMap<ReplicaId, Incarnation> {
        ids.iter()
            .map(|&id| (ReplicaId(id), Incarnation(u64::from(id))))
            .collect()
    }

    #[test]
    fn a_majority_is_more_than_half() {
        let sizes: Vec<_> = (1..=7).map(|count| members(count).majority()).collect();
        assert_eq!(sizes, [1, 2, 2, 3, 3, 4, 4]);
        assert!(!members(6).is_quorum(Slot(0), &votes(&[0, 1, 2])));
        assert!(members(6).is_quorum(Slot(0), &votes(&[0, 1, 2, 3])));
    }

    #[test]
    fn the_lives_are_the_whole_configuration() {
        let mut configuration = members(3);
        configuration.rejoin(Slot(10), 5, ReplicaId(2), Incarnation(77));
        let lives: Vec<_> = configuration.lives().collect();
        assert_eq!(lives.len(), 4);
        let again = Configuration::from_lives(lives.iter().copied());
        assert_eq!(again, Some(configuration));
        assert_eq!(Configuration::from_lives([]), None);
        assert_eq!(Configuration::from_lives(lives[3..].iter().copied()), None);
        let twice = lives[..2].iter().chain(&lives[..1]).copied();
        assert_eq!(Configuration::from_lives(twice), None);
        let stranger = (ReplicaId(REPLICA_IDS_MAX), Slot(0), Incarnation(1));
        assert_eq!(Configuration::from_lives([stranger]), None);
    }

    #[test]
    fn a_vote_counts_only_in_the_life_in_force() {
        let mut configuration = members(3);
        configuration.rejoin(Slot(10), 5, ReplicaId(2), Incarnation(77));
        assert!(configuration.counts(ReplicaId(2), Incarnation(2), Slot(14)));
        assert!(!configuration.counts(ReplicaId(2), Incarnation(77), Slot(14)));
        assert!(!configuration.counts(ReplicaId(2), Incarnation(2), Slot(15)));
        assert!(configuration.counts(ReplicaId(2), Incarnation(77), Slot(15)));
        assert!(!configuration.counts(ReplicaId(9), Incarnation(9), Slot(0)));
        assert_eq!(configuration.last_life(ReplicaId(2)), Some(Incarnation(77)));
        assert_eq!(configuration.last_life(ReplicaId(9)), None);
        assert_eq!(configuration.settled_from(), Slot(15));
        let from = |id, life| configuration.in_force_from(ReplicaId(id), Incarnation(life));
        assert_eq!(from(2, 77), Some(Slot(15)));
        assert_eq!(from(2, 2), None, "its time is limited");
        assert_eq!(from(1, 1), Some(Slot(0)));
        assert_eq!(from(9, 9), None);
    }

    #[test]
    fn a_set_holds_each_replica_once_and_none_beyond_the_highest_id() {
        let (lowest, highest) = (ReplicaId(0), ReplicaId(REPLICA_IDS_MAX - 1));
        let mut set = ReplicaSet::default();
        assert!(set.is_empty());
        assert!(set.insert(lowest) && set.insert(highest));
        assert!(!set.insert(highest), "it was there before");
        assert!(!set.is_empty());
        assert_eq!(set.len(), 2);
        assert!(set.iter().eq([lowest, highest]));
        assert!(!set.contains(ReplicaId(REPLICA_IDS_MAX)));
    }
}
