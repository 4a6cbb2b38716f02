//! The crate's own [`Replica`]s, by exhaustion: every order in which messages can arrive, and a crash at any moment.
//!
//! Three replicas, of which two may try to lead, each once: two ballots. Each leader proposes a command of its own where
//! phase 1 left it free. What was said may arrive at any time, any number of times, or never. What a replica handed to
//! its journal is durable when that syncs, which may be at any time; one replica may crash, loses what was not synced,
//! and starts again with what [`Recovered`] makes of the rest. No time passes, so nothing is repeated of itself.
//!
//! In every state that can be reached at most one command has ever had a majority of durable votes in a slot, and nobody
//! takes another one for chosen. A check that never failed proves little, so drivers that break their contract are
//! explored, too: for each the checker finds a run in which two commands are chosen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use paxos::{
    Ballot, Command, Config, Configuration, Envelope, Incarnation, Message, Output, Persist,
    Record, Recovered, Replica, ReplicaId, ReplicaSet, Slot,
};
use stateright::{Checker, Model, Property};

const REPLICAS: u8 = 3;
/// Those with a lower id than this may try to lead.
const CANDIDATES: u8 = 2;

const ONE_MAJORITY: &str = "at most one command has a majority in a slot";
const LEARNED_RIGHT: &str = "what is taken for chosen has a majority";

/// What the driver does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// It sends what claims durability before the sync.
    SendsBeforeSync,
    /// The journal keeps what was accepted, and not what was promised.
    LosesPromise,
    /// The journal keeps what was promised, and not what was accepted.
    LosesAccepted,
}

/// What is explored.
#[derive(Debug)]
struct Scenario {
    slots: u64,
    /// Who may crash, once. The others sync at once: for everybody else that is the same as a slow network.
    victim: Option<ReplicaId>,
    fault: Fault,
}

/// One replica and its driver.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Process {
    replica: Replica,
    /// Handed to the journal and not synced.
    unsynced: Vec<Persist>,
    /// To be sent with the next sync.
    held: Vec<Envelope>,
    /// What recovery would make of the journal.
    disk: Recovered,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    processes: Vec<Arc<Process>>,
    /// Everything that was ever said.
    said: BTreeSet<Envelope>,
    /// Who has tried to lead.
    led: ReplicaSet,
    crashed: bool,
    /// Who ever had accepted what, durably.
    votes: BTreeMap<(Slot, Ballot), (Command, ReplicaSet)>,
    /// What a replica took for chosen.
    learned: BTreeMap<Slot, Vec<Command>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Lead(ReplicaId),
    Propose(ReplicaId),
    Deliver(Envelope),
    Sync(ReplicaId),
    Crash(ReplicaId),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lead(id) => write!(f, "{id} tries to lead"),
            Self::Propose(id) => write!(f, "{id} proposes"),
            Self::Deliver(Envelope { from, to, message }) => write!(f, "{from} -> {to} {message}"),
            Self::Sync(id) => write!(f, "{id} syncs"),
            Self::Crash(id) => write!(f, "{id} crashes and starts again"),
        }
    }
}

impl Scenario {
    fn start(&self, id: ReplicaId, life: u64, recovered: Recovered) -> Replica {
        let defaults = Config::new(id, Incarnation(u64::from(id.0) + 1), life);
        let timeout_ticks = defaults.election_timeout_ticks_min;
        let config = Config {
            window: self.slots,
            // Nothing to draw: replicas that did the same are the same.
            election_timeout_ticks_max: timeout_ticks,
            election_timeout_ticks_min: timeout_ticks,
            ..defaults
        };
        let members: Vec<_> = (0..REPLICAS)
            .map(|id| (ReplicaId(id), Incarnation(u64::from(id) + 1)))
            .collect();
        Replica::new(config, Configuration::founded(&members), recovered)
    }

    /// Does something with a replica, and then what its output says.
    fn turn(&self, world: &mut World, id: ReplicaId, act: impl FnOnce(&mut Process)) {
        let process = Arc::make_mut(&mut world.processes[usize::from(id.0)]);
        act(process);
        let output = process.replica.take_output();
        self.handle(world, id, output);
    }

