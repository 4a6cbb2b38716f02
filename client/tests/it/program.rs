//! The program as a person or a script meets it: lines, exit codes, the log.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use common::{Outcome, Request};
use serde_json::Value;

use crate::fake::{Fake, Reaction, endpoints, no_quorum};

/// Runs the program against replicas, with these arguments and this on its standard input.
pub(crate) fn run(fakes: &[&Fake], arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kvpaxos-client"))
        .args(["--endpoints", &endpoints(fakes)])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have ended without reading everything, which is its right.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn the_prompt_answers_one_line_per_command() {
    let fake = Fake::store();
    let input = b"PUT a one\nappend a two\nGET a\n\nDELETE a\nGET a\nEXIT\nPUT b never\n";
    let output = run(&[&fake], &["--name", "me", "repl"], input);
    assert_eq!(
        text(&output.stdout),
        "OK revision=2\nOK length=6 revision=3\nonetwo\nOK deleted revision=4\n(absent)\n"
    );
    assert_eq!((code(&output), text(&output.stderr)), (0, ""));
    assert_eq!(fake.labels(), ["me"]);
    assert_eq!(fake.value(b"b"), None);
}

#[test]
fn what_is_shown_can_be_typed() {
    let fake = Fake::store();
    let typed = r#""a \"b\"\n\t\\\x00\xff""#;
    let output = run(
        &[&fake],
        &["repl"],
        format!("PUT k {typed}\nGET k\nPUT e \"\"\nGET e").as_bytes(),
    );
    assert_eq!(fake.value(b"k").unwrap(), b"a \"b\"\n\t\\\0\xff");
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert_eq!((lines[1], lines[3]), (typed, "\"\""));
}

#[test]
fn bytes_of_the_command_line_and_of_standard_input_are_taken_as_they_are() {
    let fake = Fake::store();
    let value = b"\0\n\xff \"";
    assert_eq!(code(&run(&[&fake], &["put", "a b", "-"], value)), 0);
    assert_eq!(fake.value(b"a b").unwrap(), value);
    let output = run(&[&fake], &["get", "--raw", "a b"], b"");
    assert_eq!(output.stdout, value);
    let output = run(&[&fake], &["get", "a b"], b"");
    assert_eq!(text(&output.stdout), "\"\\x00\\n\\xff \\\"\"\n");
    let output = run(&[&fake], &["--json", "get", "a b"], b"");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["value_base64"], "AAr/ICI=");
    assert_eq!(code(&run(&[&fake], &["put", "a", "-5"], b"")), 0);
    assert_eq!(fake.value(b"a").unwrap(), b"-5");
}

#[test]
fn absent_and_empty_differ_in_what_is_printed_and_in_the_exit_code() {
    let fake = Fake::store();
    run(&[&fake], &["put", "e", ""], b"");
    let output = run(&[&fake], &["get", "e"], b"");
    assert_eq!((text(&output.stdout), code(&output)), ("\"\"\n", 0));
    let output = run(&[&fake], &["get", "none"], b"");
    assert_eq!((text(&output.stdout), code(&output)), ("(absent)\n", 1));
    let output = run(&[&fake], &["delete", "none"], b"");
    assert_eq!((text(&output.stdout), code(&output)), ("(absent)\n", 1));
    let output = run(&[&fake], &["get", "--raw", "none"], b"");
    assert_eq!((text(&output.stdout), code(&output)), ("", 1));
}

