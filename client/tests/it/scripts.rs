//! The scripts, as far as they need no server: their arguments, and the way to the client.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::fake::Fake;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a script with the program under test, and with the played replica's port as that of replica 0, for either
/// transport.
fn run(script: &str, arguments: &[&str], port: u16, input: &[u8]) -> (Output, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_kvpaxos-client"))
        .parent()
        .unwrap();
    let mut child = Command::new("bash")
        .arg(root().join(script))
        .args(arguments)
        .env("KVPAXOS_BIN", programs)
        .env("KVPAXOS_BASE_TCP", port.to_string())
        .env("KVPAXOS_BASE_UDP", port.to_string())
        .env("KVPAXOS_DIR", directory.path())
        .env("KVPAXOS_LOGS", directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have ended without reading everything, which is its right.
    let _ = child.stdin.take().unwrap().write_all(input);
    (child.wait_with_output().unwrap(), directory)
}

#[test]
fn run_client_runs_the_demo_and_then_the_commands_of_a_pipe() {
    let logged = "connected";
    check_run_client(&Fake::store(), "TCP", logged);
}

#[test]
fn run_client_does_the_same_over_udp() {
    let logged = "replica 0 answers";
    check_run_client(&Fake::datagram_store(), "UDP", logged);
}

fn check_run_client(fake: &Fake, transport: &str, logged: &str) {
    let port = fake.address.port();
    let arguments = ["my-client", &port.to_string(), transport];
    let (output, directory) = run(
        "run_client.sh",
        &arguments,
        port,
        b"PUT a one\nGET a\nEXIT\n",
    );
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("every answer was right"), "{shown}");
    assert!(shown.ends_with("\none\n"), "{shown}");
    assert_eq!(output.status.code(), Some(0));
    assert!(fake.labels().contains(&"my-client".to_owned()));
    let log = directory.path().join("client-my-client.log");
    assert!(std::fs::read_to_string(log).unwrap().contains(logged));
}

#[test]
fn the_short_form_is_enough() {
    for (fake, transport) in [(Fake::store(), "tcp"), (Fake::datagram_store(), "udp")] {
        let (output, _directory) = run("run_client.sh", &[transport], fake.address.port(), b"");
        assert_eq!(output.status.code(), Some(0), "{transport}");
    }
}

#[test]
fn wrong_arguments_print_the_usage_and_end_with_2() {
    for arguments in [
        &[][..],
        &["SCTP"],
        &["me", "1111"],
        &["me", "port", "TCP"],
        &["me", "0", "TCP"],
        &["me", "65536", "TCP"],
        &["a/b", "1111", "TCP"],
        &["me", "1111", "TCP", "more"],
    ] {
        let (output, _directory) = run("run_client.sh", arguments, 1, b"");
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(
            complaint.starts_with("usage:"),
            "{arguments:?}: {complaint}"
        );
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    let (output, _directory) = run("deploy.sh", &["--frobnicate"], 1, b"");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn what_comes_later_says_so() {
    for (script, arguments) in [
        ("run_client.sh", &["--docker", "me", "1111", "TCP"][..]),
        ("deploy.sh", &["--docker"]),
    ] {
        let (output, _directory) = run(script, arguments, 1, b"");
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(
            complaint.contains("later release"),
            "{arguments:?}: {complaint}"
        );
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
