//! Seeded clusters in sparse mode under loss, repetition, reordering, cuts, and crashes that lose what was not synced.
//!
//! Checked at every step: no two replicas ever learn different commands of an instance; what is chosen was begun by
//! somebody; nothing is forgotten that a program still needs; the minimum and the maximum only grow within a life. At
//! the end, healed, everything that some program still waits for must be decided within a bounded time, and every
//! replica must know it.
//!
//! A failure prints its seed; `PAXOS_SEED=17` runs that one alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use paxos::{Command, Replica, ReplicaId, Slot};

use crate::cluster::{Cluster, Settings, word};
use crate::seeds::{Faults, Random, play_seeds};

#[test]
fn three_replicas_agree_on_instances_under_faults() {
    run_seeds(0..SEEDS, 3);
}

#[test]
fn five_replicas_agree_on_instances_under_faults() {
    run_seeds(SEEDS..2 * SEEDS, 5);
}

fn run_seeds(seeds: Range<u64>, replicas: u8) {
    let played = play_seeds(seeds, replicas, |seed, replicas| {
        Run::new(seed, replicas).play()
    });
    let (count, chosen) = (played.len(), played.iter().sum::<usize>());
    assert!(
        chosen >= count * INSTANCES_CHOSEN_MIN,
        "only {chosen} instances were chosen in {count} runs"
    );
}

/// One seeded run and what has been seen in it.
struct Run {
    cluster: Cluster,
    random: Random,
    faults: Faults,
    /// By instance, what the first replica to know it learned.
    chosen: BTreeMap<Slot, Command>,
    started: BTreeSet<(Slot, String)>,
    /// What the present life of each replica began.
    wanted: BTreeMap<ReplicaId, BTreeSet<Slot>>,
    /// What each program is done with, over all its lives.
    done: BTreeMap<ReplicaId, Slot>,
    /// The lowest and highest instance of each replica in its present life.
    bounds: BTreeMap<ReplicaId, (Slot, Option<Slot>)>,
    next: u64,
}

impl Run {
    fn new(seed: u64, replicas: u8) -> Self {
        let mut random = Random::of_seed(seed);
        let mut settings = Settings::of(replicas);
        settings.sparse = true;
        settings.seed = random.below(1 << 20);
        settings.hasty = random.below(2) == 0;
        settings.in_flight_bytes_max = [20, 100, 1 << 20][random.place(3)];
        settings.message_bytes_max = [40, 100, 1 << 20][random.place(3)];
        let faults = Faults::draw(&mut random);
        Self {
            cluster: faults.cluster(settings),
            random,
            faults,
            chosen: BTreeMap::new(),
            started: BTreeSet::new(),
            wanted: BTreeMap::new(),
            done: BTreeMap::new(),
            bounds: BTreeMap::new(),
            next: 0,
        }
    }

