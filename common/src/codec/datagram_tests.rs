//! Each kind of datagram with its bytes written out, every truncation of it, and the promise that what answers an
//! unproved address is not longer than what came from there.

use proptest::prelude::*;

use super::*;
use crate::answer::{DatagramCounts, Role, StatusReport};
use crate::answer::{Limit, Outcome, Refusal};
use crate::datagram::{
    ClientMessage, Cookie, DATAGRAM_BYTES_MAX_MIN, DATAGRAM_MAGIC, DatagramGreeting, DatagramHello,
    HELLO_DATAGRAM_BYTES_MIN, REPLY_MAGIC, ServerDatagram, ServerMessage,
};
use crate::request::{Change, SessionId, Write};

const LIMITS: WireLimits = WireLimits::for_value_bytes_max(8_192);
const COOKIE: Cookie = Cookie([
    0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf,
]);
const HEAD: &str = "4b565055 0001 00 c0c1c2c3c4c5c6c7c8c9cacbcccdcecf";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(datagram: &[u8]) -> Result<(Cookie, ClientMessage), RequestError> {
    let opened = ClientDatagram::open(datagram)?;
    Ok((opened.cookie, opened.message(&LIMITS)?))
}

fn request_bytes(request: &Request, cookie: Cookie) -> Vec<u8> {
    let mut out = Vec::new();
    request.append_datagram_to(&mut out, cookie);
    out
}

fn server_bytes(message: ServerMessage) -> Vec<u8> {
    let mut out = Vec::new();
    ServerDatagram {
        replica: 4,
        message,
    }
    .append_to(&mut out);
    out
}

/// Checks the bytes, both ways, and that no part of it is taken for a datagram.
fn check_server(message: &ServerMessage, expected: &str) {
    let bytes = server_bytes(message.clone());
    assert_eq!(
        hex(&bytes),
        format!("4b565052 0001 04 {expected}").replace(' ', "")
    );
    let decoded = ServerDatagram::decode(&bytes).unwrap();
    assert_eq!((decoded.replica, &decoded.message), (4, message));
    for end in 0..bytes.len() {
        assert!(ServerDatagram::decode(&bytes[..end]).is_err());
    }
    let longer = [&bytes[..], b"x"].concat();
    let error = ServerDatagram::decode(&longer).unwrap_err();
    assert_eq!(error, DecodeError::Trailing { bytes: 1 });
    let error = read(&bytes).unwrap_err().error;
    assert!(matches!(error, DecodeError::WrongDirection { .. }));
}

fn put(value: Vec<u8>) -> Request {
    Request::Write {
        tag: 7,
        write: Write {
            session: SessionId {
                revision: 12,
                nonce: 5,
            },
            sequence: 1,
            floor: 1,
            after: 0,
            change: Change::Put {
                key: b"k".to_vec(),
                value,
            },
        },
    }
}

/// The shortest of each kind.
fn shortest_requests() -> Vec<Request> {
    let key = b"k".to_vec();
    let mut delete = put(Vec::new());
    if let Request::Write { write, .. } = &mut delete {
        write.change = Change::Delete { key: key.clone() };
    }
    vec![
        Request::OpenSession { tag: 7, nonce: 9 },
        Request::Get { tag: 7, key },
        Request::Status { tag: 7 },
        delete,
    ]
}

#[test]
fn a_request_is_the_payload_of_its_frame_behind_a_header() {
    let request = Request::Get {
        tag: 7,
        key: b"a".to_vec(),
    };
    let bytes = request_bytes(&request, COOKIE);
    let expected = format!("{HEAD} 04 0000000000000007 0001 61");
    assert_eq!(hex(&bytes), expected.replace(' ', ""));
    assert_eq!(
        read(&bytes).unwrap(),
        (COOKIE, ClientMessage::Request(request.clone()))
    );
    let error = ServerDatagram::decode(&bytes).unwrap_err();
    assert!(matches!(error, DecodeError::WrongDirection { .. }));
    for end in 0..bytes.len() {
        assert!(read(&bytes[..end]).is_err());
    }
    let error = read(&[&bytes[..], b"x"].concat()).unwrap_err();
    assert_eq!(error.error, DecodeError::Trailing { bytes: 1 });
    assert_eq!(error.tag, Some(7));
    let mut frame = Vec::new();
    request.append_to(&mut frame);
    let mut same = Vec::new();
    append_datagram(&mut same, COOKIE, &frame[crate::frame::LENGTH_BYTES..]);
    assert_eq!(same, bytes);
}

