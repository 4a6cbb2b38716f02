//! What can be told before the search: which writes can have made a value that was read.
//!
//! Where values are distinct, most that was read has one *author*: the only write that can have made it, as a PUT of these
//! bytes or as an APPEND of its end. Then three things are known. The author runs when the rest of the value is there. What
//! it makes is made once, so all reads of it come before the next write. And a value without an author was never written.

use std::collections::{BTreeMap, HashMap};

use super::{Content, Kind, Operation, Reason};

/// An operation, as far as the search needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// Its place in the list that is judged.
    pub(super) place: usize,
    client: u64,
    pub(super) action: Action,
    pub(super) called: u64,
    pub(super) returned: Option<u64>,
    in_order: bool,
    pub(super) step: Option<Step>,
}

/// A place in the order that answers prescribe.
pub(super) type Step = (u64, bool);

/// What an operation does to the value, and what it says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Put(Content),
    Append(Content, Option<u64>),
    Delete(Option<bool>),
    Get(State),
}

/// The value of the key, if it is there.
pub(super) type State = Option<Content>;

impl Item {
    pub(super) fn of(place: usize, operation: &Operation) -> Self {
        let is_known = operation.returned.is_some();
        let action = match &operation.kind {
            Kind::Put { value } => Action::Put(Content::of(value)),
            Kind::Append { value, length } => {
                Action::Append(Content::of(value), length.filter(|_| is_known))
            }
            Kind::Delete { existed } => Action::Delete(existed.filter(|_| is_known)),
            Kind::Get { value } => Action::Get(value.as_deref().map(Content::of)),
        };
        let mut item = Self {
            place,
            client: operation.client,
            action,
            called: operation.called,
            returned: operation.returned,
            in_order: operation.in_order,
            step: None,
        };
        // Changes come in the order of their revisions, and what saw a revision behind the change that made it (SPEC A1).
        let sees = item.seen().is_some();
        item.step = operation
            .revision
            .filter(|_| is_known)
            .map(|revision| (revision, sees));
        item
    }

    /// The state that it must find, if it changes nothing.
    pub(super) fn seen(&self) -> Option<State> {
        match self.action {
            Action::Get(state) => Some(state),
            Action::Delete(Some(false)) => Some(None),
            Action::Put(_) | Action::Append(..) | Action::Delete(_) => None,
        }
    }

    /// Its place among others of a key that only grows, as far as its answer tells: behind all that was shorter.
    fn length_step(&self) -> Option<Step> {
        match self.action {
            _ if !self.is_known() => None,
            Action::Append(_, length) => length.map(|length| (length, false)),
            Action::Get(value) => Some((value.map_or(0, |value| value.length), true)),
            Action::Put(_) | Action::Delete(_) => None,
        }
    }

    pub(super) fn is_known(&self) -> bool {
        self.returned.is_some()
    }

    /// Whether it can have made this state.
    fn may_make(&self, state: State) -> bool {
        match (self.action, state) {
            (Action::Put(value), Some(content)) => value == content,
            (Action::Append(more, length), Some(content)) => {
                length.is_none_or(|length| length == content.length) && content.may_end_with(more)
            }
            (Action::Delete(existed), None) => existed != Some(false),
            _ => false,
        }
    }
}

/// A state that was seen.
#[derive(Debug)]
pub(super) struct Sight {
    /// Items that can have made it.
    pub(super) authors: Vec<usize>,
    /// Items that saw it and are still to come.
    pub(super) left: usize,
}

/// The items in the order of their calls, and what is known of them.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) items: Vec<Item>,
    /// Per item the one of the same client that must come before it.
    pub(super) before: Vec<Option<usize>>,
    /// All states that were seen.
    pub(super) sights: Vec<Sight>,
    pub(super) sight_of: HashMap<State, usize>,
    /// What an item makes, where that was seen and it is the only author.
    pub(super) makes: Vec<Option<State>>,
    /// The steps of all items that have one, in their order.
    pub(super) steps: Vec<Step>,
    /// Nothing but PUTs of distinct values, and GETs.
    pub(super) is_register: bool,
    /// A value may be left although somebody who saw it is to come.
    pub(super) is_plain: bool,
}

