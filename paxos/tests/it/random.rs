//! Seeded clusters under loss, repetition, reordering, cuts, crashes that lose what was not synced, lost disks, and
//! snapshots that are taken, sent, and cut short by a crash.
//!
//! Checked at every step: no two replicas apply different commands in a slot; what is applied was proposed; a watermark
//! only grows within a life; nobody forgets what another's journal could not replay; a confirmed read sees every command
//! that anybody had applied before it began. At the end a majority, healed, must choose again within a bounded time.
//!
//! A failure prints its seed; `PAXOS_SEED=17` runs that one alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use paxos::ProposeError::NotLeading;
use paxos::{Agent, Command, Envelope, ReplicaId, Role, Slot};

use crate::cluster::{Cluster, Event, Settings, word};
use crate::script::Script;
use crate::seeds::{Faults, Random, play_seeds};
use crate::telling::show;

#[test]
fn three_replicas_agree_under_faults() {
    run_seeds(0..SEEDS, 3);
}

#[test]
fn five_replicas_agree_under_faults() {
    run_seeds(SEEDS..2 * SEEDS, 5);
}

fn run_seeds(seeds: Range<u64>, replicas: u8) {
    let played = play_seeds(seeds, replicas, |seed, replicas| {
        Run::new(seed, replicas).play()
    });
    let count = played.len() as u64;
    let chosen: u64 = played.iter().map(|(slots, _)| slots).sum();
    let installed: u64 = played.iter().map(|(_, snapshots)| snapshots).sum();
    assert!(
        chosen >= count * SLOTS_CHOSEN_MIN,
        "only {chosen} slots were chosen in {count} runs"
    );
    assert!(
        count <= 1 || installed > count / 4,
        "only {installed} snapshots were installed in {count} runs"
    );
}

/// One seeded run and what has been seen in it.
struct Run {
    cluster: Cluster,
    random: Random,
    faults: Faults,
    lost_disks: bool,
    snapshots: bool,
    /// By slot, what the first replica applied there.
    chosen: BTreeMap<Slot, Command>,
    proposed: BTreeSet<String>,
    /// By ticket, what had been applied anywhere when the read began.
    reads: BTreeMap<u64, Slot>,
    reads_confirmed: u64,
    /// Replicas that lost their disk, until a Rejoin gives the new life a vote: never more than a minority (RULES R19).
    blank: BTreeSet<ReplicaId>,
    /// Replicas that lost a disk: others may have forgotten on the word of an earlier life.
    wiped: BTreeSet<ReplicaId>,
    snapshots_installed: u64,
    /// Of each replica in its present life.
    watermarks: BTreeMap<ReplicaId, Slot>,
    next: u64,
}

impl Run {
    fn new(seed: u64, replicas: u8) -> Self {
        let mut random = Random::of_seed(seed);
        let mut settings = Settings::of(replicas);
        settings.seed = random.below(1 << 20);
        settings.hasty = random.below(2) == 0;
        settings.in_flight_bytes_max = [20, 100, 1 << 20][random.place(3)];
        settings.window = [1, 2, 4, 64][random.place(4)];
        settings.kept_bytes_max = [40, 1 << 20][random.place(2)];
        settings.message_bytes_max = [40, 100, 1 << 20][random.place(3)];
        let faults = Faults::draw(&mut random);
        Self {
            lost_disks: settings.window <= 4 && random.below(2) == 0,
            snapshots: random.below(4) > 0,
            cluster: faults.cluster(settings),
            random,
            faults,
            chosen: BTreeMap::new(),
            proposed: BTreeSet::new(),
            reads: BTreeMap::new(),
            reads_confirmed: 0,
            blank: BTreeSet::new(),
            wiped: BTreeSet::new(),
            snapshots_installed: 0,
            watermarks: BTreeMap::new(),
            next: 0,
        }
    }

