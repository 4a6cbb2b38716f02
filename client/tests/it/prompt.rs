//! What the program says of itself: at the prompt, and to shells.

use std::process::{Command, Stdio};

use crate::fake::{Fake, endpoints};
use crate::program::{code, run, text};

#[test]
fn help_lists_all_commands_and_shows_each_with_an_example() {
    let fake = Fake::store();
    let output = run(&[&fake], &["repl"], b"HELP\nhelp put\nHELP nonsense\n");
    let said = text(&output.stdout);
    for form in [
        "PUT key value ",
        "GET key ",
        "APPEND key value ",
        "DELETE key ",
        ".status ",
        ".timing [on|off] ",
        "HELP [command] ",
        "EXIT ",
    ] {
        let lines = said.lines().filter(|line| line.starts_with(form));
        assert_eq!(lines.count(), 1, "{form:?} in {said}");
    }
    assert!(said.contains("PUT key value: replace the value of a key.\n"));
    assert!(
        said.contains("  > PUT colour blue\n  OK revision="),
        "{said}"
    );
    assert!(said.ends_with("error: nonsense is no command; HELP shows them\n"));
    assert_eq!(code(&output), 2);
}

#[test]
fn timing_is_turned_on_and_off() {
    let fake = Fake::store();
    let input = b".timing on\nGET a\n.timing off\nGET a\n.timing\n.timing often\n";
    let output = run(&[&fake], &["repl"], input);
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert_eq!((lines[0], lines[2]), ("timing is on", "timing is off"));
    assert!(lines[1].starts_with("(absent)  (") && lines[1].ends_with(" ms)"));
    assert_eq!(lines[3..5], ["(absent)", "timing is on"]);
    assert!(lines[5].starts_with("error: .timing takes on, off"));
}

#[test]
fn a_value_of_100_kb_is_a_line_like_any_other() {
    let fake = Fake::store();
    let long = "x".repeat(100_000);
    let output = run(
        &[&fake],
        &["repl"],
        format!("PUT a {long}\nGET a\n").as_bytes(),
    );
    assert_eq!(text(&output.stdout), format!("OK revision=2\n{long}\n"));
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(env!("CARGO_BIN_EXE_kvpaxos-client"))
            .args(["completions", shell])
            .output()
            .unwrap();
        assert_eq!(code(&output), 0);
        let script = text(&output.stdout);
        for command in [
            "demo",
            "repl",
            "get",
            "put",
            "append",
            "delete",
            "bench",
            "check",
            "status",
            "completions",
            "--endpoints",
            "--protocol",
            "--history",
            "--raw",
            "--limit",
        ] {
            // fish writes `-l history`.
            let word = command.trim_start_matches("--");
            assert!(script.contains(word), "{shell} lacks {command}");
        }
    }
}

#[test]
fn it_ends_quietly_when_nobody_hears_its_complaints() {
    let fake = Fake::store();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kvpaxos-client"))
        .args(["--endpoints", &endpoints(&[&fake]), "get", ""])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(3));
}