impl Problem {
    pub(super) fn new(mut items: Vec<Item>, longest_read: &[u8]) -> Result<Self, Reason> {
        // A read that was not answered says nothing.
        items.retain(|item| item.is_known() || !matches!(item.action, Action::Get(_)));
        items.sort_by_key(|item| item.called);
        order_by_lengths(&mut items, longest_read);
        let mut problem = Self {
            before: Vec::new(),
            sights: Vec::new(),
            sight_of: HashMap::new(),
            makes: Vec::new(),
            steps: Vec::new(),
            is_register: is_register(&items),
            is_plain: false,
            items,
        };
        problem.find_sights();
        if problem.is_register {
            problem.drop_unseen_unknown();
        }
        problem.find_authors()?;
        problem.before = before(&problem.items);
        problem.steps = problem.items.iter().filter_map(|item| item.step).collect();
        problem.steps.sort_unstable();
        Ok(problem)
    }

    /// The same, for a search that is to try every order.
    pub(super) fn without_what_values_tell(mut self) -> Self {
        self.makes.fill(None);
        self.is_plain = true;
        self.is_register = false;
        self
    }

    fn find_sights(&mut self) {
        for item in &self.items {
            if let Some(state) = item.seen() {
                let next = self.sights.len();
                let sight = *self.sight_of.entry(state).or_insert(next);
                if sight == next {
                    let authors = Vec::new();
                    self.sights.push(Sight { authors, left: 0 });
                }
                self.sights[sight].left += 1;
            }
        }
    }

    /// A PUT of a register whose outcome is unknown, and whose value nobody saw, need not have been: whatever order there
    /// is with it, there is one without.
    fn drop_unseen_unknown(&mut self) {
        let sight_of = &self.sight_of;
        self.items.retain(|item| match item.action {
            Action::Put(value) => item.is_known() || sight_of.contains_key(&Some(value)),
            Action::Get(_) | Action::Append(..) | Action::Delete(_) => true,
        });
    }

    fn find_authors(&mut self) -> Result<(), Reason> {
        let states: BTreeMap<usize, State> = self
            .sight_of
            .iter()
            .map(|(&state, &sight)| (sight, state))
            .collect();
        let index = AuthorIndex::new(&self.items);
        self.makes = vec![None; self.items.len()];
        for (&sight, &state) in &states {
            let authors = index.candidates(&self.items, state);
            if let [author] = authors[..]
                && let Some(other) = self.makes[author].replace(state)
                && state.is_some()
            {
                let reads = [other, state].map(|state| self.first_to_see(state));
                let write = self.items[author].place;
                return Err(Reason::TwoValues { write, reads });
            }
            if authors.is_empty() && state.is_some() {
                let read = self.first_to_see(state);
                return Err(Reason::NeverWritten { read });
            }
            self.sights[sight].authors = authors;
        }
        Ok(())
    }

    fn first_to_see(&self, state: State) -> usize {
        let sees = self.items.iter().find(|item| item.seen() == Some(state));
        sees.expect("it is a sight because an item saw it").place
    }
}

/// Writes by what they may have made.
struct AuthorIndex {
    puts: HashMap<Content, Vec<usize>>,
    /// By how many of the last bytes are known, and which they are.
    appends: BTreeMap<u64, HashMap<u128, Vec<usize>>>,
    deletes: Vec<usize>,
}

impl AuthorIndex {
    fn new(items: &[Item]) -> Self {
        let mut index = Self {
            puts: HashMap::new(),
            appends: BTreeMap::new(),
            deletes: Vec::new(),
        };
        for (number, item) in items.iter().enumerate() {
            match item.action {
                Action::Put(value) => index.puts.entry(value).or_default().push(number),
                Action::Append(more, _) => {
                    let (length, end) = more.end(u64::MAX);
                    let of_length = index.appends.entry(length).or_default();
                    of_length.entry(end).or_default().push(number);
                }
                Action::Delete(existed) if existed != Some(false) => index.deletes.push(number),
                Action::Delete(_) | Action::Get(_) => {}
            }
        }
        index
    }