#[test]
fn a_hello_is_padded() {
    let hello = DatagramHello {
        tag: 7,
        label: "me".into(),
    };
    let mut bytes = Vec::new();
    hello.append_to(&mut bytes, COOKIE);
    assert_eq!(bytes.len(), HELLO_DATAGRAM_BYTES_MIN);
    let begin = format!("{HEAD} 06 0000000000000007 0002 6d65 00").replace(' ', "");
    assert!(hex(&bytes).starts_with(&begin));
    assert_eq!(
        read(&bytes).unwrap(),
        (COOKIE, ClientMessage::Hello(hello.clone()))
    );
    for end in 0..bytes.len() {
        assert!(read(&bytes[..end]).is_err());
    }
    assert_eq!(
        read(&bytes[..127]).unwrap_err().to_string(),
        "has 127 bytes; a hello is padded to 128"
    );
    let last = bytes.len() - 1;
    bytes[last] = 1;
    assert!(read(&bytes).is_err());
    bytes[5] = 2;
    assert_eq!(
        read(&bytes).unwrap().1,
        ClientMessage::Hello(hello),
        "a later version may say more"
    );
}

#[test]
fn what_a_replica_says() {
    let greeting = DatagramGreeting {
        tag: 7,
        cookie: COOKIE,
        cluster: 0x0102_0304_0506_0708,
        leader: Some(3),
        key_bytes_max: 4_096,
        value_bytes_max: 8_192,
        datagram_bytes_max: 1_200,
    };
    check_server(
        &ServerMessage::Greeting(greeting),
        "89 0000000000000007 c0c1c2c3c4c5c6c7c8c9cacbcccdcecf 0102030405060708 01 03 00001000 00002000 000004b0",
    );
    check_server(
        &ServerMessage::Cookie {
            tag: 7,
            cookie: COOKIE,
        },
        "8a 0000000000000007 c0c1c2c3c4c5c6c7c8c9cacbcccdcecf",
    );
    let answer = Answer {
        tag: 7,
        leader: None,
        outcome: Outcome::Put { revision: 5 },
    };
    check_server(
        &ServerMessage::Answer(answer),
        "83 0000000000000007 00 0000000000000005",
    );
}

#[test]
fn what_is_no_datagram_of_this_protocol_is_named() {
    let good = request_bytes(&Request::Status { tag: 7 }, Cookie::NONE);
    let said = |place: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[place] = byte;
        read(&bytes).unwrap_err().to_string()
    };
    assert_eq!(said(3, b'X'), "begins with KVPX instead of KVPU or KVPR");
    assert_eq!(
        said(3, b'R'),
        "is an answer, as a replica sends it; a request is allowed here"
    );
    assert!(said(5, 0).contains("speaks protocol version 0"));
    assert!(said(5, 2).contains("speaks protocol version 2"));
    assert_eq!(said(6, 9), "has 9 as its reserved byte; 0 is allowed");
    assert_eq!(
        said(23, 0x83),
        "is an answer, as a replica sends it; a request is allowed here"
    );
    assert_eq!(
        said(23, 0x01),
        "is the opening of a connection; a request is allowed here"
    );
    assert!(said(23, 0x3f).contains("unknown kind 0x3f"));
}

#[test]
fn what_only_a_datagram_may_be_is_refused_on_a_connection() {
    for kind in [0x06, 0x89, 0x8a] {
        let payload = [kind; 40];
        let said = ClientFrame::decode(&payload, &LIMITS).unwrap_err();
        assert!(said.to_string().contains("only a datagram"), "{said}");
        let said = ServerFrame::decode(&payload).unwrap_err();
        assert!(said.to_string().contains("only a datagram"), "{said}");
    }
}

#[test]
fn a_request_that_is_too_long_still_shows_its_tag() {
    let bytes = request_bytes(&put(vec![0; 2_000]), Cookie::NONE);
    assert_eq!(ClientDatagram::open(&bytes).unwrap().tag(), Some(7));
    let answer = Answer {
        tag: 7,
        leader: None,
        outcome: Outcome::Put { revision: 5 },
    };
    let wrong_way = [
        &bytes[..23],
        &server_bytes(ServerMessage::Answer(answer))[7..],
    ]
    .concat();
    assert_eq!(ClientDatagram::open(&wrong_way).unwrap().tag(), None);
}