#[test]
fn wrong_usage_is_2() {
    let fake = Fake::store();
    for arguments in [
        &["frobnicate"][..],
        &["put", "a"],
        &["--timeout", "soon", "get", "a"],
        &["--protocol", "sctp", "get", "a"],
        &["bench", "--seconds", "0"],
    ] {
        let output = run(&[&fake], arguments, b"");
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    let output = run(&[&fake], &["repl"], b"FETCH a\n");
    assert_eq!(code(&output), 2);
    assert_eq!(
        text(&output.stdout),
        "error: FETCH is no command; HELP shows them\n"
    );
}

#[test]
fn refused_is_3_and_no_answer_is_4_and_no_quorum_is_5() {
    let fake = Fake::store();
    let output = run(&[&fake], &["get", ""], b"");
    assert_eq!(code(&output), 3);
    let silent = Fake::with(|request, outcome| match request {
        Request::OpenSession { .. } => Reaction::Answer(outcome),
        _ => Reaction::Silence,
    });
    let output = run(&[&silent], &["--timeout", "100ms", "put", "a", "b"], b"");
    assert_eq!(code(&output), 4);
    assert!(text(&output.stderr).contains("the outcome of the write is unknown"));
    let lone = Fake::with(|request, outcome| match request {
        Request::OpenSession { .. } => Reaction::Answer(outcome),
        _ => Reaction::Answer(no_quorum()),
    });
    let output = run(&[&lone], &["--timeout", "100ms", "put", "a", "b"], b"");
    assert_eq!(code(&output), 5);
    assert!(text(&output.stderr).contains("the outcome of the write is unknown"));
    let output = run(&[&lone], &["--timeout", "100ms", "--json", "get", "a"], b"");
    assert_eq!(code(&output), 5);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["outcome"], "no quorum");
}

#[test]
fn unresponsive_server() {
    let mut puts = 0;
    let fake = Fake::with(move |request, outcome| {
        puts += usize::from(matches!(request, Request::Write { .. }));
        if puts == 1 && matches!(request, Request::Write { .. }) {
            return Reaction::Late;
        }
        Reaction::Answer(outcome)
    });
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("client.log");
    let arguments = [
        "--timeout",
        "300ms",
        "--log-file",
        log.to_str().unwrap(),
        "repl",
    ];
    let output = run(
        &[&fake],
        &arguments,
        b"PUT a one\nGET b\nPUT a two\nGET a\n",
    );
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert!(
        lines[0].starts_with("error: no answer within 3"),
        "{lines:?}"
    );
    assert!(lines[0].contains(" ms; the outcome of the write is unknown (127.0.0.1:"));
    assert_eq!(lines[1..], ["(absent)", "OK revision=3", "two"]);
    assert_eq!(code(&output), 4);
    let log = fs::read_to_string(log).unwrap();
    let noted = log.lines().find(|line| line.contains("gave up")).unwrap();
    let (time, rest) = noted.split_once(' ').unwrap();
    assert_eq!((time.len(), &time[10..11], &time[19..20]), (24, "T", "."));
    assert!(
        rest.starts_with("[WARN] gave up tag=1 PUT a 3 bytes: no answer"),
        "{rest}"
    );
}

#[test]
fn junk_from_a_replica_is_noted_with_its_length_and_address() {
    let mut request_frame = Vec::new();
    Request::Status { tag: 1 }.append_to(&mut request_frame);
    let junk = [&request_frame[..], &[0, 0, 0, 5, 0xee, 1, 2, 3, 4]].concat();
    let fake = Fake::with(move |_, _| Reaction::BytesThenAnswer(junk.clone()));
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("client.log");
    let output = run(
        &[&fake],
        &["--log-file", log.to_str().unwrap(), "get", "a"],
        b"",
    );
    assert_eq!((text(&output.stdout), code(&output)), ("(absent)\n", 1));
    let log = fs::read_to_string(log).unwrap();
    let address = fake.address;
    for expected in [
        format!(
            "{address}: a frame of 9 bytes is a request, as a client sends it; an answer is allowed here"
        ),
        format!("{address}: a frame of 5 bytes is of unknown kind 0xee"),
    ] {
        assert!(log.contains(&expected), "{expected:?} is not in {log}");
    }
}

#[test]
fn it_ends_quietly_when_its_reader_goes_away() {
    let fake = Fake::store();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kvpaxos-client"))
        .args(["--endpoints", &endpoints(&[&fake]), "repl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let _ = child
        .stdin
        .take()
        .unwrap()
        .write_all(&b"GET a\n".repeat(10_000));
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), text(&output.stderr)), (0, ""));
}

