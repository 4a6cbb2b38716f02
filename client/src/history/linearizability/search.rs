//! The search for an order, depth first and without recursion: a history may be a hundred thousand operations deep.
//!
//! Calls and returns stand in a list in the order of time, out of which the operations of the order so far are taken. Those
//! whose calls come before the first return are the ones that may come next. Beside Lowe's memory, four rules spare work:
//! - What changes nothing and fits is taken at once: it is in nobody's way, so no other order need be tried.
//! - A value that cannot be made again is not left while somebody who saw it is to come.
//! - A write of unknown outcome is not taken directly before a PUT: nobody would have seen it, so it need not be there.
//! - Of a register with distinct values a PUT is never doubted once all its reads have come after it. If there is an order
//!   at all, then one that begins so: nothing that is left must come before these, and no PUT asks what was before it.

use std::collections::HashSet;
use std::time::Instant;

use super::problem::{Action, Item, Problem, State};
use super::{Reason, Verdict};

/// The state of the search.
pub(super) struct Search {
    problem: Problem,
    timeline: Timeline,
    done: Vec<bool>,
    known_left: usize,
    /// How many of the items that have a step are done.
    steps_done: usize,
    state: State,
    /// The last item that was taken, if its outcome is unknown.
    after_unknown: bool,
    /// All items taken, in their order.
    trail: Vec<usize>,
    nodes: Vec<Node>,
    /// The candidates of all nodes, one node's behind the other's.
    candidates: Vec<usize>,
    /// Which items are done, as a sum of a random number for each.
    done_sum: u128,
    seen: HashSet<u128>,
    /// The order that left the fewest items of known outcome, and how many it left.
    longest: Vec<usize>,
    fewest_left: usize,
}

/// A point at which there was a choice.
struct Node {
    /// As it was before the item was taken that led here.
    state_before: State,
    after_unknown_before: bool,
    trail_before: usize,
    /// Where its candidates begin, and which is the next.
    candidates: usize,
    next: usize,
}

impl Search {
    pub(super) fn new(problem: Problem) -> Self {
        let known = problem.items.iter().filter(|item| item.is_known());
        Self {
            known_left: known.count(),
            timeline: Timeline::new(&problem.items),
            done: vec![false; problem.items.len()],
            steps_done: 0,
            state: None,
            after_unknown: false,
            trail: Vec::new(),
            nodes: Vec::new(),
            candidates: Vec::new(),
            done_sum: 0,
            seen: HashSet::new(),
            longest: Vec::new(),
            fewest_left: usize::MAX,
            problem,
        }
    }

    pub(super) fn run(mut self, deadline: Option<Instant>) -> Verdict {
        match self.search(deadline) {
            Some(true) => Verdict::Right,
            Some(false) => {
                let explained = self.longest_places();
                Verdict::Wrong(Reason::NoOrder { explained })
            }
            None => Verdict::Undecided,
        }
    }

    /// The longest order that explains its operations, of those that were tried before the deadline.
    pub(super) fn longest(mut self, deadline: Instant) -> Vec<usize> {
        self.search(Some(deadline));
        self.longest_places()
    }

    fn longest_places(&self) -> Vec<usize> {
        let items = self.longest.iter();
        items.map(|&item| self.item(item).place).collect()
    }

    /// Whether there is an order; none if that was not found out in time.
    fn search(&mut self, deadline: Option<Instant>) -> Option<bool> {
        let mut steps: u64 = 0;
        self.enter(None, false, 0);
        while self.known_left > 0 {
            steps += 1;
            let is_late = steps.is_multiple_of(STEPS_PER_LOOK)
                && deadline.is_some_and(|deadline| Instant::now() > deadline);
            let is_long = deadline.is_none() && steps > STEPS_MAX;
            if is_late || is_long || self.seen.len() > SEEN_MAX {
                return None;
            }
            match self.next_candidate() {
                Some(item) => self.try_item(item),
                None if self.nodes.is_empty() => return Some(false),
                None => self.back(),
            }
        }
        Some(true)
    }

    fn item(&self, item: usize) -> &Item {
        &self.problem.items[item]
    }

    fn next_candidate(&mut self) -> Option<usize> {
        let node = self.nodes.last_mut()?;
        let candidate = self.candidates.get(node.next).copied();
        node.next += 1;
        candidate
    }