/// A cookie answers any request, and every refusal and every answer of a write is shorter than the write.
#[test]
fn what_may_answer_an_unproved_address_is_never_longer() {
    let cookie = ServerMessage::Cookie {
        tag: u64::MAX,
        cookie: COOKIE,
    };
    let cookie_bytes = server_bytes(cookie).len();
    let write_bytes = request_bytes(&shortest_requests()[3], Cookie::NONE).len();
    for request in shortest_requests() {
        let bytes = request_bytes(&request, Cookie::NONE).len();
        assert!(cookie_bytes <= bytes, "{request}: {bytes}");
    }
    let greeting = DatagramGreeting {
        tag: u64::MAX,
        cookie: COOKIE,
        cluster: u64::MAX,
        leader: Some(255),
        key_bytes_max: u32::MAX,
        value_bytes_max: u32::MAX,
        datagram_bytes_max: u32::MAX,
    };
    let greeting_bytes = server_bytes(ServerMessage::Greeting(greeting)).len();
    assert!(2 * greeting_bytes < HELLO_DATAGRAM_BYTES_MIN);
    let number = u64::MAX;
    let reason = "é".repeat(900);
    let outcomes = [
        Outcome::Appended {
            revision: number,
            length: number,
        },
        Outcome::Refused(Refusal::TooLarge {
            limit: Limit::ValueBytes,
            bytes: number,
            bytes_max: number,
        }),
        Outcome::Refused(Refusal::NotServing {
            reason: reason.clone(),
        }),
        Outcome::Refused(Refusal::Malformed { reason }),
        Outcome::Value {
            revision: number,
            value: vec![7; 900],
        },
    ];
    for outcome in outcomes {
        let datagram = ServerDatagram {
            replica: 255,
            message: ServerMessage::Answer(Answer {
                tag: number,
                leader: Some(255),
                outcome,
            }),
        };
        let mut out = Vec::new();
        assert!(datagram.append_within(write_bytes, &mut out));
        assert!(out.len() <= write_bytes);
        ServerDatagram::decode(&out).unwrap();
    }
}

#[test]
fn what_does_not_fit_is_cut_or_refused() {
    let fit = |outcome: Outcome, bytes_max: usize| {
        let datagram = ServerDatagram {
            replica: 4,
            message: ServerMessage::Answer(Answer {
                tag: 7,
                leader: None,
                outcome,
            }),
        };
        let mut out = Vec::new();
        let fits = datagram.append_within(bytes_max, &mut out);
        assert!(out.len() <= bytes_max);
        assert_eq!(fits, !out.is_empty());
        fits.then(|| match ServerDatagram::decode(&out).unwrap().message {
            ServerMessage::Answer(answer) => answer.outcome,
            other => panic!("{other:?}"),
        })
    };
    let value = |bytes| Outcome::Value {
        revision: 5,
        value: vec![7; bytes],
    };
    assert_eq!(fit(value(1_171), 1_200), Some(value(1_171)));
    let refused = Outcome::Refused(Refusal::TooLargeForDatagram {
        bytes: 1_201,
        bytes_max: 1_200,
    });
    assert_eq!(fit(value(1_172), 1_200), Some(refused));
    assert_eq!(fit(value(900), 20), None);
    let status = |remark: String| Outcome::Status(Box::new(status_report(remark)));
    let bytes_max = DATAGRAM_BYTES_MAX_MIN as usize;
    let Some(Outcome::Status(report)) = fit(status("é".repeat(500)), bytes_max) else {
        panic!("a status without a remark fits");
    };
    assert!(report.remark.len() > 300, "{}", report.remark.len());
}

fn status_report(remark: String) -> StatusReport {
    StatusReport {
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
        datagrams: DatagramCounts::default(),
        remark,
    }
}

proptest! {
    #[test]
    fn any_put_comes_back(cookie in any::<[u8; 16]>(), value in prop::collection::vec(any::<u8>(), 0..1_000)) {
        let request = put(value);
        let bytes = request_bytes(&request, Cookie(cookie));
        let (found, message) = read(&bytes).unwrap();
        prop_assert_eq!(found, Cookie(cookie));
        prop_assert_eq!(message, ClientMessage::Request(request));
    }

    #[test]
    fn any_bytes_are_a_datagram_or_an_error(
        version in 0u8..3, kind in any::<u8>(), rest in prop::collection::vec(any::<u8>(), 0..300), begin in 0usize..8,
    ) {
        let mut bytes = DATAGRAM_MAGIC.to_vec();
        bytes.extend([0, version, 0]);
        bytes.push(kind);
        bytes.extend(&rest);
        let reply = [&REPLY_MAGIC[..], &bytes[4..]].concat();
        for bytes in [&bytes[..], &reply, &bytes[begin..], &rest] {
            if let Ok(opened) = ClientDatagram::open(bytes) {
                let _ = opened.tag();
            }
            if let Err(error) = read(bytes) {
                prop_assert!(!error.to_string().is_empty());
            }
            if let Err(error) = ServerDatagram::decode(bytes) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
        let mut request = bytes[..7].to_vec();
        request.extend([0; 16]);
        request.push(kind);
        request.extend(&rest);
        let _ = read(&request);
    }
}
