//! The messages of `docs/OPERATIONS.md` that no other test has reason to provoke, said by servers that are given reason
//! to say them. A message stands here as it does on the page, with `…` for what differs.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use client::{Client, ClientOptions};
use tempfile::TempDir;

use crate::cluster::{HeldPort, server_command};
use crate::raw_client::{RawClient, get};

/// Whether a line has the parts of this message, in their order.
pub(crate) fn says(text: &str, message: &str) -> bool {
    text.lines().any(|line| {
        let parts = message.split('…');
        parts
            .map(str::trim)
            .try_fold(line, |rest, part| {
                rest.find(part).map(|place| &rest[place + part.len()..])
            })
            .is_some()
    })
}

/// Nothing that a test waits for takes so long unless it is broken.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A server that is to say something. It ends with this.
struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it with a log in this directory.
    fn start(mut command: Command, directory: &Path, arguments: &[&str]) -> Self {
        let log = directory.join("log");
        if !arguments.contains(&"--tcp") {
            command.args(["--tcp", "127.0.0.1:0"]);
        }
        let child = command
            .args(["--log-level", "debug", "--log-file"])
            .arg(&log)
            .arg("--data")
            .arg(directory.join("data"))
            .args(arguments)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn wait_until_it_says(&self, message: &str) {
        let began = Instant::now();
        while !says(&self.log(), message) {
            let log = self.log();
            assert!(began.elapsed() < WAIT_MAX, "no {message:?} in\n{log}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn client_address(&self) -> SocketAddr {
        self.wait_until_it_says("clients are served at …");
        let log = self.log();
        let (_, rest) = log.split_once("clients are served at ").unwrap();
        rest.lines().next().unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn directory() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Starts one that is to end by itself, with this exit code and these words.
fn assert_ends(arguments: &[&str], code: i32, message: &str) {
    let output = server_command()
        .args(arguments)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(says(&said, message), "no {message:?} in\n{said}");
    assert_eq!(output.status.code(), Some(code), "{said}");
}

#[test]
fn arguments_that_do_not_fit_together() {
    let cases: [(&[&str], &str); 7] = [
        (
            &["--members", "0"],
            "--members: … is not of the form ID=HOST:PORT with an id from 0 to 255",
        ),
        (
            &["--members", "0=a:1,0=b:2"],
            "--members: replica … is listed twice",
        ),
        (
            &["--id", "5", "--members", "0=a:1,1=b:2"],
            "--members: replica …, which --id says that this one is, is not listed",
        ),
        (
            &["--id", "3"],
            "--id … needs --members, the list of all replicas",
        ),
        (&["--tcp", "here"], "…: … is not of the form HOST:PORT"),
        (
            &["--memory", "--data", "x"],
            "--memory and --data: a replica without a disk keeps nothing in a directory; give one of the two",
        ),
        (
            &["--memory", "--fail-roles", "learner"],
            "--memory and --fail-roles: what takes the place of a failed role starts from the disk, and there is none",
        ),
    ];
    for (arguments, message) in cases {
        assert_ends(arguments, 2, message);
    }
    let log = ["--memory", "--log-file", "/proc/kvpaxos"];
    assert_ends(&log, 1, "cannot write the log …: …");
}

#[test]
fn files_that_do_not_fit_or_are_damaged() {
    let directory = directory();
    let server = Server::start(server_command(), directory.path(), &[]);
    let endpoint = server.client_address().to_string();
    let options = ClientOptions::parse(&endpoint).unwrap();
    Client::new(options).unwrap().put(b"a", b"one").unwrap();
    drop(server);
    let data = directory.path().join("data");
    let here = ["--tcp", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let assert_refused = |arguments: &[&str], message| {
        assert_ends(&[&here, arguments].concat(), 1, message);
    };
    let members = "0=127.0.0.1:1,1=127.0.0.1:2";
    assert_refused(
        &["--id", "1", "--members", members],
        "the files belong to …, this is …",
    );
    assert_refused(
        &["--members", members],
        "the files belong to cluster … of …, the member list is …",
    );
    assert_refused(
        &["--sessions-max", "7"],
        "… differs from …, with which this cluster was founded and which cannot change: start this replica with …, \
         or without the flag",
    );
    let identity = data.join("identity");
    let whole = fs::read(&identity).unwrap();
    fs::remove_file(&identity).unwrap();
    assert_refused(
        &[],
        "there is a journal with records, or a snapshot, and no identity file: put the identity back, or move all \
         files away to begin as a blank replica",
    );
    let mut damaged = whole;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&identity, damaged).unwrap();
    assert_refused(
        &[],
        "this is the only replica, and what it answered may be in the damaged part (…): it does not start; restore \
         the files from a copy, or move all of them away to begin with an empty store",
    );
}

#[test]
fn addresses_and_descriptors() {
    let one = directory();
    let open = Server::start(server_command(), one.path(), &["--udp", "0.0.0.0:0"]);
    let is_in_container = ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|file| Path::new(file).exists());
    open.wait_until_it_says(if is_in_container {
        "… can be reached on this container's networks, and from other machines where the port is published"
    } else {
        "… can be reached from other machines, and whoever reaches it is served: there are no passwords yet"
    });
    let two = directory();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 200; exec \"$0\" \"$@\""]);
    limited.arg(server_command().get_program());
    let limited = Server::start(limited, two.path(), &["--udp", "none"]);
    limited
        .wait_until_it_says("this process may have … descriptors, so at most … of … connections");
}

#[test]
fn a_client_too_many() {
    let directory = directory();
    let server = Server::start(
        server_command(),
        directory.path(),
        &["--connections-max", "1"],
    );
    let _first = RawClient::greeted(server.client_address());
    let _second = TcpStream::connect(server.client_address()).unwrap();
    server.wait_until_it_says("client … is turned away: there are … connections, the most allowed");
}

/// The log goes to somebody who reads none of it before far more was written than fits.
#[test]
fn a_log_that_is_too_slow() {
    let directory = directory();
    let log = directory.path().join("log");
    let made = Command::new("mkfifo").arg(&log).status().unwrap();
    assert!(made.success());
    let mut reader = Command::new("sh");
    // It opens the pipe, waits to be told, and then shows what comes.
    reader.args(["-c", "exec 3<\"$0\"; read -r go; exec cat <&3"]);
    let shown = directory.path().join("shown");
    let mut reader = reader
        .arg(&log)
        .stdin(Stdio::piped())
        .stdout(fs::File::create(&shown).unwrap())
        .spawn()
        .unwrap();
    let port = HeldPort::new();
    let address = port.address.to_string();
    let mut server = Server::start(server_command(), directory.path(), &["--tcp", &address]);
    server.log = shown;
    let began = Instant::now();
    while TcpStream::connect(port.address).is_err() {
        assert!(began.elapsed() < WAIT_MAX, "nobody serves at {address}");
        thread::sleep(Duration::from_millis(10));
    }
    let mut client = RawClient::greeted(port.address);
    for tag in 1..=10_000 {
        client.outcome(&get(tag, b"a"));
    }
    drop(reader.stdin.take());
    server.wait_until_it_says("… lines of this log were dropped because its writer was too slow");
    drop(server);
    reader.wait().unwrap();
}

/// Members of one cluster, with ports of their own.
struct Members {
    directory: TempDir,
    ports: [HeldPort; 3],
}

impl Members {
    fn new() -> Self {
        Self {
            directory: directory(),
            ports: [(); 3].map(|()| HeldPort::new()),
        }
    }

    /// The list of members that says that these are where the ports with these numbers are.
    fn list(&self, places: &[usize]) -> String {
        let entry = |(id, place): (usize, &usize)| format!("{id}={}", self.ports[*place].address);
        let entries: Vec<String> = places.iter().enumerate().map(entry).collect();
        entries.join(",")
    }

    fn data(&self, id: usize) -> PathBuf {
        self.directory.path().join(id.to_string())
    }

    fn start(&self, id: usize, list: &str) -> Server {
        fs::create_dir_all(self.data(id)).unwrap();
        let id_text = id.to_string();
        let arguments = ["--udp", "none", "--id", &id_text, "--members", list];
        Server::start(server_command(), &self.data(id), &arguments)
    }
}

#[test]
fn members_that_are_not_founded_yet() {
    let members = Members::new();
    let list = members.list(&[0, 1, 2]);
    let [zero, one] = [0, 1].map(|id| members.start(id, &list));
    zero.wait_until_it_says("no link to … at …: …");
    zero.wait_until_it_says("the cluster is not founded yet: waiting to hear from …");
    one.wait_until_it_says(
        "the cluster is not founded yet: waiting for … to hear from all members",
    );
}

#[test]
fn a_member_without_an_address() {
    let members = Members::new();
    let list = format!("{},1=nosuchhost.invalid:1", members.list(&[0]));
    let zero = members.start(0, &list);
    zero.wait_until_it_says("the address … of … could not be looked up: …");
}

#[test]
fn members_with_different_lists() {
    let members = Members::new();
    let zero = members.start(0, &members.list(&[0, 1]));
    let _two = members.start(2, &members.list(&[0, 1, 2]));
    zero.wait_until_it_says("… on the peer port is refused after … bytes: …");
    zero.wait_until_it_says("it says that it is …, which is no other member of this cluster");
    let members = Members::new();
    let zero = members.start(0, &members.list(&[0, 1, 2]));
    let _two = members.start(2, &members.list(&[0, 2, 1]));
    zero.wait_until_it_says("… answers at the address of …");
}

#[test]
fn one_of_two_members_that_lost_its_memory() {
    let members = Members::new();
    let list = members.list(&[0, 1]);
    let both = [0, 1].map(|id| members.start(id, &list));
    for server in &both {
        server.wait_until_it_says("this replica belongs to cluster …");
    }
    drop(both);
    fs::remove_dir_all(members.data(1)).unwrap();
    let [zero, one] = [0, 1].map(|id| members.start(id, &list));
    one.wait_until_it_says(
        "cluster … was founded with another life of this replica, whose memory is lost; it waits to hear so from … \
         members and has heard it from …",
    );
    zero.wait_until_it_says(
        "the memory of … is lost, and … of … members are no majority: nobody can tell any more what was chosen",
    );
}

/// A member that stands still while far more is written than is kept for it.
#[test]
fn a_member_that_reads_too_slowly() {
    let members = Members::new();
    let list = members.list(&[0, 1, 2]);
    let all = [0, 1, 2].map(|id| members.start(id, &list));
    let endpoints: Vec<String> = all[..2]
        .iter()
        .map(|server| server.client_address().to_string())
        .collect();
    let options = ClientOptions::parse(&endpoints.join(",")).unwrap();
    let mut client = Client::new(options).unwrap();
    client.put(b"a", b"one").unwrap();
    let still = all[2].child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-STOP", &still])
            .status()
            .unwrap()
            .success()
    );
    let message = "… reads too slowly: … old messages to it were dropped";
    let began = Instant::now();
    while !all[..2].iter().any(|server| says(&server.log(), message)) {
        assert!(began.elapsed() < WAIT_MAX, "nothing was dropped");
        client.put(b"a", &vec![7; 4 << 20]).unwrap();
    }
}
