//! Real replicas that run without a disk (SPEC D7): blank after each restart, let in again by the others, and never wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use client::{Client, ClientOptions, Fleet, Operation};
use common::Role;
use tempfile::TempDir;

use crate::cluster::{Cluster, SIZE, server_command};
use crate::cluster_load::Load;

const ALL: [usize; SIZE] = [0, 1, 2, 3, 4];

/// Each in turn is killed under load, comes back with nothing, and votes before the next one is killed.
#[test]
fn restarted_replica_rejoins() {
    let mut cluster = Cluster::start_without_disks(&ALL, &[]);
    let load = Load::start(cluster.options(), 5);
    for id in ALL {
        load.wait_for_more(100);
        cluster.kill(&[id]);
        load.wait_for_more(50);
        let began = Instant::now();
        cluster.start_replica(id);
        wait_for_vote(&cluster, id);
        println!("r{id} votes again after {:?}", began.elapsed());
        assert!(
            cluster
                .log(id)
                .contains("is blank and has no vote: cluster"),
            "the log says why it is blank"
        );
    }
    load.wait_for_more(100);
    let mut outcome = load.stop();
    assert_eq!(outcome.errors, Vec::<String>::new());
    for id in ALL {
        outcome.assert_all_there(&mut cluster.client_of(id));
        let remark = cluster.status(id).unwrap().remark;
        assert_eq!(remark, "without a disk: blank after a restart");
        assert_eq!(
            files_opened_by(cluster.process_id(id)),
            [log_of(&cluster, id)]
        );
        assert!(!cluster.data(id).exists());
    }
}

/// A state of many pieces comes back with a replica, and the snapshots that it came by take no memory afterwards.
#[test]
fn restarted_replica_is_given_a_snapshot() {
    let mut cluster = Cluster::start_without_disks(&ALL, &[]);
    overwrite(&cluster, 400, 400, 64 << 10);
    let before: Vec<u64> = ALL.map(|id| cluster.resident_kib(id)).to_vec();
    cluster.kill(&[2]);
    cluster.start_replica(2);
    wait_for_vote(&cluster, 2);
    assert!(cluster.log(2).contains("is installed, of 400 keys"));
    cluster.wait("the snapshots to be dropped", |cluster| {
        let statuses = ALL.iter().filter_map(|&id| cluster.status(id));
        statuses.filter(|status| status.snapshot_slot == 0).count() == SIZE
    });
    let after: Vec<u64> = ALL.map(|id| cluster.resident_kib(id)).to_vec();
    println!("RSS in KiB before {before:?}, after {after:?}");
    for (before, after) in before.iter().zip(&after) {
        // A snapshot has 25 MiB.
        let growth = after.saturating_sub(*before);
        assert!(growth < 12 << 10, "{before} KiB grew by {growth}");
    }
    let mut reader = cluster.client_of(2);
    for key in 0..400 {
        let found = reader.get(format!("k{key}").as_bytes()).unwrap().unwrap();
        assert_eq!(found.value.len(), 64 << 10);
    }
}

/// Three that restart at once leave nobody who knows what was chosen: nothing is answered, least of all that a key is
/// absent, and every replica says that it stays so. When all are started anew, they are a new and empty cluster.
#[test]
fn three_restarted_at_once_stop_the_service() {
    let mut cluster = Cluster::start_without_disks(&ALL, &["--no-quorum-after", "1s"]);
    put(&cluster, "first");
    cluster.kill(&[0, 1, 2]);
    for id in [0, 1, 2] {
        cluster.start_replica(id);
    }
    assert_nothing_succeeds(&cluster);
    for id in ALL {
        cluster.wait("each to say that the cluster is lost", |cluster| {
            cluster.status(id).is_some_and(|status| {
                status.remark.contains("the memory of r0, r1, r2 is lost")
                    && status.remark.contains("this cluster never serves again")
                    && !status.serving
            })
        });
        cluster.wait("the log to say it", |cluster| {
            cluster
                .log(id)
                .contains("[ERROR] the memory of r0, r1, r2 is lost")
        });
    }
    assert_nothing_succeeds(&cluster);
    cluster.kill(&ALL);
    for id in ALL {
        cluster.start_replica(id);
    }
    cluster.wait_until_serving();
    assert_eq!(get(&cluster), None);
    put(&cluster, "second");
    assert_eq!(get(&cluster), Some(b"second".to_vec()));
}