    fn handle(&self, world: &mut World, id: ReplicaId, output: Output) {
        let process = Arc::make_mut(&mut world.processes[usize::from(id.0)]);
        process.unsynced.extend(output.persist);
        let (early, held) = if self.fault == Fault::SendsBeforeSync {
            (output.messages_when_durable, Vec::new())
        } else {
            (Vec::new(), output.messages_when_durable)
        };
        for envelope in held {
            // What was said may be heard twice anyway.
            if !process.held.contains(&envelope) && !world.said.contains(&envelope) {
                process.held.push(envelope);
            }
        }
        for (slot, command) in output.chosen {
            let learned = world.learned.entry(slot).or_default();
            if !learned.contains(&command) {
                learned.push(command);
            }
        }
        world.say(output.messages);
        self.send(world, id, early);
        if self.victim != Some(id) || world.crashed {
            self.sync(world, id);
        }
    }

    /// What a replica says to itself does not travel.
    fn send(&self, world: &mut World, id: ReplicaId, envelopes: Vec<Envelope>) {
        let (own, others) = envelopes
            .into_iter()
            .partition(|envelope: &Envelope| envelope.to == id);
        world.say(others);
        for envelope in own {
            self.turn(world, id, |process| process.replica.step(envelope));
        }
    }

    fn sync(&self, world: &mut World, id: ReplicaId) {
        let process = Arc::make_mut(&mut world.processes[usize::from(id.0)]);
        for Persist { records, mut state } in std::mem::take(&mut process.unsynced) {
            for record in &records {
                if let Record::Accepted {
                    slot,
                    ballot,
                    command,
                } = record
                {
                    let (voted, voters) = world
                        .votes
                        .entry((*slot, *ballot))
                        .or_insert_with(|| (command.clone(), ReplicaSet::default()));
                    assert!(voted == command, "{ballot} has two commands in slot {slot}");
                    voters.insert(id);
                }
            }
            let mut kept = records;
            match self.fault {
                Fault::None | Fault::SendsBeforeSync => {}
                Fault::LosesPromise => state.promised = Ballot::NONE,
                Fault::LosesAccepted => {
                    state.chosen_watermark = Slot(0);
                    kept.clear();
                }
            }
            let _ = process.disk.batch(state, kept);
        }
        let held = std::mem::take(&mut process.held);
        self.send(world, id, held);
    }

    fn crash(&self, world: &mut World, id: ReplicaId) {
        world.crashed = true;
        let process = Arc::make_mut(&mut world.processes[usize::from(id.0)]);
        let disk = process.disk.clone();
        *process = Process {
            replica: self.start(id, 2, disk.clone()),
            unsynced: Vec::new(),
            held: Vec::new(),
            disk,
        };
    }
}

impl World {
    /// While no time passes, heartbeats and what answers them say no more than Advance does, and who is refused can only
    /// give up, or outbid in one more ballot: these are lost.
    fn say(&mut self, envelopes: Vec<Envelope>) {
        let is_heard = |envelope: &Envelope| {
            !matches!(
                envelope.message,
                Message::Heartbeat { .. } | Message::Echo { .. } | Message::Refused { .. }
            )
        };
        self.said.extend(envelopes.into_iter().filter(is_heard));
    }

    fn process(&self, id: ReplicaId) -> &Process {
        &self.processes[usize::from(id.0)]
    }

    /// The commands that ever had a majority in a slot, under any ballot.
    fn chosen_in(&self, slot: Slot) -> Vec<&Command> {
        let majority = usize::from(REPLICAS) / 2 + 1;
        let mut chosen: Vec<&Command> = Vec::new();
        for ((place, _), (command, voters)) in &self.votes {
            if *place == slot && voters.len() >= majority && !chosen.contains(&command) {
                chosen.push(command);
            }
        }
        chosen
    }
}

