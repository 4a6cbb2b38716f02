//! Many clients, slow ones, and more than there is room for, against five real servers (FAULTS 7).

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use client::{Client, ClientOptions};
use common::{Change, Limit, Outcome, Refusal, Request, SessionId};

use crate::cluster::{Cluster, SIZE};
use crate::cluster_load::Load;
use crate::raw_client::{RawClient, frame, get, hello, open_session, write};

/// What nobody notices: an election takes a quarter of it.
const GAP_MAX: Duration = Duration::from_secs(1);

/// Lets this process have so many descriptors.
fn want_descriptors(count: u64) {
    let limit = rlimit::increase_nofile_limit(count).unwrap();
    assert!(
        limit >= count,
        "this test needs {count} descriptors and may have {limit}"
    );
}

/// Ten thousand connections that do nothing cost one replica little memory, and delay nobody; and each still is one.
#[test]
fn idle_connections_10000() {
    const COUNT: usize = 10_000;
    const KIB_EACH_MAX: u64 = 8;
    want_descriptors(COUNT as u64 + 500);
    let cluster = Cluster::start(&[]);
    let before = cluster.resident_kib(0);
    let began = Instant::now();
    let greet = |_| RawClient::greeted(cluster.client_address(0));
    let mut idle: Vec<RawClient> = (0..COUNT).map(greet).collect();
    let took = began.elapsed();
    let grown = cluster.resident_kib(0).saturating_sub(before);
    println!("{COUNT} connections in {took:?} cost {grown} KiB");
    assert!(grown <= KIB_EACH_MAX * COUNT as u64, "{grown} KiB");
    let load = Load::start(cluster.options(), 8);
    load.wait_for_more(1_000);
    let mut outcome = load.stop();
    println!(
        "beside them nothing was answered for {:?} at most",
        outcome.longest_gap
    );
    assert_eq!(outcome.errors, Vec::<String>::new());
    assert!(outcome.longest_gap < GAP_MAX, "{:?}", outcome.longest_gap);
    outcome.assert_all_there(&mut cluster.client_of(0));
    for (tag, client) in (0..).zip(idle.iter_mut().step_by(50)) {
        let outcome = client.outcome(&get(tag, b"nothing"));
        assert!(matches!(outcome, Outcome::Absent { .. }), "{outcome}");
    }
}

/// A thousand clients that write and read all the time, and lose the leader in the middle of it.
#[test]
fn busy_connections_1000_and_a_leader_change() {
    const CLIENTS: usize = 1_000;
    want_descriptors(5 * CLIENTS as u64 + 500);
    let mut cluster = Cluster::start(&[]);
    let mut options = cluster.options();
    options.timeout = Duration::from_secs(30);
    let load = Load::start_mixed(options, CLIENTS, 50);
    load.wait_for_more(10 * CLIENTS as u64);
    let leader = cluster.leader();
    cluster.kill(&[leader]);
    load.wait_for_more(5 * CLIENTS as u64);
    cluster.start_replica(leader);
    load.wait_for_more(5 * CLIENTS as u64);
    let mut outcome = load.stop();
    println!(
        "{} answers, {} of them reads that were judged; nothing was answered for {:?} at most",
        outcome.answered,
        outcome.reads(),
        outcome.longest_gap
    );
    assert_eq!(outcome.errors, Vec::<String>::new());
    assert!(outcome.reads() > CLIENTS as u64, "{}", outcome.reads());
    outcome.assert_all_there(&mut Client::new(cluster.options()).unwrap());
}

