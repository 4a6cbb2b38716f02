//! The corpus of the fuzzer, `fuzz/corpus`, without the fuzzer: every file of it, and what becomes of it when it is cut short or
//! a bit flips, goes through the same targets.
//!
//! Files that begin with `seed-` are real encodings, made here; `FUZZ_SEEDS=write` makes them anew. The others are what
//! libFuzzer found to reach something that no other input reached, and every input that ever made a target fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::frame::LENGTH_BYTES;
use common::{
    Answer, Change, Cookie, DatagramCounts, DatagramGreeting, DatagramHello, Greeting, Hello,
    Limit, Outcome, Refusal, Request, Role, ServerDatagram, ServerMessage, SessionId, StatusReport,
    WireLimits, Write,
};
use kvpaxos_server::journal::{Journal, Opened};
use kvpaxos_server::peers::append_peer_frame;
use paxos::{Persist, Slot};

use crate::faulty_disk::FaultyDisk;
use crate::fuzz::targets::{JOURNAL_OWNER, JOURNAL_SETTINGS, TARGETS, journal_input};
use crate::journal_rig::{record, state_after};
use crate::peers_cases::cases;
use crate::peers_greeting::greeting;
use crate::snapshot_files::{snapshots, two_snapshots};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

/// The files of one target, by name.
fn files(target: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(corpus().join(target)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect()
}

#[test]
fn every_input_of_the_corpus_holds() {
    let mut bytes = 0;
    for (target, body) in TARGETS {
        let files = files(target);
        assert!(files.len() >= 3, "{target} has {} files", files.len());
        println!("{target}: {} files", files.len());
        for (name, input) in files {
            println!("{target}/{name}");
            bytes += input.len();
            body(&input);
            for variant in variants(&input) {
                body(&variant);
            }
        }
    }
    assert!(bytes < 300_000, "the corpus has {bytes} bytes");
    let folders = fs::read_dir(corpus()).unwrap().count();
    assert_eq!(folders, TARGETS.len(), "a corpus of no target");
}

/// The input cut short and with a bit flipped, in places all over it.
fn variants(input: &[u8]) -> Vec<Vec<u8>> {
    let places = (0..PLACES).map(|place| input.len() * place / PLACES);
    let places = places.filter(|place| *place < input.len());
    places
        .flat_map(|place| {
            let mut flipped = input.to_vec();
            flipped[place] ^= 1 << (place % 8);
            [input[..place].to_vec(), flipped]
        })
        .collect()
}

const PLACES: usize = 12;

#[test]
fn seeds_of_the_corpus_are_real_encodings() {
    for (target, seeds) in seeds() {
        let directory = corpus().join(target);
        if std::env::var("FUZZ_SEEDS").is_ok_and(|value| value == "write") {
            for (number, seed) in seeds.iter().enumerate() {
                fs::write(directory.join(seed_name(number)), seed).unwrap();
            }
        }
        let files = files(target);
        for (number, seed) in seeds.iter().enumerate() {
            let name = seed_name(number);
            assert!(files.get(&name) == Some(seed), "{target}/{name} differs");
        }
        let found = files.keys().filter(|name| name.starts_with("seed-"));
        assert_eq!(found.count(), seeds.len(), "{target}");
    }
}

fn seed_name(number: usize) -> String {
    format!("seed-{number:02}")
}

/// Real encodings for each target, in its form.
fn seeds() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    vec![
        (
            "client_frames",
            vec![client_stream(), replica_stream(), one_payload()],
        ),
        (
            "datagrams",
            [client_datagrams(), replica_datagrams()].concat(),
        ),
        ("peer_frames", peer_frames()),
        ("journal", journals()),
        ("snapshot", snapshot_inputs()),
        ("history", histories()),
    ]
}

