//! How the program is called: help, values of flags, completions, and where the replicas are if nobody says.

use std::process::{Command, Output};

use crate::fake::{Fake, endpoints};
use crate::program::{code, run, text};

/// The widest line of help.
const COLUMNS_MAX: usize = 100;

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_kvpaxos-client"));
    program.env_remove("KVPAXOS_ENDPOINTS");
    program
}

fn called(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

#[test]
fn help_fits_a_terminal_and_shows_bounds_defaults_and_exit_codes() {
    let bench = called(&["bench", "--help"]);
    let said = text(&bench.stdout);
    for line in said.lines() {
        assert!(line.chars().count() <= COLUMNS_MAX, "{line}");
    }
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "1 to 10000",
        "[default: 32]",
        "bench/00000000 and up",
        "went back (",
        "misplaced (",
        "127.0.0.1:1111 to 127.0.0.1:1115",
        "--endpoints 10.0.0.1:1111,",
        "[env: KVPAXOS_ENDPOINTS=]",
        "[possible values: off, error, warn, info, debug, trace]",
    ] {
        assert!(words.contains(part), "{part:?} is not in {said}");
    }
    // What is the command's own stands before what every command takes.
    let own = said.find("--pipeline").unwrap();
    let common = said.find("Connection, log and output:").unwrap();
    assert!(own < common && common < said.find("--endpoints").unwrap());
    let status = called(&["status", "--help"]);
    for part in [
        "Exit codes: 0 if any replica answers",
        "ballot    the highest",
    ] {
        assert!(text(&status.stdout).contains(part), "{part:?}");
    }
    let short = called(&["bench", "-h"]);
    assert!(!text(&short.stdout).contains("misplaced"));
    assert!(text(&short.stdout).contains("1 to 10000"));
}

#[test]
fn what_asks_no_replica_shows_no_flags_about_that() {
    let said = called(&["completions", "--help"]);
    assert!(!text(&said.stdout).contains("--endpoints"));
    assert!(text(&called(&["get", "--help"]).stdout).contains("--endpoints"));
}

#[test]
fn a_value_that_cannot_be_read_is_refused_in_words() {
    for (arguments, part) in [
        (
            &["--timeout", "abc"][..],
            "a time is a number with a unit: 500ms, 10s, 2m, 1h",
        ),
        (
            &["--timeout", "-1s"],
            "a time is a number with a unit: 500ms",
        ),
        (
            &["--timeout", "0s"],
            "it must be above zero, and at most 24h",
        ),
        (
            &["--timeout", "100000h"],
            "it must be above zero, and at most 24h",
        ),
        (
            &["--log-level", "loud"],
            "[possible values: off, error, warn,",
        ),
        (
            &["--name", &"x".repeat(65)],
            "it has 65 bytes; 64 are allowed",
        ),
        (
            &["--endpoints", "h:99999"],
            "is no endpoint: a port is a number from 1 to 65535",
        ),
        (
            &["--log-file", "/nonexistent/x"],
            "cannot write the log /nonexistent/x: ",
        ),
    ] {
        let output = called(&[arguments, &["get", "a"]].concat());
        let said = text(&output.stderr);
        assert!(said.contains(part), "{arguments:?}: {said}");
        assert_eq!(code(&output), 2, "{arguments:?}");
    }
}

#[test]
fn the_environment_says_where_the_replicas_are_and_the_flag_wins() {
    let [named, given] = [Fake::store(), Fake::store()];
    let mut program = program();
    program.env("KVPAXOS_ENDPOINTS", endpoints(&[&named]));
    assert_eq!(code(&program.args(["put", "a", "b"]).output().unwrap()), 0);
    assert_eq!(named.value(b"a").unwrap(), b"b");
    program.args(["--endpoints", &endpoints(&[&given])]);
    assert_eq!(code(&program.output().unwrap()), 0);
    assert_eq!(given.value(b"a").unwrap(), b"b");
    assert_eq!(named.writes().len(), 1);
}

#[test]
fn the_version_names_the_commit() {
    let said = called(&["--version"]);
    let words: Vec<&str> = text(&said.stdout).split_whitespace().collect();
    assert_eq!((words[0], words[2]), ("kvpaxos-client", "commit"));
    assert_eq!(words.len(), 6, "{words:?}");
}

/// What bash offers for the last of these words.
fn completed(words: &[&str]) -> Vec<String> {
    let (last, before) = words.split_last().unwrap();
    let script = r#"
        eval "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        function=$(complete -p kvpaxos-client | sed 's/.*-F \([^ ]*\) .*/\1/')
        "$function" kvpaxos-client "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let offered = called(&["completions", "bash"]);
    let output = Command::new("bash")
        .args([
            "-c",
            script,
            "bash",
            text(&offered.stdout),
            "kvpaxos-client",
        ])
        .args(before)
        .arg(last)
        .output()
        .unwrap();
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout)
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

#[test]
fn bash_completes_the_flags_and_values_of_commands() {
    assert_eq!(completed(&["ben"]), ["bench"]);
    assert_eq!(completed(&["bench", "--cl"]), ["--clients"]);
    assert_eq!(completed(&["bench", "--op", "a"]), ["append"]);
    assert_eq!(completed(&["bench", "--endp"]), ["--endpoints"]);
    assert_eq!(completed(&["get", "--ra"]), ["--raw"]);
}

#[test]
fn single_quotes_do_as_in_a_shell_and_a_command_without_its_dot_is_hinted_at() {
    let fake = Fake::store();
    let input = b"PUT 'a b' 'hello world'\nGET \"a b\"\nPUT q 'it\\n'\nGET q\nstatus\nGET 'a\n";
    let output = run(&[&fake], &["repl"], input);
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert_eq!(fake.value(b"a b").unwrap(), b"hello world");
    assert_eq!(lines[1], "\"hello world\"");
    assert_eq!(fake.value(b"q").unwrap(), b"it\\n");
    assert_eq!(lines[4], "error: status is no command, but .status is");
    assert_eq!(lines[5], "error: a quoted word has no closing quote");
}
