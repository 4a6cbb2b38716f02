//! Each kind of frame with its bytes written out, every truncation of it, and what no sender should send.

use proptest::prelude::*;

use super::*;
use crate::answer::{DatagramCounts, Limit, Outcome, Refusal, Role, StatusReport};
use crate::frame::LENGTH_BYTES;
use crate::greeting::PROTOCOL_VERSION;
use crate::request::{Change, SessionId, Write};

const LIMITS: WireLimits = WireLimits {
    key_bytes_max: 4_096,
    value_bytes_max: 8_192,
    frame_bytes_max: 8_192 + 65_536,
    outstanding_max: 1_024,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks the bytes of a client's frame, both ways, and that no part of it is taken for a frame.
fn check_client(frame: &ClientFrame, expected: &str) {
    let mut out = Vec::new();
    match frame {
        ClientFrame::Hello(hello) => hello.append_to(&mut out),
        ClientFrame::Request(request) => request.append_to(&mut out),
    }
    let payload = &out[LENGTH_BYTES..];
    assert_eq!(hex(payload), expected.replace(' ', ""));
    assert_eq!(ClientFrame::decode(payload, &LIMITS).as_ref(), Ok(frame));
    for end in 0..payload.len() {
        assert!(ClientFrame::decode(&payload[..end], &LIMITS).is_err());
    }
    let longer = [payload, b"x"].concat();
    let error = ClientFrame::decode(&longer, &LIMITS).unwrap_err().error;
    assert_eq!(error, DecodeError::Trailing { bytes: 1 });
    let error = ServerFrame::decode(payload).unwrap_err();
    assert!(matches!(error, DecodeError::WrongDirection { .. }));
}

/// The same for a replica's frame.
fn check_server(frame: &ServerFrame, expected: &str) {
    let mut out = Vec::new();
    match frame {
        ServerFrame::Greeting(greeting) => greeting.append_to(&mut out),
        ServerFrame::Answer(answer) => answer.append_to(&mut out),
    }
    let payload = &out[LENGTH_BYTES..];
    assert_eq!(hex(payload), expected.replace(' ', ""));
    assert_eq!(ServerFrame::decode(payload).as_ref(), Ok(frame));
    for end in 0..payload.len() {
        assert!(ServerFrame::decode(&payload[..end]).is_err());
    }
    let longer = [payload, b"x"].concat();
    assert_eq!(
        ServerFrame::decode(&longer),
        Err(DecodeError::Trailing { bytes: 1 })
    );
    let error = ClientFrame::decode(payload, &LIMITS).unwrap_err().error;
    assert!(matches!(error, DecodeError::WrongDirection { .. }));
}

fn check_request(request: Request, expected: &str) {
    check_client(&ClientFrame::Request(request), expected);
}

fn check_outcome(outcome: Outcome, expected_kind: &str, expected_rest: &str) {
    let mut alone = Vec::new();
    outcome.encode_with_kind_into(&mut alone);
    let mut rest = &alone[..];
    assert_eq!(Outcome::decode(&mut rest).as_ref(), Ok(&outcome));
    assert!(rest.is_empty());
    let answer = Answer {
        tag: 7,
        leader: Some(2),
        outcome,
    };
    let expected = format!("{expected_kind} 0000000000000007 01 02 {expected_rest}");
    check_server(&ServerFrame::Answer(answer), &expected);
}

fn write(change: Change) -> Request {
    Request::Write {
        tag: 7,
        write: Write {
            session: SessionId {
                revision: 12,
                nonce: 0xa1a2_a3a4_a5a6_a7a8,
            },
            sequence: 3,
            floor: 2,
            after: 1,
            change,
        },
    }
}

const WRITE_HEAD: &str = "03 0000000000000007 000000000000000c a1a2a3a4a5a6a7a8 \
    0000000000000003 0000000000000002 0000000000000001";

#[test]
fn hello() {
    let hello = Hello {
        version: PROTOCOL_VERSION,
        label: "me".into(),
    };
    check_client(&ClientFrame::Hello(hello), "01 4b565058 0001 0002 6d65");
}

#[test]
fn greeting() {
    let mut greeting = Greeting {
        version: 1,
        cluster: 0x0102_0304_0506_0708,
        replica: 4,
        leader: None,
        limits: LIMITS,
    };
    check_server(
        &ServerFrame::Greeting(greeting.clone()),
        "81 4b565058 0001 0102030405060708 04 00 00001000 00002000 00012000 00000400",
    );
    greeting.leader = Some(3);
    check_server(
        &ServerFrame::Greeting(greeting),
        "81 4b565058 0001 0102030405060708 04 01 03 00001000 00002000 00012000 00000400",
    );
}

#[test]
fn requests() {
    check_request(
        Request::OpenSession { tag: 7, nonce: 9 },
        "02 0000000000000007 0000000000000009",
    );
    check_request(
        write(Change::Put {
            key: b"ab".to_vec(),
            value: b"xyz".to_vec(),
        }),
        &format!("{WRITE_HEAD} 01 0002 6162 00000003 78797a"),
    );
    check_request(
        write(Change::Append {
            key: b"ab".to_vec(),
            value: Vec::new(),
        }),
        &format!("{WRITE_HEAD} 02 0002 6162 00000000"),
    );
    check_request(
        write(Change::Delete { key: b"a".to_vec() }),
        &format!("{WRITE_HEAD} 03 0001 61"),
    );
    check_request(
        Request::Get {
            tag: 7,
            key: b"a".to_vec(),
        },
        "04 0000000000000007 0001 61",
    );
    check_request(Request::Status { tag: 7 }, "05 0000000000000007");
}

#[test]
fn outcomes() {
    let session = SessionId {
        revision: 12,
        nonce: 9,
    };
    check_outcome(
        Outcome::SessionOpened {
            session,
            expiry_s: 3_600,
        },
        "82",
        "000000000000000c 0000000000000009 00000e10",
    );
    check_outcome(Outcome::Put { revision: 5 }, "83", "0000000000000005");
    check_outcome(
        Outcome::Appended {
            revision: 5,
            length: 6,
        },
        "84",
        "0000000000000005 0000000000000006",
    );
    check_outcome(
        Outcome::Deleted {
            revision: 5,
            existed: true,
        },
        "85",
        "0000000000000005 01",
    );
    check_outcome(
        Outcome::Value {
            revision: 5,
            value: b"xyz".to_vec(),
        },
        "86",
        "0000000000000005 00000003 78797a",
    );
    check_outcome(Outcome::Absent { revision: 5 }, "87", "0000000000000005");
}

#[test]
fn status_report() {
    let report = StatusReport {
        replica: 4,
        cluster: 1,
        serving: true,
        role: Role::Leader,
        leader: Some(4),
        ballot_round: 3,
        ballot_replica: 4,
        chosen: 20,
        applied: 19,
        hash_slot: 16,
        state_hash: 0xff,
        keys: 6,
        sessions: 5,
        journal_bytes: 4_096,
        snapshot_slot: 0,
        revision: 8,
        datagrams: DatagramCounts {
            received: 9,
            answered: 6,
            junk: 1,
            cookies: 2,
        },
        remark: "ok".into(),
    };
    check_outcome(
        Outcome::Status(Box::new(report)),
        "88",
        "04 0000000000000001 01 04 01 04 0000000000000003 04 0000000000000014 0000000000000013 \
         0000000000000010 000000000000000000000000000000ff 0000000000000006 0000000000000005 \
         0000000000001000 0000000000000000 0000000000000008 \
         0000000000000009 0000000000000006 0000000000000001 0000000000000002 0002 6f6b",
    );
}

#[test]
fn refusals() {
    let cases = [
        (Refusal::NoQuorum { proposed: true }, "01 01"),
        (
            Refusal::Busy {
                limit: Limit::RequestsHeld,
            },
            "02 04",
        ),
        (
            Refusal::TooLarge {
                limit: Limit::ValueBytes,
                bytes: 9,
                bytes_max: 8,
            },
            "03 02 0000000000000009 0000000000000008",
        ),
        (Refusal::EmptyKey, "04"),
        (Refusal::StoreFull { bytes_max: 8 }, "05 0000000000000008"),
        (
            Refusal::DiskFull {
                refuses_deletes: true,
            },
            "0d 01",
        ),
        (Refusal::SessionExpired, "06"),
        (Refusal::Closed, "07"),
        (
            Refusal::TooManyOutstanding { width: 1_024 },
            "08 0000000000000400",
        ),
        (
            Refusal::NotServing {
                reason: "no".into(),
            },
            "09 0002 6e6f",
        ),
        (
            Refusal::AskReplica {
                replica: 3,
                proposed: false,
            },
            "0a 03 00",
        ),
        (
            Refusal::Malformed {
                reason: "no".into(),
            },
            "0b 0002 6e6f",
        ),
        (
            Refusal::TooLargeForDatagram {
                bytes: 9,
                bytes_max: 8,
            },
            "0c 0000000000000009 0000000000000008",
        ),
    ];
    for (refusal, expected) in cases {
        check_outcome(Outcome::Refused(refusal), "8f", expected);
    }
}

#[test]
fn frames_between_replicas_are_named() {
    let error = ClientFrame::decode(&[0x40], &LIMITS).unwrap_err();
    assert_eq!(
        error.to_string(),
        "is a message of the protocol between replicas; a request is allowed here"
    );
    let error = ServerFrame::decode(&[0x7f]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "is a message of the protocol between replicas; an answer is allowed here"
    );
    let error = ServerFrame::decode(&[0xfe]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "is of unknown kind 0xfe; an answer is allowed here"
    );
}

#[test]
fn a_later_release_may_add_to_the_opening() {
    let payload = b"\x01KVPX\x00\x02\x00\x01ax";
    let hello = Hello::decode(payload).unwrap();
    assert_eq!((hello.version, hello.label.as_str()), (2, "a"));
    assert_eq!(
        Hello::decode(b"\x01KVPX\x00\x00\x00\x00"),
        Err(DecodeError::Version {
            found: 0,
            allowed_min: 1,
            allowed_max: 1
        })
    );
    assert_eq!(
        Hello::decode(b"\x01KVPP\x00\x01\x00\x00")
            .unwrap_err()
            .to_string(),
        "begins with KVPP instead of KVPX"
    );
}

#[test]
fn lengths_are_compared_with_the_limits_and_the_tag_is_kept() {
    let mut out = Vec::new();
    append_get(&mut out, 7, &[b'k'; 4_097]);
    let error = ClientFrame::decode(&out[LENGTH_BYTES..], &LIMITS).unwrap_err();
    assert_eq!(error.tag, Some(7));
    let too_large = Refusal::TooLarge {
        limit: Limit::KeyBytes,
        bytes: 4_097,
        bytes_max: 4_096,
    };
    assert_eq!(error.refusal(), too_large);

    out.clear();
    append_get(&mut out, 7, b"");
    let error = ClientFrame::decode(&out[LENGTH_BYTES..], &LIMITS).unwrap_err();
    assert_eq!(error.refusal(), Refusal::EmptyKey);

    out.clear();
    write(Change::Append {
        key: b"a".to_vec(),
        value: vec![0; 8_193],
    })
    .append_to(&mut out);
    let error = ClientFrame::decode(&out[LENGTH_BYTES..], &LIMITS).unwrap_err();
    assert_eq!(
        error.to_string(),
        "has 8193 bytes of value; 8192 are allowed"
    );
}

#[test]
fn a_write_with_contradicting_numbers_is_refused() {
    for (sequence, floor, after) in [(0, 0, 0), (3, 0, 0), (3, 4, 0), (3, 1, 3)] {
        let write = WriteRef {
            session: SessionId::default(),
            sequence,
            floor,
            after,
            change: ChangeRef::Delete { key: b"a" },
        };
        let mut out = Vec::new();
        write.encode_into(&mut out);
        assert_eq!(
            WriteRef::decode(&mut &out[..]),
            Err(DecodeError::Numbers {
                sequence,
                floor,
                after
            })
        );
    }
}

#[test]
fn writes_follow_each_other_in_the_log() {
    let Request::Write { write: first, .. } = write(Change::Delete { key: b"a".to_vec() }) else {
        unreachable!()
    };
    let mut log = Vec::new();
    first.encode_into(&mut log);
    first.encode_into(&mut log);
    let mut rest = &log[..];
    assert_eq!(WriteRef::decode(&mut rest).unwrap().to_owned(), first);
    assert_eq!(rest.len(), log.len() / 2);
    assert_eq!(WriteRef::decode(&mut rest).unwrap(), first.as_ref());
    assert!(rest.is_empty());
}

#[test]
fn long_sentences_are_cut() {
    let answer = Answer {
        tag: 1,
        leader: None,
        outcome: Outcome::Refused(Refusal::Malformed {
            reason: "é".repeat(2_000),
        }),
    };
    let mut out = Vec::new();
    answer.append_to(&mut out);
    let Outcome::Refused(Refusal::Malformed { reason }) =
        Answer::decode(&out[LENGTH_BYTES..]).unwrap().outcome
    else {
        panic!("another outcome");
    };
    assert_eq!(reason, "é".repeat(512));
}

fn any_change() -> impl Strategy<Value = Change> {
    let key = || prop::collection::vec(any::<u8>(), 1..40);
    let value = || prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        (key(), value()).prop_map(|(key, value)| Change::Put { key, value }),
        (key(), value()).prop_map(|(key, value)| Change::Append { key, value }),
        key().prop_map(|key| Change::Delete { key }),
    ]
}

