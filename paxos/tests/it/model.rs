//! RULES R1 by exhaustion: an acceptor that is wiped while a promise that it gave is still on its way.
//!
//! Three acceptors, of which one may lose its memory at any moment, a leader in place and a candidate that wants to take
//! over, two slots, and a window of one or two. Messages arrive in any order, any number of times, or never. Who votes
//! where is asked of the crate's own [`Configuration`]; the rest is the two phases of the paper, as thin as they can be.
//! Every state that can be reached is visited: with the rule no two commands are chosen in a slot, and without it, or
//! without any part of it, the checker finds a run in which they are.

use std::collections::{BTreeMap, BTreeSet};

use paxos::{Configuration, Incarnation, ReplicaId, Slot};
use stateright::{Checker, Model, Property};

const ACCEPTORS: u8 = 3;
/// The leader's place among the proposers, and that of its own acceptor. The candidate is a process without an acceptor,
/// as if it were one more replica: so the others may promise to it in any order.
const LEADER: usize = 0;
const SLOTS: u64 = 2;
/// Who loses its memory, and the life that it begins.
const WIPED: ReplicaId = ReplicaId(2);
const NEXT_LIFE: Incarnation = Incarnation(9);

/// What of the rule is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// All of it.
    Kept,
    /// A wiped acceptor votes as if it had not been.
    BlankVotes,
    /// The same, but first it takes over all that the others have accepted.
    RejoinByCopying,
    /// The next life votes from the slot after its Rejoin on, a window too early.
    RejoinAtOnce,
}

/// The leader in place proposes under ballot 1, the candidate under ballot 2.
type Round = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Value {
    /// What the proposer of this ballot would have chosen.
    Of(Round),
    /// The wiped acceptor votes in its next life.
    Rejoin,
}