/// Where those with disks are a majority, a loss of power costs nothing: the others rejoin.
#[test]
fn two_without_disks_and_three_with() {
    let mut cluster = Cluster::start_without_disks(&[0, 3], &[]);
    let load = Load::start(cluster.options(), 5);
    load.wait_for_more(200);
    cluster.kill(&ALL);
    for id in ALL {
        cluster.start_replica(id);
    }
    for id in [0, 3] {
        wait_for_vote(&cluster, id);
    }
    load.wait_for_more(50);
    let mut outcome = load.stop();
    assert_eq!(outcome.errors, Vec::<String>::new());
    for id in ALL {
        outcome.assert_all_there(&mut cluster.client_of(id));
    }
}

/// 100,000 overwrites of 1 KiB, a third of them while a replica is away for which the others keep 16 MiB of log.
#[test]
fn overwrites_do_not_grow_the_memory() {
    const GROWTH_KIB_MAX: u64 = 48 << 10;
    let mut cluster = Cluster::start_without_disks(&ALL, &[]);
    overwrite(&cluster, 2_000, 10, 1 << 10);
    let before = ALL.map(|id| cluster.resident_kib(id));
    overwrite(&cluster, 66_000, 10, 1 << 10);
    cluster.kill(&[4]);
    overwrite(&cluster, 34_000, 10, 1 << 10);
    let after: Vec<u64> = (0..4).map(|id| cluster.resident_kib(id)).collect();
    println!("RSS in KiB before {before:?}, after {after:?}");
    for (before, after) in before.iter().zip(&after) {
        let growth = after.saturating_sub(*before);
        assert!(growth < GROWTH_KIB_MAX, "{before} KiB grew by {growth}");
    }
    cluster.start_replica(4);
    wait_for_vote(&cluster, 4);
}

/// A store of one replica begins empty each time, says so in its first line, and writes nothing but its log.
#[test]
fn a_store_alone_begins_empty_each_time() {
    for _ in 0..2 {
        let lone = Lone::start();
        let mut client = lone.client();
        assert!(client.get(KEY).unwrap().is_none());
        client.put(KEY, b"value").unwrap();
        assert_eq!(client.get(KEY).unwrap().unwrap().value, b"value");
        let log = fs::read_to_string(lone.log_path()).unwrap();
        let first = log.lines().next().unwrap();
        assert!(
            first.contains("without a disk: nothing is written"),
            "{first}"
        );
        assert_eq!(files_opened_by(lone.child.id()), [lone.log_path()]);
        let names = |path: &Path| fs::read_dir(path).unwrap().count();
        assert_eq!(names(lone.directory.path()), 1, "the log alone");
    }
}

#[test]
fn memory_is_refused_with_what_needs_a_disk() {
    assert_refused(&["--memory", "--data", "x"], &[], "give one of the two");
    let data = ("KVPAXOS_DATA", "x");
    assert_refused(&["--memory"], &[data], "give one of the two");
    let memory = ("KVPAXOS_MEMORY", "true");
    let sentence = "--memory and --fail-roles: what takes the place";
    assert_refused(&["--fail-roles", "acceptor"], &[memory], sentence);
    assert_refused(&[], &[("KVPAXOS_MEMORY", "perhaps")], "'--memory'");
}