fn requests() -> Vec<Request> {
    let (key, value) = (b"colour".to_vec(), b"blue".to_vec());
    let changes = [
        Change::Put {
            key: key.clone(),
            value: value.clone(),
        },
        Change::Append {
            key: key.clone(),
            value,
        },
        Change::Delete { key: key.clone() },
    ];
    let session = SessionId {
        revision: 12,
        nonce: 0xa1a2,
    };
    let writes = changes.map(|change| Request::Write {
        tag: 3,
        write: Write {
            session,
            sequence: 3,
            floor: 2,
            after: 1,
            change,
        },
    });
    let others = [
        Request::OpenSession { tag: 1, nonce: 9 },
        Request::Get { tag: 4, key },
        Request::Status { tag: 5 },
    ];
    others.into_iter().chain(writes).collect()
}

fn outcomes() -> Vec<Outcome> {
    let refusals = [
        Refusal::NoQuorum { proposed: true },
        Refusal::Busy {
            limit: Limit::BytesHeld,
        },
        Refusal::TooLarge {
            limit: Limit::KeyBytes,
            bytes: 5_000,
            bytes_max: 4_096,
        },
        Refusal::EmptyKey,
        Refusal::StoreFull { bytes_max: 1 << 32 },
        Refusal::DiskFull {
            refuses_deletes: false,
        },
        Refusal::SessionExpired,
        Refusal::Closed,
        Refusal::TooManyOutstanding { width: 1_024 },
        Refusal::NotServing {
            reason: "its disk was lost".into(),
        },
        Refusal::AskReplica {
            replica: 2,
            proposed: false,
        },
        Refusal::Malformed {
            reason: "the frame ends within its key".into(),
        },
        Refusal::TooLargeForDatagram {
            bytes: 2_000,
            bytes_max: 1_200,
        },
    ];
    let done = [
        Outcome::SessionOpened {
            session: SessionId {
                revision: 12,
                nonce: 9,
            },
            expiry_s: 3_600,
        },
        Outcome::Put { revision: 13 },
        Outcome::Appended {
            revision: 14,
            length: 8,
        },
        Outcome::Deleted {
            revision: 15,
            existed: true,
        },
        Outcome::Value {
            revision: 13,
            value: b"blue".to_vec(),
        },
        Outcome::Absent { revision: 15 },
        Outcome::Status(Box::new(status())),
    ];
    done.into_iter()
        .chain(refusals.map(Outcome::Refused))
        .collect()
}

fn status() -> StatusReport {
    StatusReport {
        replica: 2,
        cluster: 0xc1,
        serving: true,
        role: Role::Leader,
        leader: Some(2),
        ballot_round: 3,
        ballot_replica: 2,
        chosen: 20,
        applied: 20,
        hash_slot: 16,
        state_hash: 7,
        keys: 1,
        sessions: 1,
        journal_bytes: 8_192,
        snapshot_slot: 4,
        revision: 15,
        datagrams: DatagramCounts {
            received: 4,
            answered: 3,
            junk: 1,
            cookies: 1,
        },
        remark: "two of five are away".into(),
    }
}

fn answers() -> Vec<Answer> {
    let outcomes = outcomes().into_iter();
    outcomes
        .map(|outcome| Answer {
            tag: 3,
            leader: Some(2),
            outcome,
        })
        .collect()
}

fn client_stream() -> Vec<u8> {
    let mut out = Vec::new();
    let hello = Hello {
        version: 1,
        label: "me".into(),
    };
    hello.append_to(&mut out);
    for request in requests() {
        request.append_to(&mut out);
    }
    out
}

fn replica_stream() -> Vec<u8> {
    let mut out = Vec::new();
    let greeting = Greeting {
        version: 1,
        cluster: 0xc1,
        replica: 2,
        leader: Some(2),
        limits: WireLimits::default(),
    };
    greeting.append_to(&mut out);
    for answer in answers() {
        answer.append_to(&mut out);
    }
    out
}

/// A request without its length.
fn one_payload() -> Vec<u8> {
    let mut out = Vec::new();
    requests()[0].append_to(&mut out);
    out.split_off(LENGTH_BYTES)
}

