//! Small random histories, judged here and by stateright's tester, which tries every order: both must say the same.
//!
//! Half of the histories begin as an order: operations take effect one after the other, each at a moment between its call
//! and its return. Then, in most, something is changed. The others are answers drawn at random.

use kvpaxos_client::history::{Kind, Operation, Verdict, judge_key};
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

/// How many histories are judged.
const HISTORIES: u64 = 40_000;

/// The tester tries every order: more operations than this would take long.
const OPERATIONS_MAX: usize = 7;

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Put(Vec<u8>),
    Append(Vec<u8>),
    Delete,
    Get,
}

/// What was heard; none of it where the answer says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Done,
    Length(u64),
    Existed(bool),
    Value(Option<Vec<u8>>),
}

/// One key of a store, as simply as it can be said.
#[derive(Clone, Debug, Default)]
struct Key(Option<Vec<u8>>);

impl SequentialSpec for Key {
    type Op = Asked;
    type Ret = Heard;

    fn invoke(&mut self, asked: &Asked) -> Heard {
        match asked {
            Asked::Put(value) => {
                self.0 = Some(value.clone());
                Heard::Done
            }
            Asked::Append(more) => {
                let value = self.0.get_or_insert_default();
                value.extend_from_slice(more);
                Heard::Length(value.len() as u64)
            }
            Asked::Delete => Heard::Existed(self.0.take().is_some()),
            Asked::Get => Heard::Value(self.0.clone()),
        }
    }

    fn is_valid_step(&mut self, asked: &Asked, heard: &Heard) -> bool {
        let answer = self.invoke(asked);
        *heard == Heard::Done || *heard == answer
    }
}

fn asked(kind: &Kind) -> Asked {
    match kind {
        Kind::Put { value } => Asked::Put(value.clone()),
        Kind::Append { value, .. } => Asked::Append(value.clone()),
        Kind::Delete { .. } => Asked::Delete,
        Kind::Get { .. } => Asked::Get,
    }
}

fn heard(kind: &Kind) -> Heard {
    match kind {
        Kind::Put { .. } => Heard::Done,
        Kind::Append { length, .. } => length.map_or(Heard::Done, Heard::Length),
        Kind::Delete { existed } => existed.map_or(Heard::Done, Heard::Existed),
        Kind::Get { value } => Heard::Value(value.clone()),
    }
}

/// What stateright says. Each operation is a thread of its own: the times alone order them.
fn is_right(operations: &[Operation]) -> bool {
    let calls = operations.iter().enumerate();
    let calls = calls.map(|(place, operation)| (operation.called, false, place));
    let returns = operations.iter().enumerate();
    let returns = returns.filter_map(|(place, operation)| Some((operation.returned?, true, place)));
    let mut events: Vec<_> = calls.chain(returns).collect();
    events.sort_unstable();
    let mut tester = LinearizabilityTester::new(Key::default());
    for (_, is_return, place) in events {
        let kind = &operations[place].kind;
        if is_return {
            tester.on_return(place, heard(kind)).unwrap();
        } else {
            tester.on_invoke(place, asked(kind)).unwrap();
        }
    }
    tester.is_consistent()
}

/// How a history is made.
struct Maker {
    random: SmallRng,
    /// Which operations there are.
    kinds: &'static [Asked],
    /// Values are distinct, or else one of two, or empty.
    is_distinct: bool,
    next: u64,
}

impl Maker {
    fn new(seed: u64) -> Self {
        const REGISTER: &[Asked] = &[Asked::Put(Vec::new()), Asked::Get];
        const LOG: &[Asked] = &[Asked::Append(Vec::new()), Asked::Get];
        const ALL: &[Asked] = &[
            Asked::Put(Vec::new()),
            Asked::Append(Vec::new()),
            Asked::Delete,
            Asked::Get,
            Asked::Get,
        ];
        let mut random = SmallRng::seed_from_u64(seed);
        Self {
            kinds: [REGISTER, LOG, ALL].choose(&mut random).unwrap(),
            is_distinct: random.random_bool(0.7),
            random,
            next: 0,
        }
    }

