//! A snapshot is all of one slot, however much changes while it is taken (RULES R22).

use common::{Change, SessionId, Write};
use paxos::{Command, Configuration, Incarnation, ReplicaId, Slot};
use proptest::prelude::*;

use super::batch;
use super::image::{Parts, Tally};
use super::state::State;
use crate::identity::ClusterSettings;

const SESSIONS: u64 = 4;

/// Something that a client does.
#[derive(Clone, Debug)]
struct Deed {
    session: u64,
    /// How many of the answers before this write the client still wants.
    wanted: u64,
    change: Change,
}

fn deeds(count: usize) -> impl Strategy<Value = Vec<Deed>> {
    let key = (0..40_u8).prop_map(|key| vec![b'k', key]);
    let value = proptest::collection::vec(any::<u8>(), 0..60);
    let change = (0..4, key, value).prop_map(|(kind, key, value)| match kind {
        0 | 1 => Change::Put { key, value },
        2 => Change::Append { key, value },
        _ => Change::Delete { key },
    });
    let deed = (1..=SESSIONS, 0..4_u64, change).prop_map(|(session, wanted, change)| Deed {
        session,
        wanted,
        change,
    });
    proptest::collection::vec(deed, 0..count)
}

/// A state with the numbers that its clients use next.
struct Story {
    state: State,
    sequences: [u64; SESSIONS as usize],
}

impl Story {
    fn new() -> Self {
        let mut story = Self {
            state: State::new(ClusterSettings::default()),
            sequences: [0; SESSIONS as usize],
        };
        let mut bytes = batch::begin(1_000);
        for _ in 0..SESSIONS {
            batch::put_open_session(&mut bytes, 77);
        }
        story.apply(bytes);
        story
    }

    fn apply(&mut self, bytes: Vec<u8>) {
        let slot = self.state.applied();
        self.state
            .apply(slot, &Command::Opaque(bytes.into()), |_| {});
    }

    fn act(&mut self, deed: &Deed) {
        let place = usize::try_from(deed.session - 1).unwrap();
        self.sequences[place] += 1;
        let sequence = self.sequences[place];
        let write = Write {
            session: SessionId {
                revision: deed.session,
                nonce: 77,
            },
            sequence,
            floor: sequence.saturating_sub(deed.wanted).max(1),
            after: 0,
            change: deed.change.clone(),
        };
        let mut bytes = batch::begin(1_000 + self.state.applied().0);
        batch::put_write(&mut bytes, &write);
        if sequence.is_multiple_of(5) {
            batch::put_open_session(&mut bytes, 78);
        }
        self.apply(bytes);
    }
}

fn configuration() -> Configuration {
    Configuration::founded(&[(ReplicaId(0), Incarnation(1))])
}

/// The encoded parts of everything that the pieces hold, and the hash that results from them.
fn whole(pieces: &[super::Piece]) -> (Vec<Vec<u8>>, Tally) {
    let mut tally = Tally::default();
    let mut parts = Vec::new();
    for piece in pieces {
        for part in Parts::new(piece.kind, &piece.bytes) {
            let (bytes, part) = part.unwrap();
            tally.add(&part);
            parts.push(bytes.to_vec());
        }
    }
    (parts, tally)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_snapshot_is_of_the_slot_at_which_it_began(
        before in deeds(120),
        meanwhile in deeds(200),
        bytes_max in 1..2_000_usize,
        per_step in 1..20_usize,
    ) {
        let mut story = Story::new();
        let mut still = Story::new();
        for deed in &before {
            story.act(deed);
            still.act(deed);
        }
        let (head, hash) = story.state.begin_snapshot(7, &configuration());
        prop_assert_eq!(head.slot, story.state.applied());
        let mut pieces = Vec::new();
        let mut deeds = meanwhile.chunks(per_step);
        let mut changes = 0;
        while let Some(piece) = story.state.snapshot_step(bytes_max) {
            let longest_part = 4_096;
            prop_assert!(piece.bytes.len() <= bytes_max.max(longest_part));
            pieces.push(piece);
            for deed in deeds.next().unwrap_or_default() {
                story.act(deed);
                changes += 1;
                prop_assert!(story.state.store.aside_len() <= changes);
            }
        }
        let (still_head, still_hash) = still.state.begin_snapshot(7, &configuration());
        prop_assert_eq!((&head, hash), (&still_head, still_hash));
        let mut still_pieces = Vec::new();
        while let Some(piece) = still.state.snapshot_step(64 << 10) {
            still_pieces.push(piece);
        }
        let (parts, tally) = whole(&pieces);
        prop_assert_eq!(&parts, &whole(&still_pieces).0);
        prop_assert!(tally.is_complete(&head));
        prop_assert_eq!(tally.hash(&head), hash);
        prop_assert_eq!(story.state.store.aside_len(), 0);

        let mut restored = State::from_head(&head);
        for piece in &pieces {
            for part in Parts::new(piece.kind, &piece.bytes) {
                restored.restore(&part.unwrap().1);
            }
        }
        prop_assert_eq!(restored.hash(), hash);
        prop_assert_eq!(restored.applied(), still.state.applied());
        prop_assert_eq!(restored.store.bytes(), still.state.store.bytes());
        for deed in &meanwhile {
            still.act(deed);
        }
        let mut resumed = Story { state: restored, sequences: [0; SESSIONS as usize] };
        for deed in &before {
            resumed.sequences[usize::try_from(deed.session - 1).unwrap()] += 1;
        }
        for deed in &meanwhile {
            resumed.act(deed);
        }
        prop_assert_eq!(resumed.state.hash(), still.state.hash(), "a restored state behaves like the other");
    }
}

#[test]
fn a_snapshot_tells_of_voters_only_what_was_chosen_below_it() {
    let mut configuration = configuration();
    let window = u64::from(ClusterSettings::default().window);
    configuration.rejoin(Slot(0), window, ReplicaId(0), Incarnation(2));
    configuration.rejoin(Slot(1), window, ReplicaId(0), Incarnation(3));
    let mut story = Story::new();
    let (head, _) = story.state.begin_snapshot(7, &configuration);
    assert_eq!(head.slot, Slot(1));
    let lives: Vec<_> = head.configuration.lives().map(|life| life.2).collect();
    assert_eq!(lives, [Incarnation(1), Incarnation(2)]);
}
