//! Keys that are chosen to cost as much as they can (FAULTS 8). The store is an ordered map, so there is no table in which
//! keys could collide; the most that they can do is to be alike until their last bytes.

use std::time::{Duration, Instant};

use common::{Change, Outcome, Request, Write};
use kvpaxos_server::identity::ClusterSettings;

use crate::node::Cluster;

const KEYS: u64 = 5_000;

const KEY_BYTES: usize = 4_096;

/// Comparing keys to the end costs a few times what everything else about a PUT does, and not hundreds of times.
const RATIO_MAX: f64 = 20.0;

/// Puts all keys and gets them back; returns how long that took.
fn put_and_get(key: impl Fn(u64) -> Vec<u8>) -> Duration {
    let mut cluster = Cluster::with_settings(1, true, ClusterSettings::default());
    let session = cluster.open_session();
    let began = Instant::now();
    for number in 1..=KEYS {
        let change = Change::Put {
            key: key(number),
            value: number.to_be_bytes().to_vec(),
        };
        let write = Write {
            session,
            sequence: number,
            floor: number,
            after: 0,
            change,
        };
        let put = cluster.ask(Request::Write { tag: 1, write });
        assert!(matches!(put, Outcome::Put { .. }), "{put:?}");
    }
    for number in 1..=KEYS {
        let key = key(number);
        match cluster.ask(Request::Get { tag: 2, key }) {
            Outcome::Value { value, .. } => assert_eq!(value, number.to_be_bytes()),
            other => panic!("{other:?}"),
        }
    }
    began.elapsed()
}

#[test]
fn keys_chosen_to_collide() {
    let mixed = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let unlike = put_and_get(|number| {
        let mut key = vec![0; KEY_BYTES];
        key[..8].copy_from_slice(&mixed(number));
        key
    });
    let alike = put_and_get(|number| {
        let mut key = vec![0; KEY_BYTES];
        key[KEY_BYTES - 8..].copy_from_slice(&mixed(number));
        key
    });
    let ratio = alike.as_secs_f64() / unlike.as_secs_f64();
    println!(
        "{KEYS} keys that differ in their first bytes {unlike:?}, in their last {alike:?}: {ratio:.1} times as long"
    );
    assert!(ratio < RATIO_MAX, "{alike:?} and {unlike:?}");
}