    fn value(&mut self) -> Vec<u8> {
        self.next += 1;
        if self.is_distinct {
            format!("{};", self.next).into_bytes()
        } else {
            [&b"a"[..], b"b", b""]
                .choose(&mut self.random)
                .unwrap()
                .to_vec()
        }
    }

    fn history(&mut self) -> Vec<Operation> {
        let count = self.random.random_range(2..=OPERATIONS_MAX);
        let spread = self.random.random_range(1..4);
        let (mut key, mut states) = (Key::default(), vec![Key::default()]);
        let mut operations = Vec::new();
        for step in 0..count {
            let asked = match self.kinds.choose(&mut self.random).unwrap() {
                Asked::Put(_) => Asked::Put(self.value()),
                Asked::Append(_) => Asked::Append(self.value()),
                other => other.clone(),
            };
            let moment = 10 * step as u64 + 100;
            let is_lost = self.random.random_bool(0.1);
            let is_unknown = is_lost || self.random.random_bool(0.1);
            let before = key.clone();
            let heard = key.invoke(&asked);
            if is_lost {
                key = before;
            }
            states.push(key.clone());
            operations.push(Operation {
                client: step as u64,
                kind: kind(asked, heard, is_unknown),
                called: moment - self.random.random_range(1..10 * spread),
                returned: (!is_unknown)
                    .then_some(moment + self.random.random_range(1..10 * spread)),
                in_order: false,
                revision: None,
            });
        }
        if self.random.random_bool(0.85) {
            self.spoil(&mut operations, &states);
        }
        operations.retain(|operation| {
            operation.returned.is_some() || !matches!(operation.kind, Kind::Get { .. })
        });
        operations.shuffle(&mut self.random);
        operations
    }

    /// Changes something that may make it wrong, or not.
    fn spoil(&mut self, operations: &mut [Operation], states: &[Key]) {
        for _ in 0..self.random.random_range(1..3) {
            let state = states.choose(&mut self.random).unwrap().0.clone();
            let by = self.random.random_range(1..60);
            let place = self.random.random_range(0..operations.len());
            let operation = &mut operations[place];
            match &mut operation.kind {
                Kind::Get { value } => *value = state,
                Kind::Append { length, .. } => *length = length.map(|length| length + by % 3),
                Kind::Delete { existed } => *existed = existed.map(|existed| !existed),
                Kind::Put { .. } => {
                    operation.called += by;
                    operation.returned = operation.returned.map(|returned| returned + by);
                }
            }
        }
    }
}

fn kind(asked: Asked, heard: Heard, is_unknown: bool) -> Kind {
    match (asked, heard) {
        (Asked::Put(value), _) => Kind::Put { value },
        (Asked::Append(value), Heard::Length(length)) => Kind::Append {
            value,
            length: (!is_unknown).then_some(length),
        },
        (Asked::Delete, Heard::Existed(existed)) => Kind::Delete {
            existed: (!is_unknown).then_some(existed),
        },
        (Asked::Get, Heard::Value(value)) => Kind::Get { value },
        (asked, heard) => unreachable!("{asked:?} was answered {heard:?}"),
    }
}

#[test]
fn another_judge_says_the_same_of_random_histories() {
    let (mut right, mut wrong) = (0, 0);
    for seed in 0..HISTORIES {
        let operations = Maker::new(seed).history();
        let expected = is_right(&operations);
        let verdict = judge_key(&operations, None);
        let said = match verdict {
            Verdict::Right => true,
            Verdict::Wrong(_) => false,
            Verdict::Undecided => panic!("seed {seed} is undecided: {operations:#?}"),
        };
        assert_eq!(
            said, expected,
            "seed {seed}: {verdict:?} of {operations:#?}"
        );
        *(if expected { &mut right } else { &mut wrong }) += 1;
    }
    println!("two judges agree: {right} right, {wrong} wrong");
    assert!(
        right > HISTORIES / 4 && wrong > HISTORIES / 4,
        "{right} right, {wrong} wrong"
    );
}