    /// How many slots were chosen, and snapshots installed.
    fn play(mut self) -> (u64, u64) {
        for _ in 0..STEPS {
            self.step();
            if self.random.below(8) == 0 {
                self.send_snapshots();
            }
            self.check();
        }
        self.heal();
        (self.chosen.len() as u64, self.snapshots_installed)
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..55 => {
                for _ in 0..=self.random.below(DELIVERED_AT_ONCE_MAX) {
                    self.deliver();
                }
            }
            55..75 => self.pass_time(),
            75..85 => self.propose(),
            85..89 => self.read(),
            89..94 => {
                let id = self.any();
                if self.random.below(100) < self.faults.sync {
                    self.cluster.sync(id);
                }
            }
            94..95 => self.take_snapshot(),
            95..97 => self.crash_or_restart(),
            97..98 => self.fail_or_replace(),
            98..99 => self.cut_or_mend(),
            _ => self.lose_disk(),
        }
    }

    fn deliver(&mut self) {
        let network = &mut self.cluster.network;
        let Some(envelope) = self.faults.next_message(&mut self.random, network) else {
            return;
        };
        let to = envelope.to;
        self.cluster.deliver(envelope);
        if self.cluster.is_up(to) && self.random.below(1000) < self.faults.crashes {
            self.crash(to);
            self.cluster.restart(to);
        }
    }

    /// Mostly for all, so that elections happen; sometimes for one, so that clocks differ.
    fn pass_time(&mut self) {
        if self.random.below(4) == 0 {
            let id = self.any();
            self.cluster.tick(id);
            return;
        }
        for id in self.cluster.ids() {
            self.cluster.tick(id);
        }
        let excess = self
            .cluster
            .network
            .len()
            .saturating_sub(NETWORK_MESSAGES_MAX);
        self.cluster.network.drain(..excess);
    }

    /// At everyone that takes itself for the leader.
    fn propose(&mut self) {
        if self.random.below(4) == 0 {
            self.rejoin();
        }
        for id in self.cluster.ids() {
            let leads = self.cluster.is_up(id) && self.cluster.replica(id).role() == Role::Leader;
            for _ in 0..self.random.below(4) {
                self.next += 1;
                let text = format!("c{}", self.next);
                let command = word(&text);
                if leads
                    && self.cluster.turn(id, |leader| leader.propose(command))
                        != Some(Err(NotLeading))
                {
                    self.proposed.insert(text);
                }
            }
        }
    }

    fn read(&mut self) {
        let id = self.any();
        self.next += 1;
        let ticket = self.next;
        let applied = self.applied_anywhere();
        if self
            .cluster
            .turn(id, |replica| replica.read(ticket))
            .is_some()
        {
            self.reads.insert(ticket, applied);
        }
    }

    fn crash_or_restart(&mut self) {
        let id = self.any();
        if !self.cluster.is_up(id) {
            self.cluster.restart(id);
        } else if self.random.below(8) < self.faults.crashes {
            self.crash(id);
        }
    }

    /// An agent of a replica fails, or the one that is away is replaced (RULES R16).
    fn fail_or_replace(&mut self) {
        let id = self.any();
        let agent = [Agent::Acceptor, Agent::Proposer, Agent::Learner][self.random.place(3)];
        if !self.cluster.is_up(id) {
            return;
        }
        if self.cluster.replica(id).away().is_some() {
            self.replace(id);
        } else if self.random.below(8) < self.faults.crashes {
            self.cluster.fail(id, agent);
        }
    }

    /// A learner's successor may know less than the one before it.
    fn replace(&mut self, id: ReplicaId) {
        self.cluster.replace(id);
        self.watermarks.remove(&id);
    }

    /// A crash may find some of the journal on the disk although its sync has not returned.
    fn crash(&mut self, id: ReplicaId) {
        let node = self.cluster.node_mut(id);
        if self.random.below(2) == 0 {
            let written = node.journal.len() - node.durable;
            node.durable += self.random.place(written + 1);
        }
        self.cluster.crash(id);
        self.watermarks.remove(&id);
    }

    fn take_snapshot(&mut self) {
        let id = self.any();
        if self.snapshots {
            self.cluster.take_snapshot(id);
        }
    }

    /// Whoever wants a snapshot gets one of a peer that is up and connected, or dies of it.
    fn send_snapshots(&mut self) {
        for id in self.cluster.ids() {
            let Some(wanted) = self.cluster.wanted(id) else {
                continue;
            };
            let peer = wanted.peers[self.random.place(wanted.peers.len())];
            let is_cut = self.cluster.is_cut(peer, id) || self.cluster.is_cut(id, peer);
            if is_cut || !self.cluster.offers(peer, &wanted) {
                continue;
            }
            if self.random.below(100) < self.faults.crashes {
                self.cluster.transfer_and_crash(peer, id);
                self.cluster.restart(id);
                self.watermarks.remove(&id);
            } else {
                self.snapshots_installed += u64::from(self.cluster.transfer(peer, id));
            }
        }
    }

    /// A replica comes back empty and in another life, if a majority of votes is left without it.
    fn lose_disk(&mut self) {
        let id = self.any();
        let left = self.cluster.nodes.len() - self.blank.len();
        let spare = left > self.cluster.nodes.len() / 2 + 1;
        if self.lost_disks && spare && self.blank.insert(id) {
            self.cluster.wipe(id);
            self.wiped.insert(id);
            self.cluster.restart(id);
            self.watermarks.remove(&id);
        }
    }

    /// The leader lets a blank replica in.
    fn rejoin(&mut self) {
        let votes = |id: &ReplicaId| self.cluster.is_up(*id) && self.cluster.replica(*id).votes();
        let (back, blank) = self.blank.iter().partition(|id| votes(id));
        let _: &BTreeSet<ReplicaId> = &back;
        self.blank = blank;
        let Some((&replica, leader)) = self.blank.first().zip(self.leader()) else {
            return;
        };
        let incarnation = self.cluster.node(replica).incarnation;
        self.cluster.turn(leader, |leader| {
            leader.propose(Command::Rejoin {
                replica,
                incarnation,
            })
        });
    }

    fn cut_or_mend(&mut self) {
        let (from, to) = (self.any(), self.any());
        let both_ways = self.random.below(2) == 0;
        if self.cluster.is_cut(from, to) || self.random.below(8) >= self.faults.cuts {
            self.cluster.mend(from, to);
            self.cluster.mend(to, from);
        } else {
            self.cluster.cut(from, to);
            if both_ways {
                self.cluster.cut(to, from);
            }
        }
    }

    fn check(&mut self) {
        for event in self.cluster.take_events() {
            match event {
                Event::Applied(id, slot, command) => self.check_applied(id, slot, &command),
                Event::Read(_, read) => {
                    let began = self.reads.remove(&read.ticket);
                    let began = began.expect("a read is confirmed once");
                    assert!(
                        read.watermark >= began,
                        "read {} sees below {}, but {began} was applied when it began",
                        read.ticket,
                        read.watermark
                    );
                    self.reads_confirmed += 1;
                }
                Event::Sent(Envelope { .. }) | Event::Waits(_) | Event::Noted(..) => {}
            }
        }
        for node in &self.cluster.nodes {
            let Some(replica) = &node.replica else {
                continue;
            };
            let before = self.watermarks.entry(node.id).or_default();
            assert!(
                replica.chosen_watermark() >= *before,
                "the watermark of {} falls from {before} to {}",
                node.id,
                replica.chosen_watermark()
            );
            *before = replica.chosen_watermark();
        }
    }

    fn check_applied(&mut self, id: ReplicaId, slot: Slot, command: &Command) {
        let known = self.chosen.entry(slot).or_insert_with(|| command.clone());
        assert!(
            known == command,
            "{id} applies {command} in slot {slot}, another applied {known}"
        );
        assert!(
            !matches!(command, Command::Opaque(_)) || self.proposed.contains(&command.to_string()),
            "{command} in slot {slot} was never proposed"
        );
    }

    /// A majority that votes heals: it is up, and each pair of it connected both ways. The others are down, or cut off
    /// from some, or healed. The majority must choose something new and all of it apply that.
    fn heal(&mut self) {
        self.cluster.mend_all();
        let majority = self.choose_majority();
        for id in self.cluster.ids() {
            self.cluster.node_mut(id).disk_is_slow = false;
            self.cluster.sync(id);
            let healed = majority.contains(&id);
            if self.cluster.is_up(id) {
                self.replace(id);
            }
            if !self.cluster.is_up(id) {
                if healed || self.random.below(2) == 0 {
                    self.cluster.restart(id);
                }
            } else if !healed && !self.blank.contains(&id) && self.random.below(2) == 0 {
                self.crash(id);
            }
            for other in self.cluster.ids() {
                if other != id && !healed && self.random.below(3) == 0 {
                    self.cluster.cut(id, other);
                }
                if other != id && !healed && self.random.below(3) == 0 {
                    self.cluster.cut(other, id);
                }
            }
        }
        self.check();
        let probe = word("probe");
        self.proposed.insert(probe.to_string());
        for tick in 0..HEAL_TICKS_MAX {
            self.cluster.run(1);
            self.send_snapshots();
            self.check();
            if tick % PROBE_TICKS == 0 {
                for id in self.cluster.ids() {
                    let probe = probe.clone();
                    self.cluster.turn(id, |replica| replica.propose(probe).ok());
                }
            }
            let applied = |id: &ReplicaId| self.cluster.node(*id).applied.contains(&probe);
            if majority.iter().all(applied) {
                return self.check_forgetting();
            }
        }
        self.cluster.run(LAST_TICKS);
        let last = self.cluster.take_events();
        panic!(
            "{majority:?} chooses nothing {HEAL_TICKS_MAX} ticks after it healed\n{}",
            self.tell(last)
        );
    }

    /// A random majority of those that vote.
    fn choose_majority(&mut self) -> BTreeSet<ReplicaId> {
        let mut voters: Vec<ReplicaId> = self.cluster.ids();
        voters.retain(|id| !self.blank.contains(id));
        while voters.len() > self.cluster.nodes.len() / 2 + 1 {
            let place = self.random.place(voters.len());
            voters.remove(place);
        }
        voters.into_iter().collect()
    }

    fn tell(&self, events: Vec<Event>) -> String {
        let mut script = Script::default();
        let events = events.iter().map(|event| script.tell(event));
        let shown = self
            .cluster
            .ids()
            .into_iter()
            .map(|id| show(&self.cluster, id));
        events.chain(shown).collect::<Vec<_>>().join("\n")
    }

    /// What a replica no longer keeps, every other's journal replays.
    fn check_forgetting(&self) {
        let forgotten = self.cluster.nodes.iter().flat_map(|node| &node.journal);
        let forgotten = forgotten.map(|batch| batch.state.forget_watermark).max();
        let mut nodes = self.cluster.nodes.iter();
        for node in nodes.by_ref().filter(|node| !self.wiped.contains(&node.id)) {
            assert!(
                node.replayable() >= forgotten.unwrap_or_default(),
                "{forgotten:?} is forgotten, {} replays only below {}",
                node.id,
                node.replayable()
            );
        }
    }

    fn any(&mut self) -> ReplicaId {
        let place = self.random.place(self.cluster.nodes.len());
        self.cluster.nodes[place].id
    }

    /// One that leads, if any does: the one with the highest promise.
    fn leader(&self) -> Option<ReplicaId> {
        let up = self
            .cluster
            .nodes
            .iter()
            .filter_map(|node| node.replica.as_ref().map(|replica| (node.id, replica)));
        up.filter(|(_, replica)| replica.role() == Role::Leader)
            .max_by_key(|(_, replica)| replica.promised())
            .map(|(id, _)| id)
    }

    fn applied_anywhere(&self) -> Slot {
        self.chosen
            .last_key_value()
            .map_or(Slot(0), |(slot, _)| slot.next())
    }
}

/// So many runs of each size.
const SEEDS: u64 = 300;

const STEPS: u64 = 2_000;

/// So that messages do not pile up until they are lost for age: mostly they get through.
const DELIVERED_AT_ONCE_MAX: u64 = 8;

/// Wild runs choose little; on the average this much, or the test shows nothing.
const SLOTS_CHOSEN_MIN: u64 = 10;

/// A cluster whose messages are not delivered loses the oldest, as its transport does.
const NETWORK_MESSAGES_MAX: usize = 200;

/// A few elections at most, each within a second, though the cut-off minority disturbs.
const HEAL_TICKS_MAX: u64 = 250;

/// A probe may be lost with its leader, so each leader is given one again after this.
const PROBE_TICKS: u64 = 20;

/// A cluster that is stuck shows itself in so many ticks more.
const LAST_TICKS: u64 = 10;
