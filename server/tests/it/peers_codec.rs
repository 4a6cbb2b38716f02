//! The bytes between replicas: every message as written in the documentation, cut short everywhere, and at random.

use std::sync::Arc;

use kvpaxos_server::identity::{ClusterSettings, FoundingRecord};
use kvpaxos_server::peers::{PeerFrame, PeerGreeting, PeerMessage, append_peer_frame};
use paxos::{
    AcceptedCommand, Ballot, Command, Incarnation, Message, ReplicaId, Slot, SlotRange, Space,
};
use proptest::prelude::*;

fn ballot() -> Ballot {
    Ballot {
        round: 3,
        replica: ReplicaId(1),
        birth: 0xb1,
    }
}

fn opaque(bytes: &[u8]) -> Command {
    Command::Opaque(Arc::from(bytes))
}

const BALLOT: &str = "0000000000000003 01 00000000000000b1 ";

/// Each message with the bytes of its fields, after length, kind and serial.
fn agreement_cases() -> Vec<(u8, Message, String)> {
    let incarnation = Incarnation(0xaa);
    vec![
        (
            0x41,
            Message::Canvass {
                nonce: 7,
                chosen_watermark: Slot(5),
            },
            "0000000000000007 0000000000000005".into(),
        ),
        (
            0x42,
            Message::CanvassReply {
                nonce: 7,
                follow: true,
                incarnation,
                leader: Some(ReplicaId(2)),
                chosen_watermark: Slot(5),
            },
            "0000000000000007 01 00000000000000aa 01 02 0000000000000005".into(),
        ),
        (
            0x43,
            Message::Prepare {
                ballot: ballot(),
                from_slot: Slot(9),
            },
            format!("{BALLOT} 0000000000000009"),
        ),
        (
            0x44,
            Message::Promise {
                ballot: ballot(),
                incarnation,
                from_slot: Slot(9),
                part: 0,
                parts: 2,
                accepted: vec![AcceptedCommand {
                    slot: Slot(9),
                    ballot: ballot(),
                    command: opaque(b"xy"),
                }],
                chosen_watermark: Slot(5),
                trimmed_watermark: Slot(4),
            },
            format!(
                "{BALLOT} 00000000000000aa 0000000000000009 00000000 00000002 \
                 0000000000000005 0000000000000004 00000001 0000000000000009 {BALLOT} 02 00000002 7879"
            ),
        ),
        (
            0x45,
            Message::Accept {
                ballot: ballot(),
                slot: Slot(9),
                command: Command::Rejoin {
                    replica: ReplicaId(4),
                    incarnation,
                },
                chosen_watermark: Slot(5),
            },
            format!("{BALLOT} 0000000000000009 0000000000000005 01 04 00000000000000aa"),
        ),
        (
            0x46,
            Message::Accepted {
                ballot: ballot(),
                incarnation,
                slots: vec![Slot(9), Slot(10)],
                durable_watermark: Slot(6),
            },
            format!(
                "{BALLOT} 00000000000000aa 0000000000000006 00000002 0000000000000009 000000000000000a"
            ),
        ),
        (
            0x47,
            Message::Refused {
                ballot: Ballot::NONE,
                promised: ballot(),
                hears_leader: false,
            },
            format!("0000000000000000 00 0000000000000000 {BALLOT} 00"),
        ),
        (
            0x48,
            Message::Heartbeat {
                ballot: ballot(),
                nonce: 7,
                chosen_watermark: Slot(5),
                forget_watermark: Slot(4),
                has_majority: true,
                space: Space::Reserve,
            },
            format!("{BALLOT} 0000000000000007 0000000000000005 0000000000000004 01 01"),
        ),
        (
            0x49,
            Message::Echo {
                ballot: ballot(),
                nonce: 7,
                incarnation,
                durable_watermark: Slot(6),
                space: Space::Ample,
            },
            format!("{BALLOT} 0000000000000007 00000000000000aa 0000000000000006 02"),
        ),
        (
            0x4a,
            Message::Advance {
                ballot: ballot(),
                chosen_watermark: Slot(5),
            },
            format!("{BALLOT} 0000000000000005"),
        ),
        (
            0x4b,
            Message::CatchUp { from_slot: Slot(9) },
            "0000000000000009".into(),
        ),
        (
            0x4c,
            Message::Chosen {
                from_slot: Slot(9),
                commands: vec![Command::Noop, opaque(b"")],
                chosen_watermark: Slot(5),
                trimmed_watermark: Slot(4),
            },
            "0000000000000009 0000000000000005 0000000000000004 00000002 00 02 00000000".into(),
        ),
        (
            0x4d,
            Message::ReadQuery { nonce: 7 },
            "0000000000000007".into(),
        ),
        (
            0x4e,
            Message::ReadAnswer {
                nonce: 7,
                read_watermark: Slot(5),
            },
            "0000000000000007 0000000000000005".into(),
        ),
        (0x4f, Message::TakeOver { ballot: ballot() }, BALLOT.into()),
    ]
}

