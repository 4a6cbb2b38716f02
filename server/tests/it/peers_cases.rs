//! Each message between replicas with its bytes, as the documentation has them.

use std::sync::Arc;

use kvpaxos_server::identity::{ClusterSettings, FoundingRecord};
use kvpaxos_server::peers::{PeerMessage, append_peer_frame};
use paxos::{
    AcceptedCommand, Ballot, Command, Incarnation, Message, ReplicaId, Slot, SlotRange, Space,
};

fn ballot() -> Ballot {
    Ballot {
        round: 3,
        replica: ReplicaId(1),
        birth: 0xb1,
    }
}

pub(crate) fn opaque(bytes: &[u8]) -> Command {
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

pub(crate) fn cases() -> Vec<(u8, PeerMessage, String)> {
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

pub(crate) fn settings() -> ClusterSettings {
    ClusterSettings {
        value_bytes_max: 1,
        sessions_max: 2,
        session_expiry_s: 3,
        hash_interval: 4,
        store_bytes_max: 5,
        window: 6,
    }
}

pub(crate) const SETTINGS: &str = "00000001 00000002 00000003 00000004 0000000000000005 00000006";

pub(crate) fn from_hex(text: &str) -> Vec<u8> {
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
pub(crate) fn payload(out: &[u8]) -> &[u8] {
    let (length, payload) = out.split_at(4);
    assert_eq!(
        u32::from_be_bytes(length.try_into().unwrap()) as usize,
        payload.len()
    );
    payload
}

pub(crate) fn encode(rests_on: u64, message: &PeerMessage) -> Vec<u8> {
    let mut out = Vec::new();
    append_peer_frame(&mut out, rests_on, message);
    payload(&out).to_vec()
}