fn any_write() -> impl Strategy<Value = Write> {
    (
        any::<[u64; 2]>(),
        1..u64::MAX,
        any::<[u64; 2]>(),
        any_change(),
    )
        .prop_map(
            |([revision, nonce], sequence, [floor, after], change)| Write {
                session: SessionId { revision, nonce },
                sequence,
                floor: 1 + floor % sequence,
                after: after % sequence,
                change,
            },
        )
}

proptest! {
    #[test]
    fn any_write_comes_back(tag in any::<u64>(), write in any_write()) {
        let request = Request::Write { tag, write };
        let mut out = Vec::new();
        request.append_to(&mut out);
        prop_assert_eq!(Request::decode(&out[LENGTH_BYTES..], &LIMITS).unwrap(), request);
    }

    #[test]
    fn any_value_comes_back(tag in any::<u64>(), value in prop::collection::vec(any::<u8>(), 0..500)) {
        let outcome = Outcome::Value { revision: tag, value };
        let answer = Answer { tag, leader: None, outcome };
        let mut out = Vec::new();
        answer.append_to(&mut out);
        prop_assert_eq!(Answer::decode(&out[LENGTH_BYTES..]).unwrap(), answer);
    }

    #[test]
    fn any_bytes_are_a_frame_or_an_error(kind in any::<u8>(), rest in prop::collection::vec(any::<u8>(), 0..300)) {
        let payload = [&[kind][..], &rest].concat();
        for start in 0..2 {
            if let Err(error) = ClientFrame::decode(&payload[start..], &LIMITS) {
                prop_assert!(!error.to_string().is_empty());
                prop_assert!(!error.refusal().to_string().is_empty());
            }
            if let Err(error) = ServerFrame::decode(&payload[start..]) {
                prop_assert!(!error.to_string().is_empty());
            }
            let _ = WriteRef::decode(&mut &payload[start..]);
            let _ = Outcome::decode(&mut &payload[start..]);
        }
    }
}
