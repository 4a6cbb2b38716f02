//! What `docs/OPERATIONS.md` says that a client is told, where no other test has reason to provoke it: each with the
//! exit code that the page names.

use common::{Limit, Outcome, Refusal, Request};

use crate::fake::{Fake, Reaction};
use crate::program::{code, run, text};

/// Runs the program against a replica, and checks how it ends and that it says these parts in this order.
fn assert_says(fake: &Fake, arguments: &[&str], exit: i32, message: &str) {
    let output = run(&[fake], arguments, b"");
    let said = text(&output.stderr);
    let found = said.lines().any(|line| {
        let mut parts = message.split('…').map(str::trim);
        let rest = parts.try_fold(line, |rest, part| {
            rest.find(part).map(|place| &rest[place + part.len()..])
        });
        rest.is_some()
    });
    assert!(found, "no {message:?} in {said:?}");
    assert_eq!(code(&output), exit, "{said}");
}

/// Refuses every write, and answers all else.
fn refusing(refusal: Refusal) -> impl FnMut(&Request, Outcome) -> Reaction + Send + 'static {
    move |request, outcome| match request {
        Request::Write { .. } => Reaction::Answer(Outcome::Refused(refusal.clone())),
        _ => Reaction::Answer(outcome),
    }
}

#[test]
fn wrong_arguments_and_keys() {
    let fake = Fake::store();
    let put = ["put", "a", "one"];
    let with = |flags: &[&'static str]| [flags, &put].concat();
    let endpoints = with(&["--endpoints", "here"]);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_kvpaxos-client"))
        .args(endpoints)
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert!(said.contains("is no endpoint; host:port is one"), "{said}");
    assert_eq!(code(&output), 2);
    let never = with(&["--timeout", "0s"]);
    assert_says(&fake, &never, 2, "it must be above zero, and at most 24h");
    let log = with(&["--log-file", "/proc/kvpaxos"]);
    assert_says(&fake, &log, 2, "cannot write the log …: …");
    let empty = ["put", "", "one"];
    assert_says(&fake, &empty, 3, "empty key: a key has at least one byte");
}

#[test]
fn refusals() {
    let put = ["--timeout", "300ms", "put", "a", "one"];
    let too_large = Refusal::TooLarge {
        limit: Limit::ValueBytes,
        bytes: 3,
        bytes_max: 2,
    };
    let of_all = "disk full: the disks of most replicas have hardly any room left; …";
    let cases = [
        (too_large, "too large: … are allowed"),
        (
            Refusal::StoreFull { bytes_max: 2 },
            "store full: the cluster may hold … bytes",
        ),
        (
            Refusal::DiskFull {
                refuses_deletes: false,
            },
            of_all,
        ),
        (
            Refusal::Busy {
                limit: Limit::RequestsHeld,
            },
            "busy: the limit of … is reached",
        ),
    ];
    for (refusal, message) in cases {
        assert_says(&Fake::with(refusing(refusal)), &put, 3, message);
    }
    let fake = Fake::with(refusing(Refusal::SessionExpired));
    assert_says(&fake, &put, 3, "session expired");
    let fake = Fake::with(refusing(Refusal::NoQuorum { proposed: true }));
    let message = "no quorum: no majority of the replicas could be reached";
    assert_says(&fake, &put, 5, message);
    let long = "x".repeat(2_000);
    let message = "too large for a datagram: … bytes, … are allowed; use TCP";
    assert_says(&Fake::datagram_store(), &["put", "a", &long], 3, message);
    // A datagram may come twice, and be taken the second time.
    let full = Refusal::DiskFull {
        refuses_deletes: false,
    };
    let fake = Fake::datagrams(refusing(full));
    let message = "an earlier copy was sent, so the outcome is unknown";
    assert_says(&fake, &put, 4, message);
}