/// The messages of sparse mode, in the same form.
fn instance_cases() -> Vec<(u8, Message, String)> {
    let incarnation = Incarnation(0xaa);
    let chosen = vec![SlotRange {
        start: Slot(2),
        end: Slot(4),
    }];
    let range = "0000000000000002 0000000000000004";
    vec![
        (
            0x50,
            Message::PrepareInstances {
                ballot: ballot(),
                min: Slot(1),
                chosen: chosen.clone(),
            },
            format!("{BALLOT} 0000000000000001 00000001 {range}"),
        ),
        (
            0x51,
            Message::PromiseInstances {
                ballot: ballot(),
                incarnation,
                sending: 8,
                part: 0,
                parts: 2,
                min: Slot(1),
                chosen,
                accepted: vec![AcceptedCommand {
                    slot: Slot(9),
                    ballot: ballot(),
                    command: opaque(b"xy"),
                }],
            },
            format!(
                "{BALLOT} 00000000000000aa 0000000000000008 00000000 00000002 0000000000000001 \
                 00000001 {range} 00000001 0000000000000009 {BALLOT} 02 00000002 7879"
            ),
        ),
        (
            0x52,
            Message::EchoInstances {
                ballot: ballot(),
                nonce: 7,
                incarnation,
                done_watermark: Slot(3),
                learned: vec![Slot(5)],
            },
            format!(
                "{BALLOT} 0000000000000007 00000000000000aa 0000000000000003 00000001 0000000000000005"
            ),
        ),
        (
            0x53,
            Message::ForwardInstance {
                slot: Slot(9),
                relayed: true,
                command: opaque(b"xy"),
            },
            "0000000000000009 01 02 00000002 7879".into(),
        ),
        (
            0x54,
            Message::ChosenInstance {
                slot: Slot(9),
                command: opaque(b"xy"),
            },
            "0000000000000009 02 00000002 7879".into(),
        ),
        (
            0x55,
            Message::ForgottenInstances { min: Slot(1) },
            "0000000000000001".into(),
        ),
    ]
}

fn cases() -> Vec<(u8, PeerMessage, String)> {
    let mut cases: Vec<_> = agreement_cases()
        .into_iter()
        .chain(instance_cases())
        .map(|(kind, message, bytes)| (kind, PeerMessage::Agreement(message), bytes))
        .collect();
    let incarnation = Incarnation(0xaa);
    cases.push((
        0x60,
        PeerMessage::Forward {
            requests: vec![1, 2, 3],
        },
        "010203".into(),
    ));
    cases.push((
        0x61,
        PeerMessage::FoundingQuery { nonce: 7 },
        "0000000000000007".into(),
    ));
    cases.push((
        0x62,
        PeerMessage::FoundingReply {
            nonce: 7,
            incarnation,
        },
        "0000000000000007 00000000000000aa".into(),
    ));
    cases.push((
        0x63,
        PeerMessage::Founded {
            nonce: 7,
            record: FoundingRecord {
                cluster: 0xc1,
                members: vec![(ReplicaId(0), incarnation)],
                settings: settings(),
            },
        },
        format!("0000000000000007 00000000000000c1 00000001 00 00000000000000aa {SETTINGS}"),
    ));
    let slot = Slot(64);
    let hash = 0xab << 64 | 0xcd;
    cases.push((
        0x6b,
        PeerMessage::HashReport { slot, hash },
        "0000000000000040 00000000000000ab 00000000000000cd".into(),
    ));
    cases.push((
        0x64,
        PeerMessage::SnapshotRequest {
            from_slot: Slot(7),
            slot: Slot(9),
            offset: 0x100,
        },
        "0000000000000007 0000000000000009 0000000000000100".into(),
    ));
    cases.push((
        0x65,
        PeerMessage::SnapshotPiece {
            slot: Slot(9),
            total_bytes: 0x102,
            offset: 0x100,
            bytes: b"xy".to_vec(),
        },
        "0000000000000009 0000000000000102 0000000000000100 7879".into(),
    ));
    cases.push((0x66, PeerMessage::SnapshotPending, String::new()));
    cases.push((
        0x68,
        PeerMessage::RejoinRequest {
            incarnation,
            nonce: 7,
        },
        "00000000000000aa 0000000000000007".into(),
    ));
    cases.push((
        0x69,
        PeerMessage::RejoinQuery { nonce: 7 },
        "0000000000000007".into(),
    ));
    cases
}

