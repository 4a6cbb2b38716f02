//! Real replicas on disks that fail (FAULTS 5): because the blocks beneath cannot be written, or by strace.

use std::path::Path;

use client::Client;
use kvpaxos_server::journal::BLOCK_BYTES;

use crate::cluster::{Cluster, SIZE};
use crate::cluster_disks::wait_for_vote;
use crate::cluster_load::Load;
use crate::one_replica::Replica;
use crate::strace::{Call, Fault, Purpose, Trace};
use crate::thin_disk::{DataMode, ThinDisk};

#[test]
#[ignore = "as root, with mkfs.ext4: mounts a file system on a loop device"]
fn a_sync_that_fails_ends_the_process_and_nothing_answered_is_lost() {
    let disk = ThinDisk::new(DataMode::Journaled);
    let mut replica = Replica::start(&disk.path().join("data"));
    let mut tags = Tags::default();
    tags.append_all(&replica, 5);
    replica.wait_until_prepared();
    disk.exhaust();
    tags.append_until_refused(&replica);
    replica.wait("its end", |replica| !replica.runs());
    let status = replica.ended().unwrap();
    println!(
        "{} writes were answered, then it ended with {status}",
        tags.answered
    );
    assert_eq!(status.code(), Some(1), "{}", replica.log());
    let log = replica.log();
    let said = log.lines().rfind(|line| line.contains("[ERROR]")).unwrap();
    println!("{said}");
    let sentence = "the journal failed, so this replica stops: cannot sync segment-";
    assert!(said.contains(sentence), "{log}");
    disk.mend();
    replica.start_again();
    tags.assert_all_there(&replica);
    tags.append_all(&replica, 3);
    tags.assert_all_there(&replica);
}

/// Where only new blocks fail, what was made in full beforehand goes on to be written, and then the process waits for room like on
/// any full disk; unless the file system gives up first, because blocks of its own fail: then it ends with a sentence.
#[test]
#[ignore = "as root, with mkfs.ext4: mounts a file system on a loop device"]
fn a_disk_that_promised_more_than_it_has_loses_nothing() {
    let disk = ThinDisk::new(DataMode::Ordered);
    let mut replica = Replica::start(&disk.path().join("data"));
    let mut tags = Tags::default();
    tags.append_all(&replica, 5);
    replica.wait_until_prepared();
    disk.exhaust();
    tags.append_until_refused(&replica);
    println!("{} writes were answered, then none", tags.answered);
    if replica.runs() {
        println!("it waits for room");
        disk.relieve();
        replica.wait("room", |replica| tags.append(&mut replica.client()));
        tags.assert_all_there(&replica);
        replica.kill();
    } else {
        let log = replica.log();
        let said = log.lines().rfind(|line| line.contains("[ERROR]")).unwrap();
        println!("{said}");
        let sentence = "the journal failed, so this replica stops: cannot ";
        assert!(said.contains(sentence), "{log}");
        disk.mend();
    }
    replica.start_again();
    tags.assert_all_there(&replica);
}

/// Under load the leader's disk fails a sync: its process ends with a sentence, nobody else notices, and when it comes back it
/// votes, since nothing of what it had promised is lost.
#[test]
#[ignore = "with strace: makes system calls fail"]
fn a_failed_sync_of_the_leader_ends_it_and_nobody_else() {
    let mut cluster = Cluster::start(&[]);
    let load = Load::start(cluster.options(), 5);
    load.wait_for_more(200);
    let leader = cluster.leader();
    let trace = trace_journal(
        cluster.directory(),
        cluster.process_id(leader),
        "fdatasync",
        Fault::Eio,
    );
    cluster.wait("the leader to end", |cluster| {
        cluster.status(leader).is_none()
    });
    let injected = trace.injected(Fault::Eio).expect("the sync failed");
    let log = cluster.log(leader);
    let said = log.lines().rfind(|line| line.contains("[ERROR]"));
    println!("{injected}\n{said:?}");
    let sentence = "the journal failed, so this replica stops: cannot sync segment-";
    assert!(said.is_some_and(|said| said.contains(sentence)), "{log}");
    load.wait_for_more(200);
    cluster.kill(&[leader]);
    cluster.start_replica(leader);
    wait_for_vote(&cluster, leader);
    assert!(
        !cluster.log(leader).contains("is lost"),
        "{}",
        cluster.log(leader)
    );
    load.wait_for_more(50);
    let mut outcome = load.stop();
    assert_eq!(outcome.errors, Vec::<String>::new());
    for id in 0..SIZE {
        outcome.assert_all_there(&mut cluster.client_of(id));
    }
}

