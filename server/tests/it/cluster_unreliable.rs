//! Clients of both transports at once on a network that loses much: each request is dropped with a probability of a
//! tenth, and of those that arrive the answer is dropped with that of a fifth.

use std::thread;
use std::time::Instant;

use client::history::{Kind, Operation, check_key};
use client::{Client, ClientError, ClientOptions};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::cluster::SIZE;
use crate::cluster_faults::{Rig, sum};
use crate::proxy::{Faults, Rates};

/// What the network does, drawn from a seed.
fn unreliable(seed: u64) -> Faults {
    let drop = |drop| Rates {
        drop,
        ..Rates::NONE
    };
    Faults {
        seed,
        inward: drop(0.1),
        outward: drop(0.2),
    }
}

/// The options of client `number`: every second one uses UDP, every fourth both.
fn options(rig: &Rig, number: usize) -> ClientOptions {
    let mut options = match number % 4 {
        0 | 2 => rig.over_tcp(),
        1 => rig.over_udp(),
        _ => rig.over_both(),
    };
    options.first = number % SIZE;
    options
}

/// Runs so many clients, each in a thread of its own, and collects what they return.
fn run_clients<T: Send>(
    rig: &Rig,
    count: usize,
    run: impl Fn(usize, &mut Client) -> T + Sync,
) -> Vec<T> {
    let results = thread::scope(|scope| {
        let running: Vec<_> = (0..count)
            .map(|number| {
                let run = &run;
                scope.spawn(move || run(number, &mut Client::new(options(rig, number)).unwrap()))
            })
            .collect();
        let ended = running.into_iter().map(|thread| thread.join().unwrap());
        ended.collect()
    });
    let (streams, datagrams) = (sum(&rig.streams), sum(&rig.datagrams));
    println!("on TCP: {streams}; on UDP: {datagrams}");
    assert!(streams.dropped > 0 && datagrams.dropped > 0);
    results
}

/// Reads a key through each replica over a good network; all give the same.
fn read_everywhere(rig: &Rig, key: &[u8]) -> String {
    let read = |id| rig.cluster.client_of(id).get(key).unwrap().unwrap();
    let reads: Vec<_> = (0..SIZE).map(read).collect();
    assert!(reads.iter().all(|read| *read == reads[0]), "{reads:?}");
    String::from_utf8(reads[0].value.clone()).unwrap()
}

#[test]
fn unreliable_sequence() {
    let rig = Rig::start(unreliable(10));
    run_clients(&rig, 5, |number, client| {
        let key = format!("sequence/{number}").into_bytes();
        let mut expected = String::new();
        for step in 0..3 {
            let tag = format!("{number}.{step};");
            client.append(&key, tag.as_bytes()).unwrap();
            expected.push_str(&tag);
            let read = client.get(&key).unwrap().unwrap();
            assert_eq!(String::from_utf8(read.value).unwrap(), expected);
        }
    });
    for number in 0..5 {
        let expected = format!("{number}.0;{number}.1;{number}.2;");
        let key = format!("sequence/{number}");
        assert_eq!(read_everywhere(&rig, key.as_bytes()), expected);
    }
}

#[test]
fn unreliable_one_key() {
    /// How many tags each client appends.
    const TAGS: usize = 12;
    let rig = Rig::start(unreliable(20));
    run_clients(&rig, 5, |number, client| {
        for step in 0..TAGS {
            let tag = format!("{number}.{step};");
            client.append(b"one", tag.as_bytes()).unwrap();
        }
    });
    let value = read_everywhere(&rig, b"one");
    for number in 0..5 {
        let own = format!("{number}.");
        let found: Vec<&str> = value
            .split_terminator(';')
            .filter(|tag| tag.starts_with(&own))
            .collect();
        let expected: Vec<String> = (0..TAGS).map(|step| format!("{own}{step}")).collect();
        assert_eq!(found, expected, "each once and in order");
    }
    assert_eq!(value.split_terminator(';').count(), 5 * TAGS);
}

#[test]
fn concurrent_clients() {
    /// How many operations each client asks for.
    const OPERATIONS: usize = 25;
    /// How many keys they share.
    const KEYS: usize = 3;
    let rig = Rig::start(unreliable(30));
    let began = Instant::now();
    let histories = run_clients(&rig, 8, |number, client| {
        let mut random = SmallRng::seed_from_u64(number as u64);
        let asked = (0..OPERATIONS).map(|step| {
            let key = random.random_range(0..KEYS);
            let tag = format!("{number}.{step};").into_bytes();
            let called = began.elapsed();
            let kind = ask(client, key, tag, random.random_range(0..4)).unwrap();
            let operation = Operation {
                client: number as u64,
                kind,
                called: u64::try_from(called.as_nanos()).unwrap(),
                returned: Some(u64::try_from(began.elapsed().as_nanos()).unwrap()),
                in_order: true,
                revision: None,
            };
            (key, operation)
        });
        asked.collect::<Vec<_>>()
    });
    for key in 0..KEYS {
        let all = histories.iter().flatten();
        let operations: Vec<Operation> = all
            .filter(|(of, _)| *of == key)
            .map(|(_, operation)| operation.clone())
            .collect();
        println!("key {key}: {} operations", operations.len());
        assert!(operations.len() > OPERATIONS, "too few on key {key}");
        check_key(&operations).unwrap();
    }
}

/// Asks for one of the four operations and says what was heard.
fn ask(client: &mut Client, key: usize, tag: Vec<u8>, operation: u32) -> Result<Kind, ClientError> {
    let key = format!("shared/{key}").into_bytes();
    Ok(match operation {
        0 => {
            client.put(&key, &tag)?;
            Kind::Put { value: tag }
        }
        1 => {
            let length = Some(client.append(&key, &tag)?.length);
            Kind::Append { value: tag, length }
        }
        2 => Kind::Delete {
            existed: Some(client.delete(&key)?.existed),
        },
        _ => Kind::Get {
            value: client.get(&key)?.map(|found| found.value),
        },
    })
}