    /// Takes a candidate, if it fits and leads to what was not tried before.
    fn try_item(&mut self, item: usize) {
        let Some(after) = self.after(item) else {
            return;
        };
        let is_unknown = !self.item(item).is_known();
        let configuration = self.done_sum ^ number(item) ^ state_number(after, is_unknown);
        if !self.seen.insert(configuration) {
            return;
        }
        if self.problem.is_register {
            self.commit();
        }
        let before = (self.state, self.after_unknown, self.trail.len());
        self.take(item);
        self.state = after;
        self.after_unknown = is_unknown;
        self.enter(before.0, before.1, before.2);
    }

    /// The state after a candidate, or none if it does not fit here.
    fn after(&self, item: usize) -> Option<State> {
        let problem = &self.problem;
        let action = problem.items[item].action;
        let after = apply(action, self.state)?;
        if problem.makes[item].is_some_and(|made| made != after && made.is_some()) {
            return None;
        }
        if self.after_unknown && matches!(action, Action::Put(_)) {
            return None;
        }
        let is_left_for_good = !problem.is_plain
            && after != self.state
            && problem.sight_of.get(&self.state).is_some_and(|&sight| {
                let sight = &problem.sights[sight];
                sight.left > 0 && sight.authors.iter().all(|&author| self.done[author])
            });
        (!is_left_for_good).then_some(after)
    }

    /// Forgets the choices so far. All that saw the present state have come, as [`Self::after`] has just found, so they
    /// need not be doubted.
    fn commit(&mut self) {
        if self.nodes.len() > 1 {
            self.nodes.drain(..self.nodes.len() - 1);
            let last = &mut self.nodes[0];
            self.candidates.drain(..last.candidates);
            last.next -= last.candidates;
            last.candidates = 0;
            self.seen.clear();
        }
    }

    /// Begins a node: takes what fits and changes nothing, and finds what else may come next.
    fn enter(&mut self, state_before: State, after_unknown_before: bool, trail_before: usize) {
        let candidates = self.candidates.len();
        while self.take_sightings(candidates) {
            self.after_unknown = false;
        }
        let items = &self.problem.items;
        // Whoever must come first is tried first; who need not come at all, last.
        self.candidates[candidates..]
            .sort_by_key(|&item| (items[item].returned.unwrap_or(u64::MAX), items[item].called));
        self.nodes.push(Node {
            state_before,
            after_unknown_before,
            trail_before,
            candidates,
            next: candidates,
        });
    }

    /// Collects what may come next, behind `first`. If among it are some that see the present state, takes them instead.
    fn take_sightings(&mut self, first: usize) -> bool {
        self.candidates.truncate(first);
        let step = self.problem.steps.get(self.steps_done).copied();
        let mut place = self.timeline.first();
        while let Some(Event::Call(item)) = self.timeline.event(place) {
            let one = &self.problem.items[item];
            let is_in_step = one.step.is_none() || one.step == step;
            let is_behind = self.problem.before[item].is_none_or(|before| self.done[before]);
            if is_in_step && is_behind {
                self.candidates.push(item);
            }
            place = self.timeline.after(place);
        }
        let mut took_some = false;
        for next in first..self.candidates.len() {
            let item = self.candidates[next];
            if self.item(item).seen() == Some(self.state) && self.item(item).is_known() {
                self.take(item);
                took_some = true;
            }
        }
        took_some
    }

    fn take(&mut self, item: usize) {
        self.mark(item, true);
        self.timeline.remove(item);
        self.trail.push(item);
    }

    fn mark(&mut self, item: usize, done: bool) {
        self.done[item] = done;
        self.done_sum ^= number(item);
        let one = self.problem.items[item];
        let count = |counter: &mut usize, falls: bool| {
            if falls {
                *counter -= 1;
            } else {
                *counter += 1;
            }
        };
        if one.is_known() {
            count(&mut self.known_left, done);
        }
        if one.step.is_some() {
            count(&mut self.steps_done, !done);
        }
        if let Some(state) = one.seen() {
            let sight = self.problem.sight_of[&state];
            count(&mut self.problem.sights[sight].left, done);
        }
    }

    /// Gives up the last node.
    fn back(&mut self) {
        if self.known_left < self.fewest_left {
            self.fewest_left = self.known_left;
            self.longest.clone_from(&self.trail);
        }
        let Some(node) = self.nodes.pop() else {
            return;
        };
        while self.trail.len() > node.trail_before {
            let item = self.trail.pop().expect("it is longer");
            self.timeline.restore(item);
            self.mark(item, false);
        }
        self.candidates.truncate(node.candidates);
        self.state = node.state_before;
        self.after_unknown = node.after_unknown_before;
    }
}