#[test]
fn the_demo_shows_and_checks_twenty_operations_and_then_takes_commands() {
    let fake = Fake::store();
    let output = run(&[&fake], &["demo"], b"PUT after demo\nGET after\n");
    let shown = text(&output.stdout);
    for (name, count) in [("PUT", 10), ("GET", 5), ("APPEND", 5), ("DELETE", 5)] {
        let begins = |line: &&str| line.starts_with(&format!("{name} "));
        assert_eq!(shown.lines().filter(begins).count(), count, "{name}");
    }
    let prompt =
        "Enter command (PUT key value / GET key / APPEND key value / DELETE key / HELP / EXIT): ";
    assert_eq!(shown.matches(prompt).count(), 1);
    assert!(shown.contains("every answer was right"));
    assert!(shown.ends_with("\nOK revision=22\ndemo\n"), "{shown}");
    assert_eq!(code(&output), 0);
}

#[test]
fn the_demo_stops_at_the_first_no_quorum_and_goes_to_the_prompt() {
    let lone = Fake::with(|request, outcome| {
        Reaction::Answer(match request {
            Request::OpenSession { .. } | Request::Status { .. } => outcome,
            _ => no_quorum(),
        })
    });
    let output = run(&[&lone], &["--timeout", "100ms", "demo"], b"HELP GET\n");
    let shown = text(&output.stdout);
    assert_eq!(shown.matches("error: no quorum").count(), 1, "{shown}");
    assert!(shown.contains("\nDemo stopped: "), "{shown}");
    assert!(!shown.contains("right"), "{shown}");
    let (_, prompt) = shown.split_once("\nEnter command").unwrap();
    assert!(prompt.contains("\nGET key"), "{shown}");
    assert_eq!(code(&output), 5);
}

#[test]
fn the_demo_fails_loudly_on_a_wrong_answer() {
    let fake = Fake::with(|_, outcome| {
        Reaction::Answer(match outcome {
            Outcome::Value { revision, .. } => Outcome::Value {
                revision,
                value: b"another".to_vec(),
            },
            right => right,
        })
    });
    let output = run(&[&fake], &["demo"], b"");
    assert_eq!(code(&output), 70);
    assert_eq!(
        text(&output.stderr),
        "kvpaxos-client: WRONG ANSWER: another; expected \"value 0\"\n"
    );
}

#[test]
fn status_shows_every_endpoint() {
    let fake = Fake::store();
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let list = format!("{},{gone}", fake.address);
    let program = |json: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_kvpaxos-client"))
            .args(["--endpoints", &list, "--timeout", "300ms", "status"])
            .args(json)
            .output()
            .unwrap()
    };
    let members: Value = serde_json::from_slice(&program(&["--json"]).stdout).unwrap();
    let first = &members[0];
    assert_eq!(first["id"], 3);
    assert_eq!(first["ballot"], "7.3");
    assert_eq!(first["state_hash"], format!("{:032x}", 0xabc));
    assert_eq!(
        (&first["serving"], &first["reachable"]),
        (&true.into(), &true.into())
    );
    let second = members[1].as_object().unwrap();
    assert_eq!(second["reachable"], false);
    assert!(second.keys().all(|name| first.get(name).is_some()));
    let table = program(&[]);
    let table_text = text(&table.stdout);
    assert_eq!(table_text.lines().count(), 6, "{table_text}");
    assert_eq!(code(&table), 0);
}

#[test]
fn bench_measures_and_checks_what_was_appended() {
    let fake = Fake::store();
    let arguments = [
        "bench",
        "--op",
        "append",
        "--clients",
        "4",
        "--pipeline",
        "3",
        "--seconds",
        "0.3",
        "--check",
        "--json",
    ];
    let output = run(&[&fake], &arguments, b"");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for name in [
        "op",
        "clients",
        "pipeline",
        "ops",
        "ops_per_s",
        "p50_us",
        "p99_us",
        "p999_us",
        "max_us",
        "errors",
        "longest_gap_ms",
        "longest_gap_ended_s",
    ] {
        assert!(report.get(name).is_some(), "{name} is missing in {report}");
    }
    assert!(report["ops"].as_u64().unwrap() > 10);
    assert!(report["answered"].as_u64() >= report["ops"].as_u64());
    for name in [
        "errors",
        "lost",
        "duplicated",
        "out_of_order",
        "unexpected",
        "unread",
    ] {
        assert_eq!(report[name], 0, "{report}");
    }
    assert_eq!(code(&output), 0);
}