fn assert_refused(arguments: &[&str], variables: &[(&str, &str)], sentence: &str) {
    let directory = directory();
    let output = server_command()
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(sentence), "{said}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// A server of one replica in a directory where it might write.
struct Lone {
    child: Child,
    directory: TempDir,
}

impl Lone {
    fn start() -> Self {
        let directory = directory();
        let child = server_command()
            .args(["--tcp", "127.0.0.1:0", "--log-file"])
            .arg(directory.path().join("log"))
            .env("KVPAXOS_MEMORY", "1")
            .env("TMPDIR", directory.path())
            .current_dir(directory.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, directory }
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// A client, once the log says where it is served.
    fn client(&self) -> Client {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let log = fs::read_to_string(self.log_path()).unwrap_or_default();
            let whole = log.rfind('\n').map_or("", |end| &log[..end]);
            let line = whole
                .lines()
                .find_map(|line| line.split_once("clients are served at "));
            if let Some((_, address)) = line {
                return Client::new(ClientOptions::parse(address).unwrap()).unwrap();
            }
            assert!(Instant::now() < deadline, "it does not serve\n{log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Lone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn directory() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// The files that a process has opened; devices, sockets and the like are none, and where the test's own output goes was
/// open before.
fn files_opened_by(process_id: u32) -> Vec<PathBuf> {
    let descriptors = fs::read_dir(format!("/proc/{process_id}/fd")).unwrap();
    let descriptors = descriptors.map(|descriptor| descriptor.unwrap());
    let own = descriptors.filter(|descriptor| {
        let name = descriptor.file_name();
        !["0", "1", "2"].iter().any(|inherited| name == *inherited)
    });
    let files = own.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    let mut files: Vec<PathBuf> = files
        .filter(|file| file.is_absolute() && !file.starts_with("/dev"))
        .collect();
    files.sort();
    files.dedup();
    files
}

fn log_of(cluster: &Cluster, id: usize) -> PathBuf {
    cluster.directory().join(format!("log{id}"))
}

/// Waits until a replica that was blank takes part as before.
fn wait_for_vote(cluster: &Cluster, id: usize) {
    cluster.wait("a replica to vote again", |cluster| {
        cluster.status(id).is_some_and(|status| {
            status.serving && !matches!(status.role, Role::Blank | Role::Founding)
        })
    });
}

/// So many PUTs of so many bytes over so many keys, many at a time.
fn overwrite(cluster: &Cluster, count: usize, keys: usize, bytes: usize) {
    const CLIENTS: usize = 64;
    let mut fleet = Fleet::new(cluster.options(), CLIENTS).unwrap();
    let mut numbers = 0..count;
    let mut submit = |fleet: &mut Fleet, client| {
        if let Some(number) = numbers.next() {
            let key = format!("k{}", number % keys).into_bytes();
            let value = vec![number as u8; bytes];
            fleet.submit(client, Operation::Put { key, value });
        }
    };
    for client in 0..CLIENTS {
        submit(&mut fleet, client);
    }
    let mut done = Vec::new();
    while (0..CLIENTS).any(|client| fleet.unfinished(client) > 0) {
        fleet.turn(Duration::from_millis(50), &mut done).unwrap();
        for (client, completion) in done.drain(..) {
            completion.result.unwrap();
            submit(&mut fleet, client);
        }
    }
}

fn put(cluster: &Cluster, value: &str) {
    let mut client = Client::new(cluster.options()).unwrap();
    client.put(KEY, value.as_bytes()).unwrap();
}

fn get(cluster: &Cluster) -> Option<Vec<u8>> {
    let found = Client::new(cluster.options()).unwrap().get(KEY).unwrap();
    found.map(|found| found.value)
}

/// Asks each replica alone, for three seconds each, all at once.
fn assert_nothing_succeeds(cluster: &Cluster) {
    std::thread::scope(|scope| {
        for id in ALL {
            let mut options =
                ClientOptions::parse(&cluster.client_address(id).to_string()).unwrap();
            options.timeout = Duration::from_secs(3);
            scope.spawn(move || {
                let mut client = Client::new(options).unwrap();
                let read = client.get(KEY);
                assert!(read.is_err(), "r{id} answered a GET: {read:?}");
                let written = client.put(KEY, b"value");
                assert!(written.is_err(), "r{id} answered a PUT: {written:?}");
            });
        }
    });
}

const KEY: &[u8] = b"key";
