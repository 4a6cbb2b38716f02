//! Five servers as processes, with sockets and disks of their own, that can be killed and started again.
//!
//! Owns the processes: they end with the [`Cluster`], whatever becomes of the test. Ports are held for as long as it
//! lives, so that a replica comes back where it was. One cluster runs at a time on a machine, since two would disturb
//! each other's timing.

use std::fs::{self, File};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use client::{Client, ClientOptions};
use common::StatusReport;
use kvpaxos_server::health::ask_status;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::proxy::Proxy;

/// How many replicas there are.
pub(crate) const SIZE: usize = 5;

/// Nothing that a test waits for takes so long unless it is broken.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Five replicas, of which some may not run.
#[derive(Debug)]
pub(crate) struct Cluster {
    directory: TempDir,
    data: Vec<PathBuf>,
    flags: Vec<String>,
    /// Who runs without a disk.
    diskless: Vec<usize>,
    client_ports: Vec<HeldPort>,
    peer_ports: Vec<HeldPort>,
    network: Network,
    processes: Vec<Option<Child>>,
    /// Given back at the end, after everything else is gone.
    _turn: File,
}

/// What is between the replicas.
#[derive(Debug)]
enum Network {
    Good,
    /// A proxy before each replica's port for the others.
    Behind(Vec<Proxy>),
    /// A proxy for each way from one replica to another: by who dials, then by who listens.
    Links(Vec<Vec<Proxy>>),
}

