//! The greeting of a link between replicas: its bytes, and who is refused because of it.

use kvpaxos_server::peers::PeerGreeting;
use paxos::{Incarnation, ReplicaId};

use crate::peers_cases::{SETTINGS, from_hex, payload, settings};

pub(crate) fn greeting() -> PeerGreeting {
    PeerGreeting {
        version: 1,
        cluster: 0xc1,
        replica: ReplicaId(2),
        incarnation: Incarnation(0xaa),
        birth: 0xb1,
        settings: settings(),
        seen_incarnation: Incarnation(0xbb),
        seen_serial: 9,
    }
}

#[test]
fn the_greeting_has_the_documented_bytes() {
    let mut out = Vec::new();
    greeting().append_to(&mut out);
    let expected = from_hex(&format!(
        "40 4b565050 0001 00000000000000c1 02 00000000000000aa 00000000000000b1 {SETTINGS} \
         00000000000000bb 0000000000000009"
    ));
    assert_eq!(payload(&out), expected);
    assert_eq!(PeerGreeting::decode(&expected).unwrap(), greeting());
    for length in 0..expected.len() {
        assert!(PeerGreeting::decode(&expected[..length]).is_err());
    }
}

#[test]
fn strangers_are_told_apart() {
    let mut hello = Vec::new();
    let label = String::new();
    common::Hello { version: 1, label }.append_to(&mut hello);
    let said = |payload: &[u8]| PeerGreeting::decode(payload).unwrap_err().to_string();
    assert_eq!(said(payload(&hello)), "it speaks the client protocol");
    assert_eq!(said(b"GET / HTTP/1.1"), "it is not a replica");
    assert_eq!(said(b""), "it is not a replica");
    let mut later = Vec::new();
    PeerGreeting {
        version: 2,
        ..greeting()
    }
    .append_to(&mut later);
    let version = "it speaks version 2 of the protocol between replicas, not 1";
    assert_eq!(said(payload(&later)), version);
}

#[test]
fn other_clusters_and_other_settings_are_refused_with_both_printed() {
    let own = greeting();
    let other = PeerGreeting {
        cluster: 0xc2,
        ..greeting()
    };
    assert_eq!(
        own.check(&other).unwrap_err().to_string(),
        "it is r2 of cluster 00000000000000c2, not of 00000000000000c1"
    );
    let unfounded = PeerGreeting {
        cluster: 0,
        ..greeting()
    };
    assert_eq!(own.check(&unfounded), Ok(()));
    assert_eq!(unfounded.check(&own), Ok(()));
    let mut bound_otherwise = greeting();
    bound_otherwise.settings.value_bytes_max = 77;
    let said = own.check(&bound_otherwise).unwrap_err().to_string();
    assert_eq!(
        said,
        "r2 was started with other settings of the cluster: --value-bytes-max 77 there and 1 here"
    );
}
