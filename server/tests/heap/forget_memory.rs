//! Memory of instances that every program is done with is freed (SPEC E3).

use std::net::TcpListener;
use std::time::{Duration, Instant};

use kvpaxos_server::peer::{Fate, Peer, PeerSettings};

use crate::{live_bytes, turn};

#[test]
fn forget_memory() {
    let _turn = turn();
    let peers = group_of_three();
    for seq in 0..INSTANCES {
        let value = vec![u8::try_from(seq).unwrap(); VALUE_BYTES];
        peers[0].start(seq, value).unwrap();
        wait_until("all know the value", || {
            peers
                .iter()
                .all(|peer| matches!(peer.status(seq), Fate::Decided(_)))
        });
    }
    let full_bytes = live_bytes();
    let held_bytes = 3 * VALUE_BYTES as i64 * INSTANCES.cast_signed();
    assert!(full_bytes >= held_bytes, "{full_bytes} bytes live");
    for peer in &peers {
        peer.done(INSTANCES);
    }
    wait_until("all peers forget", || {
        peers.iter().all(|peer| peer.min() == INSTANCES + 1)
    });
    // What is on its way to a peer is let go when it has arrived.
    wait_until("the heap falls to half", || live_bytes() <= full_bytes / 2);
    println!(
        "{full_bytes} bytes live with all values, {} without",
        live_bytes()
    );
    for seq in 0..INSTANCES {
        for peer in &peers {
            peer.start(seq, [1]).unwrap();
        }
    }
    peers[1].start(INSTANCES + 1, [2]).unwrap();
    wait_until("a later instance is decided", || {
        peers
            .iter()
            .all(|peer| matches!(peer.status(INSTANCES + 1), Fate::Decided(_)))
    });
    for peer in &peers {
        assert_eq!(peer.min(), INSTANCES + 1);
        let forgotten = (0..INSTANCES).all(|seq| peer.status(seq) == Fate::Forgotten);
        assert!(forgotten, "an instance came back");
    }
}

fn group_of_three() -> Vec<Peer> {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let group = listeners
        .each_ref()
        .map(|listener| listener.local_addr().unwrap().to_string());
    let peers = listeners.into_iter().enumerate().map(|(me, listener)| {
        let mut settings = PeerSettings::in_memory();
        settings.listener = Some(listener);
        Peer::make(&group, me, settings).unwrap()
    });
    peers.collect()
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

const INSTANCES: u64 = 10;
const VALUE_BYTES: usize = 1 << 20;
