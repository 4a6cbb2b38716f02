//! Who should be the distinguished proposer ("Paxos Made Simple", section 3; RULES R17).
//!
//! Safety never rests on this file: any replica may prepare at any time. It only keeps replicas from disturbing a leader
//! that works. A replica that hears no leader first asks whether a majority would follow it; those that hear a leader
//! which itself hears a majority say no. Times are random after each failure, so that candidates do not meet for ever.

use std::collections::BTreeMap;

use crate::ballot::{Ballot, Incarnation, ReplicaId};
use crate::config::Config;

/// What a replica knows of leaders, and when it will ask.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Election {
    random: Random,
    /// When to ask whether a majority would follow, unless a leader is heard before.
    deadline_tick: u64,
    /// The leader last heard.
    heard: Option<Heard>,
    /// Names the attempts; begins at random, so that a late reply from before a restart fits none.
    nonce: u64,
    /// A leader that others hear and this replica does not, and when one of them last said so.
    elsewhere: Option<(ReplicaId, u64)>,
    /// When this replica, leading, last went above a rival at once.
    outbid_tick: Option<u64>,
}

/// A heartbeat, as far as it matters later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Heard {
    ballot: Ballot,
    tick: u64,
    has_majority: bool,
}

/// An attempt to learn who would follow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Canvass {
    /// Which attempt.
    pub(crate) nonce: u64,
    /// Who said yes, and in which life.
    pub(crate) followers: BTreeMap<ReplicaId, Incarnation>,
}

impl Election {
    /// At tick 0, with no leader heard. The first wait is short: a cluster that starts has no leader to wait for.
    pub(crate) fn new(config: &Config) -> Self {
        let mut random = Random(config.seed);
        let deadline_tick = 1 + random.below(config.election_timeout_ticks_min);
        let nonce = random.next();
        Self {
            random,
            deadline_tick,
            heard: None,
            nonce,
            elsewhere: None,
            outbid_tick: None,
        }
    }

    /// A heartbeat of a leader in `ballot`, which is not below any other heard. A leader without a majority does not
    /// hold back the next attempt.
    pub(crate) fn hear(&mut self, ballot: Ballot, has_majority: bool, now: u64, config: &Config) {
        self.heard = Some(Heard {
            ballot,
            tick: now,
            has_majority,
        });
        if has_majority {
            self.elsewhere = None;
            self.postpone(now, config);
        }
    }

    /// The ballot of the leader last heard, however long ago.
    pub(crate) fn heard_ballot(&self) -> Ballot {
        self.heard.map_or(Ballot::NONE, |heard| heard.ballot)
    }

    /// The leader heard lately, if it has a majority.
    pub(crate) fn leader(&self, now: u64, config: &Config) -> Option<Ballot> {
        self.heard
            .filter(|heard| {
                heard.has_majority && now < heard.tick + config.election_timeout_ticks_min
            })
            .map(|heard| heard.ballot)
    }

    /// Forgets the leader: its place was lost.
    pub(crate) fn forget_leader(&mut self) {
        self.heard = None;
    }

    /// The leader that is heard is gone, most likely: the next attempt does not wait for its silence, but for a short random
    /// time, as the others find out at about the same moment.
    pub(crate) fn doubt(&mut self, now: u64) {
        self.heard = None;
        let soon = now + 1 + self.random.below(DOUBT_TICKS);
        self.deadline_tick = self.deadline_tick.min(soon);
    }

    /// Waits a random time from now on before the next attempt.
    pub(crate) fn postpone(&mut self, now: u64, config: &Config) {
        let spread = config.election_timeout_ticks_max - config.election_timeout_ticks_min;
        let wait = config.election_timeout_ticks_min + self.random.below(spread + 1);
        self.deadline_tick = now + wait;
    }

    /// Whether it is time to ask.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        now >= self.deadline_tick
    }

    /// Begins an attempt.
    pub(crate) fn canvass(&mut self, now: u64, config: &Config) -> Canvass {
        self.postpone(now, config);
        self.nonce = self.nonce.wrapping_add(1);
        Canvass {
            nonce: self.nonce,
            followers: BTreeMap::new(),
        }
    }

    /// Another replica hears `leader`; this one has not for a while.
    pub(crate) fn heard_elsewhere(&mut self, leader: ReplicaId, now: u64) {
        self.elsewhere = Some((leader, now));
    }

    /// A leader that others hear and this replica does not: its clients are better served there. Those who hear nobody
    /// do not gainsay the others; the news holds until two attempts have not renewed it.
    pub(crate) fn elsewhere(&self, now: u64, config: &Config) -> Option<ReplicaId> {
        let lately = |tick: u64| now <= tick + 2 * config.election_timeout_ticks_max;
        self.elsewhere
            .filter(|(_, tick)| lately(*tick))
            .map(|(leader, _)| leader)
    }

    /// Whether a leader that is refused may go above its rival at once; if so, not again for a while.
    pub(crate) fn may_outbid(&mut self, now: u64, config: &Config) -> bool {
        let lately = |tick: u64| now < tick + config.election_timeout_ticks_max;
        if self.outbid_tick.is_some_and(lately) {
            return false;
        }
        self.outbid_tick = Some(now);
        true
    }

    /// This replica leads: no other does.
    pub(crate) fn leads(&mut self) {
        self.heard = None;
        self.elsewhere = None;
    }
}

/// Over how many ticks those who doubt a leader spread. To ask, to be promised, and to be heard takes a candidate about one.
const DOUBT_TICKS: u64 = 8;

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). Good enough to spread
/// waiting times, and the same everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; where only 0 is, nothing is drawn. The bias of the remainder does not matter here.
    fn below(&mut self, bound: u64) -> u64 {
        if bound <= 1 { 0 } else { self.next() % bound }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::new(ReplicaId(0), Incarnation(1), 5)
    }

    #[test]
    fn news_of_a_leader_elsewhere_holds_for_two_attempts() {
        let (config, heard) = (config(), 10);
        let mut election = Election::new(&config);
        election.heard_elsewhere(ReplicaId(2), heard);
        let until = heard + 2 * config.election_timeout_ticks_max;
        assert_eq!(election.elsewhere(until, &config), Some(ReplicaId(2)));
        assert_eq!(election.elsewhere(until + 1, &config), None);
    }

    #[test]
    fn a_leader_goes_above_its_rival_once_in_a_timeout() {
        let (config, first) = (config(), 10);
        let mut election = Election::new(&config);
        assert!(election.may_outbid(first, &config));
        let again = first + config.election_timeout_ticks_max;
        assert!(!election.may_outbid(again - 1, &config));
        assert!(election.may_outbid(again, &config));
        assert!(!election.may_outbid(again + 1, &config));
    }
}
