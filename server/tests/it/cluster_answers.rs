//! What each of five processes answers, what it logs, how it stops, and what keeps it from starting.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use client::Client;

use crate::cluster::{Cluster, SIZE, server_command};
use crate::cluster_load::Load;
use crate::messages::says;
use crate::raw_client::{RawClient, get};

#[test]
fn any_replica_gives_the_right_answers() {
    let cluster = Cluster::start(&[]);
    for id in 0..SIZE {
        let mut client = cluster.client_of(id);
        let put = client.put(b"a", b"one").unwrap();
        let appended = client.append(b"a", b"two").unwrap();
        assert_eq!(appended.length, 6, "through r{id}");
        assert!(appended.revision > put);
        let read = client.get(b"a").unwrap().unwrap();
        assert_eq!(read.value, b"onetwo", "through r{id}");
        assert_eq!(read.revision, appended.revision);
        assert!(client.delete(b"a").unwrap().existed);
        assert_eq!(client.get(b"a").unwrap(), None);
        assert!(!client.delete(b"a").unwrap().existed);
    }
}

#[test]
fn any_replica_keeps_bytes_as_they_are_and_tells_absent_from_empty() {
    let cluster = Cluster::start(&[]);
    let every_byte: Vec<u8> = (0..=255).collect();
    let strange: [&[u8]; 7] = [
        b" ",
        b"two words",
        b"\"quoted\" and 'so'",
        b"line\nline\r\n",
        b"\0",
        b"\0zero\0\xff\xfe",
        &every_byte,
    ];
    let mut clients: Vec<Client> = (0..SIZE).map(|id| cluster.client_of(id)).collect();
    for (place, bytes) in strange.iter().enumerate() {
        let (writer, reader) = (place % SIZE, (place + 1) % SIZE);
        clients[writer].put(bytes, bytes).unwrap();
        let read = clients[reader].get(bytes).unwrap().unwrap();
        assert_eq!(read.value, *bytes);
    }
    clients[1].put(b"empty", b"").unwrap();
    for client in &mut clients {
        assert_eq!(client.get(b"empty").unwrap().unwrap().value, b"");
        assert_eq!(client.get(b"absent").unwrap(), None);
    }
    clients[2].append(b"of nothing", b"").unwrap();
    assert_eq!(clients[3].get(b"of nothing").unwrap().unwrap().value, b"");
}

#[test]
fn log_lines_have_a_date_with_milliseconds_and_show_requests_with_their_senders() {
    let cluster = Cluster::start(&["--log-level", "debug"]);
    let mut senders = Vec::new();
    for id in 0..SIZE {
        let mut client = RawClient::greeted(cluster.client_address(id));
        client.outcome(&get(70 + id as u64, b"some key"));
        senders.push(client.local_address());
    }
    for (id, sender) in senders.iter().enumerate() {
        let request = format!("{sender} -> Get tag={} GET \"some key\"", 70 + id);
        let answer = format!("{sender} <- Answer tag={}", 70 + id);
        cluster.wait("request and answer in the log", |cluster| {
            let log = cluster.log(id);
            log.contains(&request) && log.contains(&answer)
        });
        for line in cluster.log(id).lines() {
            assert_eq!(shape(line), "0000-00-00T00:00:00.000Z", "{line}");
        }
    }
}

/// The beginning of a line, with every digit made a zero.
fn shape(line: &str) -> String {
    let digit = |c: char| if c.is_ascii_digit() { '0' } else { c };
    line.chars().take(24).map(digit).collect()
}

