//! What the nemesis does, drawn from a seed. It names no replica: who leads is known only when a strike begins, so each
//! victim is named by how many places behind the leader it stands.

use std::fmt;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::cluster::SIZE;

/// What is done to one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    /// SIGKILL, and a start at the end.
    Kill,
    /// SIGSTOP, and SIGCONT at the end.
    Pause,
    /// Nothing passes between it and the others.
    CutOff,
    /// It hears nothing; the others hear it.
    Deafen,
    /// The others hear nothing of it; it hears them.
    Mute,
    /// SIGKILL, its directory is removed, and it is started at once, blank.
    Wipe,
    /// It is replaced by a process of which agents fail all the time.
    FailRoles,
}

/// What is done at once, and undone before the next strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// One replica suffers.
    One(Harm, Place),
    /// Two suffer, each alone.
    Two([(Harm, Place); 2]),
    /// Two hear only each other, and so do the other three.
    Split([Place; 2]),
    /// Frames of every link are dropped, doubled, delayed and swapped, and links are cut.
    BadLinks,
    /// The same, and one replica suffers.
    OneOnBadLinks(Harm, Place),
    /// Two, two and one: no majority.
    NoMajority,
    /// SIGKILL for all five at once, and a start of all.
    RestartAll,
}

/// How many places behind the leader a replica stands; the leader is at 0.
pub(super) type Place = usize;

impl Fault {
    /// Whether requests can be answered while it lasts.
    pub(super) fn leaves_a_majority(self) -> bool {
        !matches!(self, Self::NoMajority | Self::RestartAll)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = |place: Place| if place == 0 { "leader" } else { "follower" };
        match *self {
            Self::One(harm, place) => write!(f, "{harm}: {}", whom(place)),
            Self::Two([(one, _), (other, _)]) if one == other => write!(f, "{one}: two"),
            Self::Two(_) => f.write_str("two of these at once"),
            Self::Split(places) if places.contains(&0) => {
                f.write_str("split 2 and 3, leader in the 2")
            }
            Self::Split(_) => f.write_str("split 2 and 3, leader in the 3"),
            Self::BadLinks => f.write_str("bad links"),
            Self::OneOnBadLinks(..) => f.write_str("bad links and one of these"),
            Self::NoMajority => f.write_str("split 2, 2 and 1: no majority"),
            Self::RestartAll => f.write_str("kill -9 and restart: all five"),
        }
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill -9",
            Self::Pause => "SIGSTOP",
            Self::CutOff => "cut off",
            Self::Deafen => "hears nothing",
            Self::Mute => "is not heard",
            Self::Wipe => "disk wiped",
            Self::FailRoles => "roles fail",
        })
    }
}

/// A fault, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strike {
    pub(super) fault: Fault,
    pub(super) lasts: Duration,
}

/// Strikes without end: every kind in a random order, then all again.
#[derive(Debug)]
pub(super) struct Schedule {
    random: SmallRng,
    deck: Vec<Fault>,
}

impl Schedule {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: SmallRng::seed_from_u64(seed),
            deck: Vec::new(),
        }
    }

    pub(super) fn next(&mut self) -> Strike {
        if self.deck.is_empty() {
            self.deck = deck(&mut self.random);
        }
        let fault = self.deck.pop().expect("a deck is not empty");
        let is_pause = matches!(fault, Fault::One(Harm::Pause, _));
        let longest = if is_pause { PAUSE_MAX } else { FAULT_MAX };
        let lasts = self.random.random_range(FAULT_MIN..longest);
        Strike { fault, lasts }
    }
}

/// Longer than an election takes.
const FAULT_MIN: Duration = Duration::from_millis(400);

const FAULT_MAX: Duration = Duration::from_millis(2_000);

/// A process that stands still may do so for longer, as in FAULTS 6.
const PAUSE_MAX: Duration = Duration::from_secs(5);

const HARMS: [Harm; 7] = [
    Harm::Kill,
    Harm::Pause,
    Harm::CutOff,
    Harm::Deafen,
    Harm::Mute,
    Harm::Wipe,
    Harm::FailRoles,
];

/// How many of each kind that can be mixed in many ways are in a deck.
const MIXED: usize = 3;

/// Faults of each kind.
fn deck(random: &mut SmallRng) -> Vec<Fault> {
    let mut deck = vec![Fault::BadLinks, Fault::NoMajority, Fault::RestartAll];
    for harm in HARMS {
        deck.push(Fault::One(harm, 0));
        deck.push(Fault::One(harm, random.random_range(1..SIZE)));
    }
    let [one, other] = two_places(random);
    deck.push(Fault::Two([(Harm::Kill, one), (Harm::Kill, other)]));
    for _ in 0..MIXED {
        let [one, other] = two_places(random);
        let (first, second) = two_of(random, HARMS.len());
        deck.push(Fault::Two([(HARMS[first], one), (HARMS[second], other)]));
        let harm = HARMS[random.random_range(0..HARMS.len())];
        deck.push(Fault::OneOnBadLinks(harm, random.random_range(0..SIZE)));
    }
    deck.push(Fault::Split([0, random.random_range(1..SIZE)]));
    let (one, other) = two_of(random, SIZE - 1);
    deck.push(Fault::Split([one + 1, other + 1]));
    deck.shuffle(random);
    deck
}

/// Two replicas, of which every second time one leads.
fn two_places(random: &mut SmallRng) -> [Place; 2] {
    if random.random() {
        return [0, random.random_range(1..SIZE)];
    }
    let (one, other) = two_of(random, SIZE - 1);
    [one + 1, other + 1]
}

/// Two different numbers below `count`.
fn two_of(random: &mut SmallRng, count: usize) -> (usize, usize) {
    let one = random.random_range(0..count);
    let other = random.random_range(0..count - 1);
    (one, if other < one { other } else { other + 1 })
}

#[test]
fn a_seed_is_a_schedule_and_a_deck_has_every_kind() {
    const KINDS: usize = 22;
    const DECK: usize = KINDS + 2 * (MIXED - 1);
    let draw = |seed| {
        let mut schedule = Schedule::new(seed);
        let strikes: Vec<Strike> = (0..DECK).map(|_| schedule.next()).collect();
        strikes
    };
    let shown = |seed| format!("{:?}", draw(seed));
    assert_eq!(shown(1), shown(1));
    assert_ne!(shown(1), shown(2));
    for seed in 0..100 {
        let strikes = draw(seed);
        let mut kinds: Vec<String> = strikes.iter().map(|s| s.fault.to_string()).collect();
        kinds.sort();
        kinds.dedup();
        assert_eq!(kinds.len(), KINDS, "{kinds:?}");
        for strike in strikes {
            if let Fault::Two([(_, one), (_, other)]) | Fault::Split([one, other]) = strike.fault {
                assert!(one != other && one < SIZE && other < SIZE, "{strike:?}");
            }
        }
    }
}