/// Connections that say nothing, that say a byte a second, and that ask for much and take none of it: the others do not
/// notice, and memory stays.
#[test]
fn slow_clients_delay_nobody() {
    const SILENT: usize = 500;
    const TRICKLING: usize = 50;
    const UNREAD: usize = 20;
    /// Two frames of the greatest length for each that does not read, and what is on the way to it.
    const GROWTH_KIB_MAX: u64 = (UNREAD as u64 * 17 + 2 * 64) << 10;
    let cluster = Cluster::start(&[]);
    let address = cluster.client_address(0);
    cluster.client_of(0).put(b"long", &[7; 100_000]).unwrap();
    let before = cluster.resident_kib(0);
    let connect = |_| TcpStream::connect(address).unwrap();
    let silent: Vec<TcpStream> = (0..SILENT).map(connect).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| trickle(address, TRICKLING, &stop));
        let unread: Vec<RawClient> = (0..UNREAD).map(|_| ask_much(address)).collect();
        let options = ClientOptions::parse(&address.to_string()).unwrap();
        let load = Load::start(options, 8);
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            load.wait_for_more(100);
        }
        let grown = cluster.resident_kib(0).saturating_sub(before);
        let mut outcome = load.stop();
        stop.store(true, Ordering::Relaxed);
        println!(
            "beside {} slow clients {} answers, none for {:?} at most; memory grew by {grown} KiB",
            silent.len() + TRICKLING + unread.len(),
            outcome.answered,
            outcome.longest_gap
        );
        assert!(grown < GROWTH_KIB_MAX, "{grown} KiB");
        assert_eq!(outcome.errors, Vec::<String>::new());
        assert!(outcome.longest_gap < GAP_MAX, "{:?}", outcome.longest_gap);
        outcome.assert_all_there(&mut cluster.client_of(0));
    });
}

/// So many connections that each say one byte of a greeting a second.
fn trickle(address: SocketAddr, count: usize, stop: &AtomicBool) {
    let connect = |_| TcpStream::connect(address).unwrap();
    let mut streams: Vec<TcpStream> = (0..count).map(connect).collect();
    for byte in hello() {
        for stream in &mut streams {
            stream.write_all(&[byte]).unwrap();
        }
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Asks for 100 MB and reads none of it.
fn ask_much(address: SocketAddr) -> RawClient {
    let mut client = RawClient::greeted(address);
    let many: Vec<u8> = (0..1_000)
        .flat_map(|tag| frame(&get(tag, b"long")))
        .collect();
    client.send(&many);
    client
}

/// Eight clients put a value of the greatest length there is at the same moment, each at another replica than the next.
#[test]
fn maximal_values_from_many_clients_at_once() {
    const CLIENTS: usize = 8;
    const BYTES: usize = 8 << 20;
    let cluster = Cluster::start(&[]);
    let began = Instant::now();
    let key = |number: usize| format!("large{number}").into_bytes();
    let value = |number: usize| vec![u8::try_from(number).unwrap(); BYTES];
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let mut options = cluster.options();
            options.first = number % SIZE;
            // Each is written to five journals on one disk, which others may use too.
            options.timeout = Duration::from_secs(180);
            options.attempt_timeout = Duration::from_secs(30);
            scope.spawn(move || {
                let mut client = Client::new(options).unwrap();
                client.put(&key(number), &value(number)).unwrap();
            });
        }
    });
    println!(
        "{CLIENTS} values of {BYTES} bytes took {:?}",
        began.elapsed()
    );
    for number in 0..CLIENTS {
        let mut options = cluster.options();
        options.first = (number + 2) % SIZE;
        let read = Client::new(options).unwrap().get(&key(number)).unwrap();
        assert!(read.unwrap().value == value(number), "value {number}");
    }
    let memory: Vec<u64> = (0..SIZE).map(|id| cluster.resident_kib(id)).collect();
    println!("memory of the replicas in KiB: {memory:?}");
    let most = memory.into_iter().max().unwrap();
    // The values, as much again that is on its way or in the log for others, and what the allocator keeps.
    assert!(most < 4 * (CLIENTS * BYTES / 1024) as u64, "{most} KiB");
}

