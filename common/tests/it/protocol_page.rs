//! `docs/PROTOCOL.md` against the codec: every block of bytes is read and written again, and nothing is missing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::frame::LENGTH_BYTES;
use common::{
    Answer, ClientDatagram, ClientFrame, ClientMessage, Cookie, DATAGRAM_BYTES_MAX_DEFAULT,
    DATAGRAM_BYTES_MAX_MAX, DecodeError, FrameBuffer, HELLO_DATAGRAM_BYTES_MIN, LABEL_BYTES_MAX,
    PROTOCOL_VERSION, ServerDatagram, ServerFrame, WireLimits,
};

/// A block of the page.
struct Example {
    /// Which transport, and who sends it.
    head: String,
    /// How the logs show it.
    title: String,
    bytes: Vec<u8>,
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PROTOCOL.md");
    fs::read_to_string(path).unwrap()
}

fn examples() -> Vec<Example> {
    let page = page();
    let mut examples = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(head) = line.strip_prefix("```hex ") else {
            continue;
        };
        let title = lines.next().unwrap().strip_prefix("# ").unwrap();
        let block = lines.by_ref().take_while(|line| *line != "```");
        examples.push(Example {
            head: head.to_owned(),
            title: title.to_owned(),
            bytes: block.flat_map(bytes_of_line).collect(),
        });
    }
    examples
}

/// What stands before the explanation.
fn bytes_of_line(line: &str) -> Vec<u8> {
    let (hex, _) = line.split_once(';').unwrap_or((line, ""));
    let digits: Vec<char> = hex.chars().filter(|digit| *digit != ' ').collect();
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn payload(frame: &[u8]) -> Vec<u8> {
    let mut buffer = FrameBuffer::new(WireLimits::default().frame_bytes_max);
    buffer.extend(frame);
    let payload = buffer.next_frame().unwrap().unwrap().to_vec();
    assert_eq!(buffer.buffered_bytes(), 0);
    payload
}

/// How the logs show these bytes, and the bytes that the codec writes for what it read.
fn read_and_write(example: &Example) -> (String, Vec<u8>) {
    let mut out = Vec::new();
    let limits = WireLimits::default();
    let shown = match example.head.as_str() {
        "tcp client" => match ClientFrame::decode(&payload(&example.bytes), &limits).unwrap() {
            ClientFrame::Hello(hello) => {
                hello.append_to(&mut out);
                hello.to_string()
            }
            ClientFrame::Request(request) => {
                request.append_to(&mut out);
                request.to_string()
            }
        },
        "tcp replica" => match ServerFrame::decode(&payload(&example.bytes)).unwrap() {
            ServerFrame::Greeting(greeting) => {
                greeting.append_to(&mut out);
                greeting.to_string()
            }
            ServerFrame::Answer(answer) => {
                answer.append_to(&mut out);
                answer.to_string()
            }
        },
        "udp client" => {
            let datagram = ClientDatagram::open(&example.bytes).unwrap();
            let cookie: Cookie = datagram.cookie;
            match datagram.message(&limits).unwrap() {
                ClientMessage::Hello(hello) => {
                    hello.append_to(&mut out, cookie);
                    hello.to_string()
                }
                ClientMessage::Request(request) => {
                    request.append_datagram_to(&mut out, cookie);
                    request.to_string()
                }
            }
        }
        "udp replica" => {
            let datagram = ServerDatagram::decode(&example.bytes).unwrap();
            datagram.append_to(&mut out);
            datagram.to_string()
        }
        other => panic!("a block of {other:?}"),
    };
    (shown, out)
}

#[test]
fn every_block_of_bytes_is_what_the_codec_reads_and_writes() {
    let examples = examples();
    assert!(examples.len() > 20, "{} blocks", examples.len());
    for example in &examples {
        let (shown, written) = read_and_write(example);
        assert_eq!(shown, example.title);
        assert_eq!(written, example.bytes, "{shown}");
    }
    println!("{} blocks are right", examples.len());
}

#[test]
fn every_kind_has_an_example() {
    let mut kinds: BTreeSet<u8> = BTreeSet::new();
    for example in examples() {
        let place = match example.head.as_str() {
            "udp client" => 23,
            "udp replica" => 7,
            _ => LENGTH_BYTES,
        };
        kinds.insert(example.bytes[place]);
    }
    for kind in 0..=255_u8 {
        assert_eq!(kinds.contains(&kind), is_known(kind), "kind {kind:02x}");
    }
}

/// Whether the codec has this kind in either direction and transport.
fn is_known(kind: u8) -> bool {
    let limits = WireLimits::default();
    let of_client = ClientFrame::decode(&[kind], &limits).unwrap_err().error;
    let of_replica = ServerFrame::decode(&[kind]).unwrap_err();
    [of_client, of_replica].iter().any(|error| match error {
        DecodeError::Truncated { .. } => true,
        DecodeError::WrongDirection { found, .. } => found.contains("only a datagram"),
        _ => false,
    })
}

#[test]
fn every_refusal_and_every_limit_has_its_row() {
    let page = page();
    let (_, from_refusals) = page.split_once("## 5. Refusals").unwrap();
    let (refusals, limits) = from_refusals.split_once("The limits of Busy").unwrap();
    for code in 0..=255_u8 {
        let row = format!("\n| {code} | ");
        assert_eq!(refusals.contains(&row), decodes(&[code]), "refusal {code}");
        // Code 2 is Busy, whose only field is the limit.
        assert_eq!(limits.contains(&row), decodes(&[2, code]), "limit {code}");
    }
}

/// Whether the codec knows the value of the last of these bytes of a refusal.
fn decodes(refusal: &[u8]) -> bool {
    let mut payload = vec![0x8f];
    payload.extend(1_u64.to_be_bytes());
    payload.push(0);
    payload.extend(refusal);
    !matches!(
        Answer::decode(&payload),
        Err(DecodeError::UnknownValue { field, .. }) if ["refusal", "limit"].contains(&field)
    )
}

#[test]
fn the_numbers_on_the_page_are_those_of_the_code() {
    let page = page();
    let limits = WireLimits::default();
    assert_eq!(
        (limits.key_bytes_max, limits.outstanding_max),
        (4_096, 1_024)
    );
    assert_eq!(limits.value_bytes_max, 8 << 20);
    assert_eq!(limits.frame_bytes_max, limits.value_bytes_max + (64 << 10));
    assert_eq!(
        (DATAGRAM_BYTES_MAX_DEFAULT, DATAGRAM_BYTES_MAX_MAX),
        (1_200, 65_507)
    );
    assert_eq!((HELLO_DATAGRAM_BYTES_MIN, LABEL_BYTES_MAX), (128, 64));
    for part in [
        format!("This is version {PROTOCOL_VERSION} of the protocol"),
        "A key has 1 to 4,096 bytes".into(),
        "| value | 8 MiB |".into(),
        "| frame | value + 64 KiB |".into(),
        "| unanswered requests of a connection | 1,024,".into(),
        "| datagram | 1,200 bytes |".into(),
        "65,507".into(),
        "| datagram hello | at least 128 bytes |".into(),
        "| label | 64 bytes".into(),
    ] {
        assert!(page.contains(&part), "the page does not say {part:?}");
    }
}
