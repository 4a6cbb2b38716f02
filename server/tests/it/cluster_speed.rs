//! How long one client waits for its writes, one after the other (FAULTS 3).

use std::time::{Duration, Instant};

use client::Client;

use crate::cluster::Cluster;

/// What the row allows each append on average. How fast they are is for `bench` to say.
const EACH_MAX: Duration = Duration::from_millis(33);

const APPENDS: u32 = 1_000;

#[test]
fn speed() {
    let cluster = Cluster::start(&[]);
    let mut client = Client::new(cluster.options()).unwrap();
    let began = Instant::now();
    for number in 0..APPENDS {
        let tag = format!("x 0 {number} y");
        client.append(b"key", tag.as_bytes()).unwrap();
    }
    let each = began.elapsed() / APPENDS;
    println!("speed: {APPENDS} appends in sequence took {each:?} each");
    let expected: String = (0..APPENDS)
        .map(|number| format!("x 0 {number} y"))
        .collect();
    let read = client.get(b"key").unwrap().unwrap();
    assert_eq!(String::from_utf8(read.value).unwrap(), expected);
    assert!(each <= EACH_MAX, "{each:?}");
}