#[test]
fn stop_under_load_takes_less_than_two_seconds_and_hurts_no_client() {
    let mut cluster = Cluster::start(&[]);
    let load = Load::start(cluster.options(), 8);
    load.wait_for_more(200);
    let leader = cluster.leader();
    for id in [leader, (leader + 1) % SIZE] {
        let (status, took) = cluster.terminate(id);
        println!("r{id} stopped after {took:?} with {status}");
        assert_eq!(status.code(), Some(0));
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    load.wait_for_more(200);
    let mut outcome = load.stop();
    println!("longest gap {:?}", outcome.longest_gap);
    assert_eq!(outcome.errors, Vec::<String>::new());
    outcome.assert_all_there(&mut Client::new(cluster.options()).unwrap());
}

#[test]
fn refusals_to_start_are_one_sentence() {
    let mut cluster = Cluster::start(&[]);
    let file = cluster.directory().join("file");
    fs::write(&file, b"in the way").unwrap();
    let own = |name: &str| cluster.directory().join(name);
    let members = cluster.members();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_address = taken.local_addr().unwrap().to_string();
    let single = ["--tcp", "127.0.0.1:0"];

    // A file where the directory should be stops even a user whom no permission stops.
    assert_refused(&single, &file, "cannot use the directory");
    assert_refused(&single, &file.join("below"), "cannot use the directory");
    assert_refused(
        &single,
        &cluster.data(0),
        "another server uses the directory",
    );
    assert_refused(&["--tcp", &taken_address], &own("a"), "cannot listen at");
    let peers_taken = [
        "--tcp",
        "127.0.0.1:0",
        "--members",
        &members,
        "--listen-peers",
        &taken_address,
    ];
    assert_refused(&peers_taken, &own("b"), "cannot listen at");
    let not_listed = ["--id", "7", "--members", &members];
    assert_refused(&not_listed, &own("c"), "replica 7");
    assert_refused(&["--workers", "many"], &own("d"), "--workers");
    let no_log = ["--log-file", "/proc/kvpaxos/log"];
    assert_refused(&no_log, &own("e"), "cannot write the log");

    cluster.kill(&[1]);
    let elsewhere = ["--tcp", "127.0.0.1:0", "--listen-peers", "127.0.0.1:0"];
    let as_another = ["--id", "2", "--members", &members];
    let as_another = [&elsewhere[..], &as_another].concat();
    assert_refused(&as_another, &cluster.data(1), "the files belong to r1");
    let fewer = [
        "--id",
        "1",
        "--members",
        "0=127.0.0.1:1,1=127.0.0.1:2,2=127.0.0.1:3",
    ];
    let fewer = [&elsewhere[..], &fewer].concat();
    assert_refused(&fewer, &cluster.data(1), "the files belong to cluster");
}

#[test]
fn files_of_another_cluster_with_the_same_members_end_the_replica() {
    let mut cluster = Cluster::start(&[]);
    cluster
        .client_of(1)
        .put(b"k", b"of the first cluster")
        .unwrap();
    cluster.kill(&[0, 1, 2, 3, 4]);
    let first_files = cluster.directory().join("first");
    fs::rename(cluster.data(1), &first_files).unwrap();
    for id in [0, 2, 3, 4] {
        fs::remove_dir_all(cluster.data(id)).unwrap();
    }
    for id in 0..SIZE {
        cluster.start_replica(id);
    }
    cluster.wait_until_serving();
    cluster.client_of(2).put(b"k", b"of the second").unwrap();
    cluster.kill(&[1]);
    fs::remove_dir_all(cluster.data(1)).unwrap();
    fs::rename(&first_files, cluster.data(1)).unwrap();
    cluster.start_replica(1);
    cluster.wait("both sides to say what is wrong", |cluster| {
        [1, 2].iter().all(|&id| {
            let log = cluster.log(id);
            log.lines()
                .any(|line| line.contains("of cluster") && line.contains(", not of "))
        })
    });
    let other_cluster = "the files of this replica belong to another cluster than its peers: a majority of the members \
                         is of cluster …";
    cluster.wait("the replica with the wrong files to end", |cluster| {
        says(&cluster.log(1), other_cluster) && cluster.status(1).is_none()
    });
    let read = cluster.client_of(2).get(b"k").unwrap().unwrap();
    assert_eq!(read.value, b"of the second");
}

/// Starts a server that must not start, and checks that it says why in one sentence and ends with an error.
fn assert_refused(arguments: &[&str], data: &Path, reason: &str) {
    let mut child = server_command()
        .args(arguments)
        .arg("--data")
        .arg(data)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    // Nothing happens to one that has ended; one that runs shows in its exit status.
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    println!("{arguments:?}: {said}");
    assert!(matches!(output.status.code(), Some(1 | 2)), "{said}");
    let sentences: BTreeSet<&str> = said.lines().filter(|line| line.contains(reason)).collect();
    assert_eq!(sentences.len(), 1, "{said}");
}