impl Cluster {
    /// Waits for its turn, starts five replicas and waits until all serve. The flags go to each of them.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_as(&[], flags, |_| Network::Good)
    }

    /// The same, where these run without a disk.
    pub(crate) fn start_without_disks(diskless: &[usize], flags: &[&str]) -> Self {
        Self::start_as(diskless, flags, |_| Network::Good)
    }

    /// The same, with a proxy of the test's between each replica and the others.
    pub(crate) fn start_behind(flags: &[&str], proxy: impl FnMut(SocketAddr) -> Proxy) -> Self {
        Self::start_as(&[], flags, |ports| {
            Network::Behind(ports.iter().copied().map(proxy).collect())
        })
    }

    /// The same, with a proxy of the test's for each way from one replica to another, so that any of them can be parted
    /// from any others.
    pub(crate) fn start_on_links(
        flags: &[&str],
        mut proxy: impl FnMut(SocketAddr) -> Proxy,
    ) -> Self {
        Self::start_as(&[], flags, |ports| {
            let mut to_all = || ports.iter().copied().map(&mut proxy).collect();
            Network::Links((0..SIZE).map(|_| to_all()).collect())
        })
    }

    /// With the replicas' files in directories of the test's.
    pub(crate) fn start_at(data: Vec<PathBuf>) -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Self::start_in(directory, data, &[], &[], |_| Network::Good)
    }

    fn start_as(
        diskless: &[usize],
        flags: &[&str],
        network: impl FnOnce(&[SocketAddr]) -> Network,
    ) -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let data = |id| directory.path().join(format!("data{id}"));
        let data = (0..SIZE).map(data).collect();
        Self::start_in(directory, data, diskless, flags, network)
    }

    fn start_in(
        directory: TempDir,
        data: Vec<PathBuf>,
        diskless: &[usize],
        flags: &[&str],
        network: impl FnOnce(&[SocketAddr]) -> Network,
    ) -> Self {
        let turn = turn();
        let peer_ports: Vec<HeldPort> = (0..SIZE).map(|_| HeldPort::new()).collect();
        let addresses: Vec<SocketAddr> = peer_ports.iter().map(|port| port.address).collect();
        let mut cluster = Self {
            _turn: turn,
            directory,
            data,
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            diskless: diskless.to_vec(),
            client_ports: (0..SIZE).map(|_| HeldPort::new()).collect(),
            network: network(&addresses),
            peer_ports,
            processes: (0..SIZE).map(|_| None).collect(),
        };
        for id in 0..SIZE {
            cluster.start_replica(id);
        }
        cluster.wait_until_serving();
        cluster
    }

    /// Starts one that does not run.
    pub(crate) fn start_replica(&mut self, id: usize) {
        self.start_replica_with(id, &[]);
    }

    /// The same, with more flags than the others have.
    pub(crate) fn start_replica_with(&mut self, id: usize, flags: &[&str]) {
        assert!(self.processes[id].is_none(), "r{id} runs already");
        let mut command = self.command(id);
        let child = command.args(&self.flags).args(flags).spawn().unwrap();
        self.processes[id] = Some(child);
    }

    /// The command line of a replica, without the flags of this cluster.
    pub(crate) fn command(&self, id: usize) -> Command {
        let mut command = server_command();
        command
            .args(["--id", &id.to_string(), "--members", &self.members_for(id)])
            .args(["--tcp", &self.client_address(id).to_string()])
            .args(["--udp", &self.datagram_address(id).to_string()])
            .arg("--log-file")
            .arg(self.log_path(id));
        if self.diskless.contains(&id) {
            command.arg("--memory");
        } else {
            command.arg("--data").arg(self.data(id));
        }
        command
    }

    /// Sends SIGKILL to all of these at once, and waits until they are gone.
    pub(crate) fn kill(&mut self, ids: &[usize]) {
        for &id in ids {
            let child = self.processes[id]
                .as_mut()
                .expect("only who runs is killed");
            child.kill().unwrap();
        }
        for &id in ids {
            if let Some(mut child) = self.processes[id].take() {
                child.wait().unwrap();
            }
        }
    }

    /// Sends SIGTERM and waits for the end. Returns how long it took.
    pub(crate) fn terminate(&mut self, id: usize) -> (ExitStatus, Duration) {
        let mut child = self.processes[id].take().expect("only who runs is stopped");
        let began = Instant::now();
        let sent = Command::new("kill").arg(child.id().to_string()).status();
        assert!(sent.unwrap().success());
        let status = child.wait().unwrap();
        (status, began.elapsed())
    }

    /// Its process stands still: it hears and says nothing, and its sockets stay open.
    pub(crate) fn pause(&self, id: usize) {
        self.signal("-STOP", id);
    }

    /// It goes on as if nothing had happened.
    pub(crate) fn resume(&self, id: usize) {
        self.signal("-CONT", id);
    }

    fn signal(&self, signal: &str, id: usize) {
        let process = self.process_id(id).to_string();
        let sent = Command::new("kill").args([signal, &process]).status();
        assert!(sent.unwrap().success(), "{signal} to r{id}");
    }

    /// Whether a replica's process was started and has not ended by itself.
    pub(crate) fn runs(&mut self, id: usize) -> bool {
        self.processes[id]
            .as_mut()
            .is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Where clients connect.
    pub(crate) fn client_address(&self, id: usize) -> SocketAddr {
        self.client_ports[id].address
    }

    /// Where clients send datagrams: the port of the same number, which nobody else has a reason to take.
    pub(crate) fn datagram_address(&self, id: usize) -> SocketAddr {
        self.client_address(id)
    }

    /// Where the other replicas connect.
    pub(crate) fn peer_address(&self, id: usize) -> SocketAddr {
        self.peer_ports[id].address
    }

    /// The member list as on the command line.
    pub(crate) fn members(&self) -> String {
        let members: Vec<String> = (0..SIZE)
            .map(|id| format!("{id}={}", self.peer_address(id)))
            .collect();
        members.join(",")
    }

    /// The same as one replica is told it: itself where it listens, the others behind their proxies.
    fn members_for(&self, id: usize) -> String {
        let address = |other: usize| match &self.network {
            Network::Behind(proxies) if other != id => proxies[other].address(),
            Network::Links(proxies) if other != id => proxies[id][other].address(),
            _ => self.peer_address(other),
        };
        let members: Vec<String> = (0..SIZE)
            .map(|other| format!("{other}={}", address(other)))
            .collect();
        members.join(",")
    }

    /// What stands before each replica's port for the others.
    pub(crate) fn peer_proxies(&self) -> &[Proxy] {
        match &self.network {
            Network::Behind(proxies) => proxies,
            Network::Good | Network::Links(_) => &[],
        }
    }

    /// What stands between each replica that dials and each that listens; nothing unless started so.
    pub(crate) fn link_proxies(&self) -> &[Vec<Proxy>] {
        match &self.network {
            Network::Links(proxies) => proxies,
            Network::Good | Network::Behind(_) => &[],
        }
    }

    /// The directory of a replica's files.
    pub(crate) fn data(&self, id: usize) -> PathBuf {
        self.data[id].clone()
    }

    /// A directory for what else a test needs.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn log_path(&self, id: usize) -> PathBuf {
        self.directory.path().join(format!("log{id}"))
    }

    /// What a replica has logged in whole lines.
    pub(crate) fn log(&self, id: usize) -> String {
        let mut log = fs::read_to_string(self.log_path(id)).unwrap_or_default();
        log.truncate(log.rfind('\n').map_or(0, |end| end + 1));
        log
    }

    /// The id of a replica's process.
    pub(crate) fn process_id(&self, id: usize) -> u32 {
        self.processes[id]
            .as_ref()
            .expect("only who runs is a process")
            .id()
    }

    /// Memory that a replica's process has, in KiB.
    pub(crate) fn resident_kib(&self, id: usize) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process_id(id))).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
        kib.unwrap().parse().unwrap()
    }

    /// What a replica says of itself, if it can be asked.
    pub(crate) fn status(&self, id: usize) -> Option<StatusReport> {
        ask_status(&self.client_address(id).to_string()).ok()
    }

    /// The replica that leads, once one of those that run says that it does.
    pub(crate) fn leader(&self) -> usize {
        let mut leader = None;
        self.wait("a leader", |cluster| {
            let running = (0..SIZE).filter(|&id| cluster.processes[id].is_some());
            leader = running
                .filter_map(|id| cluster.status(id))
                .find(|status| status.leader == Some(status.replica))
                .map(|status| usize::from(status.replica));
            leader.is_some()
        });
        leader.unwrap()
    }

    /// Waits until every replica that was started serves.
    pub(crate) fn wait_until_serving(&self) {
        self.wait("all that run to serve", |cluster| {
            (0..SIZE)
                .filter(|&id| cluster.processes[id].is_some())
                .all(|id| cluster.status(id).is_some_and(|status| status.serving))
        });
    }

    /// Waits for a condition; says what it was if it does not come, and what the replicas say of themselves.
    pub(crate) fn wait(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + WAIT_MAX;
        while !condition(self) {
            if Instant::now() > deadline {
                let statuses: Vec<_> = (0..SIZE).map(|id| self.status(id)).collect();
                panic!("waited for {what}: {statuses:#?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What a client of the whole cluster is told.
    pub(crate) fn options(&self) -> ClientOptions {
        let all: Vec<String> = (0..SIZE)
            .map(|id| self.client_address(id).to_string())
            .collect();
        ClientOptions::parse(&all.join(",")).unwrap()
    }

    /// A client that knows one replica only.
    pub(crate) fn client_of(&self, id: usize) -> Client {
        let options = ClientOptions::parse(&self.client_address(id).to_string());
        Client::new(options.unwrap()).unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.processes.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for id in 0..SIZE {
                let log = self.log(id);
                let last: Vec<&str> = log.lines().rev().take(20).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                println!("the end of r{id}'s log:\n{}", last.join("\n"));
            }
        }
    }
}

/// A server's command without arguments and without settings of whoever runs the tests.
pub(crate) fn server_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvpaxos-server"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KVPAXOS_")) {
        command.env_remove(name);
    }
    // Servers that a test starts beside a cluster must not meet at the ordinary port.
    command.env("KVPAXOS_UDP", "127.0.0.1:0");
    command.stdin(Stdio::null());
    command
}

/// A port that the system gave and gives to nobody else, though a server that asks for it by number may listen there.
#[derive(Debug)]
pub(crate) struct HeldPort {
    pub(crate) address: SocketAddr,
    _socket: Socket,
}

impl HeldPort {
    /// A socket that is bound and does not listen keeps others' outgoing connections from the port, and `SO_REUSEADDR`
    /// on both sides lets the server in.
    pub(crate) fn new() -> Self {
        loop {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_reuse_address(true).unwrap();
            let any: SocketAddr = ([127, 0, 0, 1], 0).into();
            socket.bind(&any.into()).unwrap();
            let address = socket.local_addr().unwrap().as_socket().unwrap();
            // Somebody's datagrams may have that number already.
            if UdpSocket::bind(address).is_ok() {
                return Self {
                    address,
                    _socket: socket,
                };
            }
        }
    }
}

/// A lock on a file rather than in memory, because some runners give each test a process of its own.
pub(crate) fn turn() -> File {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("one-cluster-at-a-time");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .unwrap();
    file.lock().unwrap();
    file
}
