//! What seeded runs share: the numbers that a seed gives, what goes wrong how often, and the loop over seeds.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use paxos::Envelope;

use crate::cluster::{Cluster, Settings};

/// Plays each seed, or the one that `PAXOS_SEED` names if it is among them, and says what each gave. A failure prints its
/// seed.
pub(crate) fn play_seeds<T>(
    seeds: Range<u64>,
    replicas: u8,
    play: impl Fn(u64, u8) -> T,
) -> Vec<T> {
    let one = std::env::var("PAXOS_SEED").ok();
    let one = one.map(|seed| seed.parse().expect("PAXOS_SEED is a number"));
    let chosen = seeds.filter(|seed| one.is_none_or(|one: u64| one == *seed));
    chosen
        .map(|seed| {
            catch_unwind(AssertUnwindSafe(|| play(seed, replicas)))
                .unwrap_or_else(|_| panic!("PAXOS_SEED={seed} fails with {replicas} replicas"))
        })
        .collect()
}

/// How often what goes wrong, in percent; drawn for each run, so that quiet and wild ones both occur.
pub(crate) struct Faults {
    pub(crate) loss: u64,
    pub(crate) repetition: u64,
    pub(crate) reordering: u64,
    pub(crate) slow_disks: bool,
    /// Of the times that a slow disk could be synced.
    pub(crate) sync: u64,
    pub(crate) crashes: u64,
    pub(crate) cuts: u64,
}

impl Faults {
    pub(crate) fn draw(random: &mut Random) -> Self {
        Self {
            loss: [0, 2, 15][random.place(3)],
            repetition: [0, 2, 15][random.place(3)],
            reordering: [0, 20, 80][random.place(3)],
            slow_disks: random.below(2) == 0,
            sync: [20, 100][random.place(2)],
            crashes: [0, 2, 8][random.place(3)],
            cuts: [0, 2, 8][random.place(3)],
        }
    }

    /// The message that arrives next, if one does: perhaps not the oldest, and perhaps it comes once more.
    pub(crate) fn next_message(
        &self,
        random: &mut Random,
        network: &mut Vec<Envelope>,
    ) -> Option<Envelope> {
        if network.is_empty() {
            return None;
        }
        let reordered = random.below(100) < self.reordering;
        let place = if reordered {
            random.place(network.len())
        } else {
            0
        };
        let envelope = network.remove(place);
        if random.below(100) < self.loss {
            return None;
        }
        if random.below(100) < self.repetition {
            network.push(envelope.clone());
        }
        Some(envelope)
    }

    /// A cluster whose disks are as slow as drawn.
    pub(crate) fn cluster(&self, settings: Settings) -> Cluster {
        let mut cluster = Cluster::new(settings);
        for node in &mut cluster.nodes {
            node.disk_is_slow = self.slow_disks;
        }
        cluster
    }
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn of_seed(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x0100_0000_01b3) + 1)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn place(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).expect("a place fits")
    }
}
