//! The bytes between replicas: every message as written in the documentation, cut short everywhere, and at random.

use kvpaxos_server::peers::{PeerFrame, PeerGreeting, PeerMessage};
use paxos::{AcceptedCommand, Ballot, Command, Incarnation, Message, ReplicaId, Slot};
use proptest::prelude::*;

use crate::peers_cases::{cases, encode, from_hex, opaque};

#[test]
fn every_message_has_the_documented_bytes() {
    for (kind, message, fields) in cases() {
        let mut expected = vec![kind];
        expected.extend(from_hex("0000000000000042"));
        expected.extend(from_hex(&fields));
        assert_eq!(encode(0x42, &message), expected, "{message:?}");
        let frame = PeerFrame::decode(&expected).unwrap();
        assert_eq!(frame.rests_on, 0x42);
        assert_eq!(frame.message, message);
    }
}

#[test]
fn every_truncation_and_every_extension_is_an_error() {
    for (_, message, _) in cases() {
        let reaches_to_the_end = matches!(
            message,
            PeerMessage::Forward { .. } | PeerMessage::SnapshotPiece { .. }
        );
        if reaches_to_the_end {
            continue; // What is at the end has no length of its own; its own decoder checks it.
        }
        let bytes = encode(0, &message);
        for length in 0..bytes.len() {
            assert!(
                PeerFrame::decode(&bytes[..length]).is_err(),
                "{message:?} cut to {length} bytes"
            );
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(
            PeerFrame::decode(&longer).is_err(),
            "{message:?} and a byte"
        );
    }
}

#[test]
fn a_count_that_is_announced_costs_nothing() {
    let mut bytes =
        from_hex("4c 0000000000000000 0000000000000009 0000000000000000 0000000000000000");
    bytes.extend(from_hex("ffffffff"));
    let error = PeerFrame::decode(&bytes).unwrap_err().to_string();
    assert!(error.contains("4294967295"), "{error}");
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        Just(Command::Noop),
        (any::<u8>(), any::<u64>()).prop_map(|(replica, incarnation)| Command::Rejoin {
            replica: ReplicaId(replica),
            incarnation: Incarnation(incarnation),
        }),
        prop::collection::vec(any::<u8>(), 0..100).prop_map(|bytes| opaque(&bytes)),
    ]
}

/// A slot or a round, as far as they are taken.
fn counted() -> impl Strategy<Value = u64> {
    0..1_u64 << 62
}

fn any_ballot() -> impl Strategy<Value = Ballot> {
    (counted(), any::<u8>(), any::<u64>()).prop_map(|(round, replica, birth)| Ballot {
        round,
        replica: ReplicaId(replica),
        birth,
    })
}

fn any_long_message() -> impl Strategy<Value = Message> {
    let entry = (counted(), any_ballot(), any_command()).prop_map(|(slot, ballot, command)| {
        AcceptedCommand {
            slot: Slot(slot),
            ballot,
            command,
        }
    });
    let entries = prop::collection::vec(entry, 0..20);
    let slots = [(); 4].map(|()| counted());
    let numbers = (slots, any::<[u32; 2]>());
    let promise =
        (any_ballot(), numbers, entries).prop_map(|(ballot, (slots, parts), accepted)| {
            Message::Promise {
                ballot,
                incarnation: Incarnation(slots[0]),
                from_slot: Slot(slots[1]),
                part: parts[0],
                parts: parts[1],
                accepted,
                chosen_watermark: Slot(slots[2]),
                trimmed_watermark: Slot(slots[3]),
            }
        });
    let chosen = (
        prop::collection::vec(any_command(), 0..20),
        [(); 3].map(|()| counted()),
    )
        .prop_map(|(commands, numbers)| Message::Chosen {
            from_slot: Slot(numbers[0]),
            commands,
            chosen_watermark: Slot(numbers[1]),
            trimmed_watermark: Slot(numbers[2]),
        });
    prop_oneof![promise, chosen]
}

#[test]
fn a_slot_or_round_that_leaves_no_room_for_the_next_is_refused() {
    let ballot = |round| Ballot {
        round,
        replica: ReplicaId(0),
        birth: 1,
    };
    for (round, slot) in [(1 << 62, 0), (u64::MAX, 0), (1, 1 << 62), (1, u64::MAX)] {
        let prepare = Message::Prepare {
            ballot: ballot(round),
            from_slot: Slot(slot),
        };
        let bytes = encode(0, &PeerMessage::Agreement(prepare));
        assert!(
            PeerFrame::decode(&bytes).is_err(),
            "round {round}, slot {slot}"
        );
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(rests_on: u64, message in any_long_message()) {
        let message = PeerMessage::Agreement(message);
        let frame = PeerFrame::decode(&encode(rests_on, &message)).unwrap();
        prop_assert_eq!(frame, PeerFrame { rests_on, message });
    }

    #[test]
    fn random_bytes_never_panic(kind in 0x3fu8..0x70, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let payload = [&[kind], bytes.as_slice()].concat();
        let _ = PeerFrame::decode(&payload);
        let _ = PeerGreeting::decode(&payload);
    }

    #[test]
    fn a_flipped_byte_never_panics(message in any_long_message(), place: prop::sample::Index, flip in 1u8..) {
        let mut bytes = encode(0, &PeerMessage::Agreement(message));
        let place = place.index(bytes.len());
        bytes[place] ^= flip;
        let _ = PeerFrame::decode(&bytes);
    }
}
