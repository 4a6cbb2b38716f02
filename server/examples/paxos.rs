//! Three peers in one process agree, each with a wish of its own: `cargo run --example paxos`.

use std::error::Error;
use std::net::TcpListener;
use std::time::Duration;

use kvpaxos_server::peer::{Fate, Peer, PeerSettings};

fn main() -> Result<(), Box<dyn Error>> {
    // Usually each peer is a process with a known address and a directory: `PeerSettings::durable(path)`.
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0"));
    let listeners = listeners.into_iter().collect::<Result<Vec<_>, _>>()?;
    let addresses = listeners.iter().map(TcpListener::local_addr);
    let group = addresses
        .map(|address| Ok(address?.to_string()))
        .collect::<Result<Vec<String>, std::io::Error>>()?;
    let mut peers = Vec::new();
    for (me, listener) in listeners.into_iter().enumerate() {
        let mut settings = PeerSettings::in_memory();
        settings.listener = Some(listener);
        peers.push(Peer::make(&group, me, settings)?);
    }
    for (me, peer) in peers.iter().enumerate() {
        peer.start(7, format!("the wish of peer {me}").into_bytes())?;
    }
    for (me, peer) in peers.iter().enumerate() {
        match peer.wait(7, Duration::from_secs(10)) {
            Fate::Decided(value) => println!("peer {me}: {}", String::from_utf8_lossy(&value)),
            fate => return Err(format!("peer {me} knows no decision: {fate:?}").into()),
        }
        peer.done(7);
    }
    Ok(())
}
