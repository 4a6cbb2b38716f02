//! The binary as a person meets it: what it says, what it refuses, how it ends, and what its log looks like.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::raw_client::{RawClient, get, hello};
use crate::raw_datagrams::RawDatagrams;

/// A server process with a directory and a log of its own.
pub(crate) struct Process {
    child: Child,
    directory: TempDir,
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvpaxos-server"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KVPAXOS_")) {
        command.env_remove(name);
    }
    // Every test's server takes another port than the ordinary one.
    command.env("KVPAXOS_UDP", "127.0.0.1:0");
    command.stdin(Stdio::null());
    command
}

fn directory() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

impl Process {
    /// Starts one and waits until it says where it serves clients.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let directory = directory();
        let child = command()
            .args(["--tcp", "127.0.0.1:0", "--log-file"])
            .arg(directory.path().join("log"))
            .arg("--data")
            .arg(directory.path().join("data"))
            .args(arguments)
            .spawn()
            .unwrap();
        let process = Self { child, directory };
        process.wait_for_line("clients are served at ");
        process
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The rest of the first line that has `text`.
    fn wait_for_line(&self, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let log = self.log();
            let complete = log.rfind('\n').map_or("", |end| &log[..end]);
            if let Some(rest) = complete
                .lines()
                .find_map(|line| line.split_once(text).map(|(_, rest)| rest))
            {
                return rest.to_owned();
            }
            assert!(Instant::now() < deadline, "waited for {text:?} in\n{log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn client_address(&self) -> SocketAddr {
        self.wait_for_line("clients are served at ")
            .parse()
            .unwrap()
    }

    pub(crate) fn datagram_address(&self) -> SocketAddr {
        self.wait_for_line("clients are served over UDP at ")
            .parse()
            .unwrap()
    }

    fn peer_address(&self) -> SocketAddr {
        self.wait_for_line("the other replicas are awaited at ")
            .parse()
            .unwrap()
    }

    fn health(&self) -> Output {
        command()
            .args(["--health", "--tcp", &self.client_address().to_string()])
            .output()
            .unwrap()
    }

    pub(crate) fn wait_until_healthy(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.health().status.success() {
            assert!(
                Instant::now() < deadline,
                "it is not healthy\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends SIGTERM and returns the exit code and how long it took.
    fn terminate(&mut self) -> (Option<i32>, Duration) {
        let began = Instant::now();
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(&id).status().unwrap().success());
        let status = self.child.wait().unwrap();
        (status.code(), began.elapsed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs one that ends by itself.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = command().args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn it_says_its_version_with_commit_and_wire_version() {
    let (code, said) = run(&["--version"]);
    assert_eq!(code, Some(0));
    let expected = format!("kvpaxos-server {} commit ", env!("CARGO_PKG_VERSION"));
    assert!(said.starts_with(&expected), "{said}");
    assert!(said.contains(" wire 1"), "{said}");
}

#[test]
fn wrong_arguments_end_with_code_2_and_a_sentence() {
    let cases: [(&[&str], &str); 4] = [
        (&["--bogus"], "unexpected argument '--bogus'"),
        (&["--workers", "0"], "0 is not in 1..=64"),
        (&["--id", "5", "--members", "0=a:1,1=b:2"], "is not listed"),
        (&["--members", "0=a:1,0=b:2"], "listed twice"),
    ];
    for (arguments, sentence) in cases {
        let (code, said) = run(arguments);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(sentence), "{said}");
    }
}

#[test]
fn what_it_cannot_use_ends_it_with_code_1_and_a_sentence() {
    let process = Process::start(&[]);
    process.wait_until_healthy();
    let own = directory();
    let own_data = own.path().join("data");
    let used_data = process.directory.path().join("data");
    let taken = process.client_address().to_string();
    let free = "127.0.0.1:0".to_owned();
    let cases: [(&String, &Path, &str); 3] = [
        (&taken, &own_data, "cannot listen at"),
        (&free, &used_data, "another server uses the directory"),
        (
            &free,
            Path::new("/proc/kvpaxos"),
            "cannot use the directory /proc/kvpaxos",
        ),
    ];
    for (address, data, sentence) in cases {
        let (code, said) = run(&["--tcp", address, "--data", data.to_str().unwrap()]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(sentence), "{said}");
    }
    let taken = process.datagram_address().to_string();
    let data = own_data.to_str().unwrap();
    let (code, said) = run(&["--tcp", &free, "--udp", &taken, "--data", data]);
    assert_eq!(code, Some(1), "{said}");
    let sentence = format!("cannot listen at {taken} (UDP)");
    assert!(said.contains(&sentence), "{said}");
    assert_eq!(run(&["--health", "--tcp", "127.0.0.1:1"]).0, Some(1));
}

#[test]
fn every_line_of_the_log_has_a_date_with_milliseconds_and_debug_shows_each_request() {
    let mut process = Process::start(&["--log-level", "debug"]);
    process.wait_until_healthy();
    let mut client = RawClient::greeted(process.client_address());
    client.outcome(&get(7, b"some key"));
    drop(client);
    let mut udp = RawDatagrams::new(process.datagram_address());
    udp.outcome(&get(8, b"some key"));
    assert_eq!(process.terminate().0, Some(0));
    let log = process.log();
    let first = log.lines().next().unwrap();
    let data = process.directory.path().join("data");
    assert!(first.contains("kvpaxos-server"), "{first}");
    assert!(first.contains("r0 of itself alone"), "{first}");
    assert!(first.contains(data.to_str().unwrap()), "{first}");
    for line in log.lines() {
        let shape: String = line
            .chars()
            .take(24)
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{line}");
    }
    let parts = [
        ("", "-> Get tag=7 GET \"some key\""),
        ("", "<- Answer tag=7"),
        ("udp ", "-> Get tag=8 GET \"some key\""),
        ("udp ", "<- Cookie tag=8 from replica=0"),
        ("udp ", "<- Answer tag=8"),
    ];
    for (transport, part) in parts {
        let line = log.lines().find(|line| line.contains(part));
        let line = line.unwrap_or_else(|| panic!("{part} is not in\n{log}"));
        let begin = format!("[DEBUG] {transport}127.0.0.1:");
        assert!(line.contains(&begin), "{line}");
    }
}

#[test]
fn a_signal_ends_it_cleanly_and_soon_although_clients_are_there() {
    for signal in ["-TERM", "-INT"] {
        let mut process = Process::start(&[]);
        process.wait_until_healthy();
        let mut idle = RawClient::greeted(process.client_address());
        let began = Instant::now();
        let id = process.child.id().to_string();
        Command::new("kill").args([signal, &id]).status().unwrap();
        idle.assert_end();
        assert_eq!(process.child.wait().unwrap().code(), Some(0));
        assert!(began.elapsed() < Duration::from_secs(2));
        assert!(process.log().contains("this replica has stopped"));
    }
}

/// What strangers may send to either port.
fn junk() -> Vec<Vec<u8>> {
    let mut answer = Vec::new();
    common::Answer {
        tag: 1,
        leader: None,
        outcome: common::Outcome::Absent { revision: 1 },
    }
    .append_to(&mut answer);
    vec![
        vec![0xde, 0xad, 0xbe],
        vec![0xff; 100_000],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0, 0, 0, 9, 1, b'K', b'V'],
        answer,
    ]
}

fn throw(address: SocketAddr, bytes: &[u8]) -> SocketAddr {
    let mut stream = TcpStream::connect(address).unwrap();
    let from = stream.local_addr().unwrap();
    // The server may close before it has taken all.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
    from
}

#[test]
fn junk_on_either_port_is_a_readable_line_with_length_and_sender() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let members = format!("0=127.0.0.1:0,1={}", other.local_addr().unwrap());
    let mut process = Process::start(&["--members", &members]);
    for address in [process.client_address(), process.peer_address()] {
        for bytes in junk() {
            let from = throw(address, &bytes);
            let line = process.wait_for_line(&from.to_string());
            assert!(line.contains(" bytes"), "{line}");
        }
    }
    let log = process.log();
    assert!(log.is_ascii(), "no raw bytes in\n{log}");
    assert!(
        process.child.try_wait().unwrap().is_none(),
        "it ended\n{log}"
    );
}

#[test]
fn a_flood_of_junk_does_not_flood_the_log() {
    let process = Process::start(&[]);
    process.wait_until_healthy();
    let address = process.client_address();
    let began = Instant::now();
    for _ in 0..500 {
        throw(address, &[0xff; 64]);
    }
    let seconds = began.elapsed().as_secs() + 2;
    let counted = process.wait_for_line(" more lines about client connections");
    let rest = " were not written: at most 10 a second are";
    assert!(counted.ends_with(rest), "{counted}");
    let lines = process
        .log()
        .lines()
        .filter(|line| line.contains("is closed after"))
        .count() as u64;
    assert!(lines <= 10 * seconds, "{lines} lines in {seconds} s");
    RawClient::greeted(address);
}

#[test]
fn one_byte_a_second_is_too_slow() {
    let process = Process::start(&[]);
    process.wait_until_healthy();
    let mut client = TcpStream::connect(process.client_address()).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let began = Instant::now();
    for byte in hello() {
        let sent = client.write_all(&[byte]);
        if sent.is_err() || client.read(&mut [0]).is_ok_and(|bytes| bytes == 0) {
            break;
        }
    }
    let waited = began.elapsed();
    assert!(waited > Duration::from_secs(9), "closed after {waited:?}");
    process.wait_for_line("a frame gained less than 65536 bytes in 10 s");
}