type Accepted = BTreeMap<Slot, (Round, Value)>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Said {
    Prepare,
    Promise {
        from: ReplicaId,
        life: Incarnation,
        accepted: Accepted,
    },
    Accept {
        ballot: Round,
        slot: Slot,
        value: Value,
    },
    Accepted {
        ballot: Round,
        slot: Slot,
        from: ReplicaId,
        life: Incarnation,
    },
    Chosen {
        slot: Slot,
        value: Value,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct AcceptorState {
    life: Incarnation,
    promised: Round,
    accepted: Accepted,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct ProposerState {
    ballot: Round,
    promises: BTreeMap<ReplicaId, Incarnation>,
    found: Accepted,
    proposed: BTreeMap<Slot, Value>,
    votes: BTreeMap<Slot, BTreeMap<ReplicaId, Incarnation>>,
    chosen: BTreeMap<Slot, Value>,
    /// It counted two votes, of which one came from the life that rejoined.
    needed_next_life: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    acceptors: Vec<AcceptorState>,
    proposers: Vec<ProposerState>,
    /// Everything that was ever said: it may arrive at any time, and again.
    said: BTreeSet<Said>,
    wiped: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Wipe,
    ToAcceptor(ReplicaId, Said),
    ToProposer(usize, Said),
    Propose(usize, Slot, Value),
}

struct Scenario {
    rule: Rule,
    /// Of how many slots the last must be known to be chosen before one is proposed in the next.
    window: u64,
}

impl ProposerState {
    /// The configuration as far as this proposer knows the log.
    fn configuration(&self, distance: u64) -> Configuration {
        let members: Vec<_> = (0..ACCEPTORS)
            .map(|id| (ReplicaId(id), first_life(id)))
            .collect();
        let mut configuration = Configuration::founded(&members);
        for (slot, value) in &self.chosen {
            if *value == Value::Rejoin {
                configuration.rejoin(*slot, distance, WIPED, NEXT_LIFE);
            }
        }
        configuration
    }

    fn take_in(&mut self, said: &Said) {
        match said {
            Said::Promise {
                from,
                life,
                accepted,
            } if self.ballot == 2 && self.proposed.is_empty() => {
                // A first promise counts: a proposer does not ask one that has answered again.
                if self.promises.contains_key(from) {
                    return;
                }
                self.promises.insert(*from, *life);
                for (slot, entry) in accepted {
                    let best = self.found.entry(*slot).or_insert(*entry);
                    *best = (*best).max(*entry);
                }
            }
            Said::Accepted {
                ballot,
                slot,
                from,
                life,
            } if *ballot == self.ballot && !self.chosen.contains_key(slot) => {
                let votes = self.votes.entry(*slot).or_default();
                votes.insert(*from, *life);
            }
            Said::Chosen { slot, value } => {
                self.chosen.entry(*slot).or_insert(*value);
                self.votes.remove(slot);
            }
            _ => {}
        }
    }

    /// What has come to be chosen by this proposer's count.
    fn count(&mut self, distance: u64) -> Option<Said> {
        let configuration = self.configuration(distance);
        let (slot, value) = self.proposed.iter().find_map(|(slot, value)| {
            let votes = self.votes.get(slot)?;
            let news = !self.chosen.contains_key(slot);
            (news && configuration.is_quorum(*slot, votes)).then_some((*slot, *value))
        })?;
        self.chosen.insert(slot, value);
        let votes = self.votes.remove(&slot).unwrap_or_default();
        self.needed_next_life |= votes.len() == 2 && votes.get(&WIPED) == Some(&NEXT_LIFE);
        Some(Said::Chosen { slot, value })
    }

    /// What may be proposed next, and where.
    fn proposals(&self, wiped: bool, scenario: &Scenario) -> Vec<(Slot, Value)> {
        let next = (0..SLOTS).map(Slot);
        let mut open = next.filter(|slot| !self.proposed.contains_key(slot));
        let Some(slot) = open.find(|slot| !self.chosen.contains_key(slot)) else {
            return Vec::new();
        };
        let mut before = (0..=slot.0).filter(|before| before + scenario.window <= slot.0);
        let waits = !before.all(|before| self.chosen.contains_key(&Slot(before)));
        let configuration = self.configuration(scenario.distance());
        if waits || !configuration.is_quorum(slot, &self.promises) {
            return Vec::new();
        }
        // The leader has nothing to say in the first slot but the Rejoin; more would be more states and no more danger.
        match self.found.get(&slot) {
            Some((_, found)) => vec![(slot, *found)],
            None if slot > Slot(0) || self.ballot == 2 => vec![(slot, Value::Of(self.ballot))],
            None if wiped => vec![(slot, Value::Rejoin)],
            None => Vec::new(),
        }
    }
}

impl AcceptorState {
    fn answer(&mut self, id: ReplicaId, said: &Said) -> Option<Said> {
        let life = self.life;
        match said {
            Said::Prepare if self.promised < 2 => {
                self.promised = 2;
                Some(Said::Promise {
                    from: id,
                    life,
                    accepted: self.accepted.clone(),
                })
            }
            Said::Accept {
                ballot,
                slot,
                value,
            } if *ballot >= self.promised => {
                self.promised = *ballot;
                self.accepted.insert(*slot, (*ballot, *value));
                Some(Said::Accepted {
                    ballot: *ballot,
                    slot: *slot,
                    from: id,
                    life,
                })
            }
            _ => None,
        }
    }
}

impl World {
    /// The leader's own acceptor hears it at once and is heard at once.
    fn tell_leader(&mut self, said: &Said) {
        let answer = self.acceptors[LEADER].answer(ReplicaId(LEADER as u8), said);
        if let Some(answer) = answer {
            self.proposers[LEADER].take_in(&answer);
        }
    }

    fn wipe(&mut self, rule: Rule) {
        self.wiped = true;
        let mut copied = Accepted::new();
        if rule == Rule::RejoinByCopying {
            let others = self.acceptors.iter().take(usize::from(WIPED.0));
            for (slot, entry) in others.flat_map(|other| other.accepted.clone()) {
                let best = copied.entry(slot).or_insert(entry);
                *best = (*best).max(entry);
            }
        }
        let blank = &mut self.acceptors[usize::from(WIPED.0)];
        blank.promised = 0;
        blank.accepted = copied;
        if matches!(rule, Rule::Kept | Rule::RejoinAtOnce) {
            blank.life = NEXT_LIFE;
        }
    }
}

impl Scenario {
    /// How far behind its Rejoin a life is in force.
    fn distance(&self) -> u64 {
        match self.rule {
            Rule::RejoinAtOnce => 1,
            Rule::Kept | Rule::BlankVotes | Rule::RejoinByCopying => self.window,
        }
    }
}

impl Model for Scenario {
    type State = World;
    type Action = Step;

    /// The leader's promises are those of phase 1 long ago; the candidate has asked for its own.
    fn init_states(&self) -> Vec<World> {
        let acceptor = |id| AcceptorState {
            life: first_life(id),
            promised: 1,
            accepted: Accepted::new(),
        };
        let leader = ProposerState {
            ballot: 1,
            promises: (0..ACCEPTORS)
                .map(|id| (ReplicaId(id), first_life(id)))
                .collect(),
            ..ProposerState::default()
        };
        let candidate = ProposerState {
            ballot: 2,
            ..ProposerState::default()
        };
        vec![World {
            acceptors: (0..ACCEPTORS).map(acceptor).collect(),
            proposers: vec![leader, candidate],
            said: BTreeSet::from([Said::Prepare]),
            wiped: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Step>) {
        if !world.wiped {
            actions.push(Step::Wipe);
        }
        for (place, proposer) in world.proposers.iter().enumerate() {
            if place == LEADER && world.acceptors[LEADER].promised > proposer.ballot {
                continue;
            }
            let proposals = proposer.proposals(world.wiped, self);
            let propose = |(slot, value)| Step::Propose(place, slot, value);
            actions.extend(proposals.into_iter().map(propose));
        }
        for said in &world.said {
            if matches!(said, Said::Prepare | Said::Accept { .. }) {
                let to = (0..ACCEPTORS)
                    .filter(|id| Some(*id) != sender(said))
                    .map(ReplicaId);
                actions.extend(to.map(|id| Step::ToAcceptor(id, said.clone())));
            } else {
                let to = 0..world.proposers.len();
                actions.extend(to.map(|place| Step::ToProposer(place, said.clone())));
            }
        }
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut world = before.clone();
        match step {
            Step::Wipe => world.wipe(self.rule),
            Step::ToAcceptor(id, said) => {
                let acceptor = &mut world.acceptors[usize::from(id.0)];
                let answer = acceptor.answer(id, &said);
                world.said.extend(answer);
            }
            Step::ToProposer(place, said) => {
                world.proposers[place].take_in(&said);
                let chosen = world.proposers[place].count(self.distance());
                world.said.extend(chosen);
            }
            Step::Propose(place, slot, value) => {
                let proposer = &mut world.proposers[place];
                proposer.proposed.insert(slot, value);
                let accept = Said::Accept {
                    ballot: proposer.ballot,
                    slot,
                    value,
                };
                world.said.insert(accept.clone());
                if place == LEADER {
                    world.tell_leader(&accept);
                }
            }
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let agreement = Property::always(AGREEMENT, |_, world: &World| {
            let chosen_in = |slot| {
                let chosen = |said: &&Said| matches!(said, Said::Chosen { slot: place, .. } if *place == slot);
                world.said.iter().filter(chosen).count()
            };
            (0..SLOTS).map(Slot).all(|slot| chosen_in(slot) <= 1)
        });
        let next_life = "the next life's vote is needed and counts";
        let counts = Property::sometimes(next_life, |_, world: &World| {
            world
                .proposers
                .iter()
                .any(|proposer| proposer.needed_next_life)
        });
        match self.rule {
            // In a window of two slots it is in force behind both of them.
            Rule::Kept if self.window < SLOTS => vec![agreement, counts],
            // Where the rule is broken the search ends with the first run that shows it.
            _ => vec![agreement],
        }
    }
}

/// Whose own acceptor needs no message.
fn sender(said: &Said) -> Option<u8> {
    matches!(said, Said::Accept { ballot: 1, .. }).then_some(LEADER as u8)
}

fn first_life(id: u8) -> Incarnation {
    Incarnation(u64::from(id) + 1)
}

const AGREEMENT: &str = "at most one command is chosen in a slot";

#[test]
fn no_two_commands_are_chosen_though_an_old_promise_is_in_flight() {
    for window in [1, 2] {
        let rule = Rule::Kept;
        let scenario = Scenario { rule, window };
        let checker = scenario.checker().threads(2).spawn_dfs().join();
        println!(
            "R1 kept, window {window}: {} states, {} of them different, depth {}",
            checker.state_count(),
            checker.unique_state_count(),
            checker.max_depth()
        );
        checker.assert_properties();
        assert!(checker.is_done());
    }
}

#[test]
fn without_the_rule_two_commands_are_chosen() {
    let broken = [
        (Rule::BlankVotes, 1),
        (Rule::RejoinByCopying, 1),
        (Rule::RejoinAtOnce, 2),
    ];
    for (rule, window) in broken {
        let checker = Scenario { rule, window }
            .checker()
            .threads(2)
            .spawn_dfs()
            .join();
        let run = checker.discovery(AGREEMENT);
        let run = run.unwrap_or_else(|| panic!("{rule:?} does no harm"));
        let steps = run.into_actions();
        println!(
            "R1 broken by {rule:?}: refuted after {} states by a run of {} steps: {steps:?}",
            checker.unique_state_count(),
            steps.len()
        );
    }
}
