//! The scripts, as far as they need no server: their arguments, and the way to the client.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
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
        &["--docker"],
        &["--docker", "me", "1111"],
    ] {
        let (output, _directory) = run("run_client.sh", arguments, 1, b"");
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(
            complaint.starts_with("usage:"),
            "{arguments:?}: {complaint}"
        );
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    for arguments in [
        &["--frobnicate"][..],
        &["--docker", "--local"],
        &["--down", "--wipe"],
    ] {
        let (output, _directory) = run("deploy.sh", arguments, 1, b"");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

/// Runs a script where `docker` is a program that finds no engine.
fn run_without_engine(script: &str, arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let docker = directory.path().join("docker");
    std::fs::write(&docker, "#!/bin/sh\nexit 1\n").unwrap();
    std::fs::set_permissions(&docker, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!(
        "{}:{}",
        directory.path().display(),
        std::env::var("PATH").unwrap()
    );
    Command::new("bash")
        .arg(root().join(script))
        .args(arguments)
        .env("PATH", path)
        .env("KVPAXOS_DIR", directory.path())
        .env("KVPAXOS_LOGS", directory.path())
        .env_remove("KVPAXOS_DEPLOY")
        .output()
        .unwrap()
}

#[test]
fn docker_without_an_engine_is_refused_with_the_reason() {
    for (script, arguments) in [
        ("deploy.sh", &["--docker"][..]),
        ("deploy.sh", &["--docker", "--down"]),
        ("run_client.sh", &["--docker", "me", "1111", "TCP"]),
    ] {
        let output = run_without_engine(script, arguments);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(
            complaint.ends_with("no Docker engine answers, and --docker was given\n"),
            "{arguments:?}: {complaint}"
        );
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    }
}

#[test]
fn without_an_engine_there_are_only_processes_to_stop() {
    let output = run_without_engine("deploy.sh", &["--down"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.matches("does not run").count(), 5, "{said}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_deployment_is_named_and_placed_in_words_that_are_known() {
    for (variable, value) in [
        ("KVPAXOS_NAME", "two words"),
        ("KVPAXOS_DEPLOY", "elsewhere"),
    ] {
        let output = Command::new("bash")
            .arg(root().join("deploy.sh"))
            .env(variable, value)
            .output()
            .unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(complaint.contains(variable), "{complaint}");
        assert_eq!(output.status.code(), Some(1), "{variable}");
    }
}
