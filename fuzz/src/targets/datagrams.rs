//! Datagrams, from a client to a replica and back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use common::{
    ClientDatagram, ClientMessage, DATAGRAM_BYTES_MAX_MIN, PROTOCOL_VERSION, ServerDatagram,
    WireLimits,
};
use kvpaxos_server::signboard::Signboard;
use kvpaxos_server::udp::{DatagramCounters, DatagramSettings, Exchange};
use kvpaxos_server::workers::Load;

/// One datagram, in either direction.
pub fn datagrams(input: &[u8]) {
    let request = check_to_replica(input);
    let answer = check_to_client(input);
    assert!(!(request && answer), "both directions");
    check_exchange(input);
}

/// Whether a replica understands it.
fn check_to_replica(input: &[u8]) -> bool {
    let Ok(datagram) = ClientDatagram::open(input) else {
        return false;
    };
    let tag = datagram.tag();
    let message = datagram.message(&WireLimits::default());
    // The version, which only a hello may have higher than ours.
    let is_ours = input[4..6] == PROTOCOL_VERSION.to_be_bytes();
    let mut again = Vec::new();
    match &message {
        Ok(ClientMessage::Hello(hello)) => {
            assert_eq!(tag, Some(hello.tag));
            hello.append_to(&mut again, datagram.cookie);
            // It may be padded with more zeros than needed; of a later version the rest says what we do not know.
            again.resize(again.len().max(input.len()), 0);
        }
        Ok(ClientMessage::Request(request)) => {
            assert!(is_ours, "a version above ours");
            request.append_datagram_to(&mut again, datagram.cookie);
        }
        Err(error) => assert!(error.tag.is_none() || error.tag == tag, "{error:?} {tag:?}"),
    }
    assert!(message.is_err() || !is_ours || again == input);
    message.is_ok()
}

/// Whether a client understands it.
fn check_to_client(input: &[u8]) -> bool {
    let Ok(datagram) = ServerDatagram::decode(input) else {
        return false;
    };
    let mut again = Vec::new();
    datagram.append_to(&mut again);
    assert_eq!(again, input);
    for bytes_max in [DATAGRAM_BYTES_MAX_MIN as usize, input.len() / 2] {
        let mut shorter = Vec::new();
        if datagram.append_within(bytes_max, &mut shorter) {
            assert!(shorter.len() <= bytes_max, "{datagram:?}");
            ServerDatagram::decode(&shorter).expect("what is sent can be read");
        } else {
            assert!(shorter.is_empty(), "{datagram:?}");
        }
    }
    true
}

/// A replica never sends more bytes to an address that is not proved than came from there. No input is proved, because
/// the secret is drawn anew for each.
fn check_exchange(input: &[u8]) {
    let settings = DatagramSettings {
        replica: 3,
        worker: 1,
        limits: WireLimits::default(),
        datagram_bytes_max: 1_200,
        answer_wait_max: Duration::from_secs(10),
        load: Arc::new(Load::default()),
        signboard: Arc::new(Signboard::default()),
        counters: Arc::new(DatagramCounters::default()),
    };
    let mut exchange = Exchange::new(settings, || 0x5eed);
    let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 5_555));
    let mut out = Vec::new();
    exchange.receive(input, remote, Duration::from_secs(1), &mut out);
    assert!(out.len() <= input.len(), "{} bytes are sent", out.len());
    assert!(
        out.is_empty() || ServerDatagram::decode(&out).is_ok(),
        "{out:?}"
    );
}