/// The disk says that it wrote and did not. Of a replica alone that is an answer lost; what was written behind the gap shows it,
/// so the replica does not start, and names the place.
#[test]
#[ignore = "with strace: makes system calls fail"]
fn a_write_that_the_disk_only_claims_is_found_at_the_next_start() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = directory.path().join("data");
    let mut replica = Replica::start(&data);
    let mut client = replica.patient_client();
    client.append(TAGS, b"first;").unwrap();
    let process = replica.process_id();
    let trace = trace_journal(directory.path(), process, "pwrite64", Fault::Lie);
    for _ in 0..9 {
        client.append(TAGS, b"tag;").unwrap();
    }
    replica.kill();
    let injected = trace.injected(Fault::Lie).expect("a write was left out");
    println!("{injected}");
    let mut replica = Replica::begin(&data, &[]);
    assert!(!replica.comes_up(), "{}", replica.log());
    let (call, _) = injected.split_once(") ").unwrap();
    let (_, offset) = call.rsplit_once(", ").unwrap();
    let behind = offset.parse::<usize>().unwrap() + BLOCK_BYTES;
    let sentence = format!("segment-000000000001.log at byte {behind}:");
    let log = replica.log();
    assert!(log.contains(&sentence), "not {sentence} in\n{log}");
}

/// The fifth call of this name that the journal's thread makes from now on meets this fault.
fn trace_journal(base: &Path, process: u32, name: &str, fault: Fault) -> Trace {
    let call = Call {
        name: name.to_owned(),
        file: "segment-of-any-number.log".to_owned(),
        number: 5,
    };
    let output = base.join("strace");
    let purpose = Purpose::Inject(&call, fault);
    Trace::of_thread(purpose, base, output, process, "journal")
}

/// Tags that are appended to one key, each with a long value beside it.
#[derive(Debug, Default)]
struct Tags {
    count: u64,
    answered: u64,
    /// Those that may or may not be there.
    unknown: Vec<u64>,
}

impl Tags {
    /// Appends so many, which must be answered.
    fn append_all(&mut self, replica: &Replica, count: u64) {
        let mut client = replica.patient_client();
        for _ in 0..count {
            assert!(self.append(&mut client), "{}", replica.log());
        }
    }

    /// Appends for as long as answers come.
    fn append_until_refused(&mut self, replica: &Replica) {
        let mut client = replica.client();
        for _ in 0..APPENDS_MAX {
            if !self.append(&mut client) {
                return;
            }
        }
        panic!("{APPENDS_MAX} long values on a disk of 48 MiB");
    }

    /// Whether it was answered.
    fn append(&mut self, client: &mut Client) -> bool {
        let number = self.count;
        self.count += 1;
        let long = vec![number as u8; LONG_BYTES];
        let has_grown = client.put(b"long", &long).is_ok();
        let tag = format!("{number};");
        let is_answered = has_grown && client.append(TAGS, tag.as_bytes()).is_ok();
        if is_answered {
            self.answered += 1;
        } else {
            self.unknown.push(number);
        }
        is_answered
    }

    /// Each tag is there once, in order; those without an answer may be.
    fn assert_all_there(&self, replica: &Replica) {
        let found = replica.patient_client().get(TAGS).unwrap().unwrap().value;
        let text = String::from_utf8(found).unwrap();
        let found: Vec<u64> = text
            .split_terminator(';')
            .map(|tag| tag.parse().unwrap())
            .collect();
        assert!(found.is_sorted_by(|one, next| one < next), "{text}");
        for number in 0..self.count {
            let is_right = found.contains(&number) || self.unknown.contains(&number);
            assert!(is_right, "tag {number} is lost: {text}");
        }
    }
}

const TAGS: &[u8] = b"tags";
const LONG_BYTES: usize = 200_000;
const APPENDS_MAX: u64 = 1_000;
