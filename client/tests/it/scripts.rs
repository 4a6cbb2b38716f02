//! The scripts, as far as they need no server and no Docker: what they make of their arguments and of the environment,
//! what they say when something is wrong, and the way to the client. Servers and Docker are played by small scripts.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::fake::Fake;

/// A server that does nothing, under its name.
const SERVER: &str = "exec -a \"$0\" bash -c 'while :; do sleep 1; done' \"$@\"";
/// What `status --json` says when all serve.
const ALL_SERVE: &str = r#"echo '[{"serving":true},{"serving":true},{"serving":true},{"serving":true},{"serving":true}]'"#;
/// And when two are there, and the one that led does not know yet that it lost its majority.
const TWO_ANSWER: &str =
    r#"echo '[{"reachable":true,"serving":true},{"reachable":true,"serving":false}]'"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The scripts in a directory of their own, with the program under test, and a `docker` that finds no engine.
struct Scripts {
    directory: tempfile::TempDir,
    environment: Vec<(String, String)>,
    /// Names of clusters that are to be removed in the end.
    deployed: Vec<String>,
}

/// What a script said, and how it ended.
#[derive(Debug)]
struct Said {
    out: String,
    err: String,
    code: Option<i32>,
}

impl Scripts {
    fn new() -> Self {
        let scripts = Self {
            directory: tempfile::tempdir().unwrap(),
            environment: Vec::new(),
            deployed: Vec::new(),
        };
        for directory in ["scripts", "bin", "path"] {
            fs::create_dir(scripts.path(directory)).unwrap();
        }
        let below = fs::read_dir(root().join("scripts")).unwrap();
        let below = below.map(|entry| entry.unwrap().path());
        for file in below.chain([root().join("deploy.sh"), root().join("run_client.sh")]) {
            let name = file.strip_prefix(root()).unwrap();
            fs::copy(&file, scripts.directory.path().join(name)).unwrap();
        }
        scripts.play("path/docker", "exit 1");
        let program = env!("CARGO_BIN_EXE_kvpaxos-client");
        std::os::unix::fs::symlink(program, scripts.path("bin/kvpaxos-client")).unwrap();
        let bin = scripts.path("bin").display().to_string();
        scripts.with("BIN", bin)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Sets a variable, without what all begin with.
    fn with(mut self, variable: &str, value: impl ToString) -> Self {
        let variable = format!("KVPAXOS_{variable}");
        self.environment.push((variable, value.to_string()));
        self
    }

    /// The same port of replica 0 for either transport.
    fn at(self, port: u16) -> Self {
        self.with("BASE_TCP", port).with("BASE_UDP", port)
    }

    /// Ports at which nobody listens, below those that the system gives out, for replicas that are played and listen at
    /// none.
    fn at_free_ports(self) -> Self {
        let seed = TcpListener::bind("127.0.0.1:0").unwrap();
        let seed = seed.local_addr().unwrap().port();
        let is_free = |port: &u16| {
            (*port..port + 10).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        };
        let mut candidates = (0..1_000).map(|step| 20_000 + (seed + step) % 1_000 * 10);
        let port = candidates.find(is_free).unwrap();
        self.at(port).with("BASE_PEER", port + 5)
    }

    /// Puts a program in place that bash carries out.
    fn play(&self, name: &str, text: &str) {
        let file = self.path(name);
        // Through the link that may be there the program under test would be written over.
        let _ = fs::remove_file(&file);
        fs::write(&file, format!("#!/bin/bash\n{text}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn play_replicas(&mut self, name: &str, status: &str) {
        self.play("bin/kvpaxos-server", SERVER);
        self.play("bin/kvpaxos-client", status);
        self.deployed.push(name.to_owned());
    }

    /// Has the program under test do everything but to say how the replicas are.
    fn play_status(&self, status: &str) {
        let program = env!("CARGO_BIN_EXE_kvpaxos-client");
        let text = format!("[[ \" $* \" == *' status '* ]] || exec {program} \"$@\"\n{status}");
        self.play("bin/kvpaxos-client", &text);
    }

    fn run(&self, script: &str, arguments: &[&str]) -> Said {
        self.run_with(script, arguments, &[], b"")
    }

    fn run_with(
        &self,
        script: &str,
        arguments: &[&str],
        more: &[(&str, &str)],
        input: &[u8],
    ) -> Said {
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("bash");
        for (variable, _) in std::env::vars().filter(|(name, _)| name.starts_with("KVPAXOS_")) {
            command.env_remove(variable);
        }
        let mut child = command
            .arg(self.path(script))
            .args(arguments)
            .env("PATH", format!("{}:{path}", self.path("path").display()))
            .envs(self.environment.iter().cloned())
            .envs(more.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may have ended without reading everything, which is its right.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        Said {
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code(),
        }
    }
}

impl Drop for Scripts {
    fn drop(&mut self) {
        for name in std::mem::take(&mut self.deployed) {
            let named = [("KVPAXOS_NAME", name.as_str())];
            self.run_with("deploy.sh", &["--local", "--wipe"], &named, b"");
        }
    }
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
    let scripts = Scripts::new().at(port).with("LOG_LEVEL", "debug");
    scripts.play_status(ALL_SERVE);
    let arguments = ["my-client", &port.to_string(), transport];
    let typed = b"PUT a one\nGET a\nEXIT\n";
    let said = scripts.run_with("run_client.sh", &arguments, &[], typed);
    assert!(said.out.contains("every answer was right"), "{said:?}");
    assert!(said.out.ends_with("\none\n"), "{said:?}");
    assert_eq!(said.code, Some(0));
    assert!(fake.labels().contains(&"my-client".to_owned()));
    let log = fs::read_to_string(scripts.path("logs/client-my-client.log")).unwrap();
    assert!(log.contains(logged) && log.contains("[DEBUG] -> "), "{log}");
}

#[test]
fn the_short_form_is_enough() {
    for (fake, transport) in [(Fake::store(), "tcp"), (Fake::datagram_store(), "udp")] {
        let scripts = Scripts::new().at(fake.address.port());
        scripts.play_status(ALL_SERVE);
        let said = scripts.run("run_client.sh", &[transport]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(scripts.path("logs/client.log").exists());
    }
}

#[test]
fn wrong_arguments_are_named_and_end_with_2() {
    let scripts = Scripts::new().with("BASE_UDP", 2222);
    for (arguments, complaint) in [
        (&[][..], "0 words are given"),
        (&["SCTP"], "\"SCTP\" is no transport"),
        (&["me", "1111"], "2 words are given"),
        (&["me", "1111", "TCP", "more"], "4 words are given"),
        (
            &["me", "port", "TCP"],
            "no replica has the TCP port \"port\"; they have 1111 to 1115",
        ),
        (&["me", "0", "TCP"], "no replica has the TCP port \"0\""),
        (
            &["me", "99999", "TCP"],
            "no replica has the TCP port \"99999\"",
        ),
        (
            &["me", "1116", "TCP"],
            "no replica has the TCP port \"1116\"",
        ),
        (
            &["me", "1111", "UDP"],
            "no replica has the UDP port \"1111\"; they have 2222 to 2226",
        ),
        (&["a/b", "1111", "TCP"], "the name \"a/b\" must be"),
        (&["--frobnicate", "TCP"], "\"--frobnicate\" is not known"),
        (
            &["--docker", "--local", "TCP"],
            "--docker and --local cannot both",
        ),
    ] {
        check_complaint(&scripts, "run_client.sh", arguments, complaint, 2);
    }
    for (arguments, complaint) in [
        (&["--statsu"][..], "\"--statsu\" is not known"),
        (&["down"], "\"down\" is not known, but --down is"),
        (
            &["--docker", "--local", "--status"],
            "--docker and --local cannot both",
        ),
        (&["--status", "--down"], "--status and --down cannot both"),
    ] {
        check_complaint(&scripts, "deploy.sh", arguments, complaint, 2);
    }
}

fn check_complaint(
    scripts: &Scripts,
    script: &str,
    arguments: &[&str],
    complaint: &str,
    code: i32,
) {
    let said = scripts.run(script, arguments);
    let begin = format!("{script}: {complaint}");
    assert!(said.err.starts_with(&begin), "{arguments:?}: {said:?}");
    assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
}

#[test]
fn help_names_every_variable_and_fits_a_terminal() {
    let scripts = Scripts::new();
    let deploy = scripts.run("deploy.sh", &["--help"]);
    let run_client = scripts.run("run_client.sh", &["--help"]);
    for help in [&deploy, &run_client] {
        assert!(help.out.starts_with("usage: bash "), "{help:?}");
        assert!(help.out.lines().all(|line| line.len() <= 90), "{help:?}");
        assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
    }
    let mut read = 0;
    for entry in fs::read_dir(scripts.path("scripts")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for rest in text.split("${KVPAXOS_").skip(1) {
            let end = rest.find(|letter: char| !letter.is_ascii_uppercase() && letter != '_');
            let variable = format!("KVPAXOS_{}", &rest[..end.unwrap()]);
            assert!(deploy.out.contains(&variable), "{variable}");
            read += 1;
        }
    }
    assert!(read > 10, "{read} variables are read");
}

#[test]
fn settings_that_cannot_be_are_named_before_anything_is_done() {
    for (variable, value, complaint) in [
        ("NAME", "two words", "it must be of small letters"),
        ("DEPLOY", "elsewhere", "it must be docker or local"),
        ("BASE_TCP", "abc", "it must be a port from 1 to 65531"),
        ("BASE_TCP", "08", "it must be a port from 1 to 65531"),
        ("BASE_UDP", "65532", "it must be a port from 1 to 65531"),
        ("BASE_PEER", "0", "it must be a port from 1 to 65531"),
        ("PUBLISH", "256.0.0.1", "it must be an IPv4 address"),
        ("LOG_LEVEL", "loud", "it must be off, error,"),
        ("BIN", "/nonexistent", "no program kvpaxos-client is there"),
    ] {
        for (script, arguments) in [("deploy.sh", &[][..]), ("run_client.sh", &["TCP"])] {
            let scripts = Scripts::new().with(variable, value);
            let begin = format!("KVPAXOS_{variable} is \"{value}\"; {complaint}");
            check_complaint(&scripts, script, arguments, &begin, 1);
        }
    }
    let scripts = Scripts::new().with("BASE_TCP", 7115);
    let begin = "KVPAXOS_BASE_TCP gives the ports 7115 to 7119 and KVPAXOS_BASE_PEER 7111 to 7115";
    check_complaint(&scripts, "deploy.sh", &[], begin, 1);
}

#[test]
fn a_port_that_is_taken_is_named_before_anything_is_started() {
    for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        check_taken(Scripts::new().with("BASE_TCP", port), "TCP", port);
        check_taken(
            Scripts::new().at_free_ports().with("BASE_PEER", port),
            "PEER",
            port,
        );
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    check_taken(
        Scripts::new().at_free_ports().with("BASE_UDP", port),
        "UDP",
        port,
    );
}

fn check_taken(scripts: Scripts, setting: &str, port: u16) {
    scripts.play("bin/kvpaxos-server", "touch \"${0%/*}/started\"");
    let transport = if setting == "UDP" { "UDP" } else { "TCP" };
    let begin = format!("the {transport} port {port}, which replica 0 needs, is taken");
    let said = scripts.run("deploy.sh", &["--local"]);
    assert!(said.err.contains(&begin), "{said:?}");
    assert!(
        said.err.contains(&format!("KVPAXOS_BASE_{setting}")),
        "{said:?}"
    );
    assert_eq!(said.code, Some(1));
    assert!(!scripts.path("bin/started").exists());
}

#[test]
fn docker_without_an_engine_is_refused_with_the_reason() {
    let scripts = Scripts::new();
    for (script, arguments) in [
        ("deploy.sh", &["--docker"][..]),
        ("deploy.sh", &["--docker", "--down"]),
        ("run_client.sh", &["--docker", "me", "1111", "TCP"]),
    ] {
        let complaint = "no Docker engine answers, and --docker was given\n";
        check_complaint(&scripts, script, arguments, complaint, 1);
    }
}

#[test]
fn where_nothing_is_that_is_said_and_how_to_start_it() {
    let scripts = Scripts::new();
    let said = scripts.run("deploy.sh", &["--down"]);
    assert_eq!(said.out, "There is no replica, and no data of one.\n");
    assert_eq!(said.code, Some(0));
    let said = scripts.run("deploy.sh", &["--status"]);
    assert_eq!(
        (said.out.as_str(), said.code),
        ("No replica runs.\n", Some(1))
    );
    fs::create_dir_all(scripts.path(".kvpaxos/replica-0")).unwrap();
    let said = scripts.run("deploy.sh", &["--status"]);
    assert!(
        said.out.contains("bash deploy.sh --local starts them"),
        "{said:?}"
    );
    assert_eq!((said.err.as_str(), said.code), ("", Some(1)));
}

/// A Docker engine that answers, and prints this for a list of containers, and of volumes.
fn engine(containers: &str, volumes: &str) -> String {
    format!(
        "case $1 in ps) echo {containers} ;; volume) echo {volumes} ;; network | container) exit 1 ;; esac"
    )
}

#[test]
fn replicas_stay_where_they_run_or_have_their_data() {
    let replicas = |containers: &str, volumes: &str| {
        let scripts = Scripts::new();
        scripts.play("path/docker", &engine(containers, volumes));
        // Neither is to be built here, only to be begun.
        scripts.play("path/flock", "exit 1");
        scripts
    };
    let begins = |scripts: &Scripts, begin: &str| {
        let said = scripts.run("deploy.sh", &[]);
        assert!(said.out.starts_with(begin), "{begin}: {said:?}");
    };
    let as_processes = "Starting five replicas as processes on this machine, because";
    let in_docker = "Starting five replicas in Docker, because";
    begins(
        &replicas("", ""),
        &format!("{in_docker} a Docker engine answers"),
    );
    begins(
        &replicas("", "data"),
        &format!("{in_docker} stopped ones have their data there"),
    );
    begins(
        &replicas("id", "data"),
        &format!("{in_docker} they run there already"),
    );
    let scripts = replicas("", "");
    fs::create_dir_all(scripts.path(".kvpaxos/replica-0")).unwrap();
    begins(
        &scripts,
        &format!("{as_processes} stopped ones have their data so"),
    );
    let said = scripts.run("deploy.sh", &["--docker"]);
    assert!(
        said.out
            .contains("bash deploy.sh --local starts those instead"),
        "{said:?}"
    );
}

#[test]
fn a_cluster_does_not_run_in_two_places() {
    let scripts = Scripts::new();
    scripts.play("path/docker", &engine("id", "data"));
    let complaint = "the replicas run in Docker; stop them with: bash deploy.sh --docker --down";
    check_complaint(&scripts, "deploy.sh", &["--local"], complaint, 1);
    let said = scripts.run("deploy.sh", &["--local", "--status"]);
    assert!(
        said.out
            .contains("run in Docker; bash deploy.sh --docker --status"),
        "{said:?}"
    );
}

#[test]
fn clusters_of_two_names_do_not_touch_each_other() {
    let mut scripts = Scripts::new().at_free_ports();
    scripts.play_replicas("one", ALL_SERVE);
    let one = [("KVPAXOS_NAME", "one")];
    let two = [("KVPAXOS_NAME", "two")];
    let deploy = |arguments: &[&str], more: &[(&str, &str)]| {
        scripts.run_with("deploy.sh", arguments, more, b"")
    };
    let said = deploy(&[], &one);
    assert!(
        said.out
            .ends_with("All 5 replicas serve. Stop them with: bash deploy.sh --down\n"),
        "{said:?}"
    );
    assert!(scripts.path(".kvpaxos-one/replica-0.pid").exists());
    assert_eq!(deploy(&["--status"], &two).out, "No replica runs.\n");
    assert_eq!(
        deploy(&["--wipe"], &two).out,
        "There is no replica, and no data of one.\n"
    );
    let again = deploy(&[], &one);
    assert_eq!(again.out.matches("runs already").count(), 5, "{again:?}");

    let moved = [("KVPAXOS_NAME", "one"), ("KVPAXOS_BASE_TCP", "50")];
    for command in ["--local", "--status"] {
        let said = deploy(&[command], &moved);
        assert!(
            said.err.contains("at other ports: TCP 127.0.0.1:"),
            "{said:?}"
        );
        assert_eq!(said.code, Some(1));
    }
    let down = deploy(&["--down"], &one);
    assert_eq!(down.out.matches(": stopped").count(), 5, "{down:?}");
    assert_eq!(
        deploy(&["--local", "--down"], &one).out,
        "No replica runs as a process.\n"
    );
}

#[test]
fn replicas_that_can_never_serve_are_told_with_the_remedy_and_not_waited_for() {
    let remark = "the memory of r0, r1, r2 is lost: nobody can tell any more what was chosen";
    let mut scripts = Scripts::new().at_free_ports();
    let status = format!(
        r#"echo '[{{"serving":false,"remark":"{remark}"}},{{"serving":false,"remark":""}}]'"#
    );
    scripts.play_replicas("kvpaxos", &status);
    let begun = std::time::Instant::now();
    let said = scripts.run("deploy.sh", &["--local"]);
    assert!(
        said.err.contains(remark) && said.err.contains("bash deploy.sh --wipe"),
        "{said:?}"
    );
    assert_eq!(said.code, Some(1));
    assert!(begun.elapsed().as_secs() < 60);
}

#[test]
fn a_replica_that_ends_at_once_is_not_said_to_have_started() {
    let mut scripts = Scripts::new().at_free_ports();
    scripts.play_replicas("kvpaxos", ALL_SERVE);
    let refuses = format!("[[ $2 != 3 ]] || {{ echo 'no such luck' >&2; exit 1; }}\n{SERVER}");
    scripts.play("bin/kvpaxos-server", &refuses);
    let said = scripts.run("deploy.sh", &["--local"]);
    assert!(!said.out.contains("started"), "{said:?}");
    assert!(said.err.contains("no such luck"), "{said:?}");
    assert!(said.err.contains("for the reasons above: 3;"), "{said:?}");
    assert_eq!(said.code, Some(1));
}

#[test]
fn status_and_down_build_nothing() {
    let mut scripts = Scripts::new().at_free_ports();
    scripts.play_replicas("kvpaxos", ALL_SERVE);
    assert_eq!(scripts.run("deploy.sh", &["--local"]).code, Some(0));
    scripts.play("path/cargo", "echo built >&2; exit 1");
    fs::create_dir(scripts.path("target")).unwrap();
    fs::rename(scripts.path("bin"), scripts.path("target/release")).unwrap();
    let target = scripts.path("target");
    let built = [
        ("KVPAXOS_BIN", ""),
        ("CARGO_TARGET_DIR", target.to_str().unwrap()),
    ];
    for command in ["--status", "--down", "--wipe"] {
        let said = scripts.run_with("deploy.sh", &["--local", command], &built, b"");
        assert_eq!(
            (said.err.as_str(), said.code),
            ("", Some(0)),
            "{command}: {said:?}"
        );
    }
    let said = scripts.run_with("deploy.sh", &["--local", "--build"], &built, b"");
    assert!(
        said.err.starts_with("built\n") && said.err.contains("logs/build.log"),
        "{said:?}"
    );
}

#[test]
fn the_logs_of_a_wiped_cluster_are_put_aside() {
    let scripts = Scripts::new();
    fs::create_dir_all(scripts.path(".kvpaxos/replica-0")).unwrap();
    fs::create_dir(scripts.path("logs")).unwrap();
    fs::write(scripts.path("logs/server-0.log"), "of before").unwrap();
    let said = scripts.run("deploy.sh", &["--wipe"]);
    assert!(
        said.out
            .ends_with("their logs are now logs/server-*.log.1\n"),
        "{said:?}"
    );
    assert!(!scripts.path("logs/server-0.log").exists());
    let kept = fs::read_to_string(scripts.path("logs/server-0.log.1")).unwrap();
    assert_eq!(kept, "of before");
    assert!(!scripts.path(".kvpaxos/replica-0").exists());
}

#[test]
fn a_minority_that_answers_is_counted_and_the_others_are_started() {
    let fake = Fake::store();
    let scripts = Scripts::new().at(fake.address.port());
    scripts.play_status(TWO_ANSWER);
    scripts.play("deploy.sh", "echo deployed");
    let said = scripts.run("run_client.sh", &["TCP"]);
    let begin = "2 of 5 replicas answer, 3 are needed, so deploy.sh is run, which starts the others.\ndeployed\n-- ";
    assert!(said.out.starts_with(begin), "{said:?}");
    assert_eq!(said.code, Some(0));
}

#[test]
fn where_nobody_answers_deploy_is_run_and_its_failure_ends_it() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = gone.local_addr().unwrap().port();
    drop(gone);
    let scripts = Scripts::new().at(port);
    scripts.play("deploy.sh", "echo \"deployed $*\"; exit 1");
    let said = scripts.run("run_client.sh", &["--local", "TCP"]);
    assert!(
        said.out
            .starts_with("No replica answers at tcp://127.0.0.1:"),
        "{said:?}"
    );
    assert!(said.out.ends_with("deployed --local\n"), "{said:?}");
    assert_eq!(said.code, Some(1));
}

#[test]
fn a_followed_log_has_the_lines_of_the_replica_and_none_of_docker() {
    let scripts = Scripts::new();
    // The container is there once, and removed after.
    let docker = "case $1 in
        logs) echo '2026-11-21T02:51:10.099Z [INFO] r1' >&2
              echo 'Error response from daemon: can not get logs from container' >&2 ;;
        *) mkdir \"$0.asked\" 2>/dev/null ;;
    esac";
    scripts.play("path/docker", docker);
    let log = scripts.path("server-1.log");
    let said = scripts.run("scripts/follow.sh", &["container", log.to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(
        fs::read_to_string(log).unwrap(),
        "2026-11-21T02:51:10.099Z [INFO] r1\n"
    );
}