#[test]
fn bench_fills_in_what_it_reads_unless_told_not_to() {
    let bench = ["bench", "--op", "get", "--keys", "3", "--seconds", "0.1"];
    for (flags, code_of_get) in [(&["--no-fill"][..], 1), (&[], 0)] {
        let fake = Fake::store();
        let output = run(&[&fake], &[&bench, flags].concat(), b"");
        assert_eq!(code(&output), 0, "{output:?}");
        let read = run(&[&fake], &["get", "bench/00000002"], b"");
        assert_eq!(code(&read), code_of_get, "{flags:?}");
    }
    let checked = ["bench", "--no-fill", "--op", "mixed", "--check"];
    let output = run(&[&Fake::store()], &checked, b"");
    assert_eq!(code(&output), 2, "{output:?}");
}

#[test]
fn bench_judges_the_reads_of_a_mixed_load() {
    let fake = Fake::store();
    let arguments = [
        "bench",
        "--op",
        "mixed",
        "--clients",
        "4",
        "--keys",
        "2",
        "--seconds",
        "0.3",
        "--check",
        "--json",
    ];
    let output = run(&[&fake], &arguments, b"");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let count = |name: &str| report[name].as_u64().unwrap();
    assert!(
        count("reads") > 10 && count("answered") > 10 && count("read_back") >= 2,
        "{report}"
    );
    assert!(
        count("reads") + count("answered") >= count("ops"),
        "{report}"
    );
    for name in ["lost", "stale", "went_back", "contradicted", "misplaced"] {
        assert_eq!(report[name], 0, "{report}");
    }
    assert_eq!(report["wrong"], Value::Array(Vec::new()));
    assert_eq!(code(&output), 0);
    let nothing_to_read = run(&[&fake], &["bench", "--op", "get", "--check"], b"");
    assert_eq!(code(&nothing_to_read), 2);
}

#[test]
fn bench_finds_a_stale_read() {
    let mut reads = 0;
    let fake = Fake::with(move |_, outcome| {
        Reaction::Answer(match outcome {
            Outcome::Value { revision, value } => {
                reads += 1;
                // As if the replica heard of nothing any more.
                if reads < 100 {
                    Outcome::Value { revision, value }
                } else {
                    Outcome::Absent { revision }
                }
            }
            right => right,
        })
    });
    let arguments = [
        "bench",
        "--op",
        "mixed",
        "--clients",
        "2",
        "--seconds",
        "1",
        "--check",
    ];
    let output = run(&[&fake], &arguments, b"");
    let said = text(&output.stdout);
    let sentence = "which was answered before the read began";
    assert!(
        said.contains("a read by client ") && said.contains(sentence),
        "{said}"
    );
    assert_eq!(code(&output), 70);
}

#[test]
fn bench_finds_an_append_that_was_answered_and_is_not_there() {
    let fake = Fake::with(|_, outcome| {
        Reaction::Answer(match outcome {
            // The last tag of whatever was appended is not shown.
            Outcome::Value {
                revision,
                mut value,
            } => {
                value.truncate(value.len() - 1);
                let end = value
                    .iter()
                    .rposition(|byte| *byte == b';')
                    .map_or(0, |end| end + 1);
                value.truncate(end);
                Outcome::Value { revision, value }
            }
            right => right,
        })
    });
    let arguments = [
        "bench",
        "--clients",
        "2",
        "--seconds",
        "0.2",
        "--check",
        "--json",
    ];
    let output = run(&[&fake], &arguments, b"");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["lost"], code(&output)), (&2.into(), 70));
}