impl Model for Scenario {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let process = |id| {
            Arc::new(Process {
                replica: self.start(ReplicaId(id), 1, Recovered::new()),
                unsynced: Vec::new(),
                held: Vec::new(),
                disk: Recovered::new(),
            })
        };
        vec![World {
            processes: (0..REPLICAS).map(process).collect(),
            said: BTreeSet::new(),
            led: ReplicaSet::default(),
            crashed: false,
            votes: BTreeMap::new(),
            learned: BTreeMap::new(),
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        for id in (0..REPLICAS).map(ReplicaId) {
            let process = world.process(id);
            if !process.unsynced.is_empty() || !process.held.is_empty() {
                steps.push(Step::Sync(id));
            }
            if self.victim == Some(id) && !world.crashed {
                steps.push(Step::Crash(id));
            }
            if id.0 < CANDIDATES
                && !world.led.contains(id)
                && process.replica.promised().round <= u64::from(id.0)
            {
                steps.push(Step::Lead(id));
            }
            if process.replica.room() > 0 {
                steps.push(Step::Propose(id));
            }
        }
        steps.extend(world.said.iter().cloned().map(Step::Deliver));
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut world = before.clone();
        match step {
            Step::Sync(id) => self.sync(&mut world, id),
            Step::Crash(id) => self.crash(&mut world, id),
            Step::Lead(id) => {
                world.led.insert(id);
                self.turn(&mut world, id, |process| {
                    process.replica.step(asks_to_lead(id));
                });
            }
            Step::Propose(id) => {
                let command = Command::Opaque(Arc::from([b'A' + id.0]));
                let mut slot = Slot(0);
                self.turn(&mut world, id, |process| {
                    slot = process.replica.propose(command).expect("there is room");
                });
                if slot >= Slot(self.slots) {
                    return None;
                }
            }
            Step::Deliver(envelope) => {
                self.turn(&mut world, envelope.to, |process| {
                    process.replica.step(envelope);
                });
            }
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let one_majority = Property::always(ONE_MAJORITY, |scenario: &Self, world: &World| {
            (0..scenario.slots).all(|slot| world.chosen_in(Slot(slot)).len() <= 1)
        });
        let learned_right = Property::always(LEARNED_RIGHT, |_, world: &World| {
            world.learned.iter().all(|(slot, learned)| {
                let chosen = world.chosen_in(*slot);
                learned.iter().all(|command| chosen.contains(&command))
            })
        });
        if self.fault != Fault::None {
            // The search ends with the first run that shows it.
            return vec![one_majority];
        }
        let of_the_other = Property::sometimes(
            "a leader proposes what it found in place of its own",
            |_, world: &World| {
                world.votes.iter().any(|((_, ballot), (command, _))| {
                    *command == Command::Opaque(Arc::from([b'A' + (1 - ballot.replica.0)]))
                })
            },
        );
        let all_learned = Property::sometimes(
            "all that is to be chosen is",
            |scenario: &Self, world: &World| {
                world.learned.len() as u64 == scenario.slots
                    && world.led.len() == usize::from(CANDIDATES)
            },
        );
        vec![one_majority, learned_right, of_the_other, all_learned]
    }
}

/// What makes a replica prepare at once, whoever leads: a leader that hands over.
fn asks_to_lead(id: ReplicaId) -> Envelope {
    let from = ReplicaId(REPLICAS - 1);
    let ballot = Ballot {
        round: u64::from(id.0),
        replica: from,
        birth: u64::MAX,
    };
    Envelope {
        from,
        to: id,
        message: Message::TakeOver { ballot },
    }
}

fn explore(scenario: Scenario) -> impl Checker<Scenario> {
    let what = format!("{scenario:?}");
    let checker = scenario.checker().threads(2).spawn_dfs().join();
    println!(
        "{what}: {} states, {} of them different, depth {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    checker
}

#[test]
fn one_slot_whatever_arrives_and_whoever_crashes() {
    for victim in [None, Some(0), Some(1), Some(2)] {
        let checker = explore(Scenario {
            slots: 1,
            victim: victim.map(ReplicaId),
            fault: Fault::None,
        });
        assert!(checker.is_done());
        checker.assert_properties();
    }
}

/// Two slots have too many states to visit them all: as many as `MODEL_SECS` allow, by default a few.
#[test]
fn two_slots_as_far_as_time_allows() {
    let seconds = std::env::var("MODEL_SECS").map_or(5, |text| {
        text.parse().expect("MODEL_SECS is a number of seconds")
    });
    let scenario = Scenario {
        slots: 2,
        victim: Some(ReplicaId(2)),
        fault: Fault::None,
    };
    let checker = scenario
        .checker()
        .threads(2)
        .timeout(Duration::from_secs(seconds))
        .spawn_dfs()
        .join();
    println!(
        "two slots, {seconds} s: {} states, {} of them different, depth {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    assert!(
        checker.unique_state_count() > 1_000,
        "hardly anything was visited"
    );
    checker.assert_no_discovery(ONE_MAJORITY);
    checker.assert_no_discovery(LEARNED_RIGHT);
}

#[test]
fn a_driver_that_breaks_its_contract_is_found_out() {
    for fault in [
        Fault::SendsBeforeSync,
        Fault::LosesPromise,
        Fault::LosesAccepted,
    ] {
        let checker = explore(Scenario {
            slots: 1,
            victim: Some(ReplicaId(REPLICAS - 1)),
            fault,
        });
        let run = checker.discovery(ONE_MAJORITY);
        let run = run.unwrap_or_else(|| panic!("{fault:?} does no harm"));
        println!("{fault:?} is found out by");
        for step in run.into_actions() {
            println!("  {step}");
        }
    }
}