    /// How many instances were chosen.
    fn play(mut self) -> usize {
        for _ in 0..STEPS {
            self.step();
            self.check();
        }
        self.heal();
        self.chosen.len()
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..55 => {
                for _ in 0..=self.random.below(DELIVERED_AT_ONCE_MAX) {
                    self.deliver();
                }
            }
            55..75 => {
                for id in self.cluster.ids() {
                    self.cluster.tick(id);
                }
            }
            75..85 => self.start(),
            85..88 => self.be_done(),
            88..95 => {
                let id = self.any();
                if self.random.below(100) < self.faults.sync {
                    self.cluster.sync(id);
                }
            }
            _ => self.fail(),
        }
    }

    fn any(&mut self) -> ReplicaId {
        let ids = self.cluster.ids();
        ids[self.random.place(ids.len())]
    }

    fn deliver(&mut self) {
        let network = &mut self.cluster.network;
        if let Some(envelope) = self.faults.next_message(&mut self.random, network) {
            self.cluster.deliver(envelope);
        }
    }

    fn start(&mut self) {
        let id = self.any();
        let slot = Slot(self.random.below(SLOTS));
        self.next += 1;
        let name = format!("c{}", self.next);
        let started = self
            .cluster
            .turn(id, |peer| peer.propose_at(slot, word(&name)));
        if started.is_some() {
            self.started.insert((slot, name));
            self.wanted.entry(id).or_default().insert(slot);
        }
    }

    /// A program is done with what it knows, up to the first instance that it does not: then an instance that anybody
    /// waits for is never forgotten unless all know it.
    fn be_done(&mut self) {
        let id = self.any();
        let done = self.done.get(&id).copied().unwrap_or_default();
        let end = done.plus(self.random.below(4));
        let known = &self.cluster.node(id).decided;
        let mut watermark = done;
        while watermark < end && known.contains_key(&watermark) {
            watermark = watermark.next();
        }
        if self.cluster.turn(id, |peer| peer.done(watermark)).is_some() {
            self.done.insert(id, watermark);
        }
    }

    fn fail(&mut self) {
        let id = self.any();
        if !self.cluster.is_up(id) {
            self.cluster.restart(id);
        } else if self.random.below(100) < self.faults.crashes {
            self.cluster.crash(id);
            self.wanted.remove(&id);
            self.bounds.remove(&id);
        }
        let other = self.any();
        if self.random.below(100) < self.faults.cuts && id != other {
            self.cluster.cut(id, other);
        } else if self.random.below(4) == 0 {
            self.cluster.mend_all();
        }
    }

    fn check(&mut self) {
        self.cluster.take_events();
        let done = |id: &ReplicaId| self.done.get(id).copied().unwrap_or_default();
        let needed = self.cluster.ids().iter().map(done).min();
        let needed = needed.unwrap_or_default();
        for node in &self.cluster.nodes {
            for (slot, command) in &node.decided {
                let known = self.chosen.entry(*slot).or_insert_with(|| command.clone());
                assert!(known == command, "{slot} is {known} and {command}");
                let begun = self.started.contains(&(*slot, command.to_string()));
                assert!(begun, "nobody began {command} in {slot}");
            }
            let Some(replica) = &node.replica else {
                continue;
            };
            let (min, max) = (replica.min(), replica.max());
            assert!(min <= needed, "{} forgets {min} of {needed}", node.id);
            let before = self.bounds.insert(node.id, (min, max));
            if let Some((min_before, max_before)) = before {
                assert!(
                    min >= min_before && max >= max_before,
                    "{} falls back",
                    node.id
                );
            }
        }
    }

    /// Everything works again: what is waited for is decided, and all come to know all.
    fn heal(&mut self) {
        self.cluster.mend_all();
        for id in self.cluster.ids() {
            if !self.cluster.is_up(id) {
                self.cluster.restart(id);
            }
            self.cluster.node_mut(id).disk_is_slow = false;
            self.cluster.sync(id);
        }
        for _ in 0..HEALED_TICKS_MAX {
            self.cluster.run(1);
            self.check();
            if self.is_at_rest() {
                return;
            }
        }
        panic!(
            "after healing {:?} are waited for, and {} instances known to somebody",
            self.wanted,
            self.chosen.len()
        );
    }

    fn is_at_rest(&self) -> bool {
        self.cluster.nodes.iter().all(|node| {
            let min = node.replica.as_ref().map_or(Slot(0), Replica::min);
            let wanted = self.wanted.get(&node.id).into_iter().flatten();
            let mut open = wanted.chain(self.chosen.keys());
            open.all(|slot| *slot < min || node.decided.contains_key(slot))
        })
    }
}

/// A few seconds in all; a longer search is `SEEDS` times larger.
const SEEDS: u64 = 300;

const STEPS: usize = 1_000;

/// Few enough that several programs begin the same one.
const SLOTS: u64 = 60;

const DELIVERED_AT_ONCE_MAX: u64 = 6;

/// On average; far fewer mean that the faults leave nothing to look at.
const INSTANCES_CHOSEN_MIN: usize = 10;

/// Two elections at the product's pace, and every instance told one message at a time.
const HEALED_TICKS_MAX: usize = 600;