/// Forty connections keep 1,024 writes outstanding each, two and a half times of what a replica holds: the rest hears
/// "busy" at once, what is admitted is answered in bounded time, and afterwards all is as before.
#[test]
fn overload_is_told_busy_and_what_is_admitted_is_answered_in_time() {
    const CONNECTIONS: usize = 40;
    /// After so long whatever waits is refused in any case.
    const LATENCY_MAX: Duration = Duration::from_secs(5);
    let cluster = Cluster::start(&[]);
    let address = cluster.client_address(cluster.leader());
    let until = Instant::now() + Duration::from_secs(3);
    let counts: Vec<Counts> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..CONNECTIONS)
            .map(|number| scope.spawn(move || overload(address, number, until)))
            .collect();
        let ended = running.into_iter().map(|thread| thread.join().unwrap());
        ended.collect()
    });
    let done: u64 = counts.iter().map(|counts| counts.done).sum();
    let busy: u64 = counts.iter().map(|counts| counts.busy).sum();
    let latencies = counts.iter().map(|counts| counts.latency_max);
    let longest = latencies.max().unwrap();
    println!("{done} writes were done, the last of them after {longest:?}; {busy} heard busy");
    assert!(done > 10_000 && busy > 1_000, "{done} done, {busy} busy");
    assert!(longest < LATENCY_MAX, "{longest:?}");
    let began = Instant::now();
    let mut client = Client::new(cluster.options()).unwrap();
    client.put(b"after", b"it").unwrap();
    let took = began.elapsed();
    assert!(took < GAP_MAX, "afterwards a write took {took:?}");
}

/// What became of the writes of one connection.
#[derive(Default)]
struct Counts {
    done: u64,
    busy: u64,
    latency_max: Duration,
}

fn overload(address: SocketAddr, number: usize, until: Instant) -> Counts {
    /// As many as a session remembers and a connection may have outstanding.
    const WINDOW: u64 = 1_024;
    let mut client = RawClient::greeted(address);
    let session = session_of(&mut client, number as u64);
    let key = format!("k{number}").into_bytes();
    let mut counts = Counts::default();
    for round in 0.. {
        if Instant::now() >= until {
            break;
        }
        let first = 1 + round * WINDOW;
        let change = || Change::Put {
            key: key.clone(),
            value: vec![7; 100],
        };
        let requests = first..first + WINDOW;
        let bytes: Vec<u8> = requests
            .flat_map(|sequence| frame(&write(session, sequence, first, change())))
            .collect();
        let began = Instant::now();
        client.send(&bytes);
        for _ in 0..WINDOW {
            match client.hear_answer().outcome {
                Outcome::Put { .. } => {
                    counts.done += 1;
                    counts.latency_max = counts.latency_max.max(began.elapsed());
                }
                Outcome::Refused(Refusal::Busy {
                    limit: Limit::RequestsHeld,
                }) => counts.busy += 1,
                other => panic!("{other}"),
            }
        }
    }
    counts
}

/// Opens a session, however busy the replica is.
fn session_of(client: &mut RawClient, nonce: u64) -> SessionId {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match client.outcome(&Request::OpenSession { tag: 0, nonce }) {
            Outcome::SessionOpened { session, .. } => return session,
            Outcome::Refused(Refusal::Busy { .. }) if Instant::now() < deadline => {}
            other => panic!("{other}"),
        }
    }
}

/// A client that vanishes in the middle of a value, again and again: nothing of it stays, and nobody else notices.
#[test]
fn clients_that_vanish_in_the_middle_of_a_value() {
    const TIMES: usize = 200;
    const GROWTH_KIB_MAX: u64 = 24 << 10;
    let cluster = Cluster::start(&[]);
    let address = cluster.client_address(0);
    let mut first = RawClient::greeted(address);
    let session = open_session(&mut first, 1);
    let value = vec![7; 4 << 20];
    let key = b"k".to_vec();
    let whole = frame(&write(session, 1, 1, Change::Put { key, value }));
    let vanish = |times: usize| {
        for time in 0..times {
            let mut client = RawClient::greeted(address);
            client.send(&whole[..whole.len() * (1 + time % 9) / 10]);
        }
    };
    vanish(TIMES / 4);
    let before = cluster.resident_kib(0);
    vanish(TIMES);
    let mut bystander = cluster.client_of(0);
    bystander.put(b"other", b"x").unwrap();
    cluster.wait("the memory to be given back", |cluster| {
        cluster.resident_kib(0) < before + GROWTH_KIB_MAX
    });
    assert_eq!(bystander.get(b"k").unwrap(), None, "half a value was put");
    let absent = first.outcome(&get(9, b"k"));
    assert!(matches!(absent, Outcome::Absent { .. }), "{absent}");
}