/// The state after an operation, or none if its answer does not fit the state before.
fn apply(action: Action, state: State) -> Option<State> {
    match action {
        Action::Put(value) => Some(Some(value)),
        Action::Append(more, length) => {
            let after = state.map_or(more, |value| value.then(more));
            let fits = length.is_none_or(|length| length == after.length);
            fits.then_some(Some(after))
        }
        Action::Delete(existed) => existed
            .is_none_or(|existed| existed == state.is_some())
            .then_some(None),
        Action::Get(seen) => (seen == state).then_some(state),
    }
}

/// A call or a return.
#[derive(Clone, Copy, Debug)]
enum Event {
    Call(usize),
    Return,
}

/// Calls and returns in the order of time, of the items that are not done: a doubly linked list, out of which items are
/// taken and into which they come back in the opposite order (Knuth's dancing links).
struct Timeline {
    /// The place of the head is 0, of the others 1 and on.
    events: Vec<Event>,
    next: Vec<usize>,
    previous: Vec<usize>,
    call: Vec<usize>,
    ret: Vec<Option<usize>>,
}

impl Timeline {
    fn new(items: &[Item]) -> Self {
        let calls = items.iter().enumerate();
        let calls = calls.map(|(number, item)| (item.called, false, number));
        let returns = items.iter().enumerate();
        let returns = returns.filter_map(|(number, item)| Some((item.returned?, true, number)));
        // At one moment calls come first: who was called when another returned may come before it.
        let mut times: Vec<(u64, bool, usize)> = calls.chain(returns).collect();
        times.sort_unstable();
        let mut timeline = Self {
            events: vec![Event::Return],
            next: (1..=times.len()).chain([0]).collect(),
            previous: [times.len()].into_iter().chain(0..times.len()).collect(),
            call: vec![0; items.len()],
            ret: vec![None; items.len()],
        };
        for (_, is_return, item) in times {
            let place = timeline.events.len();
            if is_return {
                timeline.ret[item] = Some(place);
                timeline.events.push(Event::Return);
            } else {
                timeline.call[item] = place;
                timeline.events.push(Event::Call(item));
            }
        }
        timeline
    }

    fn first(&self) -> usize {
        self.next[0]
    }

    fn after(&self, place: usize) -> usize {
        self.next[place]
    }

    /// What is at a place; nothing at the end.
    fn event(&self, place: usize) -> Option<Event> {
        (place > 0).then(|| self.events[place])
    }

    fn remove(&mut self, item: usize) {
        for place in [Some(self.call[item]), self.ret[item]]
            .into_iter()
            .flatten()
        {
            let (before, after) = (self.previous[place], self.next[place]);
            self.next[before] = after;
            self.previous[after] = before;
        }
    }

    fn restore(&mut self, item: usize) {
        for place in [self.ret[item], Some(self.call[item])]
            .into_iter()
            .flatten()
        {
            let (before, after) = (self.previous[place], self.next[place]);
            self.next[before] = place;
            self.previous[after] = place;
        }
    }
}

/// A random number for each item, always the same (Zobrist): sets are compared by the sums of theirs.
fn number(item: usize) -> u128 {
    let half =
        |seed: u64| mixed(seed.wrapping_add((item as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    u128::from(half(0x243f_6a88_85a3_08d3)) << 64 | u128::from(half(0x1319_8a2e_0370_7344))
}

fn state_number(state: State, after_unknown: bool) -> u128 {
    let fingerprint = state.map_or(u128::MAX, |value| value.fingerprint());
    let low = mixed(fingerprint as u64 ^ u64::from(after_unknown));
    let high = mixed((fingerprint >> 64) as u64 ^ low);
    u128::from(high) << 64 | u128::from(low)
}

/// The last step of splitmix64.
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

/// Without a time limit: a search that takes longer has met a history that tells too little.
const STEPS_MAX: u64 = 3_000_000;

/// After so many steps the clock is read.
const STEPS_PER_LOOK: u64 = 1_024;

/// Configurations that are remembered take about 32 bytes each, so at most 2 GiB.
const SEEN_MAX: usize = 1 << 26;
