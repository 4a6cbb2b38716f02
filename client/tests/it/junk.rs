//! What a replica, or somebody in its place, may send instead of an answer over TCP (FAULTS 4): it is noted with its length
//! and its sender, and the client goes on.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Answer, Outcome, Refusal, Request};

use crate::fake::{Fake, Reaction};
use crate::program::{code, run, text};

/// What it is, its bytes, and what the log says of it.
fn junk() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let mut request = Vec::new();
    Request::Status { tag: 1 }.append_to(&mut request);
    let mut unasked = Vec::new();
    Answer {
        tag: 1 << 40,
        leader: None,
        outcome: Outcome::Absent { revision: 1 },
    }
    .append_to(&mut unasked);
    let mut no_text = Vec::new();
    let reason = "ab".to_owned();
    Answer {
        tag: 1,
        leader: None,
        outcome: Outcome::Refused(Refusal::Malformed { reason }),
    }
    .append_to(&mut no_text);
    let last = no_text.len() - 1;
    no_text[last] = 0xff;
    vec![
        (
            "three random bytes",
            vec![0, 0, 0, 3, 0xde, 0xad, 0xbe],
            "a frame of 3 bytes is of unknown kind 0xde",
        ),
        ("a request", request, "a frame of 9 bytes is a request"),
        (
            "an answer to nothing asked",
            unasked,
            "an answer to nothing asked",
        ),
        ("an invalid UTF-8 text", no_text, "UTF-8"),
        ("an over-long length", vec![0xff; 64], "4294967295 bytes"),
        ("a frame of nothing", vec![0; 4], "an empty frame"),
    ]
}

#[test]
fn junk_frames() {
    for (what, bytes, noted) in junk() {
        let is_first = AtomicBool::new(true);
        let sent = bytes.clone();
        // Once only, since what breaks framing ends the connection.
        let fake = Fake::with(move |_, outcome| {
            if is_first.swap(false, Ordering::Relaxed) {
                Reaction::BytesThenAnswer(sent.clone())
            } else {
                Reaction::Answer(outcome)
            }
        });
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("client.log");
        let arguments = ["--log-file", log.to_str().unwrap(), "repl"];
        let output = run(&[&fake], &arguments, b"GET a\nPUT a one\nGET a\n");
        let lines: Vec<&str> = text(&output.stdout).lines().collect();
        assert_eq!(lines, ["(absent)", "OK revision=2", "one"], "{what}");
        assert_eq!(code(&output), 0, "{what}");
        let log = fs::read_to_string(log).unwrap();
        assert!(log.is_ascii(), "no raw bytes in\n{log}");
        let address = fake.address.to_string();
        let line = log
            .lines()
            .find(|line| line.contains(noted) && line.contains(&address));
        println!("{what}: {line:?}");
        assert!(line.is_some(), "{what}: {noted} is not in\n{log}");
    }
}