    /// The items that can have made a state.
    fn candidates(&self, items: &[Item], state: State) -> Vec<usize> {
        let Some(content) = state else {
            return self.deletes.clone();
        };
        let mut found = self.puts.get(&content).cloned().unwrap_or_default();
        for (&length, of_length) in self.appends.range(..=content.length) {
            let (_, end) = content.end(length);
            let alike = of_length.get(&end).into_iter().flatten().copied();
            found.extend(alike.filter(|&item| items[item].may_make(state)));
        }
        found
    }
}

/// Where there is nothing but appends, a value only grows, and its length says how far it is: as good as a revision, and
/// also known of what was not answered, if it was read.
fn order_by_lengths(items: &mut [Item], longest_read: &[u8]) {
    let only_grows = items.iter().all(|item| match item.action {
        Action::Append(more, _) => more.length > 0,
        Action::Get(value) => value.is_none_or(|value| value.length > 0),
        Action::Put(_) | Action::Delete(_) => false,
    });
    if !only_grows || !lengths_agree(items) {
        return;
    }
    for item in items.iter_mut() {
        item.step = item.length_step();
    }
    order_the_unanswered(items, longest_read);
}

/// Whether lengths say of the order all that revisions do.
fn lengths_agree(items: &[Item]) -> bool {
    let with_revision = items.iter().filter(|item| item.step.is_some());
    let mut both: Vec<(Option<Step>, Option<Step>)> = with_revision
        .map(|item| (item.step, item.length_step()))
        .collect();
    both.sort_unstable();
    let agree = |one: &[(Option<Step>, Option<Step>)]| {
        (one[0].0 == one[1].0) == (one[0].1 == one[1].1) && one[0].1 <= one[1].1
    };
    both.iter().all(|(_, length)| length.is_some()) && both.windows(2).all(agree)
}

/// Takes the longest value apart, from its start, as long as only one append can have made the next piece.
fn order_the_unanswered(items: &mut [Item], longest_read: &[u8]) {
    let mut pieces: BTreeMap<u64, HashMap<Content, Vec<usize>>> = BTreeMap::new();
    for (number, item) in items.iter().enumerate() {
        if let Action::Append(more, _) = item.action {
            let of_length = pieces.entry(more.length).or_default();
            of_length.entry(more).or_default().push(number);
        }
    }
    let (mut rest, mut length) = (longest_read, 0);
    loop {
        let next = pieces.iter().flat_map(|(&bytes, of_length)| {
            let piece = usize::try_from(bytes)
                .ok()
                .and_then(|bytes| rest.get(..bytes));
            let made = piece.and_then(|piece| of_length.get(&Content::of(piece)));
            made.into_iter().flatten().copied()
        });
        let next: Vec<usize> = next.take(2).collect();
        let [append] = next[..] else { return };
        let Action::Append(more, _) = items[append].action else {
            return;
        };
        length += more.length;
        rest = &longest_read[usize::try_from(length).unwrap_or(usize::MAX)..];
        // A value that has it twice is wrong; the first place is as good as the second.
        items[append].step.get_or_insert((length, false));
    }
}

fn is_register(items: &[Item]) -> bool {
    let mut values = std::collections::HashSet::new();
    items.iter().all(|item| match item.action {
        Action::Put(value) => values.insert(value),
        Action::Get(_) => true,
        Action::Append(..) | Action::Delete(_) => false,
    })
}

/// For each item the last one that its client asked for before, where the order of both is known to be kept.
fn before(items: &[Item]) -> Vec<Option<usize>> {
    let mut last: HashMap<u64, usize> = HashMap::new();
    let find = |(number, item): (usize, &Item)| {
        let earlier = last.insert(item.client, number);
        earlier.filter(|&earlier| {
            item.in_order && items[earlier].in_order && items[earlier].is_known()
        })
    };
    items.iter().enumerate().map(find).collect()
}