fn client_datagrams() -> Vec<Vec<u8>> {
    let cookie = Cookie([7; 16]);
    let hello = DatagramHello {
        tag: 1,
        label: "me".into(),
    };
    let mut out = Vec::new();
    hello.append_to(&mut out, Cookie::NONE);
    let mut datagrams = vec![out];
    for request in requests() {
        let mut out = Vec::new();
        request.append_datagram_to(&mut out, cookie);
        datagrams.push(out);
    }
    datagrams
}

fn replica_datagrams() -> Vec<Vec<u8>> {
    let cookie = Cookie([7; 16]);
    let greeting = ServerMessage::Greeting(DatagramGreeting {
        tag: 1,
        cookie,
        cluster: 0xc1,
        leader: None,
        key_bytes_max: 4_096,
        value_bytes_max: 8 << 20,
        datagram_bytes_max: 1_200,
    });
    let messages = [greeting, ServerMessage::Cookie { tag: 3, cookie }];
    let answers = answers().into_iter().map(ServerMessage::Answer);
    let messages = messages.into_iter().chain(answers);
    messages
        .map(|message| {
            let mut out = Vec::new();
            ServerDatagram {
                replica: 2,
                message,
            }
            .append_to(&mut out);
            out
        })
        .collect()
}

/// Each message in a stream of its own, and the greeting.
fn peer_frames() -> Vec<Vec<u8>> {
    let mut opening = Vec::new();
    greeting().append_to(&mut opening);
    let messages = cases().into_iter().map(|(_, message, _)| {
        let mut out = Vec::new();
        append_peer_frame(&mut out, 0x42, &message);
        out
    });
    [opening].into_iter().chain(messages).collect()
}

/// Journals as they are written; and one that seems to have been trimmed after as many batches as a serial can count.
fn journals() -> Vec<Vec<u8>> {
    let short = journal(&[20, 3, 0]);
    let mut spent = short.clone();
    spent[1] = 2;
    spent[2..10].fill(0xff);
    vec![short, journal(&[700, 9, 3_000, 40]), journal(&[]), spent]
}

/// A journal of one record of each of these lengths, each synced by itself, over as many segments as they take.
fn journal(lengths: &[usize]) -> Vec<u8> {
    let disk = FaultyDisk::new();
    let shared = || std::sync::Arc::new(disk.clone());
    Journal::create(shared(), JOURNAL_SETTINGS, JOURNAL_OWNER, 3).unwrap();
    let opened = Journal::open(shared(), JOURNAL_SETTINGS, JOURNAL_OWNER, 4, &mut |_, _| {});
    let Ok(Opened::Whole { mut journal, .. }) = opened else {
        panic!("{opened:?}");
    };
    for (number, length) in lengths.iter().enumerate() {
        let persist = Persist {
            records: vec![record(number as u64, *length)],
            state: state_after(number + 1),
        };
        journal.append(&persist).unwrap();
        journal.sync().unwrap();
    }
    journal.seal().unwrap();
    let names = disk.names().into_iter();
    let segments: Vec<_> = names
        .filter(|name| name.starts_with("segment-"))
        .map(|name| disk.content(&name))
        .collect();
    journal_input(&segments)
}

/// Two snapshots with their checksums made right, and one as it is.
fn snapshot_inputs() -> Vec<Vec<u8>> {
    let (disk, store) = two_snapshots();
    assert!(store.node.applied() > Slot(0));
    let files: Vec<_> = snapshots(&disk)
        .iter()
        .map(|name| disk.content(name))
        .collect();
    let input = |mode: u8, file: &[u8]| [&[mode], file].concat();
    vec![
        input(0, &files[0]),
        input(0, &files[1]),
        input(1, &files[0]),
    ]
}

/// Those that the checker is tested on, where they are short.
fn histories() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/tests/histories");
    let names = [
        "right_bytes_that_are_no_text",
        "right_an_unknown_write_that_took_effect_late",
        "right_revisions_in_their_order",
        "wrong_deleted_twice",
    ];
    let path = |name| directory.join(format!("{name}.jsonl"));
    names.map(|name| fs::read(path(name)).unwrap()).to_vec()
}
