//! How a run of the load generator ends before its time: by Ctrl-C, by an error that would come again for ever, and when
//! nobody answers.

use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use common::{Limit, Outcome, Refusal, Request};

use crate::fake::{Fake, Reaction, endpoints};
use crate::program::{code, run, text};

#[test]
fn bench_ends_at_an_error_that_no_retry_mends() {
    let full = Refusal::StoreFull { bytes_max: 100 };
    let said = full.to_string();
    let fake = Fake::with(move |request, outcome| {
        Reaction::Answer(match request {
            Request::Write { .. } => Outcome::Refused(full.clone()),
            _ => outcome,
        })
    });
    let output = run(&[&fake], &["bench", "--seconds", "1000000"], b"");
    let expected = format!("kvpaxos-client: bench ends early: refused: {said}");
    assert!(text(&output.stderr).contains(&expected), "{output:?}");
    assert_eq!(code(&output), 3);
}

#[test]
fn bench_keeps_a_rate_and_writes_what_each_second_did() {
    let directory = tempfile::tempdir().unwrap();
    let csv = directory.path().join("seconds.csv");
    let arguments = [
        "bench",
        "--rate",
        "500",
        "--seconds",
        "1.5",
        "--distribution",
        "zipfian",
        "--json",
        "--csv",
        csv.to_str().unwrap(),
    ];
    let output = run(&[&Fake::store()], &arguments, b"");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ops = report["ops"].as_u64().unwrap();
    assert!((700..=750).contains(&ops), "{report}");
    assert_eq!(report["rate"], 500.0);
    assert_eq!(report["distribution"], "zipfian");
    let text = std::fs::read_to_string(&csv).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "second,ops_per_s,errors,p50_us,p99_us,max_us");
    assert!(lines[1].starts_with("1.000,"), "{text}");
    assert!(lines[2].starts_with("1.500,"), "{text}");
    assert_eq!(lines.len(), 3, "{text}");
}

#[test]
fn a_stall_counts_for_all_that_were_due_meanwhile() {
    let mut writes = 0;
    let slow = Fake::with(move |request, outcome| {
        writes += u32::from(matches!(request, Request::Write { .. }));
        if writes == 100 {
            writes += 1;
            std::thread::sleep(Duration::from_millis(300));
        }
        Reaction::Answer(outcome)
    });
    let arguments = [
        "bench",
        "--rate",
        "500",
        "--seconds",
        "1",
        "--clients",
        "1",
        "--json",
    ];
    let output = run(&[&slow], &arguments, b"");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    // 150 of 500 were due in the 300 ms, and half of those for more than 150 ms.
    assert!(report["p99_us"].as_u64().unwrap() > 200_000, "{report}");
}

#[test]
fn what_each_second_did_is_written_or_the_run_ends() {
    let arguments = ["bench", "--csv", "/nowhere/seconds.csv"];
    let output = run(&[&Fake::store()], &arguments, b"");
    let expected = "cannot write the seconds to /nowhere/seconds.csv: No such file or directory";
    assert!(text(&output.stderr).contains(expected), "{output:?}");
    assert_eq!(code(&output), 2);
}

#[test]
fn bench_waits_out_what_goes_away() {
    let mut writes = 0;
    let fake = Fake::with(move |request, outcome| {
        writes += u32::from(matches!(request, Request::Write { .. }));
        Reaction::Answer(match request {
            Request::Write { .. } if writes == 20 => Outcome::Refused(Refusal::Busy {
                limit: Limit::Connections,
            }),
            _ => outcome,
        })
    });
    let output = run(
        &[&fake],
        &["bench", "--seconds", "1", "--clients", "2"],
        b"",
    );
    assert_eq!(code(&output), 0, "{output:?}");
    let lines = text(&output.stderr).lines();
    assert_eq!(lines.filter(|line| line.contains(" ops/s ")).count(), 1);
    let left = "left in the store: up to 10000 keys, bench/00000000 to bench/00009999\n";
    assert!(text(&output.stderr).ends_with(left), "{output:?}");
}

#[test]
fn bench_ends_at_once_when_nobody_is_there() {
    let began = Instant::now();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kvpaxos-client"))
        .args([
            "--endpoints",
            &format!("udp://{}", socket.local_addr().unwrap()),
        ])
        .args(["--timeout", "1h", "bench"])
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert!(
        said.contains("bench ends early: no answer within "),
        "{said}"
    );
    assert!(said.contains("no datagram comes back"), "{said}");
    assert_eq!(code(&output), 4);
    assert!(
        began.elapsed() < Duration::from_secs(600),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn bench_ends_when_nobody_answers_what_it_fills_in() {
    let mute = Fake::with(|request, outcome| match request {
        Request::Status { .. } => Reaction::Answer(outcome),
        _ => Reaction::Silence,
    });
    let output = run(&[&mute], &["--timeout", "1s", "bench", "--op", "get"], b"");
    let said = text(&output.stderr);
    assert!(
        said.contains("bench ends early: no answer within 1"),
        "{said}"
    );
    assert_eq!(code(&output), 4);
}

#[test]
fn ctrl_c_ends_bench_with_its_summary() {
    let fake = Fake::store();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kvpaxos-client"))
        .args(["--endpoints", &endpoints(&[&fake])])
        .args(["bench", "--clients", "2", "--seconds", "1000000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut complaints = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("ops/s") {
        line.clear();
        assert!(complaints.read_line(&mut line).unwrap() > 0, "it has ended");
    }
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupted.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let mut said = String::new();
    complaints.read_to_string(&mut said).unwrap();
    assert!(said.contains("stopping once all is answered"), "{said}");
    assert!(
        text(&output.stdout).contains(" operations in "),
        "{output:?}"
    );
    assert_eq!(code(&output), 0);
}