fn settings() -> ClusterSettings {
    ClusterSettings {
        value_bytes_max: 1,
        sessions_max: 2,
        session_expiry_s: 3,
        hash_interval: 4,
        store_bytes_max: 5,
        window: 6,
    }
}

const SETTINGS: &str = "00000001 00000002 00000003 00000004 0000000000000005 00000006";

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text
        .chars()
        .filter(|digit| !digit.is_whitespace())
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

/// The frame without its length, which is checked here.
fn payload(out: &[u8]) -> &[u8] {
    let (length, payload) = out.split_at(4);
    assert_eq!(
        u32::from_be_bytes(length.try_into().unwrap()) as usize,
        payload.len()
    );
    payload
}

fn encode(rests_on: u64, message: &PeerMessage) -> Vec<u8> {
    let mut out = Vec::new();
    append_peer_frame(&mut out, rests_on, message);
    payload(&out).to_vec()
}

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

fn greeting() -> PeerGreeting {
    PeerGreeting {
        version: 1,
        cluster: 0xc1,
        replica: ReplicaId(2),
        incarnation: Incarnation(0xaa),
        birth: 0xb1,
        settings: settings(),
        seen_incarnation: Incarnation(0xbb),
        seen_serial: 9,
    }
}

#[test]
fn the_greeting_has_the_documented_bytes() {
    let mut out = Vec::new();
    greeting().append_to(&mut out);
    let expected = from_hex(&format!(
        "40 4b565050 0001 00000000000000c1 02 00000000000000aa 00000000000000b1 {SETTINGS} \
         00000000000000bb 0000000000000009"
    ));
    assert_eq!(payload(&out), expected);
    assert_eq!(PeerGreeting::decode(&expected).unwrap(), greeting());
    for length in 0..expected.len() {
        assert!(PeerGreeting::decode(&expected[..length]).is_err());
    }
}

#[test]
fn strangers_are_told_apart() {
    let mut hello = Vec::new();
    let label = String::new();
    common::Hello { version: 1, label }.append_to(&mut hello);
    let said = |payload: &[u8]| PeerGreeting::decode(payload).unwrap_err().to_string();
    assert_eq!(said(payload(&hello)), "it speaks the client protocol");
    assert_eq!(said(b"GET / HTTP/1.1"), "it is not a replica");
    assert_eq!(said(b""), "it is not a replica");
    let mut later = Vec::new();
    PeerGreeting {
        version: 2,
        ..greeting()
    }
    .append_to(&mut later);
    let version = "it speaks version 2 of the protocol between replicas, not 1";
    assert_eq!(said(payload(&later)), version);
}

#[test]
fn other_clusters_and_other_settings_are_refused_with_both_printed() {
    let own = greeting();
    let other = PeerGreeting {
        cluster: 0xc2,
        ..greeting()
    };
    assert_eq!(
        own.check(&other).unwrap_err().to_string(),
        "it is r2 of cluster 00000000000000c2, not of 00000000000000c1"
    );
    let unfounded = PeerGreeting {
        cluster: 0,
        ..greeting()
    };
    assert_eq!(own.check(&unfounded), Ok(()));
    assert_eq!(unfounded.check(&own), Ok(()));
    let mut bound_otherwise = greeting();
    bound_otherwise.settings.value_bytes_max = 77;
    let said = own.check(&bound_otherwise).unwrap_err().to_string();
    assert_eq!(
        said,
        "r2 was started with other settings of the cluster: --value-bytes-max 77 there and 1 here"
    );
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
