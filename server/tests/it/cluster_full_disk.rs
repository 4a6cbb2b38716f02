//! Real replicas on disks that fill up (RULES R18): one of them stops nobody, and with a majority full nothing is added,
//! in words, while GET and DELETE go on and service comes back by itself.

use std::time::{Duration, Instant};

use client::{Client, ClientError};
use common::Refusal;

use crate::cluster::{Cluster, SIZE};
use crate::cluster_load::Load;
use crate::messages::says;
use crate::small_disk::SmallDisk;

const DISK_BYTES: u64 = 192 << 20;

/// Five replicas, each on a small disk of its own.
struct SmallDisks {
    // Ends before the disks go.
    cluster: Cluster,
    disks: Vec<SmallDisk>,
}

impl SmallDisks {
    fn start() -> Self {
        let disks: Vec<SmallDisk> = (0..SIZE).map(|_| SmallDisk::new(DISK_BYTES)).collect();
        let data = disks.iter().map(|disk| disk.path().join("data")).collect();
        Self {
            cluster: Cluster::start_at(data),
            disks,
        }
    }

    fn fill(&self, ids: &[usize]) {
        ids.iter().for_each(|id| self.disks[*id].fill(0));
    }

    fn empty(&self, ids: &[usize]) {
        ids.iter().for_each(|id| self.disks[*id].empty());
    }

    fn wait_for_remark(&self, id: usize, part: &str) {
        self.cluster.wait(part, |cluster| {
            let status = cluster.status(id);
            status.is_some_and(|status| status.remark.contains(part))
        });
    }
}

#[test]
#[ignore = "as root: mounts a small file system"]
fn a_full_disk_of_the_leader_stops_nobody() {
    let mut small = SmallDisks::start();
    let leader = small.cluster.leader();
    let load = Load::start(small.cluster.options(), 5);
    load.wait_for_more(200);
    small.fill(&[leader]);
    small.wait_for_remark(leader, "its disk takes only");
    small.cluster.wait("another to lead", |cluster| {
        let status = cluster.status((leader + 1) % SIZE);
        status.is_some_and(|status| status.leader.is_some_and(|id| usize::from(id) != leader))
    });
    load.wait_for_more(20_000);
    small.empty(&[leader]);
    small.cluster.wait("room again", |cluster| {
        let status = cluster.status(leader);
        status.is_some_and(|status| !status.remark.contains("disk"))
    });
    // It votes again: of the others two may go now.
    let others: Vec<usize> = (0..SIZE).filter(|id| *id != leader).take(2).collect();
    small.cluster.kill(&others);
    load.wait_for_more(200);
    let mut outcome = load.stop();
    println!(
        "full disk of the leader: {} appends, longest gap {:?}",
        outcome.answered, outcome.longest_gap
    );
    assert_eq!(outcome.errors, Vec::<String>::new());
    outcome.assert_all_there(&mut small.cluster.client_of(leader));
}

#[test]
#[ignore = "as root: mounts a small file system"]
fn with_a_majority_full_nothing_is_added_and_service_resumes_by_itself() {
    let small = SmallDisks::start();
    let mut client = Client::new(small.cluster.options()).unwrap();
    for key in 0..100_u8 {
        client.put(&[b'k', key], &[key; 1_000]).unwrap();
    }
    let full: Vec<usize> = (1..=3).collect();
    small.fill(&full);
    let refused = wait_for_refusal(&mut client);
    println!("full disks of a majority: {refused}");
    for id in 0..SIZE {
        small.wait_for_remark(id, "disk full: the disks of most replicas");
        let message = "writes are refused from now on: disk full: the disks of most replicas have hardly any room left; …";
        small.cluster.wait("the log to say so", |cluster| {
            says(&cluster.log(id), message)
        });
        let mut here = small.cluster.client_of(id);
        let found = here.get(b"k\x07").unwrap().expect("it is there");
        assert_eq!(found.value, [7; 1_000]);
        let appended = here.append(b"k\x07", b"more").unwrap_err();
        assert!(is_disk_full(&appended), "{appended}");
        assert!(here.delete(&[b'k', id as u8]).unwrap().existed);
    }
    // Far more than the journals had room for: what is deleted makes room.
    let mut deleted = 0;
    let began = Instant::now();
    while deleted < 20_000 {
        match client.delete(b"absent") {
            Ok(_) => deleted += 1,
            Err(error) => assert!(is_disk_full(&error), "{error} after {deleted}"),
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{deleted}");
    }
    small.empty(&full);
    let began = Instant::now();
    while let Err(error) = client.put(b"k\x07", b"again") {
        assert!(is_disk_full(&error), "{error}");
        assert!(began.elapsed() < Duration::from_secs(20), "{error}");
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("served again {:?} after there was room", began.elapsed());
    for id in 0..SIZE {
        let mut here = small.cluster.client_of(id);
        let found = here.get(b"k\x07").unwrap().expect("it is there");
        assert_eq!(found.value, b"again");
        assert!(here.get(&[b'k', id as u8]).unwrap().is_none());
    }
}

/// Writes until that is refused for certain.
fn wait_for_refusal(client: &mut Client) -> ClientError {
    let began = Instant::now();
    loop {
        match client.put(b"filler", &[0; 1_000]) {
            // One that was on its way as the disks filled may have run.
            Err(error) if is_disk_full(&error) && !error.outcome_unknown() => return error,
            Err(error) if is_disk_full(&error) => {}
            Err(error) => panic!("{error}"),
            Ok(_) => {}
        }
        assert!(began.elapsed() < Duration::from_secs(20), "never refused");
    }
}

fn is_disk_full(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Refused(Refusal::DiskFull { .. })
            | ClientError::RefusedRetry(Refusal::DiskFull { .. })
    )
}
